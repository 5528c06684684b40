//! A machine from a plain description of its whole state.

use crate::allocator::PageAllocator;
use crate::blueprint::{Blueprint, NodeSpec, Range, ZoneSpec, put32, put64};
use crate::cpu::Cpu;
use crate::error::BootError;
use crate::memblock::Region;
use crate::pcp_list::PcpDeque;
use crate::state::{MachineState, PcpState, ZoneState};
use crate::sync::Relaxed;
use crate::types::{MIGRATE_PCPTYPES, MigrateType, Pfn};
use crate::verify::Violation;
use crate::word::PageIdx;
use crate::word::page_info::{PageInfo, Remembered};
use crate::zone::Zone;
use core::fmt;

/// Why a description is not a possible machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The fixed part (configuration, nodes, zones, memory) is impossible.
    Boot(BootError),
    /// A zone of the description is not among its nodes' zones, or comes twice.
    Zone(u32, u32),
    /// A page of a list lies outside its zone, is unaligned or stands in two places.
    Page(Pfn),
    /// A list has a number of entries, orders or cpus that the configuration does not allow.
    Shape(&'static str),
    /// The loaded machine violates an invariant.
    Violation(Violation),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Boot(error) => error.fmt(f),
            LoadError::Zone(nid, zone) => write!(f, "node {nid} has no zone {zone}, or the state names it twice"),
            LoadError::Page(pfn) => {
                write!(f, "pfn {pfn:#x} lies outside its zone, is unaligned or stands in two places")
            }
            LoadError::Shape(what) => f.write_str(what),
            LoadError::Violation(violation) => violation.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<BootError> for LoadError {
    fn from(error: BootError) -> Self {
        LoadError::Boot(error)
    }
}

impl PageAllocator {
    /// Makes a machine that decides exactly like the described one.
    pub fn from_state(state: &MachineState) -> Result<PageAllocator, LoadError> {
        let allocator = blueprint(state)?.build()?;
        let machine = allocator.machine();
        let tunables = &state.tunables;
        put32(&machine.gfp_allowed_mask, state.gfp_allowed_mask);
        put32(&machine.rt_task, state.rt_task.into());
        machine.min_free_kbytes.store(tunables.min_free_kbytes as i64, Relaxed); // ORDERING(R1)
        let user = tunables.user_min_free_kbytes.map_or(-1, |kb| kb as i64);
        machine.user_min_free_kbytes.store(user, Relaxed); // ORDERING(R1)
        put64(&machine.watermark_scale_factor, tunables.watermark_scale_factor);
        put64(&machine.watermark_boost_factor, tunables.watermark_boost_factor);
        put64(&machine.percpu_pagelist_high_fraction, tunables.percpu_pagelist_high_fraction);
        put64(&machine.totalram_pages, state.totalram_pages);
        for (word, ratio) in machine.lowmem_reserve_ratio.iter().zip(&tunables.lowmem_reserve_ratio) {
            put64(word, *ratio);
        }
        let late = state.zones.iter().any(|zone| zone.pageset_high != 0 || zone.wmark[2] != 0);
        put32(&machine.late, late.into());
        for (id, cpu) in allocator.segment.cpus.iter().enumerate() {
            put32(&cpu.online, (id < state.topology.nr_online_cpus).into());
        }
        if late {
            allocator.bring_up_spares();
        }
        for zone_state in &state.zones {
            let (nid, index) = (zone_state.at.nid, zone_state.at.zone);
            let zone = allocator.zone_at(nid, index as usize).ok_or(LoadError::Zone(nid, index))?;
            ZoneLoader { allocator: &allocator, zone }.load(zone_state)?;
        }
        match state.totalreserve_pages {
            Some(pages) => put64(&machine.totalreserve_pages, pages),
            None => allocator.calculate_totalreserve_pages(),
        }
        for (node, pages) in allocator.segment.nodes.iter().zip(state.node_totalreserve.iter().flatten()) {
            put64(&node.totalreserve_pages, *pages);
        }
        allocator.validate().map_err(LoadError::Violation)?;
        allocator.segment.header.publish();
        Ok(allocator)
    }
}

fn blueprint(state: &MachineState) -> Result<Blueprint, LoadError> {
    let config = state.config;
    config.validate()?;
    let topology = &state.topology;
    let default_nid = topology.nodes.first().map_or(0, |node| node.nid);
    let inside = |region: &Region| Range {
        start: region.base.div_ceil(config.page_size()),
        end: region.end() >> config.page_shift,
        nid: region.nid.unwrap_or(default_nid),
        flags: region.flags,
    };
    let zones: Vec<ZoneSpec> =
        state.zones.iter().map(|zone| ZoneSpec { at: zone.at, kind: zone.kind, extent: zone.extent }).collect();
    for (i, zone) in zones.iter().enumerate() {
        let is_node = topology.nodes.iter().any(|node| node.nid == zone.at.nid);
        let is_zone = (zone.at.zone as usize) < config.nr_zones();
        let fits =
            zone.extent.start_pfn.checked_add(zone.extent.spanned).is_some_and(|end| end <= crate::types::MAX_PFN);
        if !is_node || !is_zone || !fits || zones[..i].iter().any(|other| other.at == zone.at) {
            return Err(LoadError::Zone(zone.at.nid, zone.at.zone));
        }
    }
    let highest = zones
        .iter()
        .map(|zone| zone.at.zone)
        .filter(|zone| (*zone as usize) < config.nr_zones() - 1)
        .max()
        .unwrap_or(0);
    Ok(Blueprint {
        config,
        nodes: topology
            .nodes
            .iter()
            .enumerate()
            .map(|(position, node)| NodeSpec {
                nid: node.nid,
                start_pfn: node.start_pfn,
                spanned: node.spanned,
                present: node.present,
                zonelists: node.zonelists.clone(),
                distance: topology.node_distance.get(position).cloned().unwrap_or_default(),
            })
            .collect(),
        zones,
        cpu_node: topology.cpu_node.clone(),
        memory: state.memory.iter().map(inside).filter(|range| range.start < range.end).collect(),
        reserved: state
            .reserved
            .iter()
            .filter(|region| region.size != 0)
            .map(|region| Range {
                start: region.base >> config.page_shift,
                end: region.end().div_ceil(config.page_size()),
                nid: region.nid.unwrap_or(u32::MAX),
                flags: region.flags,
            })
            .collect(),
        policy_zone: state.policy_zone.unwrap_or(highest),
        mobility_disabled: state.page_group_by_mobility_disabled,
    })
}

struct ZoneLoader<'a> {
    allocator: &'a PageAllocator,
    zone: Zone<'a>,
}

