//! The engine as a machine that recordings are replayed on.

use super::machine::Machine;
use super::recording::Recording;
use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::bulk::BulkRequest;
use pagebuddy_core::error::BadPage;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::isolation::RangeError;
use pagebuddy_core::layout;
use pagebuddy_core::memblock::{Geometry, Memblock};
use pagebuddy_core::mempolicy::PolicyMode;
use pagebuddy_core::page_alloc::AllocRequest;
use pagebuddy_core::pressure::NoHooks;
use pagebuddy_core::state::{MachineState, ZoneRef, ZoneState};
use pagebuddy_core::tunables::Sysctl;
use pagebuddy_core::types::{MigrateType, Pfn};

/// The kernel's error numbers.
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;

fn range_errno(error: RangeError) -> i32 {
    match error {
        RangeError::Invalid => -EINVAL,
        RangeError::Busy(_) => -EBUSY,
    }
}

impl Machine for PageAllocator {
    type BadPage = BadPage;

    fn boot(recording: &Recording) -> Result<Self, String> {
        let header = &recording.header;
        let topology = layout::Topology {
            nodes: header.nodes.clone(),
            cpu_node: header.cpu_node.clone(),
            distance: header.node_distance.clone(),
        };
        let geometry = Geometry { page_shift: header.config.page_shift, ..Geometry::default() };
        let mut memblock = Memblock::from_regions(geometry, recording.memory.clone(), recording.reserved.clone())
            .map_err(|error| error.to_string())?;
        PageAllocator::boot_early(&header.config, &topology, &mut memblock).map_err(|error| error.to_string())
    }

    fn start(recording: &Recording) -> Result<Self, String> {
        let state = recording.start_machine().ok_or("the recording has no start state")?;
        PageAllocator::from_state(&state).map_err(|error| error.to_string())
    }

    fn dump(&self) -> MachineState {
        self.state()
    }

    fn dump_lists(&self) -> Vec<ZoneState> {
        self.state().zones
    }

    #[inline]
    fn alloc(&mut self, cpu: usize, gfp: u32, order: u32, nid: u32, nodemask: Option<u64>) -> Option<Pfn> {
        let request = AllocRequest { gfp: Gfp(gfp), order, nid, nodemask };
        self.alloc_pages(CpuChoice::Fixed(cpu), request, &NoHooks).ok()
    }

    #[inline]
    fn free(&mut self, cpu: usize, pfn: Pfn, order: u32) -> Result<(), BadPage> {
        self.free_pages(CpuChoice::Fixed(cpu), pfn, order)
    }

    fn drain(&mut self, cpu: usize) {
        self.drain_cpu(cpu, None);
    }

    fn bulk_array(
        &mut self,
        cpu: usize,
        gfp: u32,
        nid: u32,
        nodemask: Option<u64>,
        slots: &mut [Option<Pfn>],
    ) -> usize {
        let request = BulkRequest { gfp: Gfp(gfp), nid, nodemask };
        self.alloc_pages_bulk_array(CpuChoice::Fixed(cpu), request, slots, &NoHooks)
    }

    fn bulk_list(&mut self, cpu: usize, gfp: u32, nid: u32, nodemask: Option<u64>, n: usize) -> Vec<Pfn> {
        let request = BulkRequest { gfp: Gfp(gfp), nid, nodemask };
        let mut pfns = self.alloc_pages_bulk(CpuChoice::Fixed(cpu), request, n, &NoHooks);
        pfns.reverse();
        pfns
    }

    fn alloc_exact(&mut self, cpu: usize, gfp: u32, nr_pages: u64) -> Option<Pfn> {
        self.alloc_pages_exact(CpuChoice::Fixed(cpu), Gfp(gfp), nr_pages, None, &NoHooks).ok()
    }

    fn free_exact(&mut self, cpu: usize, pfn: Pfn, nr_pages: u64) -> Result<(), BadPage> {
        self.free_pages_exact(CpuChoice::Fixed(cpu), pfn, nr_pages)
    }

    fn split(&mut self, pfn: Pfn, order: u32) -> Result<(), BadPage> {
        self.split_page(pfn, order)
    }

    fn free_referenced(&mut self, cpu: usize, pfn: Pfn, order: u32) -> Result<(), BadPage> {
        self.get_page(pfn)?;
        self.free_pages(CpuChoice::Fixed(cpu), pfn, order)
    }

    fn free_list(&mut self, cpu: usize, pfns: &[Pfn]) -> Result<(), BadPage> {
        self.free_page_list(CpuChoice::Fixed(cpu), pfns)
    }

    fn unreserve_highatomic(&mut self, cpu: usize, gfp: u32, nid: u32, force: bool) -> bool {
        self.unreserve_highatomic_pageblock(CpuChoice::Fixed(cpu), Gfp(gfp), nid, force)
    }

    fn reclaim_active(&mut self, zone: ZoneRef, active: bool) {
        self.set_reclaim_active(zone.nid, zone.zone as usize, active);
    }

    fn sysctl(&mut self, _cpu: usize, tunable: Sysctl, values: &[i64]) -> Result<(), i32> {
        self.write_sysctl(tunable, values).map_err(|_| -EINVAL)
    }

    fn set_policy(&mut self, cpu: usize, mode: u32, flags: u32, nodes: u64) -> Result<(), i32> {
        let mode = PolicyMode::from_number(mode).ok_or(-EINVAL)?;
        self.set_task_policy(cpu, mode, flags, nodes).map_err(|_| -EINVAL)
    }

    fn policy_nodes(&self) -> (u64, u64) {
        (self.nodes_with_memory(), self.nodes_with_normal_memory())
    }

    fn policy(&self, cpu: usize) -> (u32, u64) {
        let policy = self.task_policy(cpu).policy;
        (policy.mode as u32, policy.nodes)
    }

    fn interleave_position(&self, cpu: usize) -> u32 {
        self.task_policy(cpu).il_prev
    }

    fn alloc_policy(&mut self, cpu: usize, gfp: u32, order: u32) -> Option<Pfn> {
        self.alloc_pages_task(CpuChoice::Fixed(cpu), Gfp(gfp), order, &NoHooks).ok()
    }

    fn isolate(&mut self, cpu: usize, start: Pfn, end: Pfn, mt: MigrateType) -> Result<(), i32> {
        self.start_isolate_page_range(CpuChoice::Fixed(cpu), start, end, mt).map_err(range_errno)
    }

    fn undo_isolate(&mut self, cpu: usize, start: Pfn, end: Pfn, mt: MigrateType) -> Result<(), i32> {
        self.undo_isolate_page_range(CpuChoice::Fixed(cpu), start, end, mt).map_err(range_errno)
    }
}
