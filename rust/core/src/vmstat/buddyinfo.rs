//! /proc/buddyinfo (mm/vmstat.c, `frag_show_print`).

use crate::allocator::PageAllocator;
use core::fmt;

/// Free blocks of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneBlocks {
    /// Node id.
    pub nid: u32,
    /// Name of the zone.
    pub zone: &'static str,
    /// Free blocks by order, all migratetypes together.
    pub nr_free: Vec<u64>,
}

/// /proc/buddyinfo: the populated zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuddyinfoReport {
    /// Node by node, ascending zone index.
    pub zones: Vec<ZoneBlocks>,
}

impl fmt::Display for BuddyinfoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in &self.zones {
            write!(f, "Node {}, zone {:>8} ", zone.nid, zone.zone)?;
            zone.nr_free.iter().try_for_each(|blocks| write!(f, "{blocks:6} "))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl PageAllocator {
    /// Free blocks of every order and zone.
    pub fn buddyinfo_report(&self) -> BuddyinfoReport {
        let zones = self.populated_zones().into_iter().map(|zone| ZoneBlocks {
            nid: zone.node(),
            zone: zone.kind().name(),
            nr_free: zone.nr_free(),
        });
        BuddyinfoReport { zones: zones.collect() }
    }

    /// The text of /proc/buddyinfo.
    pub fn buddyinfo(&self) -> String {
        self.buddyinfo_report().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_kernels() {
        let report = BuddyinfoReport {
            zones: vec![
                ZoneBlocks { nid: 0, zone: "DMA", nr_free: vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3] },
                ZoneBlocks { nid: 0, zone: "DMA32", nr_free: vec![5, 3, 4, 2, 1, 3, 2, 1, 2, 1, 743] },
                ZoneBlocks { nid: 12, zone: "Normal", nr_free: vec![1_234_567, 1] },
            ],
        };
        let text = "\
Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3 
Node 0, zone    DMA32      5      3      4      2      1      3      2      1      2      1    743 
Node 12, zone   Normal 1234567      1 
";
        assert_eq!(report.to_string(), text);
    }
}
