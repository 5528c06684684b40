//! The fixed-width tables of a segment: atomics only, pointer-free, all zero is valid.
//!
//! docs/layout.md describes the layout; its version changes whenever a table changes.

use super::geometry::SegmentPlan;
use super::shared::Shared;
use crate::config::{Config, CoreSize};
use crate::free_list::ZoneLists;
use crate::sync::{Acquire, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Relaxed, Release};
use crate::types::MAX_NR_ZONES;

/// First eight bytes of every segment ("pgbuddy" and a zero).
pub const MAGIC: u64 = u64::from_le_bytes(*b"pgbuddy\0");

/// Version of the tables below.
pub const LAYOUT_VERSION: u32 = 5;

/// Words that hold the configuration.
pub const CONFIG_WORDS: usize = 24;

/// `high` of the pagesets before `setup_per_cpu_pageset` (spec of the boot pageset).
pub const BOOT_PAGESET_HIGH: u32 = 0;

macro_rules! shared {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        #[repr(C, align(64))]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }

        // SAFETY: repr(C), atomics and arrays of atomics only; alignment padding is never read.
        unsafe impl Shared for $name {}
    };
}

shared! {
    /// Magic, version, table sizes and the configuration.
    pub struct Header {
        /// [`MAGIC`]; stored last, when the machine is complete.
        magic: AtomicU64,
        /// [`LAYOUT_VERSION`].
        version: AtomicU32,
        /// Number of nodes.
        nr_nodes: AtomicU32,
        /// Number of cpus.
        nr_cpus: AtomicU32,
        /// Number of spare cpu slots.
        nr_spares: AtomicU32,
        /// Number of zones.
        nr_zones: AtomicU32,
        /// Entries in the zonelist table.
        nr_zonelist_entries: AtomicU64,
        /// Entries in the memory table.
        nr_memory: AtomicU64,
        /// Entries in the reserved table.
        nr_reserved: AtomicU64,
        /// One past the highest pfn of any zone.
        end_pfn: AtomicU64,
        /// Length of the segment.
        total_bytes: AtomicU64,
        /// The configuration, one option a word.
        config: [AtomicU64; CONFIG_WORDS],
    }
}

/// What a header says.
#[derive(Clone, Debug)]
pub struct HeaderFields {
    /// [`LAYOUT_VERSION`].
    pub version: u32,
    /// Number of zones.
    pub nr_zones: usize,
    /// Length of the segment.
    pub total_bytes: u64,
    /// Everything but the zones' places.
    pub plan: SegmentPlan,
}

impl Header {
    /// Fills the header of a segment nobody else sees yet, without the magic.
    pub fn write(&self, plan: &SegmentPlan, total_bytes: usize) {
        // ORDERING(R1): the Release store of the magic publishes all of it.
        self.version.store(LAYOUT_VERSION, Relaxed);
        self.nr_nodes.store(plan.nr_nodes as u32, Relaxed); // ORDERING(R1)
        self.nr_cpus.store(plan.nr_cpus as u32, Relaxed); // ORDERING(R1)
        self.nr_spares.store(plan.nr_spares as u32, Relaxed); // ORDERING(R1)
        self.nr_zones.store(plan.zones.len() as u32, Relaxed); // ORDERING(R1)
        self.nr_zonelist_entries.store(plan.nr_zonelist_entries as u64, Relaxed); // ORDERING(R1)
        self.nr_memory.store(plan.nr_memory as u64, Relaxed); // ORDERING(R1)
        self.nr_reserved.store(plan.nr_reserved as u64, Relaxed); // ORDERING(R1)
        self.end_pfn.store(plan.end_pfn, Relaxed); // ORDERING(R1)
        self.total_bytes.store(total_bytes as u64, Relaxed); // ORDERING(R1)
        for (word, value) in self.config.iter().zip(config_to_words(&plan.config)) {
            word.store(value, Relaxed); // ORDERING(R1)
        }
    }

    /// All tables are filled: whoever finds the magic finds them.
    pub fn publish(&self) {
        self.magic.store(MAGIC, Release); // ORDERING(P6)
    }

    /// Reads it; `None` if this is no segment that was published, or its contents are impossible.
    pub fn read(&self) -> Option<HeaderFields> {
        // ORDERING(P6)
        if self.magic.load(Acquire) != MAGIC {
            return None;
        }
        self.fields()
    }

