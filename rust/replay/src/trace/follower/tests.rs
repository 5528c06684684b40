//! One workload per rule: a machine is traced, and a copy of it as it was before follows the trace.

use super::*;
use pagebuddy_core::allocator::CpuChoice;
use pagebuddy_core::bulk::BulkRequest;
use pagebuddy_core::config::Config;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::Memblock;
use pagebuddy_core::page_alloc::AllocRequest;
use pagebuddy_core::pressure::NoHooks;
use pagebuddy_core::trace::{Event, TraceClock};

const NR_CPUS: usize = 2;
const MOVABLE: Gfp = Gfp::GFP_HIGHUSER_MOVABLE;
const KERNEL: Gfp = Gfp::GFP_KERNEL;

fn machine(size_mib: u64) -> PageAllocator {
    let mut memblock = Memblock::new();
    memblock.add_node(1 << 20, (size_mib - 1) << 20, Some(0), 0).unwrap();
    PageAllocator::boot_late(&Config::default(), &Topology::single_node(NR_CPUS), &mut memblock).unwrap()
}

fn alloc(machine: &PageAllocator, cpu: usize, gfp: Gfp, order: u32) -> Pfn {
    let request = AllocRequest { gfp, order, nid: 0, nodemask: None };
    machine.alloc_pages(CpuChoice::Fixed(cpu), request, &NoHooks).unwrap()
}

fn free_block(machine: &PageAllocator, cpu: usize, pfn: Pfn, order: u32) {
    machine.free_pages(CpuChoice::Fixed(cpu), pfn, order).unwrap();
}

/// What `work` does on a machine, as its trace: one tick of the clock per event.
fn traced(machine: &PageAllocator, work: impl FnOnce(&PageAllocator)) -> Vec<TraceEvent> {
    let tracer = machine.trace().start(TraceClock::Counter, None).unwrap();
    work(machine);
    let records = machine.trace().stop(tracer).unwrap().records;
    let events = records.into_iter().enumerate();
    events
        .map(|(i, record)| TraceEvent { line: i as u64 + 1, time: i as u64, cpu: record.cpu, event: record.event })
        .collect()
}

/// Follows a trace from `before` on; the counts, and whether the lists at the end are those of `after`.
fn follow(before: PageAllocator, events: &[TraceEvent], after: &PageAllocator) -> (Tally, bool) {
    let end = after.state().zones;
    let mut follower = Follower::new(before, events, &end, NR_CPUS);
    while follower.step(1).unwrap().is_some() {}
    follower.machine().validate().unwrap();
    let lists = |zones: &[ZoneState]| -> Vec<Vec<Vec<Pfn>>> {
        let pcp = |zone: &ZoneState| zone.pcp.iter().flat_map(|pcp| pcp.lists.clone()).collect::<Vec<_>>();
        zones.iter().flat_map(|zone| [zone.free_lists.clone(), pcp(zone)]).collect()
    };
    let is_equal = lists(&follower.machine().state().zones) == lists(&end);
    (follower.tally.clone(), is_equal)
}

fn assert_complete(tally: &Tally, is_end_equal: bool) {
    assert_eq!((tally.matched, tally.moves_matched), (tally.allocs, tally.moves), "{tally:?}");
    assert!(is_end_equal && tally.first_mismatch.is_none() && tally.first_wrong_move.is_none(), "{tally:?}");
}

fn is(event: &Event, name: &str) -> bool {
    event.name() == name
}

/// An interrupt's or another CPU's work stands between the blocks of a refill and the allocation
/// that they were taken for: it happened after them.
#[test]
fn an_allocation_happens_at_its_first_block() {
    let after = machine(64);
    let before = after.fork().unwrap();
    let mut events = traced(&after, |machine| {
        alloc(machine, 0, KERNEL, 0);
        alloc(machine, 1, KERNEL, 0);
        alloc(machine, 1, KERNEL, 5);
    });
    let late = events.iter().position(|event| event.cpu == 0 && is(&event.event, "mm_page_alloc")).unwrap();
    let event = events.remove(late);
    events.push(event);
    for (i, event) in events.iter_mut().enumerate() {
        event.time = i as u64;
    }
    let (tally, is_end_equal) = follow(before, &events, &after);
    assert_complete(&tally, is_end_equal);
    assert_eq!(tally.allocs, 3);
}

/// A refill whose first block does not come first in the list of the machine before would be a
/// mismatch: the order of the CPUs decides.
#[test]
fn the_order_of_refills_is_that_of_their_blocks() {
    let after = machine(64);
    let before = after.fork().unwrap();
    let events = traced(&after, |machine| {
        alloc(machine, 0, KERNEL, 0);
        alloc(machine, 1, KERNEL, 0);
    });
    // CPU 1 first: its blocks are not those that it would get.
    let mut exchanged = events.clone();
    exchanged.sort_by_key(|event| std::cmp::Reverse(event.cpu));
    for (i, event) in exchanged.iter_mut().enumerate() {
        event.time = i as u64;
    }
    let (tally, _) = follow(before.fork().unwrap(), &exchanged, &after);
    assert!(tally.moves_matched < tally.moves && tally.first_wrong_move.is_some(), "{tally:?}");
    // With a clock that does not tell, the order is found out.
    for event in &mut exchanged {
        event.time = 7;
    }
    let (tally, is_end_equal) = follow(before, &exchanged, &after);
    assert_complete(&tally, is_end_equal);
}

