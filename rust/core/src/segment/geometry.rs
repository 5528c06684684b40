//! Where each table of a segment stands.

use super::tables::{
    CpuSlot, CpuZone, Header, Machine, NR_PCP_LISTS, NodeShared, PcpWindow, PfnRange, ZoneShared, ZonelistEntry,
};
use crate::config::Config;
use crate::error::BootError;
use crate::in_flight::InFlightFlag;
use crate::page_array::{PageDesc, nr_heads};
use crate::sync::{AtomicU8, AtomicU16};
use crate::word::NIL;

/// Most pages that a zone can span, holes included: their numbers are 28-bit indices.
pub const MAX_ZONE_PAGES: u64 = NIL as u64 - 1;
/// Tables start at multiples of this.
const TABLE_ALIGN: usize = 4096;

/// No segment may take more address space than this.
const MAX_BYTES: u64 = 1 << 45;

/// Place and length (in items) of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Byte offset in the segment.
    pub offset: usize,
    /// Number of items.
    pub len: usize,
}

/// The pages one zone's page array covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZonePlan {
    /// Pfn of index 0, a multiple of the largest block.
    pub base_pfn: u64,
    /// Number of descriptors, a multiple of the largest block.
    pub nr_pages: u64,
}

/// The shape of a machine, as far as table sizes depend on it.
#[derive(Clone, Debug)]
pub struct SegmentPlan {
    /// The configuration, kept in the header.
    pub config: Config,
    /// Number of online nodes.
    pub nr_nodes: usize,
    /// Number of cpus.
    pub nr_cpus: usize,
    /// Number of spare cpu slots.
    pub nr_spares: usize,
    /// One per zone that spans pages.
    pub zones: Vec<ZonePlan>,
    /// Entries of all zonelists together.
    pub nr_zonelist_entries: usize,
    /// Number of memory ranges.
    pub nr_memory: usize,
    /// Number of reserved ranges.
    pub nr_reserved: usize,
    /// One past the highest pfn of any zone.
    pub end_pfn: u64,
}

/// All tables of a segment.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each table is documented where it is used, in `Segment`")]
pub struct Geometry {
    pub header: Table,
    pub machine: Table,
    pub nodes: Table,
    pub zones: Table,
    pub slots: Table,
    pub in_flight: Table,
    pub cpu_zones: Table,
    pub pcp_windows: Table,
    pub zonelists: Table,
    pub memory: Table,
    pub reserved: Table,
    pub pageblocks: Table,
    pub block_zones: Table,
    pub heads: Vec<Table>,
    pub pages: Vec<Table>,
    pub total_bytes: usize,
}

impl Geometry {
    /// Computes all places; fails on machines the segment cannot hold.
    pub fn new(plan: &SegmentPlan) -> Result<Geometry, BootError> {
        let block = plan.config.max_order_nr_pages();
        if plan.zones.iter().any(|z| z.nr_pages > MAX_ZONE_PAGES || z.nr_pages % block != 0 || z.base_pfn % block != 0)
        {
            return Err(BootError::MemoryMap("a zone may span at most 1 TiB of 4 KiB pages (2^28 - 1024 pages)"));
        }
        let nr_pageblocks = plan.end_pfn.div_ceil(plan.config.pageblock_nr_pages());
        let nr_blocks = plan.end_pfn.div_ceil(block);
        let nr_slots = plan.nr_cpus.saturating_add(plan.nr_spares) as u64;
        let nr_cpu_zones = nr_slots.saturating_mul(plan.zones.len() as u64);
        let mut cursor = Cursor { offset: 0 };
        Ok(Geometry {
            header: cursor.table::<Header>(1)?,
            machine: cursor.table::<Machine>(1)?,
            nodes: cursor.table::<NodeShared>(plan.nr_nodes as u64)?,
            zones: cursor.table::<ZoneShared>(plan.zones.len() as u64)?,
            slots: cursor.table::<CpuSlot>(nr_slots)?,
            in_flight: cursor.table::<InFlightFlag>(nr_slots.saturating_add(1))?,
            cpu_zones: cursor.table::<CpuZone>(nr_cpu_zones)?,
            pcp_windows: cursor.table::<PcpWindow>(nr_cpu_zones.saturating_mul(NR_PCP_LISTS as u64))?,
            zonelists: cursor.table::<ZonelistEntry>(plan.nr_zonelist_entries as u64)?,
            memory: cursor.table::<PfnRange>(plan.nr_memory as u64)?,
            reserved: cursor.table::<PfnRange>(plan.nr_reserved as u64)?,
            pageblocks: cursor.table::<AtomicU8>(nr_pageblocks)?,
            block_zones: cursor.table::<AtomicU16>(nr_blocks)?,
            heads: plan
                .zones
                .iter()
                .map(|z| cursor.table::<PageDesc>(nr_heads(z.nr_pages as usize) as u64))
                .collect::<Result<_, _>>()?,
            pages: plan.zones.iter().map(|z| cursor.table::<PageDesc>(z.nr_pages)).collect::<Result<_, _>>()?,
            total_bytes: cursor.offset as usize,
        })
    }
}

struct Cursor {
    offset: u64,
}

impl Cursor {
    fn table<T>(&mut self, len: u64) -> Result<Table, BootError> {
        let too_large = BootError::MemoryMap("the machine is too large for one segment");
        let table = Table { offset: self.offset as usize, len: len as usize };
        let bytes = len.checked_mul(size_of::<T>() as u64).ok_or(too_large)?;
        let end = self.offset.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(TABLE_ALIGN as u64));
        self.offset = end.filter(|end| *end <= MAX_BYTES).ok_or(too_large)?;
        Ok(table)
    }
}
