//! Calls whose cpu slot somebody else uses have a short path of their own. While events are traced
//! they go the general way, so a machine that is traced says what the others must do.

use super::runs::Random;
use super::*;
use pagebuddy_core::cpu::Cpu;
use pagebuddy_core::trace::TraceClock;
use std::sync::atomic::Ordering::Relaxed;

fn two_cpus(config: &Config) -> [PageAllocator; 2] {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, 95 * MIB, Some(0), 0).unwrap();
    let plain = PageAllocator::boot_late(config, &Topology::single_node(2), &mut memblock).unwrap();
    let traced = plain.fork().unwrap();
    traced.trace().start(TraceClock::Counter, Some(1)).unwrap();
    [plain, traced]
}

/// The two cpus.
const CPUS: [usize; 2] = [0, 1];

/// All spare slots.
fn spares(machine: &PageAllocator) -> impl Iterator<Item = usize> {
    machine.nr_cpus()..machine.nr_slots()
}

/// Pages on the lists of spare slots.
fn nr_on_spares(machine: &PageAllocator) -> u64 {
    let zones = || machine.populated_zone_numbers().into_iter().filter_map(|number| machine.zone_by_number(number));
    let count = |slot: usize| zones().map(move |zone| u64::from(zone.0.cpu_zones[slot].count.load(Relaxed)));
    spares(machine).flat_map(count).sum()
}

/// Somebody else holds these slots.
fn hold(machine: &PageAllocator, slots: impl Iterator<Item = usize>) -> Vec<Cpu<'_>> {
    let zone = machine.zone_by_number(machine.populated_zone_numbers()[0]).unwrap();
    slots.map(|slot| Cpu::enter(&zone.0.slots, slot, 7)).collect()
}

/// Random calls on both machines, with these cpus, and all spare slots or none, held by somebody
/// else. True if spare slots had pages at any time.
fn same_with_slots_held(cpus: &[usize], with_spares: bool, choices: &[CpuChoice]) -> bool {
    let mut is_spare_used = false;
    let mut random = Random(cpus.len() as u64);
    for round in 0..12 {
        let config = Config { memory_isolation: round % 2 == 0, cma: round % 4 == 0, ..Config::default() };
        let both = two_cpus(&config);
        let slots_of = |machine| cpus.iter().copied().chain(spares(machine).filter(move |_| with_spares));
        let _leases = both.each_ref().map(|machine| hold(machine, slots_of(machine)));
        let mut held: Vec<(Pfn, u32)> = Vec::new();
        for step in 0..1500 {
            let cpu = choices[random.below(choices.len())];
            // Nearly all memory now and then, so that requests fail and fall back.
            if random.below(held.len() + 40) < 40 || step % 500 > 400 {
                let gfp = [Gfp::GFP_HIGHUSER_MOVABLE, Gfp::GFP_KERNEL, Gfp::GFP_ATOMIC][random.below(3)];
                let order = [0, 0, 0, 1, 2, 3, 4, 6, 9, 10, 11][random.below(11)];
                let [pfn, same] = both.each_ref().map(|m| m.alloc_pages(cpu, request(gfp, order), &NoHooks));
                assert_eq!(pfn, same, "round {round}, step {step}");
                held.extend(pfn.ok().map(|pfn| (pfn, order)));
            } else {
                let (pfn, order) = held.swap_remove(random.below(held.len()));
                let wrong = (order + 1) % 11;
                for order in [wrong, order, order] {
                    let [freed, same] = both.each_ref().map(|m| m.free_pages(cpu, pfn, order));
                    assert_eq!(freed, same, "round {round}, step {step}");
                }
            }
            if step % 50 == 0 {
                is_spare_used |= nr_on_spares(&both[0]) > 0;
                assert!(both[0].state() == both[1].state(), "round {round}, step {step}");
                assert_eq!(
                    both[0].vmstat_report().to_string(),
                    both[1].vmstat_report().to_string(),
                    "round {round}, step {step}"
                );
            }
        }
        for (pfn, order) in held {
            both.iter().for_each(|machine| machine.free_pages(CPU0, pfn, order).unwrap());
        }
        both.iter().for_each(|machine| machine.validate().unwrap());
        assert!(both[0].state() == both[1].state(), "round {round}");
    }
    is_spare_used
}

