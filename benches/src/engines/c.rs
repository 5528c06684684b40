//! The C variant at each level.

use super::{Engine, Hand, Level, MOVABLE, gfp};
use crate::ffi::{CURRENT_CPU, CZone, Flavour};

/// [`Level::Zone`].
pub struct ZoneLevel<F: Flavour>(pub CZone<F>);
/// [`Level::Steal`].
pub struct StealLevel<F: Flavour>(pub CZone<F>);
/// [`Level::Pcp`].
pub struct PcpLevel<F: Flavour>(pub CZone<F>);
/// [`Level::Fixed`] and [`Level::Current`].
pub struct MachineLevel<F: Flavour>(pub CZone<F>, pub Level);
/// [`Level::Local`] and [`Level::Remote`]: a zone for each node, chosen by node or page.
pub struct NodesLevel<F: Flavour>(pub Vec<CZone<F>>, pub Level);

fn drain_all<F: Flavour>(zone: &CZone<F>) {
    (0..zone.config.nr_cpus).for_each(|cpu| zone.drain(cpu));
}

impl<F: Flavour> Engine for ZoneLevel<F> {
    type Hand<'a> = &'a ZoneLevel<F>;

    fn hand(&self, _thread: usize) -> &Self {
        self
    }

    fn drain(&self) {}
}

impl<F: Flavour> Hand for &ZoneLevel<F> {
    #[inline(always)]
    fn alloc(&self, order: u32, mt: u32) -> u64 {
        self.0.zone_alloc(order, mt)
    }

    #[inline(always)]
    fn free(&self, pfn: u64, order: u32) {
        self.0.zone_free(pfn, order);
    }

    #[inline(always)]
    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize {
        self.0.zone_alloc_bulk(MOVABLE, pfns)
    }

    #[inline(always)]
    fn free_bulk(&self, pfns: &[u64]) {
        self.0.zone_free_bulk(pfns);
    }
}

impl<F: Flavour> Engine for StealLevel<F> {
    type Hand<'a> = &'a StealLevel<F>;

    fn hand(&self, _thread: usize) -> &Self {
        self
    }

    fn drain(&self) {}
}

impl<F: Flavour> Hand for &StealLevel<F> {
    #[inline(always)]
    fn alloc(&self, order: u32, mt: u32) -> u64 {
        self.0.zone_alloc_any(order, mt)
    }

    #[inline(always)]
    fn free(&self, pfn: u64, order: u32) {
        self.0.zone_free(pfn, order);
    }

    #[inline(always)]
    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize {
        self.0.zone_alloc_bulk(MOVABLE, pfns)
    }

    #[inline(always)]
    fn free_bulk(&self, pfns: &[u64]) {
        self.0.zone_free_bulk(pfns);
    }
}

/// A thread above the per-cpu lists.
pub struct CpuHand<'a, F: Flavour> {
    zone: &'a CZone<F>,
    cpu: u32,
}

impl<F: Flavour> Engine for PcpLevel<F> {
    type Hand<'a> = PcpHand<'a, F>;

    fn hand(&self, thread: usize) -> PcpHand<'_, F> {
        PcpHand(CpuHand { zone: &self.0, cpu: thread as u32 })
    }

    fn drain(&self) {
        drain_all(&self.0);
    }
}

/// A thread at [`Level::Pcp`].
pub struct PcpHand<'a, F: Flavour>(CpuHand<'a, F>);

impl<F: Flavour> Hand for PcpHand<'_, F> {
    #[inline(always)]
    fn alloc(&self, order: u32, mt: u32) -> u64 {
        self.0.zone.pcp_alloc(self.0.cpu, order, mt)
    }

    #[inline(always)]
    fn free(&self, pfn: u64, order: u32) {
        self.0.zone.pcp_free(self.0.cpu, pfn, order);
    }

    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize {
        self.0.alloc_bulk(pfns)
    }

    fn free_bulk(&self, pfns: &[u64]) {
        self.0.free_bulk(pfns);
    }
}

impl<F: Flavour> Engine for MachineLevel<F> {
    type Hand<'a> = CpuHand<'a, F>;

    fn hand(&self, thread: usize) -> CpuHand<'_, F> {
        CpuHand { zone: &self.0, cpu: if self.1 == Level::Current { CURRENT_CPU } else { thread as u32 } }
    }

    fn drain(&self) {
        drain_all(&self.0);
    }
}

impl<F: Flavour> Hand for CpuHand<'_, F> {
    #[inline(always)]
    fn alloc(&self, order: u32, mt: u32) -> u64 {
        self.zone.alloc_pages(self.cpu, gfp(mt).0, order)
    }

    #[inline(always)]
    fn free(&self, pfn: u64, order: u32) {
        self.zone.free_pages(self.cpu, pfn, order);
    }

    #[inline(always)]
    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize {
        self.zone.alloc_pages_bulk(self.cpu, gfp(MOVABLE).0, pfns)
    }

    #[inline(always)]
    fn free_bulk(&self, pfns: &[u64]) {
        self.zone.free_page_list(self.cpu, pfns);
    }
}

impl<F: Flavour> Engine for NodesLevel<F> {
    type Hand<'a> = NodesHand<'a, F>;

    fn hand(&self, thread: usize) -> NodesHand<'_, F> {
        let own = thread % self.0.len(); // cpus go round the nodes
        let node = if self.1 == Level::Remote { (own + 1) % self.0.len() } else { own };
        NodesHand { zones: &self.0, cpu: thread as u32, node }
    }

    fn drain(&self) {
        self.0.iter().for_each(drain_all);
    }
}

/// A thread at [`Level::Local`] or [`Level::Remote`].
pub struct NodesHand<'a, F: Flavour> {
    zones: &'a [CZone<F>],
    cpu: u32,
    node: usize,
}

impl<'a, F: Flavour> NodesHand<'a, F> {
    /// On the zone that requests go to.
    #[inline(always)]
    fn requests(&self) -> CpuHand<'a, F> {
        CpuHand { zone: &self.zones[self.node], cpu: self.cpu }
    }

    /// On the zone of a page.
    #[inline(always)]
    fn of_page(&self, pfn: u64) -> CpuHand<'a, F> {
        let number = self.zones[1..].iter().take_while(|zone| pfn >= zone.config.start_pfn).count();
        CpuHand { zone: &self.zones[number], cpu: self.cpu }
    }
}

impl<F: Flavour> Hand for NodesHand<'_, F> {
    #[inline(always)]
    fn alloc(&self, order: u32, mt: u32) -> u64 {
        self.requests().alloc(order, mt)
    }

    #[inline(always)]
    fn free(&self, pfn: u64, order: u32) {
        self.of_page(pfn).free(pfn, order);
    }

    #[inline(always)]
    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize {
        self.requests().alloc_bulk(pfns)
    }

    #[inline(always)]
    fn free_bulk(&self, pfns: &[u64]) {
        // Nothing mixes pages of several nodes.
        self.requests().free_bulk(pfns);
    }
}
