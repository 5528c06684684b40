//! The specification's examples.

use super::sizing::*;
use super::*;

/// DMA, DMA32 and Normal of the worked example.
const MANAGED: [u64; MAX_NR_ZONES] = [3840, 765000, 250000, 0];
const TOTAL: u64 = 1018840;

fn marks_of(min_free_kbytes: i32) -> Vec<[u64; 3]> {
    let config = Config::default();
    MANAGED.iter().map(|managed| zone_watermarks(&config, min_free_kbytes, 10, *managed, TOTAL)).collect()
}

#[test]
fn watermarks_of_the_worked_example() {
    let config = Config::default();
    let above_high = |marks: &[[u64; 3]]| nr_free_buffer_pages(MANAGED.iter().zip(marks).map(|(m, w)| (*m, w[2])));
    let unset = USER_MIN_FREE_KBYTES_UNSET;
    let kbytes = calculate_min_free_kbytes(&config, above_high(&[[0; 3]; 4]), INITIAL_MIN_FREE_KBYTES, unset);
    assert_eq!(kbytes, 8075);
    let marks = marks_of(kbytes);
    assert_eq!(marks, [[7, 10, 13], [1515, 2280, 3045], [495, 745, 995], [0, 0, 0]]);

    assert_eq!(above_high(&marks), 1014787);
    let kbytes = recommended_min_free_kbytes(&config, 3, above_high(&marks), kbytes);
    assert_eq!(kbytes, 67584);
    let marks = marks_of(kbytes);
    assert_eq!(marks, [[63, 78, 93], [12686, 15857, 19028], [4145, 5181, 6217], [0, 0, 0]]);

    let reserve = lowmem_reserve(&MANAGED, &default_lowmem_reserve_ratio(&config), 4);
    assert_eq!(reserve, [[0, 2988, 3964, 3964], [0, 0, 976, 976], [0; 4], [0; 4]]);
    let total: u64 = (0..4).map(|i| zone_totalreserve(MANAGED[i], marks[i][2], &reserve[i])).sum();
    assert_eq!(total, 30061);
}

#[test]
fn min_free_kbytes_limits() {
    let config = Config::default();
    let calculate = |pages, current, user| calculate_min_free_kbytes(&config, pages, current, user);
    assert_eq!(calculate(0, 1024, -1), 128);
    assert_eq!(calculate(u64::MAX, 1024, -1), 262144);
    assert_eq!(calculate(1 << 40, 1024, i32::MAX), 1024, "the user wants more");
    // isqrt(4 * 1018840 * 16) = 8075: a user value of 8075 stays, 8074 does not.
    assert_eq!(calculate(TOTAL, 99, 8075), 99);
    assert_eq!(calculate(TOTAL, 99, 8074), 8075);
    // Even a small user value can be raised to the lower limit.
    assert_eq!(calculate(2, 5, 5), 128);
}

#[test]
fn huge_pages_raise_but_never_lower() {
    let config = Config::default();
    assert_eq!(recommended_min_free_kbytes(&config, 3, 1014787, 100_000), 100_000);
    assert_eq!(recommended_min_free_kbytes(&config, 1, 20 * 1000, 1024), 4000);
    assert_eq!(recommended_min_free_kbytes(&config, u64::MAX, u64::MAX, 0), i32::MAX);
    assert!(is_thp_started(&config, 131072));
    assert!(!is_thp_started(&config, 131071));
    assert!(!is_thp_started(&Config { thp: false, ..config }, 131072));
}

#[test]
fn extreme_watermarks_do_not_overflow() {
    let config = Config::default();
    assert_eq!(zone_watermarks(&config, i32::MAX, 3000, 0, 0), [0; 3]);
    assert_eq!(zone_watermarks(&config, -1, 10, 10000, 10000), [0, 10, 20]);
    assert_eq!(zone_watermarks(&config, 400, 10, 1 << 32, 1 << 32)[0], 0, "the divisor's low half is 0");
    // Only the low half of the total divides: 2^32 + 4 counts as 4.
    assert_eq!(zone_watermarks(&config, 400, 10, 8, (1 << 32) + 4)[0], 200);
    let largest = zone_watermarks(&config, i32::MAX, 3000, 1 << 40, (1 << 32) - 1);
    assert!(largest[0] < largest[1] && largest[1] < largest[2]);
}

