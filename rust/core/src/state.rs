//! Plain description of a whole machine: what a dump returns and what a load takes.
//!
//! A [`MachineState`] holds everything that decides what the allocator does next, in ordinary
//! vectors and without any reference into the engine. Dump and load are symmetric: loading a dump
//! gives a machine that decides exactly as the dumped one would have done. Migratetypes are those
//! of [`MigrateType`], whatever the numbering of the configuration.

use crate::config::Config;
use crate::memblock::Region;
use crate::types::{MigrateType, NR_MIGRATETYPES, Pfn, ZoneKind};

/// Zone flag: the watermark was boosted and kswapd has not been woken for it
/// (include/linux/mmzone.h, `ZONE_BOOSTED_WATERMARK`).
pub const ZONE_FLAG_BOOSTED_WATERMARK: u32 = 1;
/// Zone flag: reclaim is active (`ZONE_RECLAIM_ACTIVE`).
pub const ZONE_FLAG_RECLAIM_ACTIVE: u32 = 2;

/// A zone of a node, as zonelists name it (`struct zoneref`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneRef {
    /// Node id.
    pub nid: u32,
    /// Zone index in the machine's configuration.
    pub zone: u32,
}

/// The zonelists of one node (mm/page_alloc.c, `build_zonelists`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zonelists {
    /// Zones tried for a request that prefers this node, in order (`ZONELIST_FALLBACK`).
    pub fallback: Vec<ZoneRef>,
    /// Zones tried with `__GFP_THISNODE` (`ZONELIST_NOFALLBACK`); empty without NUMA.
    pub thisnode: Vec<ZoneRef>,
}

/// Extent of one zone: all 0 if it does not exist on the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneExtent {
    /// First pfn (`zone_start_pfn`).
    pub start_pfn: Pfn,
    /// Pages from the first to the last, holes included.
    pub spanned: u64,
    /// Pages that exist.
    pub present: u64,
}

/// An online node and its zones (`pg_data_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Node id.
    pub nid: u32,
    /// First pfn (`node_start_pfn`).
    pub start_pfn: Pfn,
    /// Sum of the zones' spanned pages.
    pub spanned: u64,
    /// Sum of the zones' present pages.
    pub present: u64,
    /// Zones by zone index.
    pub zones: Vec<ZoneExtent>,
    /// The node's zonelists.
    pub zonelists: Zonelists,
}

/// Nodes, CPUs and distances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Online nodes, ascending id.
    pub nodes: Vec<NodeState>,
    /// Node of every present CPU.
    pub cpu_node: Vec<u32>,
    /// CPUs `0..nr_online_cpus` are online.
    pub nr_online_cpus: usize,
    /// Distance between online nodes, by position in `nodes`.
    pub node_distance: Vec<Vec<u32>>,
}

/// Values behind the files of /proc/sys/vm that the allocator reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunables {
    /// `min_free_kbytes` in force.
    pub min_free_kbytes: u64,
    /// What a user wrote to `min_free_kbytes` (`user_min_free_kbytes`); `None` stands for -1.
    pub user_min_free_kbytes: Option<u64>,
    /// `watermark_scale_factor`.
    pub watermark_scale_factor: u64,
    /// `watermark_boost_factor`.
    pub watermark_boost_factor: u64,
    /// `lowmem_reserve_ratio` by zone index; 0 means no reserve.
    pub lowmem_reserve_ratio: Vec<u64>,
    /// `percpu_pagelist_high_fraction`; 0 means that the low watermark decides.
    pub percpu_pagelist_high_fraction: u64,
}

/// Per-CPU part of a zone's counters (`struct per_cpu_zonestat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// CPU.
    pub cpu: usize,
    /// Pending change of the free page counter.
    pub free_delta: i32,
    /// Pending changes beyond this are folded (`stat_threshold`).
    pub threshold: i32,
    /// Pending change of the free CMA counter.
    pub free_cma_delta: i32,
}

/// One CPU's page lists of a zone (`struct per_cpu_pages`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcpState {
    /// CPU.
    pub cpu: usize,
    /// Pages on all lists together.
    pub count: u64,
    /// `high`.
    pub high: u64,
    /// `batch`.
    pub batch: u64,
    /// `free_factor`.
    pub free_factor: u32,
    /// `NR_PCP_LISTS` lists of first pfns, head first; the index is
    /// `migratetype + 3 * order`, the last three hold blocks of pageblock order.
    pub lists: Vec<Vec<Pfn>>,
    /// Pages whose remembered migratetype (the free list they go to when they leave) is not that
    /// of their list: in the order of the lists, each from head to tail.
    pub remembered: Vec<(Pfn, MigrateType)>,
}

/// NUMA event counters of a zone, all CPUs summed (`enum numa_stat_item`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NumaEvents {
    /// Allocations in the zone's node that preferred it.
    pub hit: u64,
    /// Allocations in the zone's node that preferred another.
    pub miss: u64,
    /// Allocations that preferred this zone's node and went elsewhere.
    pub foreign: u64,
    /// Interleaved allocations that got the node they preferred.
    pub interleave_hit: u64,
    /// Allocations by a CPU of the zone's node.
    pub local: u64,
    /// Allocations by a CPU of another node.
    pub other: u64,
}

