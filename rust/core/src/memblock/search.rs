//! Search for free space.

use super::{FLAG_MIRROR, FreeRange, Memblock, MemblockError, round_down, round_up_wrapping};

impl Memblock {
    /// Address of `size` free bytes, or `None` (`memblock_find_in_range_node`, which returns 0 then).
    ///
    /// An `end` of 0 or 1 is the current limit. Nothing is found below the second page. A size of 0
    /// is legal and can find an address outside free memory, as in the kernel.
    pub fn find_in_range_node(
        &self,
        size: u64,
        align: u64,
        start: u64,
        end: u64,
        nid: Option<u32>,
        flags: u32,
    ) -> Result<Option<u64>, MemblockError> {
        if !align.is_power_of_two() {
            return Err(MemblockError::BadAlign);
        }
        Ok(self.find_aligned(size, align, start, end, nid, flags))
    }

    /// The same, any node, mirrored memory first where there is some (`memblock_find_in_range`).
    pub(super) fn find_in_range(&self, start: u64, end: u64, size: u64, align: u64) -> Option<u64> {
        let flags = self.preferred_flags();
        let found = self.find_aligned(size, align, start, end, None, flags);
        if found.is_none() && flags != 0 { self.find_aligned(size, align, start, end, None, 0) } else { found }
    }

    /// Flags an allocation asks for first (`choose_memblock_flags`).
    pub(super) fn preferred_flags(&self) -> u32 {
        if self.some_mirror { FLAG_MIRROR } else { 0 }
    }

    /// Search for a power-of-two `align`.
    pub(super) fn find_aligned(
        &self,
        size: u64,
        align: u64,
        start: u64,
        end: u64,
        nid: Option<u32>,
        flags: u32,
    ) -> Option<u64> {
        let end = if end <= 1 { self.current_limit } else { end };
        let start = start.max(self.geometry.page_size());
        let end = end.max(start);
        // Both ends are clamped on their own, so a range wholly outside becomes empty at the nearer
        // bound. Only a search for nothing can be satisfied there; all others may skip such ranges.
        let clamp = |range: FreeRange| (range.start.clamp(start, end), range.end.clamp(start, end));
        let found = if self.bottom_up {
            let mut ranges = self.for_each_free_mem_range(nid, flags);
            if size > 0 {
                ranges = ranges.skip_below(start);
            }
            ranges.take_while(|range| size == 0 || range.start < end).map(clamp).find_map(|(low, high)| {
                let at = round_up_wrapping(low, align);
                (at < high && high - at >= size).then_some(at)
            })
        } else {
            let mut ranges = self.for_each_free_mem_range_reverse(nid, flags);
            if size > 0 {
                ranges = ranges.skip_above(end);
            }
            ranges.take_while(|range| size == 0 || range.end > start).map(clamp).find_map(|(low, high)| {
                let at = round_down(high.checked_sub(size)?, align);
                (at >= low).then_some(at)
            })
        };
        // Rounding up past the last address gives 0, which means failure and ends the search.
        found.filter(|&at| at != 0)
    }
}
