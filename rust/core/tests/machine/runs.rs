//! Pages freed in a row are put as the blocks they make up together: everything must end as if they
//! were freed one by one.

use super::*;
use pagebuddy_core::bulk::BulkRequest;
use pagebuddy_core::cpu::Cpu;
use pagebuddy_core::free_area::Side;
use pagebuddy_core::run::{Run, for_each_run};
use pagebuddy_core::trace::TraceClock;
use pagebuddy_core::types::MigrateType;
use pagebuddy_core::word::PageIdx;

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }

    fn shuffle(&mut self, pages: &mut [PageIdx]) {
        (1..pages.len()).rev().for_each(|i| pages.swap(i, self.below(i + 1)));
    }
}

fn long(rounds: usize) -> usize {
    if std::env::var_os("PAGEBUDDY_SOAK").is_some() { rounds * 50 } else { rounds }
}

/// Ascending, descending or shuffled pieces of a range, so that runs of all lengths and alignments
/// come, and things that are nearly runs.
fn pieces(random: &mut Random, first: PageIdx, len: usize) -> Vec<PageIdx> {
    let mut left: Vec<PageIdx> = (first..first + len as PageIdx).collect();
    let mut pages = Vec::new();
    while !left.is_empty() {
        let most = 1 << random.below(11);
        let n = random.below(left.len().min(most)) + 1;
        let at = random.below(left.len() - n + 1);
        let mut piece: Vec<PageIdx> = left.drain(at..at + n).collect();
        match random.below(5) {
            0..=1 => (),
            2..=3 => piece.reverse(),
            _ => random.shuffle(&mut piece),
        }
        pages.extend(piece);
    }
    pages
}

#[test]
fn runs_consist_of_the_largest_blocks_in_order() {
    let mut random = Random(3);
    for _ in 0..long(2000) {
        let order = random.below(4) as u32;
        let window = order + random.below(8) as u32;
        let first = (random.below(1 << 12) as PageIdx) << order;
        let size: PageIdx = 1 << order;
        let step = [size, size.wrapping_neg()][random.below(2)];
        let mut run = Run::new(first, order);
        let mut expected = vec![first];
        while random.below(200) > 0 {
            let next = expected[expected.len() - 1].wrapping_add(step);
            assert!(!run.push(next.wrapping_add(1), window) && !run.push(next.wrapping_add(step), window));
            if !run.push(next, window) {
                assert_ne!(next >> window, first >> window, "nothing but the window's end stops it");
                break;
            }
            expected.push(next);
        }
        assert_eq!((run.first(), run.order(), run.nr_blocks() as usize), (first, order, expected.len()));
        let mut blocks = Vec::new();
        run.for_each_block(|x, order| {
            assert_eq!(x & ((1 << order) - 1), 0);
            blocks.push((x, order));
        });
        // Page by page the same, in time, and no two neighbours in time could be one block.
        let mut flat = blocks.iter().flat_map(|&(x, k)| {
            let mut some: Vec<PageIdx> = (x..x + (1 << k)).step_by(1 << order).collect();
            if step > PageIdx::MAX / 2 {
                some.reverse();
            }
            some
        });
        assert!(expected.iter().copied().eq(flat.by_ref()));
        assert!(blocks.windows(2).all(|two| two[0].1 != two[1].1 || two[0].0 ^ two[1].0 != 1 << two[0].1));
    }
}

/// Frees the same pages one by one and in runs, with and without isolated pageblocks, with and
/// without a lease, and compares everything.
#[test]
fn frees_in_runs_end_as_frees_of_pages() {
    let mut random = Random(11);
    for round in 0..long(60) {
        let config = Config { memory_isolation: true, cma: round % 2 == 0, ..Config::default() };
        let machine = machine(&config, 32);
        let number = machine.populated_zone_numbers()[round % 2 % machine.populated_zone_numbers().len()];
        let zone = machine.zone_by_number(number).unwrap();
        // All memory out, in blocks, and types of all kinds.
        let mut blocks = Vec::new();
        for order in (0..11).rev() {
            for mt in MigrateType::ALL {
                while let Some(x) = zone.view().take_smallest(order, mt.index()) {
                    blocks.push((x, order));
                }
            }
        }
        let size = 1 << zone.blocks().order();
        for x in (0..zone.pages().len()).step_by(size) {
            let types = [MigrateType::Unmovable, MigrateType::Movable, MigrateType::HighAtomic, MigrateType::Isolate];
            let mt = if random.below(8) == 0 && config.cma { MigrateType::Cma } else { types[random.below(4)] };
            zone.blocks().set(x, mt);
        }
        // The counts that a restricted merge asks for need not be exact, but there or not.
        let nr_isolated = [0, 1][random.below(2)];
        zone.shared.nr_isolate_pageblock.store(nr_isolated, core::sync::atomic::Ordering::Relaxed);
        let threshold = [0, 1, 7, 125][random.below(4)];
        zone.cpu_zones[0].stat_threshold.store(threshold, core::sync::atomic::Ordering::Relaxed);
        let mut pages: Vec<PageIdx> = Vec::new();
        while !blocks.is_empty() {
            let (x, order) = blocks.swap_remove(random.below(blocks.len()));
            pages.extend(pieces(&mut random, x, 1 << order));
        }
        let one_by_one = machine.fork().unwrap();
        let side = [Side::Likely, Side::Back][random.below(2)];
        let is_leased = random.below(4) > 0;
        while !pages.is_empty() {
            let some: Vec<PageIdx> = pages.drain(..random.below(3000).min(pages.len())).collect();
            {
                let zone = one_by_one.zone_by_number(number).unwrap();
                let cpu = Cpu::enter(&zone.0.cpus, 0, 1);
                let unleased = Cpu::enter(&zone.0.cpus, 0, 1);
                let cpu = if is_leased { &cpu } else { &unleased };
                some.iter().for_each(|&x| zone.free_one_page(cpu, x, 0, zone.blocks().get(x), side));
            }
            {
                let cpu = Cpu::enter(&zone.0.cpus, 0, 1);
                let unleased = Cpu::enter(&zone.0.cpus, 0, 1);
                let cpu = if is_leased { &cpu } else { &unleased };
                let window = random.below(zone.view().run_window() as usize + 1) as u32;
                for_each_run(some.iter().copied(), window, |run| {
                    zone.free_run(cpu, run, zone.blocks().get(run.first()), side);
                });
            }
            assert!(machine.state() == one_by_one.state(), "round {round}");
        }
    }
}

