//! From a description of a machine to a segment with all its tables filled, free lists apart.

use crate::allocator::PageAllocator;
use crate::config::Config;
use crate::error::BootError;
use crate::segment::{PfnRange, Segment, SegmentPlan, ZonePlan};
use crate::spare::NR_SPARES;
use crate::state::{ZoneExtent, ZoneRef, Zonelists};
use crate::sync::{AtomicU32, AtomicU64, Relaxed};
use crate::types::{Pfn, ZoneKind};

/// Spare entries of the memory table of a machine that allows hotplug.
const SPARE_MEMORY_RANGES: usize = 64;

/// A range of pages with its node and memblock flags.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub start: Pfn,
    pub end: Pfn,
    pub nid: u32,
    pub flags: u32,
}

/// A zone with memory.
#[derive(Clone, Copy, Debug)]
pub struct ZoneSpec {
    pub at: ZoneRef,
    pub kind: ZoneKind,
    pub extent: ZoneExtent,
}

/// An online node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    pub nid: u32,
    pub start_pfn: Pfn,
    pub spanned: u64,
    pub present: u64,
    pub zonelists: Zonelists,
    /// Distance to the online nodes, by position.
    pub distance: Vec<u32>,
}

/// What the fixed tables of a segment say.
#[derive(Clone, Debug)]
pub struct Blueprint {
    pub config: Config,
    pub nodes: Vec<NodeSpec>,
    pub zones: Vec<ZoneSpec>,
    /// Node of every cpu slot.
    pub cpu_node: Vec<u32>,
    pub memory: Vec<Range>,
    pub reserved: Vec<Range>,
    pub policy_zone: u32,
    pub mobility_disabled: bool,
}

/// Writes a word of a segment that nobody else sees yet.
pub(crate) fn put32(word: &AtomicU32, value: u32) {
    word.store(value, Relaxed); // ORDERING(R1)
}

/// See [`put32`].
pub(crate) fn put64(word: &AtomicU64, value: u64) {
    word.store(value, Relaxed); // ORDERING(R1)
}

impl Blueprint {
    /// Maps a segment and fills everything but free lists, per-cpu lists, counters and tunables.
    pub fn build(&self) -> Result<PageAllocator, BootError> {
        self.config.validate()?;
        if self.cpu_node.is_empty() || self.cpu_node.len() > 4096 {
            return Err(BootError::Topology("a machine has 1 to 4096 cpus"));
        }
        let block = self.config.max_order_nr_pages();
        let end_of = |zone: &ZoneSpec| zone.extent.start_pfn + zone.extent.spanned;
        let zone_plan = |zone: &ZoneSpec| {
            let base_pfn = zone.extent.start_pfn / block * block;
            let mut end = end_of(zone).next_multiple_of(block);
            // The last zone of each node has room for memory that is added later.
            if !self.zones.iter().any(|other| other.at.nid == zone.at.nid && end_of(other) > end_of(zone)) {
                end = end.max(self.config.max_possible_pfn / block * block);
            }
            ZonePlan { base_pfn, nr_pages: end - base_pfn }
        };
        let zones: Vec<ZonePlan> = self.zones.iter().map(zone_plan).collect();
        let plan = SegmentPlan {
            config: self.config,
            nr_nodes: self.nodes.len(),
            nr_cpus: self.cpu_node.len(),
            nr_spares: if self.config.smp { NR_SPARES } else { 0 },
            nr_zonelist_entries: self
                .nodes
                .iter()
                .map(|node| node.zonelists.fallback.len() + node.zonelists.thisnode.len())
                .sum(),
            nr_memory: self.memory.len() + if self.config.max_possible_pfn > 0 { SPARE_MEMORY_RANGES } else { 0 },
            nr_reserved: self.reserved.len(),
            end_pfn: zones.iter().map(|zone| zone.base_pfn + zone.nr_pages).max().unwrap_or(0),
            zones,
        };
        let segment = Segment::create(&plan)?;
        self.fill_zones(&segment, &plan.zones);
        self.fill_nodes(&segment)?;
        for (slot, (cpu, nid)) in segment.slots.iter().zip(self.cpu_node.iter().enumerate().cycle()) {
            put32(&slot.cpu, cpu as u32);
            put32(&slot.node, *nid);
        }
        segment.cpus.iter().for_each(|slot| put32(&slot.online, 1));
        fill_ranges(&segment.memory, &self.memory);
        fill_ranges(&segment.reserved, &self.reserved);
        put32(&segment.machine.policy_zone, self.policy_zone);
        put32(&segment.machine.mobility_disabled, self.mobility_disabled.into());
        put32(&segment.machine.numa_stat, 1);
        let allocator = PageAllocator::open(segment)
            .map_err(|_| BootError::MemoryMap("nodes, zones and cpus of the machine contradict each other"))?;
        allocator.write_block_zones();
        Ok(allocator)
    }

    fn fill_zones(&self, segment: &Segment, plans: &[ZonePlan]) {
        for ((shared, spec), plan) in segment.zones.iter().zip(&self.zones).zip(plans) {
            put32(&shared.node, spec.at.nid);
            put32(&shared.index, spec.at.zone);
            put32(&shared.kind, spec.kind as u32);
            put64(&shared.base_pfn, plan.base_pfn);
            put64(&shared.nr_pages, plan.nr_pages);
            put64(&shared.start_pfn, spec.extent.start_pfn);
            put64(&shared.spanned, spec.extent.spanned);
            put64(&shared.present, spec.extent.present);
        }
    }

    fn fill_nodes(&self, segment: &Segment) -> Result<(), BootError> {
        let mut next = 0;
        let mut write = |list: &[ZoneRef]| -> Result<(u32, u32), BootError> {
            let start = next;
            for at in list {
                let number = self
                    .zones
                    .iter()
                    .position(|zone| zone.at == *at)
                    .ok_or(BootError::Topology("a zonelist names a zone without memory"))?;
                put32(&segment.zonelists[next].zone, number as u32);
                put32(&segment.zonelists[next].index, at.zone);
                next += 1;
            }
            Ok((start as u32, list.len() as u32))
        };
        for (shared, node) in segment.nodes.iter().zip(&self.nodes) {
            let (fallback_start, fallback_len) = write(&node.zonelists.fallback)?;
            let (thisnode_start, thisnode_len) = write(&node.zonelists.thisnode)?;
            put32(&shared.nid, node.nid);
            put32(&shared.fallback_start, fallback_start);
            put32(&shared.fallback_len, fallback_len);
            put32(&shared.thisnode_start, thisnode_start);
            put32(&shared.thisnode_len, thisnode_len);
            put32(&shared.has_memory, (node.present != 0).into());
            put64(&shared.start_pfn, node.start_pfn);
            put64(&shared.spanned, node.spanned);
            put64(&shared.present, node.present);
            for (other, distance) in self.nodes.iter().zip(&node.distance) {
                if let Some(word) = shared.distance.get(other.nid as usize) {
                    put32(word, *distance);
                }
            }
        }
        Ok(())
    }
}

fn fill_ranges(table: &[PfnRange], ranges: &[Range]) {
    for (entry, range) in table.iter().zip(ranges) {
        put64(&entry.start, range.start);
        put64(&entry.end, range.end);
        put32(&entry.nid, range.nid);
        put32(&entry.flags, range.flags);
    }
}