    fn fields(&self) -> Option<HeaderFields> {
        let word = |w: &AtomicU64| w.load(Relaxed); // ORDERING(R1)
        let half = |w: &AtomicU32| w.load(Relaxed) as usize; // ORDERING(R1)
        let mut words = [0; CONFIG_WORDS];
        for (to, from) in words.iter_mut().zip(&self.config) {
            *to = word(from);
        }
        let config = config_from_words(&words)?;
        config.validate().ok()?;
        let nr_zones = half(&self.nr_zones);
        // The machine has a bit for each spare slot.
        if nr_zones > config.nr_zones() * config.max_numnodes as usize || half(&self.nr_spares) > u64::BITS as usize {
            return None;
        }
        Some(HeaderFields {
            version: half(&self.version) as u32,
            nr_zones,
            total_bytes: word(&self.total_bytes),
            plan: SegmentPlan {
                config,
                nr_nodes: half(&self.nr_nodes),
                nr_cpus: half(&self.nr_cpus),
                nr_spares: half(&self.nr_spares),
                zones: Vec::new(),
                nr_zonelist_entries: word(&self.nr_zonelist_entries) as usize,
                nr_memory: word(&self.nr_memory) as usize,
                nr_reserved: word(&self.nr_reserved) as usize,
                end_pfn: word(&self.end_pfn),
            },
        })
    }

    /// The configuration, published or not.
    pub fn config(&self) -> Option<Config> {
        self.fields().map(|fields| fields.plan.config)
    }
}

fn core_size_to_words(size: CoreSize) -> [u64; 2] {
    match size {
        CoreSize::None => [0, 0],
        CoreSize::Pages(pages) => [1, pages],
        CoreSize::Percent(percent) => [2, percent],
    }
}

fn config_to_words(c: &Config) -> [u64; CONFIG_WORDS] {
    let [kernelcore, kernelcore_size] = core_size_to_words(c.kernelcore);
    let [movablecore, movablecore_size] = core_size_to_words(c.movablecore);
    [
        c.page_shift.into(),
        c.max_order.into(),
        c.pageblock_order.into(),
        c.section_size_bits.into(),
        c.smp.into(),
        c.numa.into(),
        c.thp.into(),
        c.compaction.into(),
        c.cma.into(),
        c.memory_isolation.into(),
        c.zone_dma.into(),
        c.zone_dma32.into(),
        c.max_numnodes.into(),
        kernelcore,
        kernelcore_size,
        c.kernelcore_mirror.into(),
        movablecore,
        movablecore_size,
        c.movable_node.into(),
        c.max_possible_pfn,
        0,
        0,
        0,
        0,
    ]
}

fn config_from_words(words: &[u64; CONFIG_WORDS]) -> Option<Config> {
    let mut words = words.iter().copied();
    let mut number = || words.next().and_then(|w| u32::try_from(w).ok());
    let [page_shift, max_order, pageblock_order, section_size_bits] = [number()?, number()?, number()?, number()?];
    let mut flag = || words.next().filter(|w| *w <= 1).map(|w| w == 1);
    let [smp, numa, thp, compaction] = [flag()?, flag()?, flag()?, flag()?];
    let [cma, memory_isolation, zone_dma, zone_dma32] = [flag()?, flag()?, flag()?, flag()?];
    let max_numnodes = words.next().and_then(|w| u32::try_from(w).ok())?;
    let mut core_size = || match (words.next()?, words.next()?) {
        (0, _) => Some(CoreSize::None),
        (1, pages) => Some(CoreSize::Pages(pages)),
        (2, percent) => Some(CoreSize::Percent(percent)),
        _ => None,
    };
    let kernelcore = core_size()?;
    let kernelcore_mirror = words.next()? == 1;
    let mut core_size = || match (words.next()?, words.next()?) {
        (0, _) => Some(CoreSize::None),
        (1, pages) => Some(CoreSize::Pages(pages)),
        (2, percent) => Some(CoreSize::Percent(percent)),
        _ => None,
    };
    let movablecore = core_size()?;
    let movable_node = words.next()? == 1;
    let max_possible_pfn = words.next()?;
    Some(Config {
        page_shift,
        max_order,
        pageblock_order,
        section_size_bits,
        smp,
        numa,
        thp,
        compaction,
        cma,
        memory_isolation,
        zone_dma,
        zone_dma32,
        max_numnodes,
        kernelcore,
        kernelcore_mirror,
        movablecore,
        movable_node,
        max_possible_pfn,
    })
}

