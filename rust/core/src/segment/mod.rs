//! The segment: everything the allocator knows, in one contiguous, pointer-free piece of memory.
//!
//! This is the only part of the crate (beside the tests) that handles raw memory. It hands out
//! safe slices of types that consist of atomics alone, so that concurrent access from threads and
//! processes is defined whatever bytes the memory holds; what the bytes mean is checked above.

mod buddies;
mod geometry;
mod image;
mod mapping;
mod shared;
mod tables;

pub use buddies::{Buddies, Desk};
pub use geometry::{Geometry, MAX_ZONE_PAGES, SegmentPlan, Table, ZonePlan};
pub use image::ImageError;
pub use mapping::{Mapping, current_cpu};
pub use shared::{Shared, SharedRef, SharedSlice};
pub use tables::{
    BOOT_PAGESET_HIGH, CONFIG_WORDS, CpuSlot, CpuZone, Header, HeaderFields, LAYOUT_VERSION, MAGIC, Machine,
    NR_PCP_LISTS, NodeShared, PCP_WINDOW, PcpList, PcpWindow, PfnRange, ZoneShared, ZonelistEntry,
};

use crate::error::BootError;
use crate::in_flight::InFlightFlag;
use crate::page_array::PageDesc;
use crate::sync::{AtomicU8, AtomicU16, Relaxed};
use std::sync::Arc;

/// A mapped segment with typed access to its tables.
#[derive(Debug)]
pub struct Segment {
    map: Arc<Mapping>,
    geometry: Geometry,
    /// Magic, version, sizes and the configuration.
    pub header: SharedRef<Header>,
    /// Machine-wide tunables and totals.
    pub machine: SharedRef<Machine>,
    /// One entry per online node.
    pub nodes: SharedSlice<NodeShared>,
    /// One entry per zone that spans pages.
    pub zones: SharedSlice<ZoneShared>,
    /// One slot per cpu.
    pub cpus: SharedSlice<CpuSlot>,
    /// All slots: those of the cpus, then the spare ones.
    pub slots: SharedSlice<CpuSlot>,
    /// In-flight flags, one per slot.
    pub in_flight: SharedSlice<InFlightFlag>,
    /// Per zone and slot: index `zone * nr_slots + slot`.
    pub cpu_zones: SharedSlice<CpuZone>,
    /// Windows of the per-cpu lists: index `(zone * nr_slots + slot) * NR_PCP_LISTS + list`.
    pub pcp_windows: SharedSlice<PcpWindow>,
    /// Zonelists of all nodes, one after the other.
    pub zonelists: SharedSlice<ZonelistEntry>,
    /// Memory ranges in pfns, ascending.
    pub memory: SharedSlice<PfnRange>,
    /// Reserved ranges in pfns, ascending.
    pub reserved: SharedSlice<PfnRange>,
    /// Pageblock migratetypes, index pfn >> pageblock_order.
    pub pageblocks: SharedSlice<AtomicU8>,
    /// Zone of each block of the largest order: 0 none, `MIXED`, else zone number + 1.
    pub block_zones: SharedSlice<AtomicU16>,
    /// Page descriptors of the first pages of largest blocks, one table per zone.
    pub heads: Vec<SharedSlice<PageDesc>>,
    /// Page descriptors of all other pages, one table per zone.
    pub pages: Vec<SharedSlice<PageDesc>>,
}

/// A block of the largest order whose pages belong to more than one zone, or to a zone in part.
pub const MIXED: u16 = u16::MAX;

impl Segment {
    /// Maps fresh private memory for a machine of this shape and writes the header, but for the
    /// magic, which [`Header::publish`] adds.
    pub fn create(plan: &SegmentPlan) -> Result<Segment, BootError> {
        let geometry = Geometry::new(plan)?;
        let map = Mapping::anonymous(geometry.total_bytes).map_err(BootError::OutOfMemory)?;
        let segment = Self::over(map, geometry, plan.nr_cpus)
            .ok_or(BootError::MemoryMap("the segment does not hold its tables"))?;
        segment.header.write(plan, segment.geometry.total_bytes);
        segment.zones.iter().for_each(|zone| zone.lists.init());
        Ok(segment)
    }