/// The pages of a list are freed at their `mm_page_free` but listed at their `mm_page_free_batched`.
#[test]
fn a_batched_free_lists_the_page_at_its_second_event() {
    let after = machine(64);
    let pfns: Vec<Pfn> = (0..6).map(|_| alloc(&after, 0, MOVABLE, 0)).collect();
    after.drain_all(None);
    let before = after.fork().unwrap();
    let mut events = traced(&after, |machine| {
        machine.free_page_list(CpuChoice::Fixed(0), &[pfns[4], pfns[1], pfns[3]]).unwrap();
        assert_eq!(alloc(machine, 0, MOVABLE, 0), pfns[3]);
    });
    assert_eq!(events.iter().filter(|event| is(&event.event, "mm_page_free_batched")).count(), 3);
    let (tally, is_end_equal) = follow(before.fork().unwrap(), &events, &after);
    assert_complete(&tally, is_end_equal);
    // Listed in another order than freed.
    let batched: Vec<usize> = (0..events.len()).filter(|at| is(&events[*at].event, "mm_page_free_batched")).collect();
    let (first, last) = (batched[0], batched[2]);
    let exchanged = events[first].event;
    events[first].event = events[last].event;
    events[last].event = exchanged;
    let (tally, _) = follow(before, &events, &after);
    assert_eq!(tally.first_mismatch.map(|(_, got)| got), Some(Some(pfns[4])), "{tally:?}");
}

/// A bulk allocation has no event of its own: its pages are heads of a list whose next event is a
/// free, or that are in use at the end.
#[test]
fn pages_taken_unseen_are_inferred() {
    let after = machine(64);
    alloc(&after, 0, KERNEL, 0);
    let before = after.fork().unwrap();
    let mut bulk = Vec::new();
    let events = traced(&after, |machine| {
        let request = BulkRequest { gfp: KERNEL, nid: 0, nodemask: None };
        bulk = machine.alloc_pages_bulk(CpuChoice::Fixed(0), request, 2, &NoHooks);
        alloc(machine, 0, KERNEL, 0);
        free_block(machine, 0, bulk[0], 0);
        alloc(machine, 0, KERNEL, 0);
    });
    assert_eq!(events.iter().filter(|event| is(&event.event, "mm_page_alloc")).count(), 2);
    let (tally, is_end_equal) = follow(before, &events, &after);
    assert_complete(&tally, is_end_equal);
    assert_eq!(tally.unseen, 2);
}

/// Large bulk allocations refill the list; the refills are tied to no allocation.
#[test]
fn refills_for_pages_taken_unseen_are_followed() {
    let after = machine(256);
    let before = after.fork().unwrap();
    let mut bulk = Vec::new();
    let events = traced(&after, |machine| {
        let request = BulkRequest { gfp: KERNEL, nid: 0, nodemask: None };
        bulk = machine.alloc_pages_bulk(CpuChoice::Fixed(0), request, 300, &NoHooks);
        alloc(machine, 0, KERNEL, 0);
        alloc(machine, 0, KERNEL, 4);
    });
    let (tally, is_end_equal) = follow(before, &events, &after);
    assert_complete(&tally, is_end_equal);
    assert_eq!(bulk.len(), 300);
}

/// Drains that no free explains happen at their own time, of any CPU, wholly or by a batch.
#[test]
fn a_drain_that_no_free_explains_is_an_operation_of_its_own() {
    let after = machine(256);
    let pfns: Vec<Pfn> = (0..150).map(|_| alloc(&after, 1, MOVABLE, 0)).collect();
    let before = after.fork().unwrap();
    let events = traced(&after, |machine| {
        for pfn in &pfns {
            free_block(machine, 1, *pfn, 0);
        }
        machine.drain_pcp(1, pfns[0], true);
        alloc(machine, 0, MOVABLE, 0);
        machine.drain_cpu(1, None);
        alloc(machine, 1, MOVABLE, 0);
    });
    let (tally, is_end_equal) = follow(before, &events, &after);
    assert_complete(&tally, is_end_equal);
    assert!(events.iter().any(|event| is(&event.event, "mm_page_pcpu_drain")));
}

/// A free beyond the high mark drains after its event; the allocation of another CPU in between
/// comes first.
#[test]
fn a_free_that_drains_happens_at_the_first_drained_page() {
    let after = machine(64);
    let pfns: Vec<Pfn> = (0..3000).map(|_| alloc(&after, 0, MOVABLE, 0)).collect();
    let before = after.fork().unwrap();
    let events = traced(&after, |machine| {
        for pfn in &pfns {
            free_block(machine, 0, *pfn, 0);
        }
    });
    let drained = events.iter().position(|event| is(&event.event, "mm_page_pcpu_drain")).unwrap();
    assert!(is(&events[drained - 1].event, "mm_page_free"));
    let (tally, is_end_equal) = follow(before, &events, &after);
    assert_complete(&tally, is_end_equal);
    assert!(tally.moves > 1000);
}

