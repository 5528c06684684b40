//! What /proc, debugfs and the kernel's log tell about memory (mm/vmstat.c, lib/show_mem.c).
//!
//! Every report exists as plain data (`*Report`), and its `Display` is the kernel's text, byte for
//! byte. What the allocator cannot know, such as what pages in use are used for, is 0. Reports are
//! racy views while others work on the machine, and exact while nobody does.

mod buddyinfo;
mod events;
mod failure;
mod fragmentation;
mod memory;
mod pagetypeinfo;
mod zoneinfo;

pub use buddyinfo::{BuddyinfoReport, ZoneBlocks};
pub use events::VmstatReport;
pub use failure::FailureReport;
pub use fragmentation::{ExtfragIndexReport, UnusableIndexReport, ZoneIndices};
pub use memory::{MemoryReport, NodeMemory, ZoneMemory};
pub use pagetypeinfo::{NodePagetypes, PagetypeinfoReport, ZonePagetypes};
pub use zoneinfo::{PopulatedZone, ZonePageset, ZoneinfoReport, ZoneinfoZone};

use crate::allocator::PageAllocator;
use crate::reclaim::MAX_FAILURES;
use crate::sync::Relaxed;
use crate::zone::Zone;

/// A counter's name and value.
pub type Item = (&'static str, u64);

/// Zone counters in the kernel's order (include/linux/mmzone.h, `enum zone_stat_item`).
pub const ZONE_ITEMS: [&str; 10] = [
    "nr_free_pages",
    "nr_zone_inactive_anon",
    "nr_zone_active_anon",
    "nr_zone_inactive_file",
    "nr_zone_active_file",
    "nr_zone_unevictable",
    "nr_zone_write_pending",
    "nr_mlock",
    "nr_bounce",
    "nr_free_cma",
];

/// NUMA events in the kernel's order (`enum numa_stat_item`).
pub const NUMA_ITEMS: [&str; 6] =
    ["numa_hit", "numa_miss", "numa_foreign", "numa_interleave", "numa_local", "numa_other"];

/// Node counters in the kernel's order (`enum node_stat_item`).
pub const NODE_ITEMS: [&str; 39] = [
    "nr_inactive_anon",
    "nr_active_anon",
    "nr_inactive_file",
    "nr_active_file",
    "nr_unevictable",
    "nr_slab_reclaimable",
    "nr_slab_unreclaimable",
    "nr_isolated_anon",
    "nr_isolated_file",
    "workingset_nodes",
    "workingset_refault_anon",
    "workingset_refault_file",
    "workingset_activate_anon",
    "workingset_activate_file",
    "workingset_restore_anon",
    "workingset_restore_file",
    "workingset_nodereclaim",
    "nr_anon_pages",
    "nr_mapped",
    "nr_file_pages",
    "nr_dirty",
    "nr_writeback",
    "nr_writeback_temp",
    "nr_shmem",
    "nr_shmem_hugepages",
    "nr_shmem_pmdmapped",
    "nr_file_hugepages",
    "nr_file_pmdmapped",
    "nr_anon_transparent_hugepages",
    "nr_vmscan_write",
    "nr_vmscan_immediate_reclaim",
    "nr_dirtied",
    "nr_written",
    "nr_throttled_written",
    "nr_kernel_misc_reclaimable",
    "nr_foll_pin_acquired",
    "nr_foll_pin_released",
    "nr_kernel_stack",
    "nr_page_table_pages",
];

impl PageAllocator {
    /// Zones with memory, node by node, ascending zone index (`for_each_populated_zone`).
    fn populated_zones(&self) -> Vec<Zone<'_>> {
        let mut zones: Vec<Zone<'_>> = self.zones().filter(|zone| zone.is_populated()).collect();
        zones.sort_by_key(|zone| (zone.node(), zone.index()));
        zones
    }

    /// Is kswapd of the node hopeless, so that its zones count as unreclaimable?
    fn is_unreclaimable(&self, nid: u32) -> bool {
        self.kswapd_failures(nid) >= MAX_FAILURES
    }
}

impl Zone<'_> {
    /// Does it have memory (`populated_zone`)?
    fn is_populated(self) -> bool {
        self.shared.present.load(Relaxed) != 0 // ORDERING(R1)
    }

    /// Cpus that are online, ascending.
    fn online_cpus(self) -> impl Iterator<Item = usize> {
        let cpus = &self.0.cpus;
        (0..cpus.len()).filter(|cpu| cpus[*cpu].is_online())
    }

    /// Pages on a cpu's lists.
    fn pcp_count(self, cpu: usize) -> u64 {
        self.cpu_zones[cpu].count.load(Relaxed).into() // ORDERING(R8)
    }
}
