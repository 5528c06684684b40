//! Digests of a zone's lists, as recordings hold them.

use super::recording::ZoneDigest;
use pagebuddy_core::config::Config;
use pagebuddy_core::state::{PcpState, ZoneState};
use pagebuddy_core::types::Pfn;

const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// 64-bit FNV-1a over 32-bit words, each fed as four bytes, least significant first.
struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    fn word(&mut self, word: u32) {
        self.bytes(&word.to_le_bytes());
    }

    fn pfns(&mut self, pfns: &[Pfn]) {
        for pfn in pfns {
            self.word(*pfn as u32);
        }
    }
}

/// Hash of the free lists (`hf`).
pub fn free_lists_hash(zone: &ZoneState, config: &Config) -> u64 {
    let mut hash = Fnv(FNV_OFFSET_BASIS);
    for order in 0..config.max_order {
        for number in 0..config.migrate_types() {
            hash.word(0xffff_ff00 + order * 8 + number as u32);
            if let Some(mt) = config.migratetype_from_number(number) {
                hash.pfns(zone.free_list(order as usize, mt));
            }
        }
    }
    hash.0
}

/// Hash of the per-cpu lists (`hp`).
pub fn pcp_hash(pcps: &[PcpState]) -> u64 {
    let mut hash = Fnv(FNV_OFFSET_BASIS);
    for pcp in pcps {
        hash.word(0xffff_fe00 + pcp.cpu as u32);
        hash.word(pcp.count as u32);
        hash.word(pcp.free_factor);
        for (index, list) in pcp.lists.iter().enumerate() {
            hash.word(0xffff_ff00 + index as u32);
            hash.pfns(list);
        }
    }
    hash.0
}

/// Digest of a zone.
pub fn digest(zone: &ZoneState, config: &Config) -> ZoneDigest {
    ZoneDigest {
        at: zone.at,
        free_pages: zone.pages_on_free_lists(),
        pcp_pages: zone.pcp.iter().map(|pcp| pcp.count).sum(),
        highatomic: zone.nr_reserved_highatomic,
        boost: zone.boost,
        free_counter: zone.nr_free_pages,
        hf: free_lists_hash(zone, config),
        hp: pcp_hash(&zone.pcp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_published() {
        let mut hash = Fnv(FNV_OFFSET_BASIS);
        hash.bytes(b"foobar");
        assert_eq!(hash.0, 0x8594_4171_f739_67e8);
        let (mut words, mut bytes) = (Fnv(FNV_OFFSET_BASIS), Fnv(FNV_OFFSET_BASIS));
        words.word(0x6f6f_66ff);
        bytes.bytes(&[0xff, 0x66, 0x6f, 0x6f]);
        assert_eq!(words.0, bytes.0);
    }
}
