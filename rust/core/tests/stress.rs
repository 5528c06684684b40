//! Real threads on real atomics: whole machines and single zones.
//!
//! Built with the feature `schedules`, the zone tests also stop threads at random inside
//! operations and force zombies. `PAGEBUDDY_SOAK_SECONDS` makes each test run that long.

#![cfg(not(feature = "loom"))]

#[path = "common/tally.rs"]
mod tally;

use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::buddy::Buddy;
use pagebuddy_core::config::Config;
use pagebuddy_core::free_area::{FreeArea, MergeRule, Side};
use pagebuddy_core::free_list::{FreeLists, ZoneLists};
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::in_flight::{InFlight, InFlightFlag};
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::Memblock;
use pagebuddy_core::page_alloc::AllocRequest;
use pagebuddy_core::page_array::{PageArray, PageDesc};
use pagebuddy_core::pageblock::Pageblocks;
use pagebuddy_core::pressure::NoHooks;
use pagebuddy_core::types::{MigrateType, NR_MIGRATETYPES, Pfn};
use pagebuddy_core::word::PageIdx;
use std::cell::UnsafeCell;
use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::thread;
use std::time::Instant;
use tally::Tally;

const MIB: u64 = 1 << 20;

struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Rng((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

/// Who holds which page, seen from outside, and what its owners write there.
///
/// Neither orders anything between one owner of a page and the next: that is the engine's part. So
/// marks are relaxed, and contents are plain memory, where ThreadSanitizer sees a race if the engine
/// does not do its part.
struct Owners {
    marks: Vec<AtomicU8>,
    contents: Vec<UnsafeCell<u64>>,
}

// SAFETY: contents are accessed by the owner of a page alone; that pages have one owner at a time,
// and that each sees what the last one wrote, is what these tests test.
unsafe impl Sync for Owners {}

impl Owners {
    fn new(nr_pages: u64) -> Self {
        Owners {
            marks: (0..nr_pages).map(|_| AtomicU8::new(0)).collect(),
            contents: (0..nr_pages).map(|_| UnsafeCell::new(0)).collect(),
        }
    }

    fn take(&self, first: u64, order: u32) {
        for page in first..first + (1 << order) {
            let mark = self.marks[page as usize].swap(1, Relaxed);
            assert_eq!(mark, 0, "page {page:#x} was handed out twice");
            let before = self.write(page, page + 1);
            assert_eq!(before, 0, "page {page:#x} is not as its last owner left it");
        }
    }

    fn give(&self, first: u64, order: u32) {
        for page in first..first + (1 << order) {
            let before = self.write(page, 0);
            assert_eq!(before, page + 1, "page {page:#x} is not as its owner left it");
            let mark = self.marks[page as usize].swap(0, Relaxed);
            assert_eq!(mark, 1, "page {page:#x} was held by nobody");
        }
    }

    fn write(&self, page: u64, value: u64) -> u64 {
        // SAFETY: the caller owns the page, see above.
        unsafe { self.contents[page as usize].get().replace(value) }
    }
}

/// A few places where threads leave blocks for others to free.
struct Exchange(Vec<AtomicU64>);

impl Exchange {
    fn new() -> Self {
        Exchange((0..32).map(|_| AtomicU64::new(u64::MAX)).collect())
    }

    /// Leaves a block and takes what was there.
    fn swap(&self, rng: &mut Rng, block: Option<(u64, u32)>) -> Option<(u64, u32)> {
        let value = block.map_or(u64::MAX, |(first, order)| first << 8 | u64::from(order));
        let other = self.0[rng.below(self.0.len() as u64) as usize].swap(value, SeqCst);
        (other != u64::MAX).then_some((other >> 8, (other & 0xff) as u32))
    }

    fn drain(&self) -> impl Iterator<Item = (u64, u32)> {
        let values = self.0.iter().map(|slot| slot.swap(u64::MAX, SeqCst));
        values.filter(|value| *value != u64::MAX).map(|value| (value >> 8, (value & 0xff) as u32))
    }
}

/// Runs `work(thread, rng)`, which returns how many operations it did, on threads again and again
/// until the time is over; `check` runs while all threads stand still, after every round.
fn rounds(
    name: &str,
    nr_threads: usize,
    seconds: f64,
    work: impl Fn(usize, &mut Rng) -> u64 + Sync,
    mut check: impl FnMut(),
) {
    let seconds = tally::soak().unwrap_or(seconds);
    let mut tally = Tally::new(name);
    let nr_operations = AtomicU64::new(0);
    let seed = tally::first_seed();
    let barrier = Barrier::new(nr_threads + 1);
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    thread::scope(|scope| {
        for number in 0..nr_threads {
            let (barrier, stop, work, nr_operations) = (&barrier, &stop, &work, &nr_operations);
            scope.spawn(move || {
                let mut rng = Rng::new(seed + number as u64);
                loop {
                    barrier.wait();
                    if stop.load(SeqCst) {
                        return;
                    }
                    // A panic elsewhere would leave the others waiting for ever.
                    let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(number, &mut rng)));
                    match worked {
                        Ok(operations) => nr_operations.fetch_add(operations, SeqCst),
                        Err(_) => std::process::abort(),
                    };
                    barrier.wait();
                }
            });
        }
        loop {
            stop.store(began.elapsed().as_secs_f64() >= seconds, SeqCst);
            barrier.wait();
            if stop.load(SeqCst) {
                break;
            }
            barrier.wait();
            // As above: the threads wait for the next round.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut check)).is_err() {
                std::process::abort();
            }
            tally.add("rounds", 1);
            tally.add("operations", nr_operations.swap(0, SeqCst));
        }
    });
    tally.print();
}

