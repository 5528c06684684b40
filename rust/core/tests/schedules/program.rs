//! What fibers do.

use crate::world::World;
use pagebuddy_core::buddy::Place;
use pagebuddy_core::free_area::Side;
use pagebuddy_core::types::MigrateType;
use pagebuddy_core::word::PageIdx;

/// One operation of a program. Blocks are named by their position among what the fiber holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Allocate a block of an order from a list type.
    Alloc(u32, usize),
    /// Allocate a block of an order from a list type or, if it has none, from the other one.
    AllocAny(u32, usize),
    /// Allocate several blocks, in runs where there are some.
    Bulk(u32, u32, usize),
    /// Free a held block.
    Free(usize),
    /// Free a held block to the back of its list.
    FreeBack(usize),
    /// Free everything held, in order.
    FreeAll,
    /// Move free block (page, order), if it is one, to the back of a list type.
    Move(PageIdx, u32, usize),
    /// Give a pageblock to a list type and move its free blocks there.
    MoveBlock(PageIdx, usize),
    /// Take free block (page, order), if it is one, out of the middle.
    Take(PageIdx, u32),
    /// Take the front block of exactly this order.
    TakeFront(u32, usize),
    /// Move the front block of an order from one list type to another, if there is one.
    Steal(u32, usize, usize),
    /// Take up to `max` blocks of an order out of the front block of a larger order of one list
    /// type; the rest of it goes to the other.
    Spoil { from: (u32, usize), order: u32, max: u32, to: usize },
    /// The same of free block (page, order), if it is one.
    SpoilBlock { block: (PageIdx, u32), order: u32, max: u32, to: usize },
}

impl World {
    /// Runs the program of a fiber.
    pub fn run_program(&self, fiber: u8) {
        let nr_ops = self.programs.borrow()[fiber as usize].len();
        for i in 0..nr_ops {
            let op = self.programs.borrow()[fiber as usize][i].clone();
            self.log(|| format!("{op:?}, holding {:?}", self.held.borrow()[fiber as usize]));
            self.run_op(fiber, &op);
        }
        self.log(|| "done".into());
    }

    fn run_op(&self, fiber: u8, op: &Op) {
        let buddy = self.buddy(fiber);
        match *op {
            Op::Alloc(order, mt) => {
                self.alloc_run(fiber, order, mt, 1);
            }
            Op::AllocAny(order, mt) => {
                self.begin(fiber, 1 << order);
                let places = [mt, 1 - mt].map(|mt| Place { order, mt });
                let mut patience = 0;
                loop {
                    let taken = places.iter().find_map(|place| buddy.try_take_smallest(order, place.mt));
                    if let Some(x) = taken {
                        self.receive(fiber, x, order);
                        break;
                    }
                    if buddy.is_exhausted(&places, &mut patience) {
                        self.check_failure(fiber, order);
                        break;
                    }
                }
                self.end(fiber);
            }
            Op::Bulk(n, order, mt) => {
                let mut left = n;
                while left > 0 {
                    match self.alloc_run(fiber, order, mt, left) {
                        0 => break,
                        taken => left -= taken,
                    }
                }
            }
            Op::Free(i) => self.free(fiber, i, Side::Likely),
            Op::FreeBack(i) => self.free(fiber, i, Side::Back),
            Op::FreeAll => {
                while !self.held.borrow()[fiber as usize].is_empty() {
                    self.free(fiber, 0, Side::Likely);
                }
            }
            Op::Move(x, order, mt) => {
                self.begin(fiber, 0);
                buddy.move_to_back(x, order, mt);
                self.end(fiber);
            }
            Op::MoveBlock(x, mt) => {
                let first = x >> buddy.blocks().order() << buddy.blocks().order();
                let last = (first + buddy.blocks().nr_pages() - 1).min(self.nr_pages() - 1);
                self.begin(fiber, 0);
                buddy.blocks().set(x, MigrateType::from_index(mt).expect("a migratetype"));
                buddy.move_free_blocks(first, last, mt);
                self.end(fiber);
            }
            Op::Take(x, order) => {
                self.begin(fiber, 1 << order);
                if buddy.area.take(x, order).is_some() {
                    self.receive(fiber, x, order);
                }
                self.end(fiber);
            }
            Op::Steal(order, from, to) => {
                self.begin(fiber, 0);
                while buddy.area.has(order, from) {
                    if buddy.area.front(order, from).is_some_and(|x| buddy.move_to_back(x, order, to)) {
                        break;
                    }
                }
                self.end(fiber);
            }
            Op::Spoil { from: (k, from), order, max, to } => {
                self.begin(fiber, (max << order) as i32);
                if let Some((x, n)) = buddy.split_front(k, from, order, max, to) {
                    self.receive_run(fiber, x, order, n);
                }
                self.end(fiber);
            }
            Op::SpoilBlock { block: (x, k), order, max, to } => {
                self.begin(fiber, (max << order) as i32);
                if let Some(n) = buddy.split_block(x, k, order, max, to) {
                    self.receive_run(fiber, x, order, n);
                }
                self.end(fiber);
            }
            Op::TakeFront(order, mt) => {
                self.begin(fiber, 1 << order);
                if let Some(x) = buddy.area.take_front(order, mt) {
                    self.receive(fiber, x, order);
                }
                self.end(fiber);
            }
        }
    }

    /// Takes up to `max` blocks that lie in a row; how many.
    fn alloc_run(&self, fiber: u8, order: u32, mt: usize, max: u32) -> u32 {
        self.begin(fiber, (max << order) as i32);
        let taken = match self.buddy(fiber).take_run(order, mt, max) {
            Some((first, n)) => {
                self.receive_run(fiber, first, order, n);
                n
            }
            None => {
                self.check_failure(fiber, order);
                0
            }
        };
        self.end(fiber);
        taken
    }

    /// An allocation got nothing.
    fn check_failure(&self, fiber: u8, order: u32) {
        let available = self.ledger.borrow().least_available(fiber);
        assert!(
            !self.exact_failure.get() || order != 0 || available <= 0,
            "fiber {fiber} got nothing although {available} pages were always available"
        );
    }

    fn free(&self, fiber: u8, i: usize, side: Side) {
        let (x, order) = {
            let held = &mut self.held.borrow_mut()[fiber as usize];
            if held.is_empty() {
                return;
            }
            let i = i % held.len();
            held.remove(i)
        };
        self.begin(fiber, 0);
        let given = self.ledger.borrow_mut().give_up(fiber, x, order);
        given.unwrap_or_else(|violation| panic!("{violation}"));
        let buddy = self.buddy(fiber);
        let mt = buddy.blocks().get(x).index();
        buddy.put(x, order, mt, side);
        self.end(fiber);
    }

    fn begin(&self, fiber: u8, keeps: i32) {
        self.ledger.borrow_mut().begin(fiber, keeps);
    }

    fn receive(&self, fiber: u8, x: PageIdx, order: u32) {
        let received = self.ledger.borrow_mut().receive(fiber, x, order);
        received.unwrap_or_else(|violation| panic!("{violation}"));
        self.held.borrow_mut()[fiber as usize].push((x, order));
        self.log(|| format!("got ({x}, {order})"));
    }

    fn receive_run(&self, fiber: u8, first: PageIdx, order: u32, n: u32) {
        (0..n).for_each(|i| self.receive(fiber, first + (i << order), order));
    }

    fn end(&self, fiber: u8) {
        let ended = self.ledger.borrow_mut().end(fiber);
        ended.unwrap_or_else(|violation| panic!("{violation}"));
    }
}
