//! A zone as those see it who only look: numbers and lists, no shared words.

use crate::allocator::PageAllocator;
use crate::counters::NumaEvent;
use crate::extfrag::ContigPageInfo;
use crate::state::{PcpState, ZoneExtent};
use crate::types::{MigrateType, Pfn, ZoneKind};
use crate::zone::Zone;

/// A zone to look at. Every answer is a racy view while others work on the machine.
#[derive(Clone, Copy)]
pub struct ZoneView<'a> {
    zone: Zone<'a>,
}

impl PageAllocator {
    /// The zone with this number in the zone table, to look at.
    pub fn zone_view(&self, number: usize) -> Option<ZoneView<'_>> {
        self.zone_by_number(number).map(|zone| ZoneView { zone })
    }

    /// All zones with memory, node by node, ascending zone index.
    pub fn zone_views(&self) -> impl Iterator<Item = ZoneView<'_>> {
        self.populated_zone_numbers().into_iter().filter_map(|number| self.zone_view(number))
    }
}

impl ZoneView<'_> {
    /// Node id.
    pub fn node(self) -> u32 {
        self.zone.node()
    }

    /// Zone index in the configuration.
    pub fn index(self) -> usize {
        self.zone.index()
    }

    /// Its kind.
    pub fn kind(self) -> ZoneKind {
        self.zone.kind()
    }

    /// First pfn and sizes.
    pub fn extent(self) -> ZoneExtent {
        self.zone.extent()
    }

    /// Pages handed to the allocator.
    pub fn managed(self) -> u64 {
        self.zone.managed()
    }

    /// Watermarks min, low and high without the boost.
    pub fn watermarks(self) -> [u64; 3] {
        core::array::from_fn(|which| self.zone.raw_watermark(which))
    }

    /// Current boost of the watermarks.
    pub fn boost(self) -> u64 {
        self.zone.boost()
    }

    /// Pages kept from requests that could use a higher zone, by the request's highest zone index.
    pub fn lowmem_reserves(self) -> Vec<u64> {
        self.zone.lowmem_reserves()
    }

    /// Pages in HighAtomic pageblocks.
    pub fn nr_reserved_highatomic(self) -> u64 {
        self.zone.nr_reserved_highatomic()
    }

    /// Isolated pageblocks.
    pub fn nr_isolate_pageblock(self) -> u32 {
        self.zone.nr_isolate_pageblock()
    }

    /// `NR_FREE_PAGES`: the approximate counter that decisions use.
    pub fn nr_free_pages(self) -> i64 {
        self.zone.free_pages_approximate()
    }

    /// The same with the differentials of all cpus.
    pub fn nr_free_pages_snapshot(self) -> i64 {
        self.zone.free_pages_snapshot()
    }

    /// `NR_FREE_CMA_PAGES`, approximate.
    pub fn nr_free_cma(self) -> i64 {
        self.zone.free_cma_approximate()
    }

    /// Events pgalloc and pgfree, in pages.
    pub fn vm_events(self) -> (u64, u64) {
        self.zone.vm_events()
    }

    /// A NUMA event's count, folded or not.
    pub fn numa_events(self, event: NumaEvent) -> u64 {
        self.zone.numa_events(event)
    }

    /// First pfns of a free list, head first; empty for an order that does not exist.
    pub fn free_list(self, order: u32, mt: MigrateType) -> Vec<Pfn> {
        self.zone.free_list(order, mt)
    }

    /// Free blocks per order and migratetype, row by row.
    pub fn free_area_counts(self) -> Vec<u64> {
        self.zone.free_area_counts()
    }

    /// What the fragmentation indices of an order are computed from.
    pub fn contig_page_info(self, order: u32) -> ContigPageInfo {
        self.zone.contig_page_info(order)
    }

    /// One cpu's lists; `None` for a cpu that does not exist.
    pub fn pcp(self, cpu: usize) -> Option<PcpState> {
        (cpu < self.zone.cpus.len()).then(|| self.zone.pcp_state(cpu))
    }
}
