//! Walks over free memory, memory and reservations.

use super::{FLAG_DRIVER_MANAGED, FLAG_HOTPLUG, Memblock, Region, RegionFilter};
use crate::types::Pfn;

/// A range of free memory: part of one memory region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeRange {
    /// First byte.
    pub start: u64,
    /// First byte after it. Equal to `start` between two touching reservations.
    pub end: u64,
    /// Node of the memory region.
    pub nid: Option<u32>,
}

/// Whole pages of one memory region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PfnRange {
    /// First page.
    pub start: Pfn,
    /// First page after it.
    pub end: Pfn,
    /// Node of the memory region.
    pub nid: Option<u32>,
}

/// Free memory in ascending order: the parts of `memory` that `reserved` leaves
/// (`for_each_free_mem_range`).
///
/// A range never spans two memory regions, even if they touch. Two reserved regions that touch but
/// are not merged have an empty gap between them, which shows as an empty range if it lies strictly
/// inside a memory region.
pub fn for_each_free_mem_range<'a>(
    memory: &'a [Region],
    reserved: &'a [Region],
    filter: RegionFilter,
) -> FreeRanges<'a> {
    FreeRanges { memory, reserved, filter, region: 0, gap: 0 }
}

/// Whole pages of every memory region, whatever its flags (`for_each_mem_pfn_range`).
///
/// `nid` `None` takes the regions of all nodes. Rounding up wraps modulo 2^64 as in the kernel.
pub fn for_each_mem_pfn_range(
    memory: &[Region],
    nid: Option<u32>,
    page_shift: u32,
) -> impl DoubleEndedIterator<Item = PfnRange> + '_ {
    let round = (1u64 << page_shift) - 1;
    memory.iter().filter(move |region| nid.is_none() || region.nid == nid).filter_map(move |region| {
        let start = region.base.wrapping_add(round) >> page_shift;
        let end = region.end() >> page_shift;
        (start < end).then_some(PfnRange { start, end, nid: region.nid })
    })
}

/// Start and end of a gap of the reserved list: gap `i` lies before reserved region `i`.
fn gap_bounds(reserved: &[Region], gap: usize) -> (u64, u64) {
    let start = gap.checked_sub(1).map_or(0, |before| reserved[before].end());
    let end = reserved.get(gap).map_or(u64::MAX, |after| after.base);
    (start, end)
}

/// Iterator of [`for_each_free_mem_range`].
#[derive(Clone, Debug)]
pub struct FreeRanges<'a> {
    memory: &'a [Region],
    reserved: &'a [Region],
    filter: RegionFilter,
    region: usize,
    gap: usize,
}

impl FreeRanges<'_> {
    /// Leaves out what ends at or below the address.
    pub(super) fn skip_below(mut self, addr: u64) -> Self {
        self.region = self.memory.partition_point(|r| r.end() <= addr);
        // The gap after the last reservation that ends at or below the address reaches above it.
        self.gap = self.reserved.partition_point(|r| r.end() <= addr);
        self
    }
}

impl Iterator for FreeRanges<'_> {
    type Item = FreeRange;

    fn next(&mut self) -> Option<FreeRange> {
        loop {
            let region = self.memory.get(self.region)?;
            let (gap_start, gap_end) = gap_bounds(self.reserved, self.gap);
            if gap_start >= region.end() || !self.filter.admits(region) {
                self.region += 1;
                continue;
            }
            // Whichever ends first cannot meet anything further.
            if region.end() <= gap_end {
                self.region += 1;
            } else {
                self.gap += 1;
            }
            if region.base < gap_end {
                let (start, end) = (region.base.max(gap_start), region.end().min(gap_end));
                return Some(FreeRange { start, end, nid: region.nid });
            }
        }
    }
}

/// Free memory in descending order: the ranges of [`FreeRanges`] backwards.
#[derive(Clone, Debug)]
pub struct FreeRangesRev<'a> {
    memory: &'a [Region],
    reserved: &'a [Region],
    filter: RegionFilter,
    /// Memory regions not yet passed.
    nr_regions: usize,
    gap: usize,
}

impl FreeRangesRev<'_> {
    /// Leaves out what starts at or above the address.
    pub(super) fn skip_above(mut self, addr: u64) -> Self {
        self.nr_regions = self.memory.partition_point(|r| r.base < addr);
        self.gap = self.reserved.partition_point(|r| r.base < addr);
        self
    }
}

impl Iterator for FreeRangesRev<'_> {
    type Item = FreeRange;

    fn next(&mut self) -> Option<FreeRange> {
        while let Some(last) = self.nr_regions.checked_sub(1) {
            let region = &self.memory[last];
            let (gap_start, gap_end) = gap_bounds(self.reserved, self.gap);
            if gap_end <= region.base || !self.filter.admits(region) {
                self.nr_regions -= 1;
                continue;
            }
            if region.base >= gap_start {
                self.nr_regions -= 1;
            } else {
                self.gap -= 1;
            }
            if gap_start < region.end() {
                let (start, end) = (region.base.max(gap_start), region.end().min(gap_end));
                return Some(FreeRange { start, end, nid: region.nid });
            }
        }
        None
    }
}

impl Memblock {
    /// Free memory in ascending order (`for_each_free_mem_range`).
    pub fn for_each_free_mem_range(&self, nid: Option<u32>, flags: u32) -> FreeRanges<'_> {
        for_each_free_mem_range(self.memory(), self.reserved(), self.filter(nid, flags))
    }

    /// Free memory in descending order (`for_each_free_mem_range_reverse`).
    pub fn for_each_free_mem_range_reverse(&self, nid: Option<u32>, flags: u32) -> FreeRangesRev<'_> {
        FreeRangesRev {
            memory: self.memory(),
            reserved: self.reserved(),
            filter: self.filter(nid, flags),
            nr_regions: self.memory().len(),
            gap: self.reserved().len(),
        }
    }

    /// `[start, end)` of every memory region without NOMAP (`for_each_mem_range`; backwards with
    /// `.rev()`). An empty list yields the kernel's dummy, `(0, 0)`.
    pub fn for_each_mem_range(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        let filter = self.filter(None, FLAG_HOTPLUG | FLAG_DRIVER_MANAGED);
        self.memory.with_dummy().filter(move |region| filter.admits(region)).map(|r| (r.base, r.end()))
    }

    /// `[start, end)` of every reserved region (`for_each_reserved_mem_range`). An empty list yields
    /// the kernel's dummy, `(0, 0)`.
    pub fn for_each_reserved_mem_range(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.reserved.with_dummy().map(|r| (r.base, r.end()))
    }

    /// Whole pages of the memory regions of a node, or of all (`for_each_mem_pfn_range`).
    pub fn for_each_mem_pfn_range(&self, nid: Option<u32>) -> impl DoubleEndedIterator<Item = PfnRange> + '_ {
        for_each_mem_pfn_range(self.memory(), nid, self.geometry.page_shift)
    }

    fn filter(&self, nid: Option<u32>, flags: u32) -> RegionFilter {
        RegionFilter { nid, flags, movable_node: self.movable_node }
    }
}
