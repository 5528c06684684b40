//! What a worker does, and where it all happens.

use crate::board::{Board, Id};
use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::bulk::BulkRequest;
use pagebuddy_core::config::Config;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::Memblock;
use pagebuddy_core::page_alloc::AllocRequest;
use pagebuddy_core::pressure::NoHooks;

const MIB: u64 = 1 << 20;

/// Pages of the machine.
pub const NR_PAGES: u64 = (128 * MIB) >> 12;

/// Cpus: fewer than there are workers at times, so that some use spare slots, and some that name a
/// cpu work without a lease.
pub const NR_CPUS: usize = 4;

/// Most pages a worker keeps.
pub const MOST_HELD: u64 = 1500;

/// Most pages of one bulk request.
pub const MOST_IN_BULK: usize = 24;

/// A machine on which nobody works yet; its per-cpu lists are empty.
pub fn machine() -> PageAllocator {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, 127 * MIB, Some(0), 0).expect("valid memory");
    let topology = Topology::single_node(NR_CPUS);
    let machine = PageAllocator::boot_late(&Config::default(), &topology, &mut memblock).expect("it boots");
    machine.drain_all(None);
    machine
}

/// Small and fast.
pub struct Rng(u64);

impl Rng {
    /// Equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Rng((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A worker: random operations, every page accounted for on the board.
pub struct Worker<'a> {
    machine: &'a PageAllocator,
    board: &'a Board,
    id: Id,
    rng: Rng,
    held: Vec<(u64, u32)>,
    nr_held: u64,
    /// Most blocks may be held at once, so that no memory is allocated while it works.
    most_blocks: usize,
}

impl<'a> Worker<'a> {
    /// A worker that holds nothing.
    pub fn new(machine: &'a PageAllocator, board: &'a Board, id: Id, seed: u64) -> Self {
        let most_blocks = 512;
        Worker {
            machine,
            board,
            id,
            rng: Rng::new(seed),
            held: Vec::with_capacity(most_blocks),
            nr_held: 0,
            most_blocks,
        }
    }

    fn cpu(&mut self) -> CpuChoice {
        match self.rng.below(3) {
            0 => CpuChoice::Fixed(self.rng.below(NR_CPUS as u64) as usize),
            _ => CpuChoice::Current,
        }
    }

    fn receive(&mut self, pfn: u64, order: u32) {
        if let Err((page, owner)) = self.board.take(pfn, order, self.id) {
            panic!("page {page:#x} of block ({pfn:#x}, {order}) was handed to {} and belongs to {owner}", self.id);
        }
        self.held.push((pfn, order));
        self.nr_held += 1 << order;
    }

    fn free(&mut self, i: usize) {
        let (pfn, order) = self.held.swap_remove(i);
        self.nr_held -= 1 << order;
        if let Err((page, owner)) = self.board.give(pfn, order, self.id) {
            panic!("page {page:#x} of {} belongs to {owner}", self.id);
        }
        let cpu = self.cpu();
        self.machine.free_pages(cpu, pfn, order).expect("a block that was allocated");
    }

    /// One random operation.
    pub fn step(&mut self) {
        let order = match self.rng.below(100) {
            0..60 => 0,
            60..85 => 1 + self.rng.below(3) as u32,
            85..98 => 4 + self.rng.below(5) as u32,
            _ => 9 + self.rng.below(2) as u32,
        };
        let gfp = [Gfp::GFP_KERNEL, Gfp::GFP_HIGHUSER_MOVABLE, Gfp::GFP_ATOMIC][self.rng.below(3) as usize];
        let is_full = self.nr_held + (1 << order).max(MOST_IN_BULK as u64) > MOST_HELD
            || self.held.len() + MOST_IN_BULK > self.most_blocks;
        let cpu = self.cpu();
        match self.rng.below(100) {
            0 => {
                self.machine.drain_cpu(self.rng.below(NR_CPUS as u64) as usize, None);
            }
            1..4 if !is_full => {
                let request = BulkRequest { gfp, nid: 0, nodemask: None };
                let n = 1 + self.rng.below(MOST_IN_BULK as u64) as usize;
                let mut pages = [0; MOST_IN_BULK];
                let got = self.machine.alloc_pages_bulk_array(cpu, request, &mut pages[..n], &NoHooks);
                pages[..got].iter().for_each(|pfn| self.receive(*pfn, 0));
            }
            4..52 if !is_full => {
                let request = AllocRequest { gfp, order, nid: 0, nodemask: None };
                if let Ok(pfn) = self.machine.alloc_pages(cpu, request, &NoHooks) {
                    self.receive(pfn, order);
                }
            }
            _ if !self.held.is_empty() => {
                let i = self.rng.below(self.held.len() as u64) as usize;
                self.free(i);
            }
            _ => {}
        }
    }

    /// Frees everything.
    pub fn finish(&mut self) {
        while !self.held.is_empty() {
            self.free(self.held.len() - 1);
        }
    }
}
