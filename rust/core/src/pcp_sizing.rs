//! Sizes of per-cpu lists (mm/page_alloc.c, `nr_pcp_high`, `nr_pcp_free`).

/// Effective `high` (`nr_pcp_high`).
#[inline(always)]
pub const fn nr_pcp_high(high: u32, batch: u32, reclaim_active: bool) -> u32 {
    let reduced = batch.saturating_mul(4);
    if reclaim_active && reduced < high { reduced } else { high }
}

/// How many pages to free when `high` is reached, and the new free factor (`nr_pcp_free`).
#[inline(always)]
pub const fn nr_pcp_free(high: u32, batch: u32, free_factor: u32) -> (u32, u32) {
    if high < batch {
        return (1, free_factor);
    }
    let (min, max) = (batch, high - batch);
    let n = (batch as u64) << if free_factor > 31 { 31 } else { free_factor };
    let factor = if n < max as u64 { free_factor + 1 } else { free_factor };
    let n = if n > min as u64 { n } else { min as u64 };
    (if n > max as u64 { max } else { n as u32 }, factor)
}