/// Pages of movable requests count as movable from their allocation on, which decides whether a
/// pageblock is claimed.
#[test]
fn movable_pages_count_for_stealing() {
    let after = machine(64);
    let twin = after.fork().unwrap();
    let traced_alloc = |machine: &PageAllocator| {
        let pfn = alloc(machine, 0, MOVABLE, 0);
        machine.set_movable(pfn, 0, true);
    };
    let events = traced(&after, traced_alloc);
    let end = after.state().zones;
    let mut follower = Follower::new(twin, &events, &end, NR_CPUS);
    while follower.step(1).unwrap().is_some() {}
    let Event::Alloc { pfn: Some(pfn), .. } = events.last().unwrap().event else { panic!("no allocation") };
    assert!(follower.machine().page_report(pfn).is_movable);
    assert!(after.page_report(pfn).is_movable);
}

/// Folds of counters have no event and decide nothing here.
#[test]
fn folds_leave_no_trace() {
    let after = machine(64);
    let before = after.fork().unwrap();
    let events = traced(&after, |machine| {
        let pfn = alloc(machine, 0, KERNEL, 4);
        machine.refresh_cpu_vm_stats(0, false);
        free_block(machine, 0, pfn, 4);
        alloc(machine, 0, KERNEL, 4);
    });
    let (tally, is_end_equal) = follow(before, &events, &after);
    assert_complete(&tally, is_end_equal);
}

/// Pages that were in use before tracing began are freed with any order, whole or in parts.
#[test]
fn pages_from_before_the_trace_are_freed_in_any_order() {
    let after = machine(64);
    let block = alloc(&after, 0, KERNEL, 4);
    let before = after.fork().unwrap();
    let events = traced(&after, |machine| {
        machine.split_page(block, 4).unwrap();
        for page in (block..block + 16).rev() {
            free_block(machine, 1, page, 0);
        }
        alloc(machine, 1, KERNEL, 0);
    });
    let (tally, is_end_equal) = follow(before, &events, &after);
    assert_complete(&tally, is_end_equal);
}

/// A wrong page is counted once, and the machine then goes on from what the trace says.
#[test]
fn a_wrong_page_does_not_spoil_the_rest() {
    let after = machine(64);
    let before = after.fork().unwrap();
    let mut events = traced(&after, |machine| {
        let pfns: Vec<Pfn> = (0..20).map(|_| alloc(machine, 0, KERNEL, 4)).collect();
        for pfn in pfns {
            free_block(machine, 0, pfn, 4);
        }
        for _ in 0..20 {
            alloc(machine, 0, KERNEL, 4);
        }
    });
    // The third block is another free one, which is freed later, too.
    let wrong = events[5].event.pfn().unwrap();
    let other = wrong + 16 * 40;
    let of_block = events.iter_mut().filter(|event| event.event.pfn() == Some(wrong)).take(3);
    for event in of_block {
        match &mut event.event {
            Event::AllocZoneLocked { pfn, .. } | Event::Alloc { pfn: Some(pfn), .. } | Event::Free { pfn, .. } => {
                *pfn = other;
            }
            event => panic!("{event:?}"),
        }
    }
    let (tally, _) = follow(before, &events, &after);
    assert_eq!(tally.first_mismatch, Some((6, Some(wrong))), "{tally:?}");
    assert!(tally.matched >= tally.allocs * 3 / 4, "{tally:?}");
    assert_eq!(tally.misses.other_block, tally.allocs - tally.matched);
}

/// Whatever single event is missing, what it told is found out, or costs little.
#[test]
fn missing_events_are_made_up_for() {
    let after = machine(256);
    let before = after.fork().unwrap();
    let events = traced(&after, |machine| {
        let mut held = Vec::new();
        for round in 0..6 {
            held.extend((0..70).map(|i| (alloc(machine, i % 2, if i % 3 == 0 { MOVABLE } else { KERNEL }, 0), 0)));
            held.push((alloc(machine, 0, KERNEL, 4), 4));
            for (i, (pfn, order)) in held.drain(round * 5..round * 5 + 60).enumerate() {
                free_block(machine, i % 2, pfn, order);
            }
            machine.drain_cpu(round % 2, None);
        }
    });
    let (mut nr_runs, mut nr_missed, mut worst) = (0, 0, 0);
    for left_out in (0..events.len()).step_by(3) {
        let mut torn = events.clone();
        torn.remove(left_out);
        let (tally, _) = follow(before.fork().unwrap(), &torn, &after);
        let missed = tally.allocs - tally.matched;
        nr_runs += 1;
        nr_missed += missed;
        worst = worst.max(missed);
    }
    // Of 426 allocations in each run.
    assert!(worst <= 12 && nr_missed * 5 < nr_runs, "{nr_missed} missed in {nr_runs} runs, at most {worst}");
}