#[test]
fn reserves_need_a_ratio_and_pages() {
    let managed = [0, 1000, 500, 250];
    assert_eq!(lowmem_reserve(&managed, &[1, 1, 0, 1], 4), [[0; 4], [0, 0, 500, 750], [0; 4], [0; 4]]);
    assert_eq!(lowmem_reserve(&managed, &[1; 4], 3)[1], [0, 0, 500, 0]);
    let small = Config { zone_dma: false, ..Config::default() };
    assert_eq!(default_lowmem_reserve_ratio(&small), [256, 32, 0, 0]);
}

#[test]
fn boosts_grow_by_pageblocks_up_to_a_limit() {
    let config = Config::default();
    assert_eq!(boosted(&config, 15000, 250000, 995, 0), Some(512));
    assert_eq!(boosted(&config, 15000, 250000, 995, 512), Some(1024));
    assert_eq!(boosted(&config, 15000, 250000, 995, 1400), Some(1492));
    assert_eq!(boosted(&config, 15000, 250000, 2, 0), Some(512), "at least one pageblock");
    assert_eq!(boosted(&config, 15000, 250000, 0, 0), None);
    assert_eq!(boosted(&config, 0, 250000, 995, 0), None);
    assert_eq!(boosted(&config, 15000, 2047, 995, 0), None);
    assert_eq!(boosted(&config, 15000, 2048, 995, 0), Some(512));
}

fn none(_: u32, _: MigrateType) -> bool {
    false
}

fn zone() -> ZoneMarks {
    ZoneMarks { raw: [1000, 1250, 1500], lowmem_reserve: [0, 0, 300, 400], ..ZoneMarks::default() }
}

fn test<'a, L: FreeBlocks>(config: &'a Config, marks: &'a ZoneMarks, lists: &'a L) -> WatermarkTest<'a, L> {
    WatermarkTest { config, marks, lists }
}

/// Free pages from which on a single page passes.
fn least_free(zone: &ZoneMarks, flags: AllocFlags) -> i64 {
    let config = Config { cma: true, ..Config::default() };
    let mark = zone.selected_by(flags);
    (-5000..5000).find(|free| test(&config, zone, &none).is_ok(0, mark, 1, flags, *free)).unwrap()
}

#[test]
fn priorities_lower_the_mark() {
    let least = |flags| least_free(&zone(), flags) - 1;
    assert_eq!(least(AllocFlags::WMARK_MIN), 1000);
    assert_eq!(least(AllocFlags::WMARK_LOW), 1250);
    assert_eq!(least(AllocFlags::WMARK_HIGH), 1500);
    assert_eq!(least(AllocFlags::HIGH), 500);
    assert_eq!(least(AllocFlags::HIGH | AllocFlags::HARDER), 375);
    assert_eq!(least(AllocFlags::HARDER), 750);
    assert_eq!(least(AllocFlags::HIGH | AllocFlags::OOM), 250);
    assert_eq!(least(AllocFlags::HIGH | AllocFlags::OOM | AllocFlags::HARDER), 250);
    assert_eq!(least(AllocFlags::CPUSET | AllocFlags::NOFRAGMENT | AllocFlags::KSWAPD), 1000);
    let boosted = ZoneMarks { boost: 100, ..zone() };
    assert_eq!(least_free(&boosted, AllocFlags::WMARK_LOW), 1351);
    // GFP_ATOMIC with min 495: 495 -> 248 -> 186, and strictly more is needed.
    let small = ZoneMarks { raw: [495, 745, 995], ..ZoneMarks::default() };
    assert_eq!(least_free(&small, AllocFlags::HIGH | AllocFlags::HARDER | AllocFlags::KSWAPD), 187);
}

#[test]
fn reserved_and_cma_pages_do_not_count() {
    let zone = ZoneMarks { nr_reserved_highatomic: 512, free_cma: 64, ..zone() };
    assert_eq!(least_free(&zone, AllocFlags::WMARK_MIN), 1001 + 512 + 64);
    assert_eq!(least_free(&zone, AllocFlags::CMA), 1001 + 512);
    assert_eq!(least_free(&zone, AllocFlags::HARDER), 751 + 64);
    assert_eq!(least_free(&zone, AllocFlags::OOM), 501 + 64);
    let without_cma = Config::default();
    assert_eq!(zone.unusable_free(&without_cma, 3, AllocFlags::default()), 7 + 512);
}

