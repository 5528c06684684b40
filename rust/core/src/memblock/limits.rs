//! Operations that cut memory down.

use super::{FLAG_NOMAP, ListKind, Memblock, MemblockError, capped_end, round_down};

/// Like the kernel's functions, which return nothing, these succeed even where a full list that
/// could not grow kept part of the removal from happening.
type LimitResult = Result<(), MemblockError>;

impl Memblock {
    /// Keeps the first `limit` bytes of memory and drops what lies above, with its reservations
    /// (`memblock_enforce_memory_limit`). 0, or more than there is: nothing happens.
    pub fn enforce_memory_limit(&mut self, limit: u64) -> LimitResult {
        self.check_open()?;
        let Some(max_addr) = self.address_of_limit(limit) else { return Ok(()) };
        ignore_full_list(self.remove_range(ListKind::Memory, max_addr, u64::MAX))?;
        ignore_full_list(self.remove_range(ListKind::Reserved, max_addr, u64::MAX))
    }

    /// Drops all memory and reservations outside a range; NOMAP memory stays
    /// (`memblock_cap_memory_range`).
    ///
    /// A NOMAP region that crosses a boundary stays in two pieces. As in the kernel, a `size` that
    /// reaches past the last address wraps where reservations are cut.
    pub fn cap_memory_range(&mut self, base: u64, size: u64) -> LimitResult {
        self.check_open()?;
        if size == 0 || self.memory.total_size == 0 {
            return Ok(());
        }
        let inside = match capped_end(base, size).map(|end| self.isolate_range(ListKind::Memory, base, end)) {
            Some(Ok(inside)) => inside,
            Some(Err(error)) => return ignore_full_list(Err(error)),
            None => 0..0,
        };
        self.memory.delete_outside(inside, |region| region.flags & FLAG_NOMAP != 0);
        ignore_full_list(self.remove_range(ListKind::Reserved, 0, base))?;
        ignore_full_list(self.remove_range(ListKind::Reserved, base.wrapping_add(size), u64::MAX))
    }

    /// Like [`Memblock::enforce_memory_limit`], but NOMAP memory stays
    /// (`memblock_mem_limit_remove_map`).
    pub fn mem_limit_remove_map(&mut self, limit: u64) -> LimitResult {
        self.check_open()?;
        match self.address_of_limit(limit) {
            Some(max_addr) => self.cap_memory_range(0, max_addr),
            None => Ok(()),
        }
    }

    /// Cuts every memory region to multiples of `align`; regions that vanish are deleted
    /// (`memblock_trim_memory`). The size counter keeps what the others lost.
    pub fn trim_memory(&mut self, align: u64) -> LimitResult {
        self.check_open()?;
        if !align.is_power_of_two() {
            return Err(MemblockError::BadAlign);
        }
        self.memory.shrink_each(|region| {
            // Rounding up past the last address is undefined in the kernel; here nothing is left.
            let base = round_down(region.base.checked_add(align - 1)?, align);
            let end = round_down(region.end(), align);
            (base < end).then_some((base, end))
        });
        Ok(())
    }

    /// Where the first `limit` bytes of memory end (`__find_max_addr`).
    fn address_of_limit(&self, limit: u64) -> Option<u64> {
        if limit == 0 {
            return None;
        }
        let mut left = limit;
        for region in self.memory() {
            if left <= region.size {
                // The last address stands for "not found" in the kernel.
                return Some(region.base + left).filter(|&addr| addr != u64::MAX);
            }
            left -= region.size;
        }
        None
    }
}

fn ignore_full_list(result: LimitResult) -> LimitResult {
    match result {
        Err(MemblockError::NoMemory) => Ok(()),
        result => result,
    }
}
