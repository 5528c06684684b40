//! Sizes of per-cpu lists and thresholds of per-cpu counters.
//!
//! Pure functions. Counts are pages. Source: mm/page_alloc.c, mm/vmstat.c.

use crate::config::Config;

/// Differentials are 8 bits wide; the largest threshold leaves room for one more change.
const MAX_STAT_THRESHOLD: u64 = 125;

/// Largest order with ordinary per-cpu lists (`PAGE_ALLOC_COSTLY_ORDER`).
pub const PAGE_ALLOC_COSTLY_ORDER: u32 = 3;

/// The orders that go through the per-cpu lists (`pcp_allowed_order`).
#[derive(Clone, Copy, Debug)]
pub struct PcpOrders(u32);

impl PcpOrders {
    /// Those of a kernel with this configuration.
    #[inline(always)]
    pub fn new(config: &Config) -> PcpOrders {
        let ordinary = (2 << PAGE_ALLOC_COSTLY_ORDER) - 1;
        PcpOrders(if config.thp { ordinary | 1 << config.pageblock_order } else { ordinary })
    }

    /// Is this order one of them?
    #[inline(always)]
    pub fn contains(self, order: u32) -> bool {
        // A large order finds a bit that is never set, without a branch.
        u64::from(self.0) >> order.min(63) & 1 == 1
    }
}

/// Limits of the per-cpu lists of a zone; the same for all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagesetSizes {
    /// From this many pages on, a free drains.
    pub high: u32,
    /// Pages moved at once; at least 1.
    pub batch: u32,
}

/// CPUs as far as the size of per-cpu lists depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagesetCpus {
    /// CPUs of the zone's node; one more while a CPU is just coming online.
    pub nr_local: u32,
    /// Online CPUs, which share the zone if its node has none.
    pub nr_online: u32,
}

impl PagesetSizes {
    /// The sizes for a zone: `managed` pages, `low` watermark with boost.
    ///
    /// `high_fraction` is vm.percpu_pagelist_high_fraction. Source: mm/page_alloc.c,
    /// `zone_set_pageset_high_and_batch`.
    pub fn of_zone(config: &Config, managed: u64, low: u64, high_fraction: u32, cpus: PagesetCpus) -> PagesetSizes {
        let batch = zone_batchsize(config, managed);
        let total = if high_fraction == 0 { low } else { managed / u64::from(high_fraction) };
        PagesetSizes { high: zone_highsize(total, batch, cpus), batch }
    }
}

/// The limit in force: small while the zone is being reclaimed.
///
/// Source: mm/page_alloc.c, `nr_pcp_high`.
#[inline(always)]
pub fn nr_pcp_high(high: u32, batch: u32, is_reclaim_active: bool) -> u32 {
    if is_reclaim_active { high.min(batch.saturating_mul(4)) } else { high }
}

/// Pages to drain when `high`, the limit in force, has been reached, and the free factor
/// afterwards: frees without allocations in between drain more each time.
///
/// Source: mm/page_alloc.c, `nr_pcp_free`.
#[inline(always)]
pub fn nr_pcp_free(high: u32, batch: u32, free_factor: u32) -> (u32, u32) {
    if high < batch {
        return (1, free_factor);
    }
    let nr_max = u64::from(high - batch);
    let nr_wanted = u64::from(batch) << free_factor.min(u32::BITS);
    let factor = if nr_wanted < nr_max { free_factor.saturating_add(1) } else { free_factor };
    // The upper limit wins over the lower one.
    let nr_drain = nr_wanted.max(u64::from(batch)).min(nr_max);
    (nr_drain as u32, factor)
}

/// Pages moved at once between a zone and the per-cpu lists.
///
/// One less than a power of two, so that batches do not fall into step with power-of-two strides.
/// Source: mm/page_alloc.c, `zone_batchsize`.
pub fn zone_batchsize(config: &Config, managed: u64) -> u32 {
    // At most 2^20 / 2^12 / 4 = 64.
    let batch = ((managed >> 10).min((1 << 20) >> config.page_shift) / 4).max(1) as u32;
    let enlarged = batch + batch / 2;
    let power_of_two = 1 << enlarged.ilog2();
    (power_of_two - 1).max(1)
}

/// The share of each CPU, but at least four batches (mm/page_alloc.c, `zone_highsize`).
fn zone_highsize(total: u64, batch: u32, cpus: PagesetCpus) -> u32 {
    let nr_cpus = if cpus.nr_local == 0 { cpus.nr_online } else { cpus.nr_local };
    let share = total / u64::from(nr_cpus.max(1));
    u32::try_from(share).unwrap_or(u32::MAX).max(batch * 4)
}

/// Position of the highest set bit, counted from 1; 0 for 0.
fn fls(value: u64) -> u64 {
    u64::from(u64::BITS - value.leading_zeros())
}

/// How far a CPU's counter differential may go while memory is ample: more memory and more CPUs
/// allow more.
///
/// Source: mm/vmstat.c, `calculate_normal_threshold`.
pub fn normal_threshold(config: &Config, managed: u64, nr_online_cpus: u32) -> u32 {
    if !config.smp {
        return 0;
    }
    let nr_128_mib = managed >> (27 - config.page_shift);
    let threshold = 2 * fls(u64::from(nr_online_cpus)) * (1 + fls(nr_128_mib));
    threshold.min(MAX_STAT_THRESHOLD) as u32
}

/// The same while kswapd works: all CPUs together stay within the space between the watermarks.
///
/// Source: mm/vmstat.c, `calculate_pressure_threshold`.
pub fn pressure_threshold(config: &Config, low: u64, min: u64, nr_online_cpus: u32) -> u32 {
    if !config.smp {
        return 0;
    }
    let share = low.saturating_sub(min) / u64::from(nr_online_cpus.max(1));
    share.clamp(1, MAX_STAT_THRESHOLD) as u32
}