#[test]
fn without_any_slot_calls_work_on_the_zone() {
    assert!(!same_with_slots_held(&CPUS, true, &[CPU0, CpuChoice::Fixed(1), CpuChoice::Current]));
}

#[test]
fn calls_for_any_cpu_use_a_spare_slot() {
    assert!(same_with_slots_held(&CPUS, false, &[CpuChoice::Current]));
}

#[test]
fn without_spare_slots_calls_for_any_cpu_use_the_one_that_is_free() {
    // Whichever of the two the thread runs on.
    assert!(!same_with_slots_held(&[0], true, &[CpuChoice::Current]));
    assert!(!same_with_slots_held(&[1], true, &[CpuChoice::Current]));
}

#[test]
fn calls_for_a_cpu_whose_slot_is_taken_use_no_other() {
    assert!(!same_with_slots_held(&[0], false, &[CPU0]));
}

/// A machine on whose spare slots pages are left, and how many pages were free when it was booted.
fn with_pages_on_spares() -> (PageAllocator, u64) {
    let [machine, _] = two_cpus(&Config::default());
    let before = nr_free(&machine);
    let leases = hold(&machine, CPUS.into_iter());
    // So few pages that a cpu's counter would keep them back.
    let pfn = machine.alloc_pages(CpuChoice::Current, request(Gfp::GFP_KERNEL, 1), &NoHooks).unwrap();
    machine.free_pages(CpuChoice::Current, pfn, 1).unwrap();
    assert!(nr_on_spares(&machine) > 1, "a refill");
    for zone in machine.populated_zone_numbers().into_iter().filter_map(|number| machine.zone_by_number(number)) {
        let on_lists: u64 = zone.nr_free().iter().zip(0..).map(|(n, order)| n << order).sum();
        assert_eq!(zone.free_pages_snapshot(), on_lists as i64, "spare slots count at once");
    }
    drop(leases);
    machine.validate().unwrap();
    (machine, before)
}

#[test]
fn pages_of_spare_slots_come_back() {
    let (machine, before) = with_pages_on_spares();
    assert_eq!(machine.drain_all(None), 0, "nobody uses a slot");
    assert_eq!(nr_on_spares(&machine), 0);

    let (machine, _) = with_pages_on_spares();
    assert!(machine.refresh_cpu_vm_stats(0, false) && nr_on_spares(&machine) > 0);
    assert!(machine.refresh_cpu_vm_stats(0, true));
    assert_eq!(nr_on_spares(&machine), 0);

    let (machine, _) = with_pages_on_spares();
    assert_eq!(nr_free(&machine), before, "a state has all free pages");

    let (machine, _) = with_pages_on_spares();
    let copy = PageAllocator::restore(&machine.snapshot()).unwrap();
    assert_eq!(nr_on_spares(&copy), nr_on_spares(&machine));
    assert_eq!(nr_free(&copy), before);
}

#[test]
fn requests_get_the_pages_of_spare_slots_before_they_fail() {
    let (machine, before) = with_pages_on_spares();
    let gfp = Gfp(Gfp::GFP_KERNEL.0 | Gfp::MEMALLOC.0);
    let taken = (0..).map_while(|_| machine.alloc_pages(CPU0, request(gfp, 0), &NoHooks).ok()).count();
    assert_eq!(nr_on_spares(&machine), 0);
    assert_eq!(taken as u64, before);
}

#[test]
fn a_spare_slot_that_is_in_use_is_left_alone() {
    let (machine, _) = with_pages_on_spares();
    let nr_pages = nr_on_spares(&machine);
    let leases = hold(&machine, spares(&machine));
    assert_eq!(machine.drain_all(None), 1, "only one was ever used");
    assert_eq!(nr_on_spares(&machine), nr_pages);
    drop(leases);
    assert_eq!(machine.drain_all(None), 0);
    assert_eq!(nr_on_spares(&machine), 0);
}