// ---- machines -----------------------------------------------------------------------------------

fn machine(mib: u64, nr_cpus: usize) -> PageAllocator {
    machine_of(&Config::default(), mib, nr_cpus)
}

fn machine_of(config: &Config, mib: u64, nr_cpus: usize) -> PageAllocator {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, (mib - 1) * MIB, Some(0), 0).expect("valid memory");
    PageAllocator::boot_late(config, &Topology::single_node(nr_cpus), &mut memblock).expect("it boots")
}

/// All free blocks, whatever list they are in.
fn free_blocks(machine: &PageAllocator) -> BTreeSet<(Pfn, usize)> {
    let mut blocks = BTreeSet::new();
    for zone in machine.state().zones {
        for order in 0..=10 {
            for mt in MigrateType::ALL {
                blocks.extend(zone.free_list(order, mt).iter().map(|pfn| (*pfn, order)));
            }
        }
    }
    blocks
}

fn random_request(rng: &mut Rng) -> AllocRequest {
    let order = match rng.below(100) {
        0..60 => 0,
        60..85 => 1 + rng.below(3) as u32,
        85..97 => 4 + rng.below(5) as u32,
        _ => 9 + rng.below(2) as u32,
    };
    let gfp = rng.pick(&[
        Gfp::GFP_KERNEL,
        Gfp::GFP_KERNEL,
        Gfp::GFP_HIGHUSER_MOVABLE,
        Gfp::GFP_HIGHUSER_MOVABLE,
        Gfp::GFP_ATOMIC,
        Gfp(Gfp::GFP_KERNEL.0 | Gfp::RECLAIMABLE.0),
    ]);
    AllocRequest { gfp, order, nid: 0, nodemask: None }
}

/// Mostly the cpu a thread runs on, sometimes one that others use, too.
fn random_cpu(rng: &mut Rng, machine: &PageAllocator) -> CpuChoice {
    match rng.below(4) {
        0 => CpuChoice::Fixed(rng.below(machine.nr_cpus() as u64) as usize),
        _ => CpuChoice::Current,
    }
}

/// Threads allocate all orders and types, free their own and each other's blocks, and in the end
/// every block is whole again.
fn machine_stress(nr_threads: usize, nr_cpus: usize, seconds: f64) {
    let machine = machine(64, nr_cpus);
    machine.drain_all(None);
    let initial = free_blocks(&machine);
    let owners = Owners::new((64 * MIB) >> 12);
    let exchange = Exchange::new();
    let free = |first: u64, order: u32| {
        owners.give(first, order);
        machine.free_pages(CpuChoice::Current, first, order).expect("a block that was allocated");
    };
    let work = |_: usize, rng: &mut Rng| {
        let mut held = Vec::new();
        let nr_ops = 2000 + rng.below(4000);
        let bias = 30 + rng.below(50);
        for _ in 0..nr_ops {
            let share = 64 * 256 / nr_threads as u64;
            let held_pages: u64 = held.iter().map(|(_, order): &(u64, u32)| 1 << order).sum();
            if rng.below(100) < bias && held_pages < share {
                let request = random_request(rng);
                if let Ok(pfn) = machine.alloc_pages(random_cpu(rng, &machine), request, &NoHooks) {
                    owners.take(pfn, request.order);
                    held.push((pfn, request.order));
                }
            } else if !held.is_empty() {
                let block = held.swap_remove(rng.below(held.len() as u64) as usize);
                if rng.below(3) == 0 {
                    if let Some((first, order)) = exchange.swap(rng, Some(block)) {
                        free(first, order);
                    }
                } else {
                    free(block.0, block.1);
                }
            }
        }
        held.into_iter().for_each(|(first, order)| free(first, order));
        nr_ops
    };
    rounds(&format!("machine_{nr_threads}_threads_{nr_cpus}_cpus"), nr_threads, seconds, work, || {
        exchange.drain().for_each(|(first, order)| free(first, order));
        machine.drain_all(None);
        machine.validate().expect("a sound machine");
        let now = free_blocks(&machine);
        let (lost, new): (Vec<_>, Vec<_>) = (initial.difference(&now).collect(), now.difference(&initial).collect());
        assert!(lost.is_empty() && new.is_empty(), "not merged as before: {lost:?} became {new:?}");
    });
}

