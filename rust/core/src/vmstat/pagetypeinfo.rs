//! /proc/pagetypeinfo (mm/vmstat.c, `pagetypeinfo_show`).

use crate::allocator::PageAllocator;
use crate::types::{MigrateType, Pfn};
use crate::zone::Zone;
use core::fmt;

/// Counting the blocks of a list stops here; the text says `>100000` then.
pub const MAX_COUNT: u64 = 100_000;

/// One zone's free blocks and pageblocks by migratetype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonePagetypes {
    /// Name of the zone.
    pub zone: &'static str,
    /// Free blocks by migratetype, then order; [`MAX_COUNT`] stands for that many or more.
    pub free_blocks: Vec<Vec<u64>>,
    /// Pageblocks by migratetype.
    pub pageblocks: Vec<u64>,
}

/// The populated zones of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePagetypes {
    /// Node id.
    pub nid: u32,
    /// Ascending zone index.
    pub zones: Vec<ZonePagetypes>,
}

/// /proc/pagetypeinfo: the nodes with memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagetypeinfoReport {
    /// log2 of the pages in a pageblock.
    pub pageblock_order: u32,
    /// Number of orders.
    pub nr_orders: u32,
    /// Names of the migratetypes in the configuration's order.
    pub types: Vec<&'static str>,
    /// Ascending node id.
    pub nodes: Vec<NodePagetypes>,
}

impl fmt::Display for PagetypeinfoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nodes.iter().try_for_each(|node| self.fmt_node(node, f))
    }
}

