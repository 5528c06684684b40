//! The whole state of a machine as plain data, the inverse of `load`.

use crate::allocator::PageAllocator;
use crate::counters::NumaEvent;
use crate::memblock::Region;
use crate::pcp;
use crate::segment::PfnRange;
use crate::state::{
    CpuStat, MachineState, NodeState, NumaEvents, PcpState, Topology, Tunables, ZoneExtent, ZoneRef, ZoneState,
    Zonelists,
};
use crate::sync::{AtomicU32, AtomicU64, Relaxed};
use crate::types::{MIGRATE_PCPTYPES, MigrateType, ZoneKind};
use crate::word::page_info::PageInfo;
use crate::zone::Zone;
use crate::zonelist::Entry;

fn get32(word: &AtomicU32) -> u32 {
    word.load(Relaxed) // ORDERING(R7)
}

fn get64(word: &AtomicU64) -> u64 {
    word.load(Relaxed) // ORDERING(R7)
}

impl PageAllocator {
    /// The state of the whole machine. Exact if nobody changes it meanwhile.
    pub fn state(&self) -> MachineState {
        // A description has no place for pages of spare slots.
        self.drain_spares();
        let machine = self.machine();
        let user = machine.user_min_free_kbytes.load(Relaxed); // ORDERING(R7)
        let ranges = |table: &[PfnRange]| -> Vec<Region> {
            table
                .iter()
                .filter(|range| get64(&range.start) != get64(&range.end))
                .map(|range| {
                    let (start, end) = (get64(&range.start), get64(&range.end));
                    let shift = self.config().page_shift;
                    let nid = Some(get32(&range.nid)).filter(|nid| *nid != u32::MAX);
                    Region { base: start << shift, size: (end - start) << shift, nid, flags: get32(&range.flags) }
                })
                .collect()
        };
        MachineState {
            config: *self.config(),
            topology: self.topology_state(),
            memory: ranges(&self.segment.memory),
            reserved: ranges(&self.segment.reserved),
            tunables: Tunables {
                min_free_kbytes: machine.min_free_kbytes.load(Relaxed).max(0) as u64, // ORDERING(R7)
                user_min_free_kbytes: u64::try_from(user).ok(),
                watermark_scale_factor: get64(&machine.watermark_scale_factor),
                watermark_boost_factor: get64(&machine.watermark_boost_factor),
                lowmem_reserve_ratio: machine
                    .lowmem_reserve_ratio
                    .iter()
                    .take(self.config().nr_zones())
                    .map(get64)
                    .collect(),
                percpu_pagelist_high_fraction: get64(&machine.percpu_pagelist_high_fraction),
            },
            totalreserve_pages: Some(get64(&machine.totalreserve_pages)),
            node_totalreserve: Some(self.segment.nodes.iter().map(|node| get64(&node.totalreserve_pages)).collect()),
            totalram_pages: get64(&machine.totalram_pages),
            gfp_allowed_mask: get32(&machine.gfp_allowed_mask),
            page_group_by_mobility_disabled: get32(&machine.mobility_disabled) != 0,
            rt_task: get32(&machine.rt_task) != 0,
            policy_zone: Some(get32(&machine.policy_zone)),
            zones: self.zones().map(|zone| self.zone_state(zone)).collect(),
        }
    }

    /// A zone's whole state, pageblocks without a memory map marked.
    fn zone_state(&self, zone: Zone<'_>) -> ZoneState {
        let mut state = zone.state();
        // A section has a memory map, and with it pageblock types, if it holds any memory.
        let section_shift = self.config().section_size_bits - self.config().page_shift;
        let ranges = self.segment.memory.iter().map(|range| (get64(&range.start), get64(&range.end)));
        let sections: Vec<_> = ranges
            .filter(|(start, end)| start < end)
            .map(|(start, end)| start >> section_shift..=(end - 1) >> section_shift)
            .collect();
        let block_shift = self.config().pageblock_order;
        let first_block = state.blocks_start >> block_shift;
        for (block, mt) in (first_block..).zip(&mut state.blocks) {
            let section = block << block_shift >> section_shift;
            if !sections.iter().any(|sections| sections.contains(&section)) {
                *mt = None;
            }
        }
        state
    }

    fn topology_state(&self) -> Topology {
        let to_refs = |list: &[Entry]| -> Vec<ZoneRef> {
            list.iter().map(|entry| ZoneRef { nid: entry.nid, zone: entry.index as u32 }).collect()
        };
        let node_state = |position: usize| {
            let (shared, cache) = (&self.segment.nodes[position], &self.nodes()[position]);
            let zones = (0..self.config().nr_zones())
                .map(|index| self.zone_at(cache.nid, index).map_or_else(ZoneExtent::default, Zone::extent))
                .collect();
            NodeState {
                nid: cache.nid,
                start_pfn: get64(&shared.start_pfn),
                spanned: get64(&shared.spanned),
                present: get64(&shared.present),
                zones,
                zonelists: Zonelists {
                    fallback: to_refs(&cache.fallback.all),
                    // Without NUMA there is one list per node.
                    thisnode: if self.config().numa { to_refs(&cache.thisnode.all) } else { Vec::new() },
                },
            }
        };
        let nids: Vec<u32> = self.nodes().iter().map(|node| node.nid).collect();
        Topology {
            nodes: (0..nids.len()).map(node_state).collect(),
            cpu_node: self.segment.cpus.iter().map(|cpu| get32(&cpu.node)).collect(),
            nr_online_cpus: self.segment.cpus.iter().filter(|cpu| cpu.is_online()).count(),
            node_distance: self
                .segment
                .nodes
                .iter()
                .map(|node| nids.iter().map(|nid| get32(&node.distance[*nid as usize])).collect())
                .collect(),
        }
    }
}

