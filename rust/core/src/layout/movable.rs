//! Where zone Movable begins on each node.

use super::ranges::{MemoryMap, MemoryRange};
use super::zones::{ZoneLimits, dma32_limit_pfn};
use crate::config::{Config, CoreSize};
use crate::types::Pfn;

/// First pfn of zone Movable by node position; 0 where a node has no such zone.
///
/// Source: mm/page_alloc.c, `find_zone_movable_pfns_for_nodes`.
pub(super) fn zone_movable_pfns(config: &Config, map: &MemoryMap, limits: &ZoneLimits) -> Vec<Pfn> {
    let starts = if config.movable_node {
        lowest_bases(map, |range| range.is_hotplug)
    } else if config.kernelcore_mirror {
        let limit = dma32_limit_pfn(config);
        lowest_bases(map, |range| !range.is_mirror && range.base_pfn >= limit)
    } else {
        match kernelcore_pages(config, map.nr_pages()) {
            Some(kernelcore) => spread_kernelcore(map, limits, kernelcore),
            None => return vec![0; map.by_node.len()],
        }
    };
    starts.into_iter().map(|pfn| pfn.next_multiple_of(config.max_order_nr_pages())).collect()
}

/// The lowest base pfn per node among the ranges that count.
fn lowest_bases(map: &MemoryMap, counts: impl Fn(&MemoryRange) -> bool) -> Vec<Pfn> {
    let lowest = |ranges: &[MemoryRange]| {
        ranges.iter().filter(|range| counts(range)).map(|range| range.base_pfn).min().unwrap_or(0)
    };
    map.by_node.iter().map(|ranges| lowest(ranges)).collect()
}

/// Pages that must stay outside zone Movable, or `None` if that is everything.
fn kernelcore_pages(config: &Config, total: u64) -> Option<u64> {
    let in_pages = |size| match size {
        CoreSize::None => 0,
        CoreSize::Pages(pages) => pages,
        CoreSize::Percent(percent) => total * 100 * percent / 10000,
    };
    let mut kernelcore = in_pages(config.kernelcore);
    let movablecore = in_pages(config.movablecore);
    if movablecore != 0 {
        let rounded = movablecore.checked_next_multiple_of(config.max_order_nr_pages()).unwrap_or(u64::MAX);
        kernelcore = kernelcore.max(total - rounded.min(total));
    }
    (kernelcore != 0 && kernelcore < total).then_some(kernelcore)
}

/// Spreads the pages outside zone Movable evenly over the nodes with memory; what small nodes
/// cannot hold goes to the others in further rounds.
fn spread_kernelcore(map: &MemoryMap, limits: &ZoneLimits, mut kernelcore: u64) -> Vec<Pfn> {
    let usable_start = limits.low[limits.movable_zone];
    let mut starts = vec![0; map.by_node.len()];
    let mut usable_nodes = map.by_node.iter().filter(|ranges| !ranges.is_empty()).count() as u64;
    loop {
        let mut per_node = kernelcore / usable_nodes;
        for (node_start, ranges) in starts.iter_mut().zip(&map.by_node).filter(|(_, ranges)| !ranges.is_empty()) {
            if kernelcore < per_node {
                per_node = kernelcore / usable_nodes;
            }
            let mut remaining = per_node;
            for range in ranges {
                let mut start: Pfn = range.pfns.start.max(*node_start);
                let end = range.pfns.end;
                if start >= end {
                    continue;
                }
                if start < usable_start {
                    // Memory that no Movable zone can take counts as kernel memory first.
                    let nr_kernel = end.min(usable_start) - start;
                    remaining -= nr_kernel.min(remaining);
                    kernelcore -= nr_kernel.min(kernelcore);
                    if end <= usable_start {
                        *node_start = end;
                        continue;
                    }
                    start = usable_start;
                }
                let taken = (end - start).min(remaining);
                *node_start = start + taken;
                kernelcore -= taken.min(kernelcore);
                remaining -= taken;
                if remaining == 0 {
                    break;
                }
            }
        }
        usable_nodes -= 1;
        if usable_nodes == 0 || kernelcore <= usable_nodes {
            return starts;
        }
    }
}
