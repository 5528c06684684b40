//! From byte regions to pfn ranges.

use super::{MAX_PFN, Topology};
use crate::config::Config;
use crate::error::BootError;
use crate::memblock::{FLAG_DRIVER_MANAGED, FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP, Region};
use crate::types::Pfn;

/// A half-open range of numbers, normally pfns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PfnRange {
    /// First number.
    pub start: u64,
    /// The number after the last.
    pub end: u64,
}

impl PfnRange {
    /// How many numbers the range has.
    pub fn nr_pages(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Nothing is in the range.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// The part that lies in `[start, end)`; may be empty.
    pub fn clamp(&self, start: u64, end: u64) -> PfnRange {
        PfnRange { start: self.start.max(start), end: self.end.min(end) }
    }
}

/// Appends a range to ascending disjoint ranges, joining it to the last if they touch or overlap.
pub(super) fn push_joined(ranges: &mut Vec<PfnRange>, range: PfnRange) {
    if range.is_empty() {
        return;
    }
    match ranges.last_mut() {
        Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
        _ => ranges.push(range),
    }
}

/// The whole pages of a memory region.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryRange {
    pub pfns: PfnRange,
    /// The page that the region's first byte lies in.
    pub base_pfn: Pfn,
    /// Index of the node among the online ones.
    pub node_position: usize,
    pub is_hotplug: bool,
    pub is_mirror: bool,
}

/// The memory list as pfn ranges.
#[derive(Debug)]
pub(super) struct MemoryMap {
    /// All ranges, ascending.
    pub ranges: Vec<MemoryRange>,
    /// The same ranges by node position.
    pub by_node: Vec<Vec<MemoryRange>>,
    /// The page that the first memory region begins in.
    pub first_pfn: Pfn,
    /// The pfn after the last page.
    pub max_low_pfn: Pfn,
}

impl MemoryMap {
    /// Checks the memory list and converts it.
    ///
    /// Source: mm/memblock.c, `__next_mem_pfn_range`: regions shrink to whole pages, and regions
    /// without a whole page do not count.
    pub fn new(config: &Config, memory: &[Region], topology: &Topology) -> Result<MemoryMap, BootError> {
        let fail = |what| Err(BootError::MemoryMap(what));
        check_ascending(memory)?;
        let mut ranges = Vec::with_capacity(memory.len());
        let mut by_node = vec![Vec::new(); topology.nodes.len()];
        for region in memory.iter().filter(|region| region.size != 0) {
            let pfns = whole_pages(config, region.base, end_of(region));
            if pfns.is_empty() {
                continue;
            }
            if pfns.end > MAX_PFN {
                return fail("memory lies at or above page frame 2^40");
            }
            let nid = match (config.numa, region.nid) {
                (false, _) => 0,
                (true, Some(nid)) => nid,
                (true, None) => return fail("a memory region has no node"),
            };
            let Some(node_position) = topology.position(nid) else {
                return fail("a memory region is on a node that is not online");
            };
            let range = MemoryRange {
                pfns,
                base_pfn: region.base >> config.page_shift,
                node_position,
                is_hotplug: region.flags & FLAG_HOTPLUG != 0,
                is_mirror: region.flags & FLAG_MIRROR != 0,
            };
            ranges.push(range);
            by_node[node_position].push(range);
        }
        let Some(last) = ranges.last() else {
            return fail("the memory map has no whole page of memory");
        };
        let max_low_pfn = last.pfns.end;
        let first = memory.iter().find(|region| region.size != 0);
        let first_pfn = first.map_or(0, |region| region.base >> config.page_shift);
        Ok(MemoryMap { ranges, by_node, first_pfn, max_low_pfn })
    }

    /// Pages of memory.
    pub fn nr_pages(&self) -> u64 {
        self.ranges.iter().map(|range| range.pfns.nr_pages()).sum()
    }
}

fn check_ascending(memory: &[Region]) -> Result<(), BootError> {
    let mut previous_end = 0;
    for region in memory.iter().filter(|region| region.size != 0) {
        let Some(end) = region.base.checked_add(region.size) else {
            return Err(BootError::MemoryMap("a memory region ends beyond 2^64 bytes"));
        };
        if region.base < previous_end {
            return Err(BootError::MemoryMap("memory regions must be in ascending order and must not overlap"));
        }
        previous_end = end;
    }
    Ok(())
}

/// The byte after a region's last, cut at the end of the address space.
pub(super) fn end_of(region: &Region) -> u64 {
    region.base.saturating_add(region.size)
}

/// The pages that lie in `[start, end)` completely.
fn whole_pages(config: &Config, start: u64, end: u64) -> PfnRange {
    PfnRange { start: start.div_ceil(config.page_size()), end: end >> config.page_shift }
}

/// The pages that `[start, end)` touches.
pub(super) fn touched_pages(config: &Config, start: u64, end: u64) -> PfnRange {
    PfnRange { start: start >> config.page_shift, end: end.div_ceil(config.page_size()) }
}

/// Pages below 16 MiB that are memory but not free: they weigh on the estimate of zone 0.
///
/// Source: arch/x86/mm/init.c, `memblock_find_dma_reserve`.
pub(super) fn dma_reserve(config: &Config, memory: &[Region], reserved: &[Region]) -> u64 {
    let max_dma_pfn = super::zones::dma_limit_pfn(config);
    let mut nr_pages = 0;
    let mut nr_free = 0;
    let reserved = joined_bytes(reserved);
    for region in memory.iter().filter(|region| region.size != 0) {
        let (start, end) = (region.base, end_of(region));
        if start >> config.page_shift >= max_dma_pfn {
            break;
        }
        nr_pages += whole_pages(config, start, end).clamp(0, max_dma_pfn).nr_pages();
        let is_withheld = region.flags & (FLAG_NOMAP | FLAG_DRIVER_MANAGED) != 0
            || (region.flags & FLAG_HOTPLUG != 0 && config.movable_node);
        if is_withheld {
            continue;
        }
        let mut cursor = start;
        let first = reserved.partition_point(|taken| taken.end <= start);
        for taken in reserved[first..].iter().take_while(|taken| taken.start < end) {
            nr_free += whole_pages(config, cursor, taken.start).clamp(0, max_dma_pfn).nr_pages();
            cursor = taken.end;
        }
        nr_free += whole_pages(config, cursor, end).clamp(0, max_dma_pfn).nr_pages();
    }
    nr_pages - nr_free
}

/// Byte ranges of regions in ascending order, joined where they touch.
fn joined_bytes(regions: &[Region]) -> Vec<PfnRange> {
    let mut bytes: Vec<PfnRange> =
        regions.iter().map(|region| PfnRange { start: region.base, end: end_of(region) }).collect();
    bytes.sort_unstable_by_key(|range| range.start);
    let mut joined = Vec::with_capacity(bytes.len());
    for range in bytes {
        push_joined(&mut joined, range);
    }
    joined
}