#[test]
fn two_threads_on_a_machine() {
    machine_stress(2, 2, 2.0);
}

#[test]
fn four_threads_on_a_machine() {
    machine_stress(4, 4, 2.0);
}

#[test]
fn sixteen_threads_on_a_machine() {
    machine_stress(16, 16, 2.0);
}

#[test]
fn sixty_four_threads_on_a_machine() {
    machine_stress(64, 16, 2.0);
}

/// More threads than cpu slots: some work on the zone without a lease.
#[test]
fn eight_threads_on_one_cpu() {
    machine_stress(8, 1, 2.0);
}

/// Two threads free the same blocks: of each pair of frees exactly one succeeds.
#[test]
fn double_frees_race() {
    let machine = machine(64, 2);
    machine.drain_all(None);
    let initial = free_blocks(&machine);
    let slots: Vec<_> = (0..64).map(|_| (AtomicU64::new(u64::MAX), AtomicU8::new(0))).collect();
    let fill = || {
        for (i, (slot, freed)) in slots.iter().enumerate() {
            let order = [0, 0, 1, 3, 4, 9][i % 6];
            let request = AllocRequest { gfp: Gfp::GFP_KERNEL, order, nid: 0, nodemask: None };
            let pfn = machine.alloc_pages(CpuChoice::Current, request, &NoHooks).expect("an empty machine");
            slot.store(pfn << 8 | u64::from(order), SeqCst);
            freed.store(0, SeqCst);
        }
    };
    fill();
    let work = |_: usize, _: &mut Rng| {
        for (slot, freed) in &slots {
            let value = slot.load(SeqCst);
            if machine.free_pages(CpuChoice::Current, value >> 8, (value & 0xff) as u32).is_ok() {
                freed.fetch_add(1, SeqCst);
            }
        }
        slots.len() as u64
    };
    rounds("double_frees", 2, 1.0, work, || {
        for (slot, freed) in &slots {
            let pfn = slot.load(SeqCst) >> 8;
            assert_eq!(freed.load(SeqCst), 1, "block {pfn:#x} was freed so often");
        }
        machine.drain_all(None);
        machine.validate().expect("a sound machine");
        assert_eq!(free_blocks(&machine), initial);
        fill();
    });
}