    fn over(map: Arc<Mapping>, geometry: Geometry, nr_cpus: usize) -> Option<Segment> {
        let slots: SharedSlice<CpuSlot> = SharedSlice::new(&map, geometry.slots)?;
        Some(Segment {
            header: SharedRef::new(&map, geometry.header)?,
            machine: SharedRef::new(&map, geometry.machine)?,
            nodes: SharedSlice::new(&map, geometry.nodes)?,
            zones: SharedSlice::new(&map, geometry.zones)?,
            cpus: slots.part(0..nr_cpus)?,
            slots,
            in_flight: SharedSlice::new(&map, geometry.in_flight)?,
            cpu_zones: SharedSlice::new(&map, geometry.cpu_zones)?,
            pcp_windows: SharedSlice::new(&map, geometry.pcp_windows)?,
            zonelists: SharedSlice::new(&map, geometry.zonelists)?,
            memory: SharedSlice::new(&map, geometry.memory)?,
            reserved: SharedSlice::new(&map, geometry.reserved)?,
            pageblocks: SharedSlice::new(&map, geometry.pageblocks)?,
            block_zones: SharedSlice::new(&map, geometry.block_zones)?,
            heads: geometry.heads.iter().map(|table| SharedSlice::new(&map, *table)).collect::<Option<_>>()?,
            pages: geometry.pages.iter().map(|table| SharedSlice::new(&map, *table)).collect::<Option<_>>()?,
            geometry,
            map,
        })
    }

    /// Bytes of address space the segment takes.
    pub fn len_bytes(&self) -> usize {
        self.map.len()
    }

    /// Bytes of address space its page descriptors take.
    pub fn page_table_bytes(&self) -> usize {
        self.pages.iter().chain(&self.heads).map(|pages| size_of_val::<[PageDesc]>(pages)).sum()
    }

    /// A copy of everything, sparse and with a checksum.
    ///
    /// The copy is exact if nothing changes the segment meanwhile.
    pub fn save(&self) -> Vec<u8> {
        image::save(&self.map)
    }

    /// Maps a copy made by [`Self::save`]. Only the frame is checked here: sizes, version and
    /// checksum; what the tables say is the caller's to verify.
    pub fn load(bytes: &[u8]) -> Result<Segment, ImageError> {
        let map = image::load(bytes)?;
        let header: SharedRef<Header> =
            SharedRef::new(&map, Table { offset: 0, len: 1 }).ok_or(ImageError::Truncated)?;
        let fields = header.read().ok_or(ImageError::NotAnImage)?;
        if fields.version != LAYOUT_VERSION {
            return Err(ImageError::Version(fields.version));
        }
        // The zone sizes needed for the geometry stand in the zone table, which the fixed-size
        // part of the geometry locates.
        let without_pages = SegmentPlan { zones: vec![ZonePlan::default(); fields.nr_zones], ..fields.plan.clone() };
        let fixed = Geometry::new(&without_pages).map_err(|_| ImageError::Inconsistent)?;
        let zones: SharedSlice<ZoneShared> = SharedSlice::new(&map, fixed.zones).ok_or(ImageError::Inconsistent)?;
        let plan = SegmentPlan {
            zones: zones
                .iter()
                .map(|z| ZonePlan { base_pfn: z.base_pfn.load(Relaxed), nr_pages: z.nr_pages.load(Relaxed) }) // ORDERING(R1)
                .collect(),
            ..fields.plan
        };
        let geometry = Geometry::new(&plan).map_err(|_| ImageError::Inconsistent)?;
        if geometry.total_bytes != map.len() || fields.total_bytes != map.len() as u64 {
            return Err(ImageError::Inconsistent);
        }
        Self::over(map, geometry, plan.nr_cpus).ok_or(ImageError::Inconsistent)
    }

    /// An independent copy in private memory.
    pub fn fork(&self) -> Result<Segment, BootError> {
        self.copy_into(Mapping::anonymous(self.map.len()))
    }

    /// An independent copy in memory that processes which this one forks share.
    pub fn fork_inherited(&self) -> Result<Segment, BootError> {
        self.copy_into(Mapping::inherited(self.map.len()))
    }

    fn copy_into(&self, map: Result<Arc<Mapping>, i32>) -> Result<Segment, BootError> {
        let map = map.map_err(BootError::OutOfMemory)?;
        self.map.copy_to(&map);
        Self::over(map, self.geometry.clone(), self.cpus.len())
            .ok_or(BootError::MemoryMap("the segment does not hold its tables"))
    }

    /// The same segment for another owner.
    pub fn share(&self) -> Result<Segment, BootError> {
        Self::over(self.map.clone(), self.geometry.clone(), self.cpus.len())
            .ok_or(BootError::MemoryMap("the segment does not hold its tables"))
    }

    /// The pageblock types from the pageblock of `base_pfn` on.
    pub fn pageblocks_from(&self, base_pfn: u64, pageblock_order: u32) -> Option<SharedSlice<AtomicU8>> {
        self.pageblocks.part(usize::try_from(base_pfn >> pageblock_order).ok()?..self.pageblocks.len())
    }

    /// One zone's shared words.
    pub fn zone(&self, number: usize) -> Option<SharedRef<ZoneShared>> {
        self.zones.part(number..number + 1).and_then(SharedRef::first_of)
    }

    /// One zone's parts of the per-cpu state, by slot.
    pub fn cpu_zones_of(&self, number: usize) -> Option<SharedSlice<CpuZone>> {
        let nr_slots = self.slots.len();
        self.cpu_zones.part(number * nr_slots..(number + 1) * nr_slots)
    }
}
