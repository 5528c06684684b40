//! Threads on one machine with real atomics: nothing is handed out twice, nothing is lost, and
//! everything merges back to the blocks the machine booted with.
#![cfg(not(any(feature = "loom", feature = "schedules")))]

use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::config::Config;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::Memblock;
use pagebuddy_core::page_alloc::AllocRequest;
use pagebuddy_core::pressure::NoHooks;
use pagebuddy_core::types::MigrateType;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

const MIB: u64 = 1 << 20;

/// A small generator (splitmix64), so that a failure names the seed that brings it back.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn machine(nr_cpus: usize) -> PageAllocator {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, 63 * MIB, Some(0), 0).unwrap();
    PageAllocator::boot_late(&Config::default(), &Topology::single_node(nr_cpus), &mut memblock).unwrap()
}

/// All free blocks, whatever list they are in.
fn free_blocks(machine: &PageAllocator) -> Vec<(u64, usize)> {
    let mut blocks = Vec::new();
    for zone in machine.state().zones {
        for order in 0..11 {
            for mt in MigrateType::ALL {
                blocks.extend(zone.free_list(order, mt).iter().map(|pfn| (*pfn, order)));
            }
        }
    }
    blocks.sort_unstable();
    blocks
}

/// Who holds each page: 0 nobody, 1 somebody.
struct Owners(Vec<AtomicU8>);

impl Owners {
    fn take(&self, pfn: u64, order: u32) {
        for page in pfn..pfn + (1 << order) {
            assert_eq!(self.0[page as usize].swap(1, SeqCst), 0, "page {page:#x} was handed out twice");
        }
    }
    fn give(&self, pfn: u64, order: u32) {
        for page in pfn..pfn + (1 << order) {
            assert_eq!(self.0[page as usize].swap(0, SeqCst), 1, "page {page:#x} was not held");
        }
    }
}

fn stress(nr_threads: usize, nr_cpus: usize, operations: u64) {
    let machine = machine(nr_cpus);
    let before = free_blocks(&machine);
    let owners = Owners((0..64 * MIB / 4096).map(|_| AtomicU8::new(0)).collect());
    let start = Barrier::new(nr_threads);
    std::thread::scope(|scope| {
        for thread in 0..nr_threads {
            let (machine, owners, start) = (&machine, &owners, &start);
            scope.spawn(move || {
                let mut random = Random(thread as u64 + 1);
                let mut held: Vec<(u64, u32)> = Vec::new();
                start.wait();
                for _ in 0..operations {
                    let cpu = match random.below(3) {
                        0 => CpuChoice::Current,
                        n => CpuChoice::Fixed(n as usize % nr_cpus),
                    };
                    if random.below(100) < 52 {
                        let order = if random.below(2) == 0 { 0 } else { random.below(11) as u32 };
                        let gfp = [Gfp::GFP_KERNEL, Gfp::GFP_HIGHUSER_MOVABLE, Gfp::GFP_ATOMIC, Gfp(0xcd0)];
                        let gfp = gfp[random.below(4) as usize];
                        let request = AllocRequest { gfp, order, nid: 0, nodemask: None };
                        if let Ok(pfn) = machine.alloc_pages(cpu, request, &NoHooks) {
                            owners.take(pfn, order);
                            held.push((pfn, order));
                        }
                    } else if !held.is_empty() {
                        let (pfn, order) = held.swap_remove(random.below(held.len() as u64) as usize);
                        owners.give(pfn, order);
                        machine.free_pages(cpu, pfn, order).unwrap();
                    }
                }
                for (pfn, order) in held {
                    owners.give(pfn, order);
                    machine.free_pages(CpuChoice::Current, pfn, order).unwrap();
                }
            });
        }
    });
    machine.drain_all(None);
    machine.validate().unwrap();
    assert_eq!(free_blocks(&machine), before, "everything merged back");
}

/// Operations per thread: a few seconds, or as many as PAGEBUDDY_SOAK_SECONDS suggests.
fn operations() -> u64 {
    let seconds = std::env::var("PAGEBUDDY_SOAK_SECONDS").ok().and_then(|text| text.parse::<u64>().ok());
    seconds.map_or(300_000, |seconds| seconds * 300_000)
}

#[test]
fn four_threads_on_two_cpus() {
    stress(4, 2, operations());
}

#[test]
fn sixteen_threads_on_four_cpus() {
    stress(16, 4, operations() / 8);
}

#[test]
fn two_threads_that_share_one_cpu() {
    stress(2, 1, operations());
}

#[test]
fn of_two_frees_of_one_block_exactly_one_succeeds() {
    let machine = machine(2);
    for round in 0..20_000u32 {
        let order = [0, 3, 4, 9][round as usize % 4];
        let request = AllocRequest { gfp: Gfp::GFP_KERNEL, order, nid: 0, nodemask: None };
        let pfn = machine.alloc_pages(CpuChoice::Current, request, &NoHooks).unwrap();
        let free = |cpu| machine.free_pages(CpuChoice::Fixed(cpu), pfn, order).is_ok();
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(|| free(1));
            (free(0), other.join().unwrap())
        });
        assert!(first ^ second, "round {round}: {first} and {second}");
    }
    machine.drain_all(None);
    machine.validate().unwrap();
}
