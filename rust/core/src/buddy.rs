//! The buddy core of one zone: split, merge, smallest fit, moves (mm/page_alloc.c).
//!
//! Decisions and list order are the kernel's; counters, watermarks and per-cpu lists live above.

use crate::free_area::{FreeArea, Side};
use crate::page_array::PageArray;
use crate::pageblock::Pageblocks;
use crate::sync::{Acquire, AtomicU32, Relaxed, Release, yield_now};
use crate::types::{MAX_ORDER, MigrateType};
use crate::word::page_info::PageInfo;
use crate::word::{NIL, PageIdx};

/// How often a failing allocation lets other threads run while one of them has blocks in flight.
const PATIENCE: u32 = 64;

/// "I hold blocks that are in no list": one flag per cpu slot, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct InFlightFlag(AtomicU32);

impl InFlightFlag {
    /// Not in flight.
    pub fn new() -> Self {
        InFlightFlag(AtomicU32::new(0))
    }

    #[inline(always)]
    fn set(&self, value: u32) {
        self.0.store(value, Release); // ORDERING(P5)
    }

    fn is_set(&self) -> bool {
        self.0.load(Acquire) != 0 // ORDERING(P5)
    }

    /// Forgets a flag left by a dead holder.
    pub fn clear(&self) {
        self.set(0);
    }
}

/// The in-flight flags of all cpu slots and which of them is ours.
#[derive(Clone, Copy, Debug)]
pub struct InFlight<'a> {
    /// Our slot, if we hold a lease.
    pub own: Option<&'a InFlightFlag>,
    /// All slots.
    pub all: &'a [InFlightFlag],
}

/// What moving the free blocks of a pageblock found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Pages in the free blocks that were moved.
    pub nr_free: u64,
    /// Pages in use that count as movable.
    pub nr_movable: u64,
}

/// One zone's buddy allocator.
#[derive(Clone, Copy)]
pub struct Buddy<'a> {
    /// Free lists and split registers.
    pub area: FreeArea<'a>,
    /// Who has blocks in flight.
    pub in_flight: InFlight<'a>,
}

