//! Tests of whole machines through the core's public interface.

mod boot;
mod contiguous;
mod follow;
mod frag;
mod hotplug;
mod inspect;
mod pressure;
mod runs;
mod trace;
mod unleased;
mod vmstat;

use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::config::Config;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::Memblock;
use pagebuddy_core::page_alloc::{AllocError, AllocRequest};
use pagebuddy_core::pressure::{Hooks, NoHooks};
use pagebuddy_core::types::Pfn;

const MIB: u64 = 1 << 20;
const CPU0: CpuChoice = CpuChoice::Fixed(0);

/// A machine with one node and plain RAM from 1 MiB to `size_mib`.
fn machine(config: &Config, size_mib: u64) -> PageAllocator {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, (size_mib - 1) * MIB, Some(0), 0).unwrap();
    PageAllocator::boot_late(config, &Topology::single_node(1), &mut memblock).unwrap()
}

fn request(gfp: Gfp, order: u32) -> AllocRequest {
    AllocRequest { gfp, order, nid: 0, nodemask: None }
}

fn alloc_with(machine: &PageAllocator, gfp: Gfp, order: u32, hooks: &dyn Hooks) -> Result<Pfn, AllocError> {
    machine.alloc_pages(CPU0, request(gfp, order), hooks)
}

fn alloc(machine: &PageAllocator, gfp: Gfp, order: u32) -> Result<Pfn, AllocError> {
    alloc_with(machine, gfp, order, &NoHooks)
}

/// Free pages, those on per-cpu lists included.
fn nr_free(machine: &PageAllocator) -> u64 {
    let zones = machine.state().zones;
    zones.iter().map(|zone| zone.pages_on_free_lists() + zone.pcp.iter().map(|pcp| pcp.count).sum::<u64>()).sum()
}
