//! Calls whose cpu slot somebody else uses have a short path of their own. While events are traced
//! they go the general way, so a machine that is traced says what the others must do.

use super::runs::Random;
use super::*;
use pagebuddy_core::cpu::Cpu;
use pagebuddy_core::trace::TraceClock;

fn two_cpus(config: &Config) -> [PageAllocator; 2] {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, 95 * MIB, Some(0), 0).unwrap();
    let plain = PageAllocator::boot_late(config, &Topology::single_node(2), &mut memblock).unwrap();
    let traced = plain.fork().unwrap();
    traced.trace().start(TraceClock::Counter, Some(1)).unwrap();
    [plain, traced]
}

/// Random calls on both machines, with these of the two slots held by somebody else.
fn same_with_slots_held(slots: &[usize], choices: &[CpuChoice]) {
    let mut random = Random(slots.len() as u64);
    for round in 0..12 {
        let config = Config { memory_isolation: round % 2 == 0, cma: round % 4 == 0, ..Config::default() };
        let both = two_cpus(&config);
        let _leases: Vec<Cpu<'_>> = both
            .iter()
            .flat_map(|machine| {
                let zone = machine.zone_by_number(machine.populated_zone_numbers()[0]).unwrap();
                slots.iter().map(move |&cpu| Cpu::enter(&zone.0.cpus, cpu, 7))
            })
            .collect();
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
}

#[test]
fn without_any_slot_calls_work_on_the_zone() {
    same_with_slots_held(&[0, 1], &[CPU0, CpuChoice::Fixed(1), CpuChoice::Current]);
}

#[test]
fn calls_for_any_cpu_use_the_slot_that_is_free() {
    // Whichever of the two the thread runs on.
    same_with_slots_held(&[0], &[CpuChoice::Current]);
    same_with_slots_held(&[1], &[CpuChoice::Current]);
}

#[test]
fn calls_for_a_cpu_whose_slot_is_taken_use_no_other() {
    same_with_slots_held(&[0], &[CPU0]);
}
