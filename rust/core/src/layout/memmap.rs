//! Which pfns have descriptors, which zone they name, and the initial pageblock types.

use super::ranges::{MemoryMap, PfnRange, end_of, push_joined, touched_pages};
use super::zonelist::ZoneRef;
use super::zones::is_mirror_mode;
use super::{MemmapRange, NodeLayout};
use crate::config::Config;
use crate::error::BootError;
use crate::memblock::{FLAG_NOMAP, Region};
use crate::types::{Pfn, ZoneKind};

/// All descriptors: of memory, and of the holes inside present sections.
///
/// A hole's descriptors name the zone above the hole, or the last zone handled after the last
/// memory. Source: mm/page_alloc.c, `memmap_init`, `init_unavailable_range`.
pub(super) fn descriptors(
    config: &Config,
    map: &MemoryMap,
    nodes: &[NodeLayout],
    movable_pfns: &[Pfn],
) -> Result<Vec<MemmapRange>, BootError> {
    let sections = present_sections(config, map);
    let mut memmap = Vec::new();
    let mut hole_start = 0;
    let mut section_index = 0;
    let mut push_hole = |memmap: &mut Vec<MemmapRange>, start: Pfn, end: Pfn, zone: ZoneRef| {
        while let Some(section) = sections.get(section_index) {
            let pfns = section.clamp(start, end);
            if !pfns.is_empty() {
                memmap.push(MemmapRange { pfns, zone, is_hole: true });
            }
            if section.end > end {
                break;
            }
            section_index += 1;
        }
    };
    let mut last_zone = ZoneRef { node: 0, index: 0 };
    for range in &map.ranges {
        let node = &nodes[range.node_position];
        let movable_pfn = movable_pfns[range.node_position];
        let mut covered = range.pfns.start;
        for zone in node.zones.iter().filter(|zone| zone.is_populated()) {
            last_zone = ZoneRef { node: node.nid, index: zone.index };
            let is_movable = zone.kind == ZoneKind::Movable;
            if is_mirror_mode(config) && is_movable && range.is_mirror {
                continue;
            }
            let mut end = zone.end_pfn();
            if is_mirror_mode(config) && !is_movable && !range.is_mirror && movable_pfn != 0 {
                end = end.min(movable_pfn);
            }
            let pfns = range.pfns.clamp(zone.start_pfn, end);
            if pfns.is_empty() {
                continue;
            }
            if hole_start < pfns.start {
                push_hole(&mut memmap, hole_start, pfns.start, last_zone);
            }
            memmap.push(MemmapRange { pfns, zone: last_zone, is_hole: false });
            hole_start = pfns.end;
            covered += pfns.nr_pages();
        }
        if covered != range.pfns.end {
            return Err(BootError::MemoryMap("kernelcore=mirror leaves memory that belongs to no zone"));
        }
    }
    push_hole(&mut memmap, hole_start, Pfn::MAX, last_zone);
    Ok(memmap)
}

/// Pfn ranges of the sections that hold memory (mm/sparse.c, `memory_present`).
fn present_sections(config: &Config, map: &MemoryMap) -> Vec<PfnRange> {
    let nr_section_pages = 1 << (config.section_size_bits - config.page_shift);
    let mut sections = Vec::new();
    for range in &map.ranges {
        let start = range.pfns.start / nr_section_pages * nr_section_pages;
        push_joined(&mut sections, PfnRange { start, end: range.pfns.end.next_multiple_of(nr_section_pages) });
    }
    sections
}

/// Pageblocks whose first page is memory: they begin as Movable.
///
/// Source: mm/page_alloc.c, `memmap_init_range`.
pub(super) fn movable_pageblocks(config: &Config, map: &MemoryMap) -> Vec<PfnRange> {
    let mut blocks = Vec::new();
    for range in &map.ranges {
        let block = |pfn: Pfn| pfn.div_ceil(config.pageblock_nr_pages());
        push_joined(&mut blocks, PfnRange { start: block(range.pfns.start), end: block(range.pfns.end) });
    }
    blocks
}

/// Every page with a descriptor that a reserved or NOMAP region touches, however little.
///
/// Source: mm/memblock.c, `memmap_init_reserved_pages`; mm/page_alloc.c, `reserve_bootmem_region`.
pub(super) fn reserved_pages(
    config: &Config,
    memory: &[Region],
    reserved: &[Region],
    memmap: &[MemmapRange],
) -> Vec<PfnRange> {
    let nomap = memory.iter().filter(|region| region.flags & FLAG_NOMAP != 0);
    let regions = reserved.iter().chain(nomap).filter(|region| region.size != 0);
    let mut touched: Vec<PfnRange> = regions.map(|region| touched_pages(config, region.base, end_of(region))).collect();
    touched.sort_unstable_by_key(|range| range.start);
    let mut joined = Vec::with_capacity(touched.len());
    for range in touched {
        push_joined(&mut joined, range);
    }

    let mut pages = Vec::with_capacity(joined.len());
    for range in joined {
        let first = memmap.partition_point(|descriptors| descriptors.pfns.end <= range.start);
        for descriptors in memmap[first..].iter().take_while(|descriptors| descriptors.pfns.start < range.end) {
            push_joined(&mut pages, descriptors.pfns.clamp(range.start, range.end));
        }
    }
    pages
}