impl PagetypeinfoReport {
    fn fmt_node(&self, node: &NodePagetypes, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nid = node.nid;
        writeln!(f, "Page block order: {}", self.pageblock_order)?;
        writeln!(f, "Pages per block:  {}\n", 1u64 << self.pageblock_order)?;
        write!(f, "{:<43} ", "Free pages count per migrate type at order")?;
        (0..self.nr_orders).try_for_each(|order| write!(f, "{order:6} "))?;
        writeln!(f)?;
        for zone in &node.zones {
            for (name, blocks) in self.types.iter().zip(&zone.free_blocks) {
                write!(f, "Node {nid:4}, zone {:>8}, type {name:>12} ", zone.zone)?;
                for &count in blocks {
                    let more = if count >= MAX_COUNT { ">" } else { "" };
                    write!(f, "{more}{:6} ", count.min(MAX_COUNT))?;
                }
                writeln!(f)?;
            }
        }
        write!(f, "\n{:<23}", "Number of blocks type ")?;
        self.types.iter().try_for_each(|name| write!(f, "{name:>12} "))?;
        writeln!(f)?;
        for zone in &node.zones {
            write!(f, "Node {nid}, zone {:>8} ", zone.zone)?;
            zone.pageblocks.iter().try_for_each(|count| write!(f, "{count:12} "))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Zone<'_> {
    /// Blocks of list (order, mt), at most [`MAX_COUNT`].
    fn count_free_blocks(self, order: u32, mt: MigrateType) -> u64 {
        let mut count = 0;
        self.view().area.lists.for_each(order, mt.index(), |_| {
            count += 1;
            count < MAX_COUNT
        });
        count
    }
}

impl PageAllocator {
    /// Free blocks and pageblocks of every migratetype.
    pub fn pagetypeinfo_report(&self) -> PagetypeinfoReport {
        let config = self.config();
        let types: Vec<MigrateType> =
            (0..config.migrate_types()).filter_map(|number| config.migratetype_from_number(number)).collect();
        let zones = self.populated_zones();
        let nodes = zones.chunk_by(|a, b| a.node() == b.node()).map(|zones| NodePagetypes {
            nid: zones[0].node(),
            zones: zones.iter().map(|zone| self.zone_pagetypes(*zone, &types)).collect(),
        });
        PagetypeinfoReport {
            pageblock_order: config.pageblock_order,
            nr_orders: config.max_order,
            types: types.iter().map(|mt| mt.name()).collect(),
            nodes: nodes.collect(),
        }
    }

    /// The text of /proc/pagetypeinfo.
    pub fn pagetypeinfo(&self) -> String {
        self.pagetypeinfo_report().to_string()
    }

    fn zone_pagetypes(&self, zone: Zone<'_>, types: &[MigrateType]) -> ZonePagetypes {
        let orders = 0..self.config().max_order;
        let of_type = |mt: &MigrateType| orders.clone().map(|order| zone.count_free_blocks(order, *mt)).collect();
        ZonePagetypes {
            zone: zone.kind().name(),
            free_blocks: types.iter().map(of_type).collect(),
            pageblocks: self.count_pageblocks(zone, types),
        }
    }

    /// Pageblocks by type, each looked at through one page of it (`pagetypeinfo_showblockcount_print`).
    ///
    /// The pages lie a pageblock apart from the zone's first page on, which need not be the first
    /// of its pageblock. A page counts if it has a descriptor that names this zone.
    fn count_pageblocks(&self, zone: Zone<'_>, types: &[MigrateType]) -> Vec<u64> {
        let extent = zone.extent();
        let end = extent.start_pfn + extent.spanned;
        let mut counts = vec![0; types.len()];
        for memmap in self.memmap_ranges(zone) {
            let (start, end) = (memmap.start.max(extent.start_pfn), memmap.end.min(end));
            let step = self.config().pageblock_nr_pages();
            let first = extent.start_pfn + (start.max(extent.start_pfn) - extent.start_pfn).next_multiple_of(step);
            for pfn in (first..end).step_by(step as usize) {
                let mt = zone.blocks().get(zone.idx(pfn));
                if let Some(position) = types.iter().position(|other| *other == mt) {
                    counts[position] += 1;
                }
            }
        }
        counts
    }

    /// Pfns whose descriptors name a zone: its memory, and the holes below it in sections with
    /// memory; after the last memory the rest of the section (`init_unavailable_range`).
    fn memmap_ranges(&self, zone: Zone<'_>) -> Vec<core::ops::Range<Pfn>> {
        let section = 1u64 << (self.config().section_size_bits - self.config().page_shift);
        let mut ranges = Vec::new();
        let mut hole_start = 0;
        let mut last = None;
        for (number, start, end) in self.spans() {
            if number == zone.number {
                // A hole may begin in the section of the memory before and end in that of this.
                let before = hole_start..start.min(Pfn::next_multiple_of(hole_start, section));
                let own = hole_start.max(start / section * section)..start;
                if before.end < own.start {
                    ranges.push(before);
                    ranges.push(own);
                } else {
                    ranges.push(hole_start..start);
                }
                ranges.push(start..end);
            }
            hole_start = end;
            last = Some(number);
        }
        // The kernel takes the last zone of the last memory's node.
        let last_node = last.and_then(|number| self.zone_by_number(number)).map(Zone::node);
        let last_zone = self.populated_zones().into_iter().rfind(|other| Some(other.node()) == last_node);
        if last_zone.is_some_and(|last| last.number == zone.number) {
            ranges.push(hole_start..hole_start.next_multiple_of(section));
        }
        ranges.retain(|range| range.start < range.end);
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(free: Vec<u64>) -> PagetypeinfoReport {
        let nr_orders = free.len() as u32;
        PagetypeinfoReport {
            pageblock_order: 9,
            nr_orders,
            types: vec!["Unmovable", "Movable"],
            nodes: vec![NodePagetypes {
                nid: 0,
                zones: vec![ZonePagetypes {
                    zone: "DMA",
                    free_blocks: vec![free, vec![0; nr_orders as usize]],
                    pageblocks: vec![1, 7],
                }],
            }],
        }
    }

    #[test]
    fn text_is_the_kernels() {
        let text = "\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2      3      4      5      6      7      8      9     10 
Node    0, zone      DMA, type    Unmovable      0      0      0      0      0      0      0      0      1      0      0 
Node    0, zone      DMA, type      Movable      0      0      0      0      0      0      0      0      0      0      0 

Number of blocks type     Unmovable      Movable 
Node 0, zone      DMA            1            7 
";
        assert_eq!(report(vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]).to_string(), text);
    }

    #[test]
    fn counting_ends_at_a_hundred_thousand() {
        let text = report(vec![99_999, 100_000, 100_001]).to_string();
        assert!(text.contains("type    Unmovable  99999 >100000 >100000 \n"), "{text}");
    }
}