shared! {
    /// Machine-wide tunables and totals.
    pub struct Machine {
        /// `gfp_allowed_mask`.
        gfp_allowed_mask: AtomicU32,
        /// `page_group_by_mobility_disabled`.
        mobility_disabled: AtomicU32,
        /// 1 once the pagesets and watermarks are real ("late"), 0 in the early stage.
        late: AtomicU32,
        /// The current task counts as a real-time task in the slow path.
        rt_task: AtomicU32,
        /// `policy_zone`.
        policy_zone: AtomicU32,
        /// THP start-up ran: it keeps raising `min_free_kbytes`.
        thp_started: AtomicU32,
        /// A bit for each spare cpu slot that was ever used.
        spares_used: AtomicU64,
        /// NUMA statistics are counted.
        numa_stat: AtomicU32,
        /// `min_free_kbytes`.
        min_free_kbytes: AtomicI64,
        /// `user_min_free_kbytes`, -1 if never set.
        user_min_free_kbytes: AtomicI64,
        /// `watermark_scale_factor`.
        watermark_scale_factor: AtomicU64,
        /// `watermark_boost_factor`.
        watermark_boost_factor: AtomicU64,
        /// `percpu_pagelist_high_fraction`.
        percpu_pagelist_high_fraction: AtomicU64,
        /// `totalram_pages`.
        totalram_pages: AtomicU64,
        /// `totalreserve_pages`.
        totalreserve_pages: AtomicU64,
        /// `sysctl_lowmem_reserve_ratio`, by zone index.
        lowmem_reserve_ratio: [AtomicU64; MAX_NR_ZONES],
    }
}

shared! {
    /// One online node.
    pub struct NodeShared {
        /// Node id.
        nid: AtomicU32,
        /// First entry of the fallback list in the zonelist table.
        fallback_start: AtomicU32,
        /// Its length.
        fallback_len: AtomicU32,
        /// First entry of the no-fallback list.
        thisnode_start: AtomicU32,
        /// Its length.
        thisnode_len: AtomicU32,
        /// Has memory.
        has_memory: AtomicU32,
        /// Highest zone index kswapd was asked for, plus 1 (`kswapd_highest_zoneidx`).
        kswapd_highest_zone: AtomicU32,
        /// Largest order kswapd was asked for (`kswapd_order`).
        kswapd_order: AtomicU32,
        /// 1 while somebody does kswapd's work for the node.
        kswapd_running: AtomicU32,
        /// Runs of kswapd in a row that freed nothing (`kswapd_failures`).
        kswapd_failures: AtomicU32,
        /// First pfn.
        start_pfn: AtomicU64,
        /// Sum of the zones' spans.
        spanned: AtomicU64,
        /// Sum of the zones' present pages.
        present: AtomicU64,
        /// Sum of the reserves of the node's zones (`totalreserve_pages` of the node).
        totalreserve_pages: AtomicU64,
        /// Distance to every node id.
        distance: [AtomicU32; 64],
    }
}

/// A range of page frame numbers.
#[derive(Debug)]
#[repr(C)]
pub struct PfnRange {
    /// First pfn.
    pub start: AtomicU64,
    /// One past the last pfn.
    pub end: AtomicU64,
    /// Node id.
    pub nid: AtomicU32,
    /// Memblock flags.
    pub flags: AtomicU32,
}

// SAFETY: repr(C), atomics only.
unsafe impl Shared for PfnRange {}

/// One entry of a zonelist.
#[derive(Debug)]
#[repr(C)]
pub struct ZonelistEntry {
    /// Zone number in the zone table.
    pub zone: AtomicU32,
    /// Zone index.
    pub index: AtomicU32,
}

// SAFETY: repr(C), atomics only.
unsafe impl Shared for ZonelistEntry {}

shared! {
    /// One zone (include/linux/mmzone.h, `struct zone`).
    pub struct ZoneShared {
        /// Free lists and split registers.
        lists: ZoneLists,
        /// Global part of `NR_FREE_PAGES`.
        nr_free_pages: AtomicI64,
        /// Global part of `NR_FREE_CMA_PAGES`.
        nr_free_cma: AtomicI64,
        /// Pages reserved in HighAtomic pageblocks (`nr_reserved_highatomic`).
        nr_reserved_highatomic: AtomicU64,
        /// Watermark boost in pages.
        watermark_boost: AtomicU64,
        /// Zone flags: bit 0 boosted, bit 1 reclaim active.
        flags: AtomicU32,
        /// `nr_isolate_pageblock`.
        nr_isolate_pageblock: AtomicU32,
        /// Watermarks min, low, high without boost.
        watermark: [AtomicU64; 3],
        /// `lowmem_reserve` by highest zone index.
        lowmem_reserve: [AtomicU64; MAX_NR_ZONES],
        /// `percpu_drift_mark`.
        percpu_drift_mark: AtomicU64,
        /// `pageset_high`.
        pageset_high: AtomicU32,
        /// `pageset_batch`.
        pageset_batch: AtomicU32,
        /// Node id.
        node: AtomicU32,
        /// Zone index.
        index: AtomicU32,
        /// [`crate::types::ZoneKind`].
        kind: AtomicU32,
        /// No holes (`zone->contiguous`).
        contiguous: AtomicU32,
        /// Pfn of page index 0.
        base_pfn: AtomicU64,
        /// Number of page descriptors.
        nr_pages: AtomicU64,
        /// `zone_start_pfn`.
        start_pfn: AtomicU64,
        /// `spanned_pages`.
        spanned: AtomicU64,
        /// `present_pages`.
        present: AtomicU64,
        /// `managed_pages`.
        managed: AtomicU64,
        /// Sum of the reserves (`totalreserve_pages` of this zone).
        totalreserve_pages: AtomicU64,
        /// `cma_pages`.
        cma_pages: AtomicU64,
        /// NUMA events already folded: hit, miss, foreign, interleave, local, other.
        numa_events: [AtomicU64; 6],
        /// vm event pgalloc of callers without a cpu slot.
        pgalloc: AtomicU64,
        /// vm event pgfree of callers without a cpu slot.
        pgfree: AtomicU64,
    }
}