/// The free count below which the approximate counter may hide a crossed watermark.
///
/// `None`: the differentials cannot hide it, and the mark keeps its value. `watermarks` are min,
/// low and high with boost. Source: mm/vmstat.c, `refresh_zone_stat_thresholds`.
pub fn percpu_drift_mark(watermarks: [u64; 3], nr_online_cpus: u32, threshold: u32) -> Option<u64> {
    let [min, low, high] = watermarks;
    let tolerated_drift = low.saturating_sub(min);
    let max_drift = u64::from(nr_online_cpus) * u64::from(threshold);
    (max_drift > tolerated_drift).then(|| high.saturating_add(max_drift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches() {
        let batch = |managed| zone_batchsize(&Config::default(), managed);
        let steps = [(12288, 3), (24576, 7), (45056, 15), (90112, 31), (176128, 63)];
        let mut previous = 1;
        for (managed, size) in steps {
            assert_eq!((batch(managed - 1), batch(managed)), (previous, size));
            previous = size;
        }
        assert_eq!((batch(0), batch(u64::MAX)), (1, 63));
        let large_pages = Config { page_shift: 16, ..Config::default() };
        assert_eq!(zone_batchsize(&large_pages, u64::MAX), 3);
    }

    #[test]
    fn highs_of_the_worked_example() {
        let cpus = PagesetCpus { nr_local: 4, nr_online: 8 };
        let sizes =
            |managed, low, fraction, cpus| PagesetSizes::of_zone(&Config::default(), managed, low, fraction, cpus);
        assert_eq!(sizes(3840, 78, 0, cpus), PagesetSizes { high: 19, batch: 1 });
        assert_eq!(sizes(765000, 15857, 0, cpus), PagesetSizes { high: 3964, batch: 63 });
        assert_eq!(sizes(250000, 5181, 0, cpus), PagesetSizes { high: 1295, batch: 63 });
        assert_eq!(sizes(250000, 0, 0, cpus).high, 252, "four batches before watermarks exist");
        assert_eq!(sizes(250000, 5181, 8, cpus).high, 7812);
        assert_eq!(sizes(250000, 5181, 0, PagesetCpus { nr_local: 0, nr_online: 8 }).high, 647);
        assert_eq!(sizes(250000, 5181, 0, PagesetCpus { nr_local: 0, nr_online: 0 }).high, 5181);
        assert_eq!(sizes(0, 0, 0, cpus), PagesetSizes { high: 4, batch: 1 });
        assert_eq!(sizes(1, u64::MAX, 0, cpus).high, u32::MAX);
    }

    #[test]
    fn reclaim_lowers_high() {
        assert_eq!((nr_pcp_high(2500, 63, false), nr_pcp_high(2500, 63, true)), (2500, 252));
        assert_eq!(nr_pcp_high(100, 63, true), 100);
        assert_eq!(nr_pcp_high(0, 1, true), 0);
        assert_eq!(nr_pcp_high(u32::MAX, u32::MAX, true), u32::MAX);
    }

    #[test]
    fn drains_double() {
        let mut factor = 0;
        let drains = [(); 8].map(|()| {
            let (nr_drain, next) = nr_pcp_free(2500, 63, factor);
            factor = next;
            nr_drain
        });
        assert_eq!(drains, [63, 126, 252, 504, 1008, 2016, 2437, 2437]);
        assert_eq!(factor, 6);
        assert_eq!(nr_pcp_free(62, 63, 3), (1, 3));
        assert_eq!(nr_pcp_free(100, 63, 0), (37, 0), "the upper limit wins");
        assert_eq!(nr_pcp_free(63, 63, 0), (0, 0));
        assert_eq!(nr_pcp_free(0, 1, 0), (1, 0), "boot pageset");
        assert_eq!(nr_pcp_free(u32::MAX, 63, u32::MAX), (u32::MAX - 63, u32::MAX));
        assert_eq!(nr_pcp_free(u32::MAX, 0, u32::MAX), (0, u32::MAX));
    }

    #[test]
    fn normal_thresholds() {
        let thresholds = |managed| [1, 2, 4, 8].map(|cpus| normal_threshold(&Config::default(), managed, cpus));
        assert_eq!(thresholds(3840), [2, 4, 6, 8]);
        assert_eq!(thresholds(250000), [8, 16, 24, 32]);
        assert_eq!(thresholds(765000), [12, 24, 36, 48]);
        assert_eq!(normal_threshold(&Config::default(), u64::MAX, u32::MAX), 125);
        assert_eq!(normal_threshold(&Config { smp: false, ..Config::default() }, 765000, 1), 0);
    }

    #[test]
    fn pressure_thresholds() {
        let threshold = |low, min, cpus| pressure_threshold(&Config::default(), low, min, cpus);
        assert_eq!(threshold(2280, 1515, 8), 95);
        assert_eq!(threshold(2280, 1515, 1), 125);
        assert_eq!(threshold(10, 7, 8), 1);
        assert_eq!(threshold(7, 10, 0), 1);
        assert_eq!(pressure_threshold(&Config { smp: false, ..Config::default() }, 2280, 1515, 1), 0);
    }

    #[test]
    fn drift_marks() {
        assert_eq!(percpu_drift_mark([7, 10, 13], 4, 6), Some(37));
        assert_eq!(percpu_drift_mark([1515, 2280, 3045], 4, 36), None);
        assert_eq!(percpu_drift_mark([0, 144, 288], 4, 36), None, "as much as tolerated");
        assert_eq!(percpu_drift_mark([0, 143, 286], 4, 36), Some(430));
    }
}
