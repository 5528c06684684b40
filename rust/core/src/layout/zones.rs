//! Zone limits, spans and present pages.

use super::ranges::MemoryRange;
use super::{STRUCT_PAGE_SIZE, ZoneLayout};
use crate::config::Config;
use crate::types::{MAX_NR_ZONES, Pfn, ZoneKind};

/// Zone DMA ends at 16 MiB (arch/x86, `MAX_DMA_PFN`).
pub(super) fn dma_limit_pfn(config: &Config) -> Pfn {
    (16 << 20) >> config.page_shift
}

/// Zone DMA32 ends at 4 GiB (arch/x86, `MAX_DMA32_PFN`).
pub(super) fn dma32_limit_pfn(config: &Config) -> Pfn {
    (1 << 32) >> config.page_shift
}

/// Lowest and highest possible pfn per zone index, machine-wide.
#[derive(Debug)]
pub(super) struct ZoneLimits {
    /// First pfn the zone may have; zone Movable has none of its own.
    pub low: [Pfn; MAX_NR_ZONES],
    /// The pfn after the last one the zone may have.
    pub high: [Pfn; MAX_NR_ZONES],
    /// The zone whose memory zone Movable is cut from (`find_usable_zone_for_movable`).
    pub movable_zone: usize,
}

impl ZoneLimits {
    /// Source: arch/x86/mm/init.c, `zone_sizes_init`; mm/page_alloc.c, `free_area_init`.
    pub fn new(config: &Config, first_pfn: Pfn, max_low_pfn: Pfn) -> ZoneLimits {
        let mut limits = ZoneLimits { low: [0; MAX_NR_ZONES], high: [0; MAX_NR_ZONES], movable_zone: 0 };
        let mut start = first_pfn;
        for (index, kind) in config.zone_kinds().enumerate() {
            let bound = match kind {
                ZoneKind::Dma => dma_limit_pfn(config).min(max_low_pfn),
                ZoneKind::Dma32 => dma32_limit_pfn(config).min(max_low_pfn),
                ZoneKind::Normal => max_low_pfn,
                ZoneKind::Movable => continue,
            };
            limits.low[index] = start;
            limits.high[index] = bound.max(start);
            start = limits.high[index];
            if limits.high[index] > limits.low[index] {
                limits.movable_zone = index;
            }
        }
        limits
    }
}

/// Sizes of all zones of one node.
///
/// Source: mm/page_alloc.c, `calculate_node_totalpages`, `free_area_init_core`.
pub(super) fn node_zones(
    config: &Config,
    limits: &ZoneLimits,
    nid: u32,
    ranges: &[MemoryRange],
    movable_pfn: Pfn,
    dma_reserve: u64,
) -> Vec<ZoneLayout> {
    config
        .zone_kinds()
        .enumerate()
        .map(|(index, kind)| {
            let (start, end) = zone_span(config, limits, ranges, movable_pfn, index, kind);
            let spanned = end - start;
            let present = ranges
                .iter()
                .filter(|range| is_present_in(config, range, kind, movable_pfn))
                .map(|range| range.pfns.clamp(start, end).nr_pages())
                .sum();
            let dma_reserve = if index == 0 { dma_reserve } else { 0 };
            ZoneLayout {
                node: nid,
                index,
                kind,
                start_pfn: if spanned != 0 { start } else { 0 },
                spanned,
                present,
                provisional_managed: provisional_managed(config, spanned, present, dma_reserve),
            }
        })
        .collect()
}

/// With kernelcore=mirror zones Normal and Movable overlap and share the memory by its flag.
fn is_present_in(config: &Config, range: &MemoryRange, kind: ZoneKind, movable_pfn: Pfn) -> bool {
    if !is_mirror_mode(config) || movable_pfn == 0 {
        return true;
    }
    match kind {
        ZoneKind::Movable => !range.is_mirror,
        ZoneKind::Normal => range.is_mirror,
        ZoneKind::Dma | ZoneKind::Dma32 => true,
    }
}

/// kernelcore=mirror is in force: movable_node goes before it.
pub(super) fn is_mirror_mode(config: &Config) -> bool {
    config.kernelcore_mirror && !config.movable_node
}

/// First and last-plus-one pfn of a zone; equal if it spans nothing.
fn zone_span(
    config: &Config,
    limits: &ZoneLimits,
    ranges: &[MemoryRange],
    movable_pfn: Pfn,
    index: usize,
    kind: ZoneKind,
) -> (Pfn, Pfn) {
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
        return (0, 0);
    };
    let (node_start, node_end) = (first.pfns.start, last.pfns.end);
    let (low, high) = (limits.low[index], limits.high[index]);
    let mut start = node_start.clamp(low, high);
    let mut end = node_end.clamp(low, high);
    if movable_pfn != 0 {
        if kind == ZoneKind::Movable {
            start = movable_pfn;
            end = node_end.min(limits.high[limits.movable_zone]);
        } else if !is_mirror_mode(config) && start < movable_pfn && movable_pfn < end {
            end = movable_pfn;
        } else if start >= movable_pfn {
            start = end;
        }
    }
    if end < node_start || start > node_end || start >= end {
        // A Movable start rounded up beyond the node's end lands here too: no such zone.
        return (0, 0);
    }
    (start.max(node_start), end.min(node_end))
}

/// What zone sizing believes to be managed: present pages without the memory map's own.
///
/// Source: mm/page_alloc.c, `calc_memmap_size`, `free_area_init_core`.
fn provisional_managed(config: &Config, spanned: u64, present: u64, dma_reserve: u64) -> u64 {
    // A sparse zone has descriptors for its present pages only.
    let nr_descriptors = if spanned > present + present / 16 { present } else { spanned };
    let nr_memmap_pages = (nr_descriptors * STRUCT_PAGE_SIZE).div_ceil(config.page_size());
    let managed = present.checked_sub(nr_memmap_pages).unwrap_or(present);
    if managed > dma_reserve { managed - dma_reserve } else { managed }
}