/// Entries in the window of a per-cpu list.
pub const PCP_WINDOW: u32 = 32;

/// Per-cpu lists of one zone on one cpu.
pub const NR_PCP_LISTS: usize = 15;

/// The first entries of a per-cpu list, in places that go round. In a table of its own, so that
/// lists that nobody uses cost no memory.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct PcpWindow {
    /// The pages.
    pub pages: [AtomicU32; PCP_WINDOW as usize],
}

// SAFETY: repr(C), one array of atomics without padding.
unsafe impl Shared for PcpWindow {}

/// One per-cpu list: its first entries stand in a window, the others in a chain.
#[derive(Debug, Default)]
#[repr(C)]
pub struct PcpList {
    /// Number of the first entry in the window, modulo its size.
    pub first: AtomicU32,
    /// Entries in the window.
    pub nr: AtomicU32,
    /// First page of the chain, plus one; zero is an empty chain.
    pub head: AtomicU32,
    /// Its last page, plus one.
    pub tail: AtomicU32,
}

shared! {
    /// The per-cpu pages and counters of one zone on one cpu. Only the holder of the cpu slot's
    /// lease writes it.
    pub struct CpuZone {
        /// Pages on all lists.
        count: AtomicU32,
        /// `high`.
        high: AtomicU32,
        /// `batch`.
        batch: AtomicU32,
        /// `free_factor`.
        free_factor: AtomicU32,
        /// `expire`.
        expire: AtomicU32,
        /// Threshold of the differentials.
        stat_threshold: AtomicI32,
        /// Differential of `NR_FREE_PAGES`.
        diff_free: AtomicI32,
        /// Differential of `NR_FREE_CMA_PAGES`.
        diff_cma: AtomicI32,
        /// The lists.
        lists: [PcpList; NR_PCP_LISTS],
        /// NUMA events not folded yet: hit, miss, foreign, interleave, local, other.
        numa_events: [AtomicU64; 6],
        /// vm event pgalloc of this zone.
        pgalloc: AtomicU64,
        /// vm event pgfree of this zone.
        pgfree: AtomicU64,
    }
}

shared! {
    /// One cpu slot: a cpu's own, or a spare one.
    pub struct CpuSlot {
        /// 0: not leased, else the holder.
        lease: AtomicU64,
        /// The cpu it stands for: itself, or the one whose spare it is.
        cpu: AtomicU32,
        /// Node of that cpu.
        node: AtomicU32,
        /// Online.
        online: AtomicU32,
        /// Memory policy mode of the task on this cpu.
        policy_mode: AtomicU32,
        /// Home node of the policy plus 1; 0 is none.
        policy_home: AtomicU32,
        /// `il_prev`: last interleave node.
        il_prev: AtomicU32,
        /// Nodes of the policy.
        policy_nodes: AtomicU64,
        /// vm event allocstall, by highest zone index of the requests.
        allocstall: [AtomicU64; MAX_NR_ZONES],
    }
}

impl CpuSlot {
    /// Is its cpu online, so that drains look at its lists?
    #[inline(always)]
    pub fn is_online(&self) -> bool {
        self.online.load(Relaxed) != 0 // ORDERING(R7)
    }

    /// Does nobody hold its lease at this moment? A look only: taking the lease decides.
    #[inline(always)]
    pub fn is_free(&self) -> bool {
        self.lease.load(Relaxed) == 0 // ORDERING(R6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_survive_the_header() {
        let odd = Config {
            page_shift: 14,
            max_order: 9,
            pageblock_order: 7,
            section_size_bits: 30,
            smp: false,
            numa: false,
            thp: false,
            compaction: false,
            cma: true,
            memory_isolation: true,
            zone_dma: false,
            zone_dma32: true,
            max_numnodes: 1,
            kernelcore: CoreSize::Pages(u64::MAX),
            kernelcore_mirror: true,
            movablecore: CoreSize::Percent(70),
            movable_node: true,
            max_possible_pfn: 1 << 30,
        };
        for config in [Config::default(), odd] {
            assert_eq!(config_from_words(&config_to_words(&config)), Some(config));
        }
        let mut words = config_to_words(&Config::default());
        words[4] = 2;
        assert_eq!(config_from_words(&words), None, "a flag is 0 or 1");
    }
}