impl ZoneLoader<'_> {
    /// Index of a page that must lie in the zone and start a block of this order.
    fn block(&self, pfn: Pfn, order: u32) -> Result<PageIdx, LoadError> {
        let zone = self.allocator.zone_of(pfn).filter(|zone| zone.number == self.zone.number);
        let x = zone.ok_or(LoadError::Page(pfn))?.idx(pfn);
        let view = self.zone.view();
        let is_new = view.info(x) == PageInfo::NONE && view.free_order(x).is_none();
        if x % (1 << order) != 0 || !is_new { Err(LoadError::Page(pfn)) } else { Ok(x) }
    }

    fn load(&self, state: &ZoneState) -> Result<(), LoadError> {
        let zone = self.zone;
        let shared = &*zone.0.shared;
        for (word, mark) in shared.watermark.iter().zip(state.wmark) {
            put64(word, mark);
        }
        for (word, reserve) in shared.lowmem_reserve.iter().zip(&state.lowmem_reserve) {
            put64(word, *reserve);
        }
        put64(&shared.managed, state.managed);
        put64(&shared.watermark_boost, state.boost);
        put64(&shared.nr_reserved_highatomic, state.nr_reserved_highatomic);
        put64(&shared.percpu_drift_mark, state.percpu_drift_mark);
        put32(&shared.flags, state.flags);
        put32(&shared.contiguous, state.contiguous.into());
        put32(&shared.nr_isolate_pageblock, state.nr_isolate_pageblock as u32);
        put32(&shared.pageset_high, small(state.pageset_high)?);
        put32(&shared.pageset_batch, small(state.pageset_batch)?);
        shared.nr_free_pages.store(state.nr_free_pages, Relaxed); // ORDERING(R1)
        shared.nr_free_cma.store(state.nr_free_cma, Relaxed); // ORDERING(R1)
        let numa = &state.numa;
        let events = [numa.hit, numa.miss, numa.foreign, numa.interleave_hit, numa.local, numa.other];
        for (word, n) in shared.numa_events.iter().zip(events) {
            put64(word, n);
        }
        self.load_pageblocks(state)?;
        let nr_cma = state.blocks.iter().filter(|mt| **mt == Some(MigrateType::Cma)).count() as u64;
        put64(&shared.cma_pages, nr_cma << zone.config.pageblock_order);
        self.load_free_lists(state)?;
        for cpu_stat in &state.cpustat {
            let cpu_zone =
                zone.own_cpu_zones().get(cpu_stat.cpu).ok_or(LoadError::Shape("a counter names an unknown cpu"))?;
            cpu_zone.diff_free.store(cpu_stat.free_delta, Relaxed); // ORDERING(R1)
            cpu_zone.diff_cma.store(cpu_stat.free_cma_delta, Relaxed); // ORDERING(R1)
            cpu_zone.stat_threshold.store(cpu_stat.threshold, Relaxed); // ORDERING(R1)
        }
        // Cpus that are not online have the zone's sizes too.
        let (high, batch) = (small(state.pageset_high)?, small(state.pageset_batch)?.max(1));
        for cpu_zone in zone.own_cpu_zones() {
            put32(&cpu_zone.high, high);
            put32(&cpu_zone.batch, batch);
        }
        for pcp in &state.pcp {
            self.load_pcp(pcp)?;
        }
        for &pfn in &state.movable_in_use {
            if let Some(page_zone) = self.allocator.zone_of(pfn).filter(|page_zone| page_zone.number == zone.number) {
                let x = page_zone.idx(pfn);
                let view = zone.view();
                view.set_info(x, view.info(x).with_movable(true));
            }
        }
        Ok(())
    }

    fn load_pageblocks(&self, state: &ZoneState) -> Result<(), LoadError> {
        let order = self.zone.config.pageblock_order;
        let first = state.blocks_start >> order;
        for (i, mt) in state.blocks.iter().enumerate() {
            let entry = usize::try_from(first).ok().and_then(|first| self.allocator.segment.pageblocks.get(first + i));
            let entry = entry.ok_or(LoadError::Shape("more pageblock types than pageblocks"))?;
            entry.store(mt.unwrap_or(MigrateType::Unmovable) as u8, Relaxed); // ORDERING(R1)
        }
        Ok(())
    }

    fn load_free_lists(&self, state: &ZoneState) -> Result<(), LoadError> {
        let view = self.zone.view();
        for order in 0..self.zone.config.max_order {
            for mt in MigrateType::ALL {
                for &pfn in state.free_list(order as usize, mt) {
                    view.area.push_back(self.block(pfn, order)?, order, mt.index());
                }
            }
        }
        Ok(())
    }

    fn load_pcp(&self, pcp: &PcpState) -> Result<(), LoadError> {
        let zone = self.zone;
        if pcp.cpu >= zone.cpus.len() || pcp.lists.len() > zone.config.nr_pcp_lists() {
            return Err(LoadError::Shape("a per-cpu list names an unknown cpu or list"));
        }
        let cpu = Cpu::enter(&zone.cpus, pcp.cpu, 1);
        let cpu_zone = zone.cpu_zone(&cpu);
        put32(&cpu_zone.count, small(pcp.count)?);
        put32(&cpu_zone.high, small(pcp.high)?);
        put32(&cpu_zone.batch, small(pcp.batch)?.max(1));
        put32(&cpu_zone.free_factor, pcp.free_factor.min(31));
        for (index, list) in pcp.lists.iter().enumerate() {
            let order = if index >= 12 { zone.config.pageblock_order } else { (index / MIGRATE_PCPTYPES) as u32 };
            let deque = PcpDeque::of(zone.desk(pcp.cpu), index);
            for &pfn in list {
                let remembered = pcp.remembered.iter().find(|(p, _)| *p == pfn).map(|(_, mt)| *mt);
                let remembered = match remembered {
                    Some(MigrateType::HighAtomic) => Remembered::HighAtomic,
                    Some(MigrateType::Cma) => Remembered::Cma,
                    Some(mt) if mt.index() != index % MIGRATE_PCPTYPES => {
                        return Err(LoadError::Shape("a page on a per-cpu list remembers an impossible migratetype"));
                    }
                    _ => Remembered::Own,
                };
                deque.push_back(self.block(pfn, order)?, remembered);
            }
        }
        Ok(())
    }
}

/// A size that must fit 31 bits.
fn small(value: u64) -> Result<u32, LoadError> {
    u32::try_from(value)
        .ok()
        .filter(|v| *v < 1 << 31)
        .ok_or(LoadError::Shape("a count, high or batch is impossibly large"))
}
