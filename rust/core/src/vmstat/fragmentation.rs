//! debugfs extfrag/extfrag_index and extfrag/unusable_index (mm/vmstat.c, `extfrag_show_print` and
//! `unusable_show_print`).

use crate::allocator::PageAllocator;
use crate::extfrag::{ContigPageInfo, extfrag_index_text, unusable_index_text};
use core::fmt;

/// An index of one zone for every order, in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneIndices<T> {
    /// Node id.
    pub nid: u32,
    /// Name of the zone.
    pub zone: &'static str,
    /// The index by order.
    pub by_order: Vec<T>,
}

/// Why requests would fail: towards 0 for lack of memory, towards 1000 for fragmentation, -1000 if
/// they would not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtfragIndexReport {
    /// Populated zones, node by node.
    pub zones: Vec<ZoneIndices<i32>>,
}

/// Share of the free pages that requests cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableIndexReport {
    /// Populated zones, node by node.
    pub zones: Vec<ZoneIndices<u32>>,
}

fn fmt_zones<T: Copy>(zones: &[ZoneIndices<T>], text: fn(T) -> String, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for zone in zones {
        write!(f, "Node {}, zone {:>8} ", zone.nid, zone.zone)?;
        zone.by_order.iter().try_for_each(|index| write!(f, "{} ", text(*index)))?;
        writeln!(f)?;
    }
    Ok(())
}

impl fmt::Display for ExtfragIndexReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_zones(&self.zones, extfrag_index_text, f)
    }
}

impl fmt::Display for UnusableIndexReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_zones(&self.zones, unusable_index_text, f)
    }
}

impl PageAllocator {
    /// The fragmentation index of every zone and order.
    pub fn extfrag_index_report(&self) -> ExtfragIndexReport {
        ExtfragIndexReport { zones: self.zone_indices(|info| info.extfrag_index()) }
    }

    /// The unusable share of the free pages of every zone, for every order.
    pub fn unusable_index_report(&self) -> UnusableIndexReport {
        UnusableIndexReport { zones: self.zone_indices(|info| info.unusable_index()) }
    }

    fn zone_indices<T>(&self, index: impl Fn(ContigPageInfo) -> T) -> Vec<ZoneIndices<T>> {
        let zones = self.populated_zones().into_iter().map(|zone| {
            let nr_free = zone.nr_free();
            let orders = 0..self.config().max_order;
            ZoneIndices {
                nid: zone.node(),
                zone: zone.kind().name(),
                by_order: orders.map(|order| index(ContigPageInfo::new(&nr_free, order))).collect(),
            }
        });
        zones.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_kernels() {
        let zone = |by_order| ZoneIndices { nid: 0, zone: "DMA32", by_order };
        let report = ExtfragIndexReport { zones: vec![zone(vec![-1000, 0, 827, -500, 1000])] };
        assert_eq!(report.to_string(), "Node 0, zone    DMA32 -1.000  0.000  0.827  0.-500  1.000 \n");
        let zone = ZoneIndices { nid: 1, zone: "Normal", by_order: vec![0, 123, 1000] };
        let report = UnusableIndexReport { zones: vec![zone] };
        assert_eq!(report.to_string(), "Node 1, zone   Normal 0.000 0.123 1.000 \n");
    }
}