/// A populated zone (`struct zone`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneState {
    /// Which zone.
    pub at: ZoneRef,
    /// Its kind.
    pub kind: ZoneKind,
    /// First pfn and sizes.
    pub extent: ZoneExtent,
    /// Pages that were handed to the allocator.
    pub managed: u64,
    /// Watermarks min, low, high without the boost.
    pub wmark: [u64; 3],
    /// Current boost of the watermarks.
    pub boost: u64,
    /// Pages kept from requests that could use a higher zone, by the request's highest zone index.
    pub lowmem_reserve: Vec<u64>,
    /// Pages in HighAtomic pageblocks (`nr_reserved_highatomic`).
    pub nr_reserved_highatomic: u64,
    /// `ZONE_FLAG_*` bits.
    pub flags: u32,
    /// Whether the zone is known to have no holes.
    pub contiguous: bool,
    /// Global part of the free page counter.
    pub nr_free_pages: i64,
    /// Global part of the free CMA page counter.
    pub nr_free_cma: i64,
    /// Below this value of the counter exact sums are used (`percpu_drift_mark`); 0 is never.
    pub percpu_drift_mark: u64,
    /// `high` of the zone's per-cpu lists (`pageset_high`).
    pub pageset_high: u64,
    /// `batch` of the zone's per-cpu lists (`pageset_batch`).
    pub pageset_batch: u64,
    /// Isolated pageblocks (`nr_isolate_pageblock`).
    pub nr_isolate_pageblock: u64,
    /// Counter parts of the online CPUs, ascending.
    pub cpustat: Vec<CpuStat>,
    /// Free blocks per order (`free_area[order].nr_free`).
    pub nr_free: Vec<u64>,
    /// First pfns of the free blocks, head first; [`ZoneState::free_list_index`] gives the index.
    pub free_lists: Vec<Vec<Pfn>>,
    /// Per-cpu lists of the online CPUs, ascending.
    pub pcp: Vec<PcpState>,
    /// First pfn of the first pageblock in `blocks`.
    pub blocks_start: Pfn,
    /// Migratetypes of the pageblocks; `None` where no memory map exists.
    pub blocks: Vec<Option<MigrateType>>,
    /// Pages in use that the stealing heuristic counts as movable (on an LRU list or otherwise
    /// movable), ascending.
    pub movable_in_use: Vec<Pfn>,
    /// NUMA event counters.
    pub numa: NumaEvents,
}

impl ZoneState {
    /// Index of a free list in [`ZoneState::free_lists`].
    pub const fn free_list_index(order: usize, mt: MigrateType) -> usize {
        order * NR_MIGRATETYPES + mt.index()
    }

    /// A free list, head first; empty for an order that does not exist.
    pub fn free_list(&self, order: usize, mt: MigrateType) -> &[Pfn] {
        self.free_lists.get(Self::free_list_index(order, mt)).map_or(&[], Vec::as_slice)
    }

    /// Pages on the free lists.
    pub fn pages_on_free_lists(&self) -> u64 {
        let blocks = self.free_lists.chunks(NR_MIGRATETYPES).map(|lists| lists.iter().map(Vec::len).sum::<usize>());
        blocks.enumerate().map(|(order, nr_blocks)| (nr_blocks as u64) << order).sum()
    }
}

/// A whole machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineState {
    /// The kernel's options.
    pub config: Config,
    /// Nodes, zone extents, zonelists and CPUs.
    pub topology: Topology,
    /// Memory regions of the boot memory allocator: where page descriptors exist.
    pub memory: Vec<Region>,
    /// Reserved regions of the boot memory allocator: pages that were never handed over.
    pub reserved: Vec<Region>,
    /// Tunables.
    pub tunables: Tunables,
    /// Sum of the reserves and high watermarks (`totalreserve_pages`); `None` means that a load
    /// computes it from the zones.
    pub totalreserve_pages: Option<u64>,
    /// The same sum per online node (`pgdat->totalreserve_pages`), by position in the topology.
    pub node_totalreserve: Option<Vec<u64>>,
    /// Pages handed to the allocator, all zones together (`totalram_pages`).
    pub totalram_pages: u64,
    /// Every request's flags are masked with this (`gfp_allowed_mask`).
    pub gfp_allowed_mask: u32,
    /// Whether grouping by mobility is off (`page_group_by_mobility_disabled`).
    pub page_group_by_mobility_disabled: bool,
    /// Whether tasks count as real-time tasks in the slow path.
    pub rt_task: bool,
    /// Lowest zone index to which a bind policy applies (`policy_zone`); `None` means that a load
    /// takes the highest zone index below Movable in any zonelist.
    pub policy_zone: Option<u32>,
    /// Populated zones, node by node, ascending zone index.
    pub zones: Vec<ZoneState>,
}
