//! The boot memory allocator (mm/memblock.c, include/linux/memblock.h).
//!
//! Two sorted lists of regions: *memory* says what exists, *reserved* what is taken; free is what is
//! in the first and not in the second. Operations carry the kernel's names without `memblock_`.
//!
//! * A range `(base, size)` is first capped to `size = min(size, 2^64-1 - base)`; nothing left is a
//!   successful no-op.
//! * `nid: Option<u32>`: for a region `None` is the kernel's "no node" (`MAX_NUMNODES`), in a query it
//!   is "any node" (`NUMA_NO_NODE`; the kernel treats `MAX_NUMNODES` alike there).
//! * A list starts with room for 128 regions. [`Resize`] says what happens when it is full; the kernel
//!   doubles its array, in memory found and reserved through memblock itself. The array's place is
//!   modelled, its contents are kept elsewhere.
//! * [`Memblock::discard`] ends it: every later change answers [`MemblockError::Discarded`].

mod alloc;
mod dump;
mod error;
mod grow;
mod hand_over;
mod image;
mod image_bytes;
mod iterate;
mod limits;
mod modify;
mod query;
mod region;
mod regions;
mod search;

pub use error::MemblockError;
pub use grow::{ArrayGrowth, Resize};
pub use hand_over::{FreeBlocks, HandOver, PfnSpan};
pub use image::{ListImage, MemblockImage};
pub use iterate::{FreeRange, FreeRanges, FreeRangesRev, PfnRange, for_each_free_mem_range, for_each_mem_pfn_range};
pub use region::{
    FLAG_DRIVER_MANAGED, FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP, FLAGS_ALL, ListKind, Region, RegionFilter,
};

use regions::RegionList;

/// An address that no range can contain; as a limit: no limit.
pub const MEMBLOCK_ALLOC_ANYWHERE: u64 = u64::MAX;
/// As an end address: up to the current limit (`MEMBLOCK_ALLOC_ACCESSIBLE`).
pub const MEMBLOCK_ALLOC_ACCESSIBLE: u64 = 0;

/// Sizes that the kernel fixes when it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// log2 of the page size in bytes (`PAGE_SHIFT`).
    pub page_shift: u32,
    /// Regions each list has room for at first (`INIT_MEMBLOCK_REGIONS`).
    pub init_regions: usize,
    /// Bytes of one region in the kernel's arrays (`sizeof(struct memblock_region)`).
    pub region_bytes: u64,
    /// Alignment used when none is asked (`SMP_CACHE_BYTES`).
    pub smp_cache_bytes: u64,
    /// End of low memory for [`Memblock::alloc_low`] (`ARCH_LOW_ADDRESS_LIMIT`).
    pub low_address_limit: u64,
    /// Orders of hand-over blocks are `0..max_order` (`MAX_ORDER`).
    pub max_order: u32,
}

impl Default for Geometry {
    /// Linux 5.17.9 on x86-64 with NUMA.
    fn default() -> Self {
        Geometry {
            page_shift: 12,
            init_regions: 128,
            region_bytes: 24,
            smp_cache_bytes: 64,
            low_address_limit: 0xffff_ffff,
            max_order: 11,
        }
    }
}

impl Geometry {
    /// Bytes in a page.
    pub const fn page_size(&self) -> u64 {
        1 << self.page_shift
    }

    fn is_valid(&self) -> bool {
        (12..=16).contains(&self.page_shift)
            && (4..=65536).contains(&self.init_regions)
            && (8..=256).contains(&self.region_bytes)
            && self.smp_cache_bytes.is_power_of_two()
            && (1..=32).contains(&self.max_order)
    }
}

/// The boot memory allocator (`struct memblock`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memblock {
    memory: RegionList,
    reserved: RegionList,
    geometry: Geometry,
    current_limit: u64,
    bottom_up: bool,
    resize: Resize,
    some_mirror: bool,
    movable_node: bool,
    discarded: bool,
    growths: Vec<ArrayGrowth>,
}

impl Default for Memblock {
    fn default() -> Self {
        Memblock::with_valid_geometry(Geometry::default())
    }
}

impl Memblock {
    /// Two empty lists, no limit, top-down, no growth.
    pub fn new() -> Memblock {
        Memblock::default()
    }

    /// Like [`Memblock::new`], for a kernel of another geometry.
    pub fn with_geometry(geometry: Geometry) -> Result<Memblock, MemblockError> {
        if geometry.is_valid() { Ok(Self::with_valid_geometry(geometry)) } else { Err(MemblockError::Geometry) }
    }

