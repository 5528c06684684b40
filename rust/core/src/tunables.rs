//! Values that follow from watermarks and tunables (mm/page_alloc.c).

use crate::allocator::PageAllocator;
use crate::blueprint::put64;
use crate::sync::Relaxed;
use crate::watermark::WMARK_HIGH;

impl PageAllocator {
    /// `calculate_totalreserve_pages`: what each zone keeps back, per zone, node and machine.
    pub(crate) fn calculate_totalreserve_pages(&self) {
        let mut total = 0u64;
        for (node, cache) in self.segment.nodes.iter().zip(self.nodes()) {
            let mut node_total = 0u64;
            for zone in self.zones().filter(|zone| zone.node() == cache.nid) {
                let reserves = &zone.shared.lowmem_reserve[zone.index()..];
                let max = reserves.iter().map(|word| word.load(Relaxed)).max().unwrap_or(0); // ORDERING(R7)
                let pages = (max + zone.watermark(WMARK_HIGH)).min(zone.managed());
                put64(&zone.shared.totalreserve_pages, pages);
                node_total += pages;
            }
            put64(&node.totalreserve_pages, node_total);
            total += node_total;
        }
        put64(&self.machine().totalreserve_pages, total);
    }
}