impl<'a> Buddy<'a> {
    /// The page array.
    #[inline(always)]
    pub fn pages(self) -> PageArray<'a> {
        self.area.lists.pages
    }

    /// Pageblock types.
    #[inline(always)]
    pub fn blocks(self) -> Pageblocks<'a> {
        self.area.rule.blocks
    }

    /// A page's info word.
    #[inline(always)]
    pub fn info(self, x: PageIdx) -> PageInfo {
        PageInfo::from_raw(self.pages().page(x).info.load(Relaxed)) // ORDERING(R4)
    }

    /// Overwrites the info word of a page we own.
    #[inline(always)]
    pub fn set_info(self, x: PageIdx, info: PageInfo) {
        self.pages().page(x).info.store(info.raw(), Relaxed); // ORDERING(R4)
    }

    /// Runs `work` with our in-flight flag set.
    #[inline(always)]
    fn flagged<R>(self, work: impl FnOnce() -> R) -> R {
        if let Some(own) = self.in_flight.own {
            own.set(1);
        }
        let result = work();
        if let Some(own) = self.in_flight.own {
            own.set(0);
        }
        result
    }

    /// Takes a block of exactly `order` from the smallest fitting block of list type `mt`
    /// (`__rmqueue_smallest` and `expand`).
    #[inline]
    pub fn take_smallest(self, order: u32, mt: usize) -> Option<PageIdx> {
        let mut patience = 0;
        let split = &self.area.lists.lists.split;
        'again: loop {
            let register = split.load(mt);
            let in_register = register.smallest_from(order);
            for k in order..in_register.unwrap_or(self.area.rule.top + 1) {
                if self.area.lists.lists.list(k, mt).is_empty() {
                    continue;
                }
                if k == order {
                    if let Some(p) = self.area.lists.pop(k, mt) {
                        return Some(p);
                    }
                } else if let Some(p) = self.flagged(|| {
                    let p = self.area.lists.pop(k, mt)?;
                    self.area.install(mt, p, ((1 << k) - 1) & !((1 << order) - 1));
                    Some(p)
                }) {
                    return Some(p);
                }
            }
            if let Some(k) = in_register {
                let below = register.mask() & ((1 << order) - 1);
                if k != order && below != 0 {
                    self.area.spill(mt, register, below);
                    continue 'again;
                }
                if split.cas(mt, register, register.take(k, order)).is_ok() {
                    return Some(register.element(k));
                }
                continue 'again;
            }
            if self.may_fail(order, mt, &mut patience) {
                return None;
            }
        }
    }

    /// Nothing was found. True: no linked block existed at one instant, and nobody who has blocks
    /// in flight brought one within our patience.
    ///
    /// A stopped thread can hide the blocks of one split, merge or drain from others; patience is
    /// bounded so that it cannot stop them.
    #[cold]
    #[inline(never)]
    fn may_fail(self, order: u32, mt: usize, patience: &mut u32) -> bool {
        let lists = self.area.lists.lists;
        let orders = order..self.area.rule.top + 1;
        let mut stamps = [0; MAX_ORDER];
        for k in orders.clone() {
            let (stamp, is_empty) = lists.list(k, mt).stamp();
            if !is_empty {
                return false;
            }
            stamps[k as usize] = stamp;
        }
        if lists.split.load(mt).smallest_from(order).is_some() {
            return false;
        }
        if orders.clone().any(|k| lists.list(k, mt).stamp().0 != stamps[k as usize]) {
            return false;
        }
        if *patience < PATIENCE && self.others_in_flight() {
            *patience += 1;
            yield_now();
            return false;
        }
        true
    }

    fn others_in_flight(self) -> bool {
        let is_own = |flag: &InFlightFlag| self.in_flight.own.is_some_and(|own| core::ptr::eq(own, flag));
        self.in_flight.all.iter().any(|flag| !is_own(flag) && flag.is_set())
    }

    /// Frees a block we own to list type `mt` (`__free_one_page`, counters apart).
    #[inline]
    pub fn put(self, p: PageIdx, order: u32, mt: usize, side: Side) {
        self.flagged(|| self.area.put(p, order, mt, side));
    }

    /// Moves free block (x, order) to the back of list type `mt` (`move_to_free_list`). False if
    /// somebody else took it first.
    pub fn move_to_back(self, x: PageIdx, order: u32, mt: usize) -> bool {
        // A pair that is free already stays a pair: the kernel does not merge in a move.
        let paired = order < self.area.rule.top && self.area.is_free(x ^ (1 << order), order);
        self.flagged(|| {
            if self.area.take(x, order).is_none() {
                return false;
            }
            self.area.push_back(x, order, mt);
            if !paired {
                self.area.merge_missed_pair(x, order, mt);
            }
            true
        })
    }

    /// The order of the free block that starts exactly at `x`, if there is one.
    pub fn free_order(self, x: PageIdx) -> Option<u32> {
        let word = self.area.lists.word(x);
        if matches!(word.kind(), crate::word::page_word::Kind::Free) {
            return Some(word.order());
        }
        let largest = x.trailing_zeros().min(self.area.rule.top);
        (0..=largest).find(|&order| self.area.is_free(x, order))
    }

    /// The free block that contains `x`.
    pub fn free_block_of(self, x: PageIdx) -> Option<(PageIdx, u32)> {
        (0..=self.area.rule.top).find_map(|order| {
            let first = x & !((1 << order) - 1);
            self.free_order(first).filter(|&found| found >= order).map(|found| (first, found))
        })
    }

    /// Moves every free block that starts in `start..=end` to the back of list type `mt`, in
    /// ascending order, and counts movable pages on the way (`move_freepages`).
    pub fn move_free_blocks(self, start: PageIdx, end: PageIdx, mt: usize) -> Moved {
        self.area.spill_around(start);
        let mut moved = Moved::default();
        let mut x = start;
        while x <= end {
            let word = self.area.lists.word(x);
            if matches!(word.kind(), crate::word::page_word::Kind::Free) {
                let order = word.order();
                if self.move_to_back(x, order, mt) {
                    moved.nr_free += 1 << order;
                    x += 1 << order;
                }
                continue;
            }
            moved.nr_movable += u64::from(self.counts_as_movable(x));
            x += 1;
        }
        moved
    }

    /// On an LRU list, or the second page of an allocated compound block of two pages (whose page
    /// count looks like the mark of a movable page).
    fn counts_as_movable(self, x: PageIdx) -> bool {
        let info = self.info(x);
        if info.is_movable() {
            return true;
        }
        x & 1 == 1 && !info.is_allocated() && {
            let head = self.info(x - 1);
            head.is_compound() && head.order() == 1
        }
    }

    /// Number of blocks in list (order, mt), counted by walking.
    pub fn nr_blocks(self, order: u32, mt: MigrateType) -> u64 {
        let mut count = 0;
        self.area.lists.for_each(order, mt.index(), |_| {
            count += 1;
            true
        });
        count
    }

    /// The blocks of list (order, mt), head first.
    pub fn list(self, order: u32, mt: MigrateType) -> Vec<PageIdx> {
        let mut blocks = Vec::new();
        self.area.lists.for_each(order, mt.index(), |x| {
            debug_assert!(x != NIL);
            blocks.push(x);
            true
        });
        blocks
    }
}