/// The same calls on a machine that is traced, where every page is drained on its own, and on one
/// that is not.
#[test]
fn drains_in_runs_end_as_drains_of_pages() {
    let mut random = Random(5);
    for round in 0..long(20) {
        let config = Config { memory_isolation: round % 2 == 0, ..Config::default() };
        let plain = machine(&config, [64, 320][random.below(2)]);
        let traced = plain.fork().unwrap();
        traced.trace().start(TraceClock::Counter, Some(1)).unwrap();
        let both = [&plain, &traced];
        let mut held: Vec<(Pfn, u32)> = Vec::new();
        for step in 0..600 {
            let gfp = [Gfp::GFP_HIGHUSER_MOVABLE, Gfp::GFP_KERNEL, Gfp(Gfp::GFP_KERNEL.0 | Gfp::RECLAIMABLE.0)];
            let gfp = gfp[random.below(3)];
            match random.below(6) {
                0..=1 => {
                    let n = random.below(300) + 1;
                    let request = BulkRequest { gfp, nid: 0, nodemask: None };
                    let [pfns, same] = both.map(|machine| machine.alloc_pages_bulk(CPU0, request, n, &NoHooks));
                    assert_eq!(pfns, same);
                    held.extend(pfns.into_iter().map(|pfn| (pfn, 0)));
                }
                2 => {
                    let order = [1, 2, 3, 9][random.below(4)];
                    for _ in 0..random.below(20) {
                        let [pfn, same] = both.map(|machine| alloc(machine, gfp, order).ok());
                        assert_eq!(pfn, same);
                        held.extend(pfn.map(|pfn| (pfn, order)));
                    }
                }
                3..=4 if !held.is_empty() => {
                    match random.below(4) {
                        0 => held.sort_unstable(),
                        1 => held.sort_unstable_by(|a, b| b.cmp(a)),
                        2 => (1..held.len()).rev().for_each(|i| held.swap(i, random.below(i + 1))),
                        _ => (),
                    }
                    let n = random.below(held.len().min(700)) + 1;
                    let at = random.below(held.len() - n + 1);
                    let some: Vec<(Pfn, u32)> = held.drain(at..at + n).collect();
                    let pfns: Vec<Pfn> = some.iter().filter(|block| block.1 == 0).map(|block| block.0).collect();
                    for machine in both {
                        let larger = some.iter().filter(|block| block.1 > 0);
                        larger.for_each(|&(pfn, order)| machine.free_pages(CPU0, pfn, order).unwrap());
                        machine.free_page_list(CPU0, &pfns).unwrap();
                    }
                }
                5 if random.below(4) == 0 => {
                    both.iter().for_each(|machine| assert!(machine.drain_cpu(0, None)));
                }
                _ => (),
            }
            if step % 10 == 0 {
                assert!(plain.state() == traced.state(), "round {round}, step {step}");
            }
        }
        plain.validate().unwrap();
        assert!(plain.state() == traced.state(), "round {round}");
    }
}

/// A bulk request without a cpu's lease takes rows of pages: those that single requests would get.
#[test]
fn bulk_without_a_lease_takes_what_single_requests_would() {
    let mut random = Random(8);
    for round in 0..long(20) {
        let one = machine(&Config::default(), 64);
        // Scattered free memory.
        let mut held: Vec<Pfn> = one.alloc_pages_bulk(
            CPU0,
            BulkRequest { gfp: Gfp::GFP_HIGHUSER_MOVABLE, nid: 0, nodemask: None },
            6000,
            &NoHooks,
        );
        for _ in 0..random.below(200) {
            let at = random.below(held.len() - 50);
            let n = random.below(50);
            held.drain(at..at + n).for_each(|pfn| one.free_pages(CPU0, pfn, 0).unwrap());
        }
        one.drain_all(None);
        let other = one.fork().unwrap();
        let both = [&one, &other].map(|machine| machine.zone_by_number(0).unwrap());
        let leases = both.map(|zone| Cpu::enter(&zone.0.cpus, 0, 1));
        for _ in 0..10 {
            let gfp = [Gfp::GFP_HIGHUSER_MOVABLE, Gfp::GFP_KERNEL][random.below(2)];
            let n = random.below(300) + 2;
            let row = one.alloc_pages_bulk(CPU0, BulkRequest { gfp, nid: 0, nodemask: None }, n, &NoHooks);
            let singles: Vec<Pfn> = (0..n).map(|_| alloc(&other, gfp, 0).unwrap()).collect();
            assert_eq!(row, singles, "round {round}");
        }
        drop(leases);
        assert!(one.state() == other.state(), "round {round}");
        one.validate().unwrap();
    }
}