/// Isolation, contiguous ranges and hardware poison among allocations: no page is handed out twice
/// or lost.
#[test]
fn isolation_among_allocations() {
    let config = Config { memory_isolation: true, ..Config::default() };
    let machine = machine_of(&config, 64, 4);
    let (nr_isolated, nr_ranges) = (AtomicU64::new(0), AtomicU64::new(0));
    machine.drain_all(None);
    let nr_pages: u64 = free_blocks(&machine).iter().map(|(_, order)| 1 << order).sum();
    let owners = Owners::new((64 * MIB) >> 12);
    let work = |thread: usize, rng: &mut Rng| {
        let mut held = Vec::new();
        for _ in 0..2000 {
            if thread < 2 && rng.below(8) == 0 {
                let start = 4096 + rng.below(20) * 512;
                match rng.below(3) {
                    0 => {
                        if machine
                            .start_isolate_page_range(CpuChoice::Current, start, start + 512, MigrateType::Movable)
                            .is_ok()
                        {
                            let undone = machine.undo_isolate_page_range(
                                CpuChoice::Current,
                                start,
                                start + 512,
                                MigrateType::Movable,
                            );
                            undone.expect("an isolated pageblock");
                            nr_isolated.fetch_add(1, Relaxed);
                        }
                    }
                    1 => {
                        let end = start + 1 + rng.below(100);
                        if machine.alloc_contig_range(CpuChoice::Current, start, end, MigrateType::Movable).is_ok() {
                            nr_ranges.fetch_add(1, Relaxed);
                            for pfn in start..end {
                                owners.take(pfn, 0);
                                held.push((pfn, 0));
                            }
                        }
                    }
                    _ => {
                        if machine.take_page_off_buddy(CpuChoice::Current, start) {
                            owners.take(start, 0);
                            owners.give(start, 0);
                            assert!(machine.put_page_back_buddy(CpuChoice::Current, start));
                        }
                    }
                }
            } else if rng.below(2) == 0 && held.len() < 200 {
                let request = random_request(rng);
                if let Ok(pfn) = machine.alloc_pages(CpuChoice::Current, request, &NoHooks) {
                    owners.take(pfn, request.order);
                    held.push((pfn, request.order));
                }
            } else if !held.is_empty() {
                let (first, order) = held.swap_remove(rng.below(held.len() as u64) as usize);
                owners.give(first, order);
                machine.free_pages(CpuChoice::Current, first, order).expect("a block that was allocated");
            }
        }
        for (first, order) in held {
            owners.give(first, order);
            machine.free_pages(CpuChoice::Current, first, order).expect("a block that was allocated");
        }
        2000
    };
    rounds("isolation", 4, 2.0, work, || {
        machine.drain_all(None);
        machine.validate().expect("a sound machine");
        let free: u64 = free_blocks(&machine).iter().map(|(_, order)| 1 << order).sum();
        assert_eq!(free, nr_pages, "free pages");
        // Not that no pageblock counts as isolated: a steal may overwrite the type, as in the kernel.
    });
    let (nr_isolated, nr_ranges) = (nr_isolated.into_inner(), nr_ranges.into_inner());
    assert!(nr_isolated > 0 && nr_ranges > 0, "{nr_isolated} pageblocks isolated, {nr_ranges} ranges allocated");
}

// ---- single zones -------------------------------------------------------------------------------

/// A zone without anything above the buddy.
struct Zone {
    pages: Vec<PageDesc>,
    heads: Vec<PageDesc>,
    lists: ZoneLists,
    types: Vec<pagebuddy_core::sync::AtomicU8>,
    nr_isolated: pagebuddy_core::sync::AtomicU32,
    flags: Vec<InFlightFlag>,
}

const TOP: u32 = 10;
const PAGEBLOCK_ORDER: u32 = 9;

impl Zone {
    /// All free, pageblocks of two types.
    fn new(nr_blocks: u32, nr_threads: usize) -> Self {
        let nr_pages = nr_blocks << TOP;
        let types = (0..nr_pages >> PAGEBLOCK_ORDER).map(|block| u8::from(block / 2 % 3 == 0));
        let zone = Zone {
            pages: (0..nr_pages).map(|_| PageDesc::new()).collect(),
            heads: (0..nr_blocks).map(|_| PageDesc::new()).collect(),
            lists: ZoneLists::new(),
            types: types.map(pagebuddy_core::sync::AtomicU8::new).collect(),
            nr_isolated: pagebuddy_core::sync::AtomicU32::new(0),
            flags: (0..=nr_threads).map(|_| InFlightFlag::new()).collect(),
        };
        let buddy = zone.buddy(0);
        for block in 0..nr_blocks {
            let x = block << TOP;
            buddy.put(x, TOP, buddy.blocks().get(x).index(), Side::Back);
        }
        zone
    }

    fn buddy(&self, thread: usize) -> Buddy<'_> {
        let lists = FreeLists {
            lists: &self.lists,
            pages: PageArray::new(&self.pages, &self.heads).expect("one head a block"),
        };
        let blocks = Pageblocks::new(&self.types, PAGEBLOCK_ORDER);
        let rule = MergeRule { top: TOP, blocks, nr_isolated: &self.nr_isolated, has_isolation: true };
        // The last thread has no cpu slot.
        let own = (thread + 2 < self.flags.len()).then(|| &self.flags[thread]);
        Buddy { area: FreeArea { lists, rule, in_flight: InFlight { own, all: &self.flags } } }
    }

    fn free_blocks(&self) -> Vec<(PageIdx, u32)> {
        let mut blocks = Vec::new();
        for order in 0..=TOP {
            for mt in 0..NR_MIGRATETYPES {
                self.buddy(0).area.lists.for_each(order, mt, |x| {
                    blocks.push((x, order));
                    true
                });
            }
        }
        blocks.sort_unstable();
        blocks
    }
}