    /// A memblock with these lists, which must be in order, disjoint and without empty regions.
    ///
    /// The counters are the sums; capacities are doubled until everything fits, and the places of
    /// the arrays are not known. Neighbours are kept as they are.
    pub fn from_regions(
        geometry: Geometry,
        memory: Vec<Region>,
        reserved: Vec<Region>,
    ) -> Result<Memblock, MemblockError> {
        let mut memblock = Memblock::with_geometry(geometry)?;
        memblock.memory.replace(memory)?;
        memblock.reserved.replace(reserved)?;
        Ok(memblock)
    }

    fn with_valid_geometry(geometry: Geometry) -> Memblock {
        Memblock {
            memory: RegionList::new(geometry.init_regions),
            reserved: RegionList::new(geometry.init_regions),
            geometry,
            current_limit: MEMBLOCK_ALLOC_ANYWHERE,
            bottom_up: false,
            resize: Resize::Refused,
            some_mirror: false,
            movable_node: false,
            discarded: false,
            growths: Vec::new(),
        }
    }

    /// The regions of memory that exists.
    pub fn memory(&self) -> &[Region] {
        self.memory.as_slice()
    }

    /// The regions that are taken.
    pub fn reserved(&self) -> &[Region] {
        self.reserved.as_slice()
    }

    /// The regions of one list.
    pub fn regions(&self, list: ListKind) -> &[Region] {
        self.list(list).as_slice()
    }

    /// Regions a list's array has room for (`memblock_type.max`).
    pub fn capacity(&self, list: ListKind) -> usize {
        self.list(list).capacity
    }

    /// A list's own size counter, modulo 2^64 (`memblock_type.total_size`).
    pub fn total_size(&self, list: ListKind) -> u64 {
        self.list(list).total_size
    }

    /// The sizes this memblock was made with.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// End of the search for "accessible" memory (`memblock_get_current_limit`).
    pub fn current_limit(&self) -> u64 {
        self.current_limit
    }

    /// Whether searches go upward (`memblock_bottom_up`).
    pub fn bottom_up(&self) -> bool {
        self.bottom_up
    }

    /// What happens when a list is full.
    pub fn resize(&self) -> Resize {
        self.resize
    }

    /// Whether full lists may grow as the kernel's do (`memblock_can_resize`).
    pub fn can_resize(&self) -> bool {
        self.resize == Resize::InMemory
    }

    /// Whether mirrored memory is preferred (`system_has_some_mirror`).
    pub fn some_mirror(&self) -> bool {
        self.some_mirror
    }

    /// Whether hotpluggable memory is withheld (`movable_node_is_enabled`).
    pub fn movable_node(&self) -> bool {
        self.movable_node
    }

    /// Whether memory was handed over and nothing can change any more.
    pub fn is_discarded(&self) -> bool {
        self.discarded
    }

    /// `memblock_set_current_limit`.
    pub fn set_current_limit(&mut self, limit: u64) -> Result<(), MemblockError> {
        self.check_open()?;
        self.current_limit = limit;
        Ok(())
    }

    /// `memblock_set_bottom_up`.
    pub fn set_bottom_up(&mut self, bottom_up: bool) -> Result<(), MemblockError> {
        self.check_open()?;
        self.bottom_up = bottom_up;
        Ok(())
    }

    /// Lets full lists grow from now on, in memory (`memblock_allow_resize`).
    pub fn allow_resize(&mut self) -> Result<(), MemblockError> {
        self.set_resize(Resize::InMemory)
    }

    /// Chooses what happens when a list is full.
    pub fn set_resize(&mut self, resize: Resize) -> Result<(), MemblockError> {
        self.check_open()?;
        self.resize = resize;
        Ok(())
    }

    /// The boot parameter `movable_node`.
    pub fn set_movable_node(&mut self, movable_node: bool) -> Result<(), MemblockError> {
        self.check_open()?;
        self.movable_node = movable_node;
        Ok(())
    }

    fn list(&self, list: ListKind) -> &RegionList {
        match list {
            ListKind::Memory => &self.memory,
            ListKind::Reserved => &self.reserved,
        }
    }

    fn list_mut(&mut self, list: ListKind) -> &mut RegionList {
        match list {
            ListKind::Memory => &mut self.memory,
            ListKind::Reserved => &mut self.reserved,
        }
    }

    fn check_open(&self) -> Result<(), MemblockError> {
        if self.discarded { Err(MemblockError::Discarded) } else { Ok(()) }
    }
}

/// End of a range after capping (`memblock_cap_size`); `None` if nothing is left of it.
fn capped_end(base: u64, size: u64) -> Option<u64> {
    let end = base.saturating_add(size);
    (end > base).then_some(end)
}

fn round_down(addr: u64, align: u64) -> u64 {
    addr & !(align - 1)
}

/// Rounds up; past the last address the result wraps to 0, as in the kernel.
fn round_up_wrapping(addr: u64, align: u64) -> u64 {
    round_down(addr.wrapping_add(align - 1), align)
}
