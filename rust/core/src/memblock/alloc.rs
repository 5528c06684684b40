//! Allocation: search, then reserve.

use super::{FLAG_MIRROR, ListKind, MEMBLOCK_ALLOC_ACCESSIBLE, Memblock, MemblockError};

/// Address of the allocation. Where the kernel returns 0 the error is [`MemblockError::NoMemory`].
type AllocResult = Result<u64, MemblockError>;

impl Memblock {
    /// Reserves `size` bytes in `[start, end)` (`memblock_alloc_range_nid`).
    ///
    /// Tries the node, then any node unless `exact`, first in mirrored memory if there is some. The
    /// size is not rounded; an alignment of 0 is that of a cache line.
    pub fn alloc_range_nid(
        &mut self,
        size: u64,
        align: u64,
        start: u64,
        end: u64,
        nid: Option<u32>,
        exact: bool,
    ) -> AllocResult {
        self.check_open()?;
        let align = if align == 0 { self.geometry.smp_cache_bytes } else { align };
        if !align.is_power_of_two() {
            return Err(MemblockError::BadAlign);
        }
        let mut flags = self.preferred_flags();
        loop {
            if let Some(found) = self.find_and_reserve(size, align, start, end, nid, flags)? {
                return Ok(found);
            }
            if nid.is_some() && !exact {
                if let Some(found) = self.find_and_reserve(size, align, start, end, None, flags)? {
                    return Ok(found);
                }
            }
            if flags & FLAG_MIRROR == 0 {
                return Err(MemblockError::NoMemory);
            }
            flags &= !FLAG_MIRROR;
        }
    }

    /// A range that is found but cannot be reserved counts as not found.
    fn find_and_reserve(
        &mut self,
        size: u64,
        align: u64,
        start: u64,
        end: u64,
        nid: Option<u32>,
        flags: u32,
    ) -> Result<Option<u64>, MemblockError> {
        let Some(found) = self.find_aligned(size, align, start, end, nid, flags) else { return Ok(None) };
        match self.add_range(ListKind::Reserved, found, size, None, 0) {
            Ok(()) => Ok(Some(found)),
            Err(MemblockError::NoMemory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `memblock_phys_alloc_range`: any node.
    pub fn phys_alloc_range(&mut self, size: u64, align: u64, start: u64, end: u64) -> AllocResult {
        self.alloc_range_nid(size, align, start, end, None, false)
    }

    /// `memblock_phys_alloc_try_nid`: anywhere accessible, preferably on the node.
    pub fn phys_alloc_try_nid(&mut self, size: u64, align: u64, nid: Option<u32>) -> AllocResult {
        self.alloc_range_nid(size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE, nid, false)
    }

    /// `memblock_phys_alloc`: anywhere accessible.
    pub fn phys_alloc(&mut self, size: u64, align: u64) -> AllocResult {
        self.phys_alloc_try_nid(size, align, None)
    }

    /// Allocation by virtual address (`memblock_alloc_internal`): never above the current limit, and
    /// rather below `min` than not at all.
    fn alloc_internal(
        &mut self,
        size: u64,
        align: u64,
        min: u64,
        max: u64,
        nid: Option<u32>,
        exact: bool,
    ) -> AllocResult {
        let max = max.min(self.current_limit);
        match self.alloc_range_nid(size, align, min, max, nid, exact) {
            Err(MemblockError::NoMemory) if min != 0 => self.alloc_range_nid(size, align, 0, max, nid, exact),
            result => result,
        }
    }

    /// `memblock_alloc_exact_nid_raw`: on the node or not at all.
    pub fn alloc_exact_nid_raw(&mut self, size: u64, align: u64, min: u64, max: u64, nid: Option<u32>) -> AllocResult {
        self.alloc_internal(size, align, min, max, nid, true)
    }

    /// `memblock_alloc_try_nid` and `memblock_alloc_try_nid_raw`, which differ in clearing only.
    pub fn alloc_try_nid(&mut self, size: u64, align: u64, min: u64, max: u64, nid: Option<u32>) -> AllocResult {
        self.alloc_internal(size, align, min, max, nid, false)
    }

    /// `memblock_alloc` and `memblock_alloc_raw`.
    pub fn alloc(&mut self, size: u64, align: u64) -> AllocResult {
        self.alloc_try_nid(size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE, None)
    }

    /// `memblock_alloc_from`: preferably at or above `min`.
    pub fn alloc_from(&mut self, size: u64, align: u64, min: u64) -> AllocResult {
        self.alloc_try_nid(size, align, min, MEMBLOCK_ALLOC_ACCESSIBLE, None)
    }

    /// `memblock_alloc_low`: below the low-memory limit.
    pub fn alloc_low(&mut self, size: u64, align: u64) -> AllocResult {
        self.alloc_try_nid(size, align, 0, self.geometry.low_address_limit, None)
    }

    /// `memblock_alloc_node`: preferably on the node.
    pub fn alloc_node(&mut self, size: u64, align: u64, nid: Option<u32>) -> AllocResult {
        self.alloc_try_nid(size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE, nid)
    }
}