/// Stops the calling thread at random before its accesses, and forces zombies.
#[cfg(feature = "schedules")]
fn disturb(seed: u64) {
    use pagebuddy_core::sync::scheduled::{Hooks, set_hooks};
    use std::cell::Cell;
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(1) };
    }
    fn below(n: u64) -> u64 {
        let mut rng = Rng(STATE.get());
        let result = rng.below(n);
        STATE.set(rng.0);
        result
    }
    fn pause(_: usize, _: bool) {
        match below(20_000) {
            0 => thread::sleep(std::time::Duration::from_micros(below(200))),
            1..100 => thread::yield_now(),
            100..500 => (0..below(200)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
    STATE.set(Rng::new(seed).0);
    set_hooks(Hooks { before: Some(pause), zombie: Some(|| below(4) == 0), ..Hooks::default() });
}

#[cfg(not(feature = "schedules"))]
fn disturb(_: u64) {}

fn zone_stress(nr_threads: usize, seconds: f64) {
    const NR_BLOCKS: u32 = 8;
    let zone = Zone::new(NR_BLOCKS, nr_threads);
    let owners = Owners::new(u64::from(NR_BLOCKS << TOP));
    let exchange = Exchange::new();
    let nr_failures = AtomicU64::new(0);
    let work = |thread: usize, rng: &mut Rng| {
        disturb(rng.below(1 << 30));
        let buddy = zone.buddy(thread);
        let free = |first: u64, order: u32, side: Side| {
            owners.give(first, order);
            let x = first as PageIdx;
            buddy.put(x, order, buddy.blocks().get(x).index(), side);
        };
        let share = u64::from(NR_BLOCKS << TOP) / nr_threads as u64;
        let mut held: Vec<(u64, u32)> = Vec::new();
        for _ in 0..3000 {
            let mt = rng.below(2) as usize;
            let order = if rng.below(3) > 0 { 0 } else { rng.below(u64::from(TOP) + 1) as u32 };
            let held_pages: u64 = held.iter().map(|(_, order)| 1 << order).sum();
            match rng.below(100) {
                0..2 => {
                    let block = rng.below(zone.types.len() as u64) as PageIdx;
                    let first = block << PAGEBLOCK_ORDER;
                    buddy.blocks().set(first, MigrateType::ALL[mt]);
                    buddy.move_free_blocks(first, first + (1 << PAGEBLOCK_ORDER) - 1, mt);
                }
                2..5 => {
                    let x = (rng.below(u64::from(NR_BLOCKS << TOP)) as PageIdx) >> order << order;
                    if buddy.announced(|| buddy.area.take(x, order)).is_some() {
                        owners.take(x.into(), order);
                        held.push((x.into(), order));
                    }
                }
                5..52 if held_pages + (1 << order) <= share => match buddy.take_smallest(order, mt) {
                    Some(x) => {
                        owners.take(x.into(), order);
                        held.push((x.into(), order));
                    }
                    None => {
                        nr_failures.fetch_add(1, SeqCst);
                    }
                },
                _ if !held.is_empty() => {
                    let block = held.swap_remove(rng.below(held.len() as u64) as usize);
                    let side = if rng.below(8) == 0 { Side::Back } else { Side::Likely };
                    match rng.below(3) {
                        0 => exchange.swap(rng, Some(block)).into_iter().for_each(|(x, order)| free(x, order, side)),
                        _ => free(block.0, block.1, side),
                    }
                }
                _ => {}
            }
        }
        held.into_iter().for_each(|(x, order)| free(x, order, Side::Likely));
        3000
    };
    let whole: Vec<_> = (0..NR_BLOCKS).map(|block| (block << TOP, TOP)).collect();
    rounds(&format!("zone_{nr_threads}_threads"), nr_threads, seconds, work, || {
        let buddy = zone.buddy(0);
        for (first, order) in exchange.drain() {
            owners.give(first, order);
            let x = first as PageIdx;
            buddy.put(x, order, buddy.blocks().get(x).index(), Side::Likely);
        }
        assert_eq!(zone.free_blocks(), whole, "everything was freed");
    });
    println!("zone_{nr_threads}_threads: {} failures", nr_failures.load(SeqCst));
}

#[test]
fn two_threads_on_a_zone() {
    zone_stress(2, 2.0);
}

#[test]
fn four_threads_on_a_zone() {
    zone_stress(4, 2.0);
}

#[test]
fn sixteen_threads_on_a_zone() {
    zone_stress(16, 2.0);
}

#[test]
fn sixty_four_threads_on_a_zone() {
    zone_stress(64, 2.0);
}
