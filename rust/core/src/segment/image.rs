//! Sparse, checksummed copies of a segment.
//!
//! ```text
//! 0   u64  image magic            16  u64  length of the segment
//! 8   u32  image version          24  u64  number of stored pages
//! 12  u32  CRC-32 of what follows 32  then per stored page: u64 page number, 4096 bytes
//! ```
//! All numbers are little-endian; pages that are all zero are left out.

use super::mapping::{Mapping, OS_PAGE, WORDS_PER_OS_PAGE};
use crate::sync::Relaxed;
use core::fmt;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"pgbimage";
const VERSION: u32 = 1;
const HEADER: usize = 32;
const RECORD: usize = 8 + OS_PAGE;
const MAX_LEN: u64 = 1 << 45;

/// Why bytes are not a usable copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// It does not start with the image's magic.
    NotAnImage,
    /// Made by another version of the layout.
    Version(u32),
    /// It ends early.
    Truncated,
    /// The checksum does not fit the contents.
    Checksum,
    /// The sizes contradict each other.
    Inconsistent,
    /// The operating system refused the memory (errno).
    OutOfMemory(i32),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::NotAnImage => f.write_str("this is no pagebuddy snapshot"),
            ImageError::Version(v) => write!(f, "the snapshot has layout version {v}, which this build cannot read"),
            ImageError::Truncated => f.write_str("the snapshot is truncated"),
            ImageError::Checksum => f.write_str("the snapshot is damaged: its checksum does not match"),
            ImageError::Inconsistent => f.write_str("the snapshot is damaged: its contents contradict each other"),
            ImageError::OutOfMemory(errno) => write!(f, "the operating system refused the memory (errno {errno})"),
        }
    }
}

impl std::error::Error for ImageError {}

pub(super) fn save(map: &Mapping) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    let mut nr_pages = 0u64;
    map.for_each_page(|number, page| {
        nr_pages += 1;
        out.extend_from_slice(&(number as u64).to_le_bytes());
        for word in page {
            out.extend_from_slice(&word.load(Relaxed).to_le_bytes()); // ORDERING(R5)
        }
    });
    out[0..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..24].copy_from_slice(&(map.len() as u64).to_le_bytes());
    out[24..32].copy_from_slice(&nr_pages.to_le_bytes());
    let checksum = crc32fast::hash(&out[16..]);
    out[12..16].copy_from_slice(&checksum.to_le_bytes());
    out
}

pub(super) fn load(bytes: &[u8]) -> Result<Arc<Mapping>, ImageError> {
    if !bytes.starts_with(MAGIC) {
        return Err(ImageError::NotAnImage);
    }
    if bytes.len() < HEADER {
        return Err(ImageError::Truncated);
    }
    let version = u32_at(bytes, 8);
    if version != VERSION {
        return Err(ImageError::Version(version));
    }
    let (len, nr_pages) = (u64_at(bytes, 16), u64_at(bytes, 24));
    let expected = nr_pages.checked_mul(RECORD as u64).and_then(|n| n.checked_add(HEADER as u64));
    match expected {
        Some(expected) if expected > bytes.len() as u64 => return Err(ImageError::Truncated),
        Some(expected) if expected == bytes.len() as u64 => {}
        _ => return Err(ImageError::Inconsistent),
    }
    if crc32fast::hash(&bytes[16..]) != u32_at(bytes, 12) {
        return Err(ImageError::Checksum);
    }
    if len == 0 || len > MAX_LEN || len % OS_PAGE as u64 != 0 {
        return Err(ImageError::Inconsistent);
    }
    let map = Mapping::anonymous(len as usize).map_err(ImageError::OutOfMemory)?;
    let words = map.words();
    for record in bytes[HEADER..].chunks_exact(RECORD) {
        let number = u64_at(record, 0);
        if number >= len / OS_PAGE as u64 {
            return Err(ImageError::Inconsistent);
        }
        let start = number as usize * WORDS_PER_OS_PAGE;
        for (i, word) in words[start..start + WORDS_PER_OS_PAGE].iter().enumerate() {
            word.store(u64_at(record, 8 + 8 * i), Relaxed); // ORDERING(R5)
        }
    }
    Ok(map)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_sparse_and_exact() {
        let map = Mapping::anonymous(64 << 20).unwrap();
        for (i, value) in [(0, 1), (512, 2), (8_388_607, u64::MAX)] {
            map.words()[i].store(value, Relaxed);
        }
        let image = save(&map);
        assert_eq!(image.len(), HEADER + 3 * RECORD);
        let copy = load(&image).unwrap();
        assert_eq!(copy.len(), map.len());
        assert!(map.words().iter().zip(copy.words()).all(|(a, b)| a.load(Relaxed) == b.load(Relaxed)));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let map = Mapping::anonymous(OS_PAGE).unwrap();
        map.words()[7].store(42, Relaxed);
        let image = save(&map);
        for at in 0..image.len() {
            let mut damaged = image.clone();
            damaged[at] ^= 0x10;
            assert!(load(&damaged).is_err(), "byte {at}");
        }
        for len in 0..image.len() {
            assert!(load(&image[..len]).is_err(), "length {len}");
        }
        assert_eq!(load(b"something else").unwrap_err(), ImageError::NotAnImage);
    }
}
