//! Questions about addresses and sizes.

use super::{FLAG_NOMAP, ListKind, Memblock, PfnRange, Region};
use crate::types::Pfn;

impl Memblock {
    /// The memory region that holds the address (`memblock_search`).
    pub fn region_at(&self, addr: u64) -> Option<&Region> {
        self.memory.search(addr)
    }

    /// Whether the address is memory (`memblock_is_memory`).
    pub fn is_memory(&self, addr: u64) -> bool {
        self.memory.search(addr).is_some()
    }

    /// Whether the address is reserved (`memblock_is_reserved`).
    pub fn is_reserved(&self, addr: u64) -> bool {
        self.reserved.search(addr).is_some()
    }

    /// Whether the address is memory that the kernel maps (`memblock_is_map_memory`).
    pub fn is_map_memory(&self, addr: u64) -> bool {
        self.memory.search(addr).is_some_and(|region| region.flags & FLAG_NOMAP == 0)
    }

    /// Whether one memory region holds the whole range (`memblock_is_region_memory`); regions that
    /// touch are not joined. For size 0: whether one holds `base`.
    pub fn is_region_memory(&self, base: u64, size: u64) -> bool {
        self.memory.search(base).is_some_and(|region| base.saturating_add(size) <= region.end())
    }

    /// Whether any byte of the range is reserved (`memblock_is_region_reserved`). For size 0:
    /// whether `base` lies strictly inside a reserved region.
    pub fn is_region_reserved(&self, base: u64, size: u64) -> bool {
        self.overlaps_region(ListKind::Reserved, base, size)
    }

    /// The same question on either list (`memblock_overlaps_region`).
    pub fn overlaps_region(&self, list: ListKind, base: u64, size: u64) -> bool {
        self.list(list).overlaps(base, base.saturating_add(size))
    }

    /// Node and pages, both ends rounded down, of the memory region that holds the page's first byte
    /// (`memblock_search_pfn_nid`).
    pub fn search_pfn_nid(&self, pfn: Pfn) -> Option<PfnRange> {
        let shift = self.geometry.page_shift;
        let region = self.memory.search(pfn << shift)?;
        Some(PfnRange { start: region.base >> shift, end: region.end() >> shift, nid: region.nid })
    }

    /// The memory list's size counter (`memblock_phys_mem_size`).
    pub fn phys_mem_size(&self) -> u64 {
        self.memory.total_size
    }

    /// The reserved list's size counter (`memblock_reserved_size`).
    pub fn reserved_size(&self) -> u64 {
        self.reserved.total_size
    }

    /// First byte of memory, 0 if there is none (`memblock_start_of_DRAM`).
    pub fn start_of_dram(&self) -> u64 {
        self.memory().first().map_or(0, |region| region.base)
    }

    /// First byte after memory, 0 if there is none (`memblock_end_of_DRAM`).
    pub fn end_of_dram(&self) -> u64 {
        self.memory().last().map_or(0, |region| region.end())
    }
}