impl Zone<'_> {
    /// First pfn and sizes.
    pub fn extent(self) -> ZoneExtent {
        ZoneExtent {
            start_pfn: get64(&self.shared.start_pfn),
            spanned: get64(&self.shared.spanned),
            present: get64(&self.shared.present),
        }
    }

    /// The zone's kind.
    pub fn kind(self) -> ZoneKind {
        self.0.kind
    }

    /// The zone's whole state.
    pub fn state(self) -> ZoneState {
        let shared = &*self.0.shared;
        let view = self.view();
        let orders = 0..self.config.max_order;
        let free_lists: Vec<Vec<u64>> = orders
            .flat_map(|order| MigrateType::ALL.map(|mt| (order, mt)))
            .map(|(order, mt)| view.list(order, mt).into_iter().map(|x| self.pfn(x)).collect())
            .collect();
        let nr_free =
            free_lists.chunks(MigrateType::ALL.len()).map(|lists| lists.iter().map(|l| l.len() as u64).sum()).collect();
        let online = |cpu: &usize| self.cpus[*cpu].is_online();
        let cpus: Vec<usize> = (0..self.cpus.len()).filter(online).collect();
        let extent = self.extent();
        let blocks_start = extent.start_pfn >> self.config.pageblock_order << self.config.pageblock_order;
        let events = |event| self.numa_events(event);
        ZoneState {
            at: ZoneRef { nid: self.node(), zone: self.index() as u32 },
            kind: self.kind(),
            extent,
            managed: self.managed(),
            wmark: core::array::from_fn(|which| self.raw_watermark(which)),
            boost: self.boost(),
            lowmem_reserve: shared.lowmem_reserve.iter().take(self.config.nr_zones()).map(get64).collect(),
            nr_reserved_highatomic: get64(&shared.nr_reserved_highatomic),
            flags: get32(&shared.flags),
            contiguous: get32(&shared.contiguous) != 0,
            nr_free_pages: shared.nr_free_pages.load(Relaxed), // ORDERING(R7)
            nr_free_cma: shared.nr_free_cma.load(Relaxed),     // ORDERING(R7)
            percpu_drift_mark: get64(&shared.percpu_drift_mark),
            pageset_high: get32(&shared.pageset_high).into(),
            pageset_batch: get32(&shared.pageset_batch).into(),
            nr_isolate_pageblock: get32(&shared.nr_isolate_pageblock).into(),
            cpustat: cpus.iter().map(|cpu| self.cpu_stat(*cpu)).collect(),
            nr_free,
            free_lists,
            pcp: cpus.iter().map(|cpu| self.pcp_state(*cpu)).collect(),
            blocks_start,
            blocks: (blocks_start..extent.start_pfn + extent.spanned)
                .step_by(1 << self.config.pageblock_order)
                .map(|pfn| Some(self.blocks().get((pfn.max(self.base_pfn) - self.base_pfn) as u32)))
                .collect(),
            movable_in_use: (0..self.pages().len())
                .filter(|x| {
                    let raw = self.pages().page(*x).info.load(Relaxed); // ORDERING(R4)
                    PageInfo::from_raw(raw).is_movable()
                })
                .map(|x| self.pfn(x))
                .collect(),
            numa: NumaEvents {
                hit: events(NumaEvent::Hit),
                miss: events(NumaEvent::Miss),
                foreign: events(NumaEvent::Foreign),
                interleave_hit: events(NumaEvent::InterleaveHit),
                local: events(NumaEvent::Local),
                other: events(NumaEvent::Other),
            },
        }
    }

    fn cpu_stat(self, cpu: usize) -> CpuStat {
        let state = &self.cpu_zones[cpu];
        CpuStat {
            cpu,
            free_delta: state.diff_free.load(Relaxed),     // ORDERING(R8)
            threshold: state.stat_threshold.load(Relaxed), // ORDERING(R8)
            free_cma_delta: state.diff_cma.load(Relaxed),  // ORDERING(R8)
        }
    }

    /// One cpu's lists.
    pub fn pcp_state(self, cpu: usize) -> PcpState {
        let state = &self.cpu_zones[cpu];
        let mut remembered = Vec::new();
        let lists = (0..self.config.nr_pcp_lists())
            .map(|index| {
                let entries = pcp::list_entries(self, cpu, index);
                let own = index % MIGRATE_PCPTYPES;
                let differs = entries.iter().filter(|(_, mt)| mt.index() != own);
                remembered.extend(differs.map(|(x, mt)| (self.pfn(*x), *mt)));
                entries.into_iter().map(|(x, _)| self.pfn(x)).collect()
            })
            .collect();
        PcpState {
            cpu,
            count: get32(&state.count).into(),
            high: get32(&state.high).into(),
            batch: get32(&state.batch).into(),
            free_factor: get32(&state.free_factor),
            lists,
            remembered,
        }
    }
}
