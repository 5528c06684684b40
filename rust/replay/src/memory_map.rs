//! Memory maps of real machines, as text: /proc/iomem, the boot log, debugfs.
//!
//! Each parser builds a [`Memblock`] whose lists grow without taking memory, so that it holds what
//! the text says and nothing else. Text that does not say what it should gives an error that names
//! the line; lines of a log that are about other things are passed over.

mod debugfs;
mod dmesg;
mod e820;
mod iomem;

pub use debugfs::parse_debugfs;
pub use dmesg::parse_dmesg;
pub use iomem::parse_iomem;

use pagebuddy_core::memblock::{Geometry, Memblock, MemblockError, Resize};
use std::fmt;

/// Why a text is not a memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapErrorKind {
    /// /proc/iomem shows only zeros to unprivileged readers.
    Unprivileged,
    /// There is no memory in the text.
    NoMemory,
    /// A line that should describe memory cannot be read.
    BadLine,
    /// The page size is not usable.
    Geometry,
}

/// An unreadable memory map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapError {
    /// The kind of problem.
    pub kind: MapErrorKind,
    /// Line, counted from 1; 0 when the problem is not tied to a line.
    pub line: usize,
    /// The problem in words.
    pub message: String,
}

impl MapError {
    fn new(kind: MapErrorKind, line: usize, message: impl Into<String>) -> MapError {
        MapError { kind, line, message: message.into() }
    }

    fn bad_line(line: usize, what: &str, text: &str) -> MapError {
        // A damaged file can have lines of any length.
        let shown: String = text.chars().take(120).collect();
        MapError::new(MapErrorKind::BadLine, line, format!("{what}: {shown:?}"))
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

impl std::error::Error for MapError {}

impl From<MemblockError> for MapError {
    fn from(error: MemblockError) -> MapError {
        MapError::new(MapErrorKind::Geometry, 0, error.to_string())
    }
}

/// An empty memblock for a map.
fn empty_map(geometry: Geometry) -> Result<Memblock, MapError> {
    let mut map = Memblock::with_geometry(geometry)?;
    map.set_resize(Resize::Elsewhere)?;
    Ok(map)
}

/// A byte range as the kernel prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    base: u64,
    /// The last byte.
    last: u64,
}

impl Span {
    fn new(base: u64, last: u64) -> Option<Span> {
        (base <= last).then_some(Span { base, last })
    }

    /// Size in bytes; the last address of all is never part of a region.
    fn size(self) -> u64 {
        (self.last - self.base).saturating_add(1)
    }

    /// Parses two hexadecimal numbers around a separator; "0x" is optional.
    fn parse(text: &str, separator: &str) -> Option<Span> {
        let (base, last) = text.split_once(separator)?;
        Span::new(hex(base)?, hex(last)?)
    }

    /// Parses the first `[0x..-0x..]` (with or without "mem ") at or after which `text` begins, and
    /// returns what follows it.
    fn parse_bracket(text: &str) -> Option<(Span, &str)> {
        let (_, from) = text.split_once('[')?;
        let (inside, rest) = from.split_once(']')?;
        let inside = inside.trim_start();
        Some((Span::parse(inside.strip_prefix("mem").unwrap_or(inside), "-")?, rest))
    }
}

/// A hexadecimal number, with or without "0x".
fn hex(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    // from_str_radix would also take a sign; the kernel never prints more than 16 digits.
    let all_digits = (1..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if all_digits { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests;