#[test]
fn lower_zones_are_withheld_from_requests_for_higher_ones() {
    let ok =
        |highest, free| test(&Config::default(), &zone(), &none).is_ok(0, 1000, highest, AllocFlags::default(), free);
    assert!(ok(1, 1001) && !ok(2, 1300) && ok(2, 1301) && !ok(3, 1400) && ok(3, 1401));
}

#[test]
fn a_block_of_the_order_must_be_at_hand() {
    let config = Config { cma: true, memory_isolation: true, ..Config::default() };
    let ok = |order, flags, list: (u32, MigrateType)| {
        let lists = move |order, migratetype| (order, migratetype) == list;
        test(&config, &zone(), &lists).is_ok(order, 1000, 1, flags, 100_000)
    };
    let plain = AllocFlags::default();
    for migratetype in [MigrateType::Unmovable, MigrateType::Movable, MigrateType::Reclaimable] {
        assert!(ok(3, plain, (3, migratetype)) && ok(3, plain, (10, migratetype)));
        assert!(!ok(3, plain, (2, migratetype)));
    }
    assert!(!ok(3, plain, (3, MigrateType::Cma)) && ok(3, AllocFlags::CMA, (3, MigrateType::Cma)));
    assert!(!ok(3, plain, (3, MigrateType::HighAtomic)));
    assert!(ok(3, AllocFlags::HARDER, (3, MigrateType::HighAtomic)));
    assert!(ok(3, AllocFlags::OOM, (3, MigrateType::HighAtomic)));
    let everything = AllocFlags(0x9ff);
    assert!(!ok(3, everything, (3, MigrateType::Isolate)));
    assert!(ok(0, plain, (0, MigrateType::Isolate)), "single pages need no list");
    for order in [11, 63, 64, u32::MAX] {
        assert!(!ok(order, plain, (10, MigrateType::Movable)), "{order}");
    }
}

fn fast(zone: &ZoneMarks, order: u32, flags: AllocFlags, gfp: Gfp, free: i64) -> bool {
    test(&Config::default(), zone, &|_, _| true).is_ok_fast(order, 1, flags, gfp, free)
}

#[test]
fn single_pages_pass_when_less_than_nothing_is_usable() {
    let zone = ZoneMarks { nr_reserved_highatomic: 100, ..zone() };
    let low = AllocFlags::WMARK_LOW;
    assert!(fast(&zone, 0, low, Gfp::GFP_KERNEL, 99), "compared as an unsigned number");
    assert!(!fast(&zone, 0, low, Gfp::GFP_KERNEL, 100));
    assert!(!fast(&zone, 0, low, Gfp::GFP_KERNEL, 1350) && fast(&zone, 0, low, Gfp::GFP_KERNEL, 1351));
    assert!(!fast(&zone, 1, low, Gfp::GFP_KERNEL, 99));
}

#[test]
fn the_short_cut_ignores_priorities_but_the_full_test_follows() {
    let flags = AllocFlags::HIGH | AllocFlags::HARDER;
    assert!(fast(&zone(), 0, flags, Gfp::GFP_ATOMIC, 376) && !fast(&zone(), 0, flags, Gfp::GFP_ATOMIC, 375));
}

#[test]
fn atomic_pages_ignore_the_boost() {
    let boosted = ZoneMarks { boost: 600, ..zone() };
    let flags = AllocFlags::WMARK_MIN;
    assert!(fast(&boosted, 0, flags, Gfp::ATOMIC, 1001) && !fast(&boosted, 0, flags, Gfp::ATOMIC, 1000));
    assert!(!fast(&boosted, 0, flags, Gfp::HIGH, 1600) && fast(&boosted, 0, flags, Gfp::HIGH, 1601));
    assert!(!fast(&boosted, 1, flags, Gfp::ATOMIC, 1601) && fast(&boosted, 1, flags, Gfp::ATOMIC, 1602));
    assert!(!fast(&boosted, 0, AllocFlags::WMARK_LOW, Gfp::ATOMIC, 1850));
    assert!(fast(&boosted, 0, AllocFlags::WMARK_LOW, Gfp::ATOMIC, 1851));
}

#[test]
fn the_reclaim_thread_reads_exactly_where_it_matters() {
    let ok = |approximate, drift_mark, exact| {
        test(&Config::default(), &zone(), &none).is_ok_safe(0, 1000, 1, approximate, drift_mark, || exact)
    };
    assert!(ok(1001, 0, 0));
    assert!(ok(1500, 1500, 0));
    assert!(!ok(1499, 1500, 1000) && ok(900, 1500, 1001));
}
