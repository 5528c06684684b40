//! How watermarks and reserves follow from the size of the zones and the tunables.
//!
//! Counts are pages unless a name says kilobytes; the tunables are the kernel's (`int`).

use crate::config::Config;
use crate::types::{MAX_NR_ZONES, MIGRATE_PCPTYPES, ZoneKind};

/// min_free_kbytes before it is first calculated.
pub const INITIAL_MIN_FREE_KBYTES: i32 = 1024;
/// user_min_free_kbytes as long as the user has set nothing.
pub const USER_MIN_FREE_KBYTES_UNSET: i32 = -1;
/// vm.watermark_scale_factor, in ten-thousandths of a zone.
pub const DEFAULT_WATERMARK_SCALE_FACTOR: u32 = 10;
/// vm.watermark_boost_factor, in ten-thousandths of the high watermark.
pub const DEFAULT_WATERMARK_BOOST_FACTOR: u32 = 15000;

/// The sum of the pages above the high watermark.
///
/// `zones` are the managed pages and boosted high watermarks of the zones up to Normal in the
/// current node's fallback list. Source: mm/page_alloc.c, `nr_free_buffer_pages`.
pub fn nr_free_buffer_pages(zones: impl IntoIterator<Item = (u64, u64)>) -> u64 {
    zones.into_iter().map(|(managed, high)| managed.saturating_sub(high)).sum()
}

/// min_free_kbytes from the size of memory; the current value where the user wants more.
///
/// Source: mm/page_alloc.c, `calculate_min_free_kbytes`.
pub fn calculate_min_free_kbytes(config: &Config, nr_free_buffer_pages: u64, current: i32, user: i32) -> i32 {
    let lowmem_kbytes = nr_free_buffer_pages.saturating_mul(config.page_size() >> 10);
    let calculated = lowmem_kbytes.saturating_mul(16).isqrt();
    if i64::try_from(calculated).is_ok_and(|calculated| calculated <= i64::from(user)) {
        return current;
    }
    // At most 262144, which fits.
    calculated.clamp(128, 262144) as i32
}

/// Transparent huge pages start up, and adjust min_free_kbytes, with 512 MiB of memory.
///
/// Source: mm/huge_memory.c, `hugepage_init`.
pub fn is_thp_started(config: &Config, totalram_pages: u64) -> bool {
    config.thp && totalram_pages >= 512 << (20 - config.page_shift)
}

/// min_free_kbytes that keeps pageblocks free for huge pages.
///
/// `nr_zones` counts the populated zones up to Normal on all nodes. The current value stays if it
/// is larger. Source: mm/khugepaged.c, `set_recommended_min_free_kbytes`.
pub fn recommended_min_free_kbytes(config: &Config, nr_zones: u64, nr_free_buffer_pages: u64, current: i32) -> i32 {
    let pcp_types = MIGRATE_PCPTYPES as u64;
    let pages_per_zone = config.pageblock_nr_pages() * (2 + pcp_types * pcp_types);
    let recommended = pages_per_zone.saturating_mul(nr_zones).min(nr_free_buffer_pages / 20);
    let kbytes = recommended << (config.page_shift - 10);
    current.max(i32::try_from(kbytes).unwrap_or(i32::MAX))
}

/// x * numerator / denominator without overflow in between (include/linux/math.h, `mult_frac`).
pub fn mult_frac(x: u64, numerator: u64, denominator: u64) -> u64 {
    (x / denominator) * numerator + (x % denominator) * numerator / denominator
}

/// Watermarks min, low and high of a zone, without boost.
///
/// `nr_managed_total` are the managed pages of all zones of all nodes, zone Movable included.
/// Whenever watermarks are set up, boosts end. Source: mm/page_alloc.c, `__setup_per_zone_wmarks`.
pub fn zone_watermarks(
    config: &Config,
    min_free_kbytes: i32,
    watermark_scale_factor: u32,
    managed: u64,
    nr_managed_total: u64,
) -> [u64; 3] {
    let pages_min = u64::from(min_free_kbytes.max(0).unsigned_abs()) >> (config.page_shift - 10);
    // The kernel divides by the low half of the total only, which matters from 16 TiB up. Where
    // that is 0 it would divide by zero; a machine without managed pages has no watermarks.
    let divisor = nr_managed_total & u64::from(u32::MAX);
    let min = pages_min.wrapping_mul(managed).checked_div(divisor).unwrap_or(0);
    let distance = (min / 4).max(mult_frac(managed, u64::from(watermark_scale_factor), 10000));
    [min, min.saturating_add(distance), min.saturating_add(2 * distance)]
}

/// The boost after one more steal that mixes types, or `None` if the zone is not boosted.
///
/// `high` is the high watermark without boost. Source: mm/page_alloc.c, `boost_watermark`.
pub fn boosted(config: &Config, watermark_boost_factor: u32, managed: u64, high: u64, boost: u64) -> Option<u64> {
    let nr_block_pages = config.pageblock_nr_pages();
    if watermark_boost_factor == 0 || nr_block_pages * 4 > managed {
        return None;
    }
    let max_boost = mult_frac(high, u64::from(watermark_boost_factor), 10000);
    if max_boost == 0 {
        return None;
    }
    Some(boost.saturating_add(nr_block_pages).min(max_boost.max(nr_block_pages)))
}

/// vm.lowmem_reserve_ratio by zone index.
///
/// Source: mm/page_alloc.c, `sysctl_lowmem_reserve_ratio`.
pub fn default_lowmem_reserve_ratio(config: &Config) -> [u32; MAX_NR_ZONES] {
    let mut ratios = [0; MAX_NR_ZONES];
    for (ratio, kind) in ratios.iter_mut().zip(config.zone_kinds()) {
        *ratio = match kind {
            ZoneKind::Dma | ZoneKind::Dma32 => 256,
            ZoneKind::Normal => 32,
            ZoneKind::Movable => 0,
        };
    }
    ratios
}

/// Pages that each zone of a node withholds from requests that could use higher zones.
///
/// `managed` has the node's zones by index. `reserve[i][j]` is what zone i withholds from requests
/// with highest zone index j. A ratio of 0 withholds nothing. Source: mm/page_alloc.c,
/// `setup_per_zone_lowmem_reserve`.
pub fn lowmem_reserve(
    managed: &[u64; MAX_NR_ZONES],
    ratio: &[u32; MAX_NR_ZONES],
    nr_zones: usize,
) -> [[u64; MAX_NR_ZONES]; MAX_NR_ZONES] {
    let mut reserve = [[0; MAX_NR_ZONES]; MAX_NR_ZONES];
    for lower in 0..nr_zones {
        if ratio[lower] == 0 || managed[lower] == 0 {
            continue;
        }
        let mut nr_higher = 0;
        for upper in lower + 1..nr_zones {
            nr_higher += managed[upper];
            reserve[lower][upper] = nr_higher / u64::from(ratio[lower]);
        }
    }
    reserve
}

/// What a zone keeps from ordinary use: its part of totalreserve_pages.
///
/// `high` is the boosted high watermark. Source: mm/page_alloc.c, `calculate_totalreserve_pages`.
pub fn zone_totalreserve(managed: u64, high: u64, lowmem_reserve: &[u64; MAX_NR_ZONES]) -> u64 {
    // The entries up to the zone's own index are 0.
    let largest = lowmem_reserve.iter().copied().max().unwrap_or(0);
    largest.saturating_add(high).min(managed)
}
