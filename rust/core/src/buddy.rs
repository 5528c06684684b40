//! The buddy core of one zone: split, merge, smallest fit, moves (mm/page_alloc.c).
//!
//! Decisions and list order are the kernel's; counters, watermarks and per-cpu lists live above.

use crate::free_area::{FreeArea, Side};
use crate::page_array::{PageArray, PageDesc};
use crate::pageblock::Pageblocks;
use crate::sync::{AcqRel, Acquire, Bug, Relaxed, back_off, planted, yield_now};
use crate::types::{MAX_ORDER, MigrateType};
use crate::word::page_info::PageInfo;
use crate::word::page_word::{Kind, PageWord};
use crate::word::split_register::SplitRegister;
use crate::word::{NIL, PageIdx};
use core::num::NonZeroU32;

/// How often a failing allocation lets other threads run while one of them has blocks in flight.
const PATIENCE: u32 = if cfg!(feature = "loom") { 2 } else { 64 };

/// How many pages are looked at together in search of free blocks.
const TOGETHER: usize = if cfg!(any(feature = "loom", feature = "schedules")) { 2 } else { 4 };

/// What moving the free blocks of a pageblock found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Pages in the free blocks that were moved.
    pub nr_free: u64,
    /// Pages in use that count as movable.
    pub nr_movable: u64,
}

/// Where a caller looked for a block: the lists of type `mt` from `order` on, and their register.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Smallest order.
    pub order: u32,
    /// Migratetype.
    pub mt: usize,
}

/// A request looks at the lists of its own type, of two others to fall back to, and of CMA.
pub const MOST_PLACES: usize = 4;

/// One zone's buddy allocator.
#[derive(Clone, Copy)]
pub struct Buddy<'a> {
    /// Free lists and split registers.
    pub area: FreeArea<'a>,
}

impl<'a> Buddy<'a> {
    /// The page array.
    #[inline(always)]
    pub fn pages(&self) -> PageArray<'a> {
        self.area.lists.pages
    }

    /// Pageblock types.
    #[inline(always)]
    pub fn blocks(&self) -> Pageblocks<'a> {
        self.area.rule.blocks
    }

    /// A page's info word.
    #[inline(always)]
    pub fn info(&self, x: PageIdx) -> PageInfo {
        PageInfo::from_raw(self.pages().page(x).info.load(Relaxed)) // ORDERING(R4)
    }

    /// Overwrites the info word of a page we own.
    #[inline(always)]
    pub fn set_info(&self, x: PageIdx, info: PageInfo) {
        self.pages().page(x).info.store(info.raw(), Relaxed); // ORDERING(R4)
    }

    /// Replaces a page's info word, if it is still what the caller saw: of several who try the same,
    /// one wins.
    ///
    /// ORDERING(P8): AcqRel, what all former users wrote happens before the next one's use.
    #[inline(always)]
    #[must_use]
    pub fn replace_info(&self, x: PageIdx, old: PageInfo, new: PageInfo) -> bool {
        // ORDERING(P8)
        self.pages().page(x).info.compare_exchange(old.raw(), new.raw(), AcqRel, Relaxed).is_ok()
    }

    /// Runs `work`, which takes blocks out and puts blocks back, so that nobody takes blocks that
    /// are in no list for the moment for blocks that do not exist.
    #[inline(always)]
    pub fn announced<R>(&self, work: impl FnOnce() -> R) -> R {
        self.area.in_flight.announced(work)
    }

    /// Takes a block of exactly `order` from the smallest fitting block of list type `mt`
    /// (`__rmqueue_smallest` and `expand`).
    #[inline(always)]
    pub fn take_smallest(&self, order: u32, mt: usize) -> Option<PageIdx> {
        self.take_run(order, mt, 1).map(|(p, _)| p)
    }

    /// Takes up to `max` blocks of exactly `order` that lie in a row, ascending, if that is what so
    /// many calls of [`Self::take_smallest`] would take: the first one and how many.
    #[inline(always)]
    pub fn take_run(&self, order: u32, mt: usize, max: u32) -> Option<(PageIdx, u32)> {
        self.try_take_run(order, mt, max).or_else(|| self.take_run_patiently(order, mt, max))
    }

    /// [`Self::take_run`] after a first look in vain.
    #[cold]
    #[inline(never)]
    fn take_run_patiently(&self, order: u32, mt: usize, max: u32) -> Option<(PageIdx, u32)> {
        let mut patience = 0;
        while !self.is_exhausted(&[Place { order, mt }], &mut patience) {
            let taken = self.try_take_run(order, mt, max);
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// As [`Self::take_smallest`] for a caller who can go elsewhere: it looks once, so what others
    /// have in flight is not there for it.
    #[inline(always)]
    pub fn try_take_smallest(&self, order: u32, mt: usize) -> Option<PageIdx> {
        self.try_take_run(order, mt, 1).map(|(p, _)| p)
    }

    /// As [`Self::take_run`] for a caller who can go elsewhere.
    #[inline(always)]
    pub fn try_take_run(&self, order: u32, mt: usize, max: u32) -> Option<(PageIdx, u32)> {
        // First the commonest cases, in one piece: a block that fits, which is taken whole out of
        // the register or its list, or something in the register with nothing smaller before it.
        let split = &self.area.lists.lists.split;
        let register = split.load(mt);
        if register.has(order) {
            if split.cas_of_used(mt, register, register.without(1 << order)).is_ok() {
                return Some((register.element(order), 1));
            }
        } else if let Some(p) = self.area.lists.pop(order, mt) {
            return Some((p, 1));
        } else if let Some(k) = register.smallest_from(order)
            && !register.has_below(order)
            && self.smallest_list(order + 1, Some(k), mt).is_none()
        {
            let n = max.min(1 << (k - order));
            if split.cas_of_used(mt, register, register.take_run(k, order, n)).is_ok() {
                return Some((register.element(k), n));
            }
        }
        self.take_any_run(order, mt, max).map(|(p, n)| (p, n.get()))
    }

    /// [`Self::try_take_run`] in all cases, and as often as others are quicker. (With the number
    /// never zero, the result is returned in a register.)
    #[inline(never)]
    fn take_any_run(&self, order: u32, mt: usize, max: u32) -> Option<(PageIdx, NonZeroU32)> {
        let mut failures = 0;
        let split = &self.area.lists.lists.split;
        loop {
            let register = split.load(mt);
            let in_register = register.smallest_from(order);
            if let Some(k) = self.smallest_list(order, in_register, mt) {
                if let Some(p) = self.split_first(k, mt, order) {
                    return Some((p, NonZeroU32::MIN));
                }
                continue; // somebody took it first
            }
            if let Some(k) = in_register {
                if k != order && register.has_below(order) {
                    let below = (1 << order) - 1;
                    self.announced(|| self.area.spill(mt, register, below));
                    continue;
                }
                let n = max.min(1 << (k - order));
                if split.cas_of_used(mt, register, register.take_run(k, order, n)).is_ok() {
                    return Some((register.element(k), NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)));
                }
                failures += 1;
                back_off(failures);
                continue;
            }
            return None;
        }
    }

    /// The smallest order from `order` on of which a block is in a list of `mt`, if it is smaller
    /// than the one in the register.
    #[inline(always)]
    fn smallest_list(&self, order: u32, in_register: Option<u32>, mt: usize) -> Option<u32> {
        let end = in_register.unwrap_or(self.area.rule.top + 1);
        let lists = self.area.lists.lists.lists(mt).get(order as usize..end as usize)?;
        lists.iter().position(|list| !list.is_empty()).map(|n| order + n as u32)
    }

    /// Takes a block of `order` out of the first block of list (k, mt).
    fn split_first(&self, k: u32, mt: usize, order: u32) -> Option<PageIdx> {
        if k == order {
            // A block that fits is taken whole: nothing of it comes back.
            return self.area.lists.pop(k, mt);
        }
        self.announced(|| {
            let p = self.area.lists.pop(k, mt)?;
            self.area.install(mt, p, ((1 << k) - 1) & !((1 << order) - 1));
            Some(p)
        })
    }

    /// Takes up to `max` blocks of `order` in a row out of the front block of list (k, from): the
    /// first one and how many. What is left of it goes to the lists of `to`.
    pub fn split_front(&self, k: u32, from: usize, order: u32, max: u32, to: usize) -> Option<(PageIdx, u32)> {
        let spoil = || self.area.take_front(k, from).map(|p| (p, self.cut(p, k, order, max, to)));
        // Of a block that fits nothing comes back.
        if k == order || planted(Bug::SilentSpoil) { spoil() } else { self.announced(spoil) }
    }

    /// [`Self::split_front`] of free block (p, k); how many blocks were taken. `None` if somebody
    /// else took it first.
    pub fn split_block(&self, p: PageIdx, k: u32, order: u32, max: u32, to: usize) -> Option<u32> {
        self.announced(|| self.area.take(p, k).map(|_| self.cut(p, k, order, max, to)))
    }

    /// Keeps up to `max` blocks of `order` of block (p, k), which is ours, and puts the rest to `to`.
    #[inline(always)]
    fn cut(&self, p: PageIdx, k: u32, order: u32, max: u32, to: usize) -> u32 {
        let n = max.min(1 << (k - order));
        let rest = SplitRegister::only(p, k).take_run(k, order, n);
        self.area.install(to, rest.base(), rest.mask());
        n
    }

    /// A caller found nothing in any of these places, at most [`MOST_PLACES`]. True if that may be
    /// the answer; if not, it looks again.
    ///
    /// If nobody had blocks in flight from before we looked until after, then blocks could only
    /// be taken meanwhile, none be put back; so at the end of the look there was none. If somebody
    /// always has, the answer is that no *linked* block existed at one instant. A stopped thread
    /// can hide the blocks of one split, merge or drain that way; our patience is bounded so that
    /// it cannot stop us.
    #[cold]
    #[inline(never)]
    pub fn is_exhausted(&self, places: &[Place], patience: &mut u32) -> bool {
        let lists = self.area.lists.lists;
        let top = self.area.rule.top;
        let places = if planted(Bug::OnlyFirstPlace) { &places[..1] } else { places };
        let quiet_before = self.area.in_flight.others_quiet();
        let mut stamps = [[0; MAX_ORDER]; MOST_PLACES];
        for (place, stamps) in places.iter().zip(&mut stamps) {
            for k in place.order..=top {
                let (stamp, is_empty) = lists.list(k, place.mt).stamp();
                if !is_empty {
                    return false;
                }
                stamps[k as usize] = stamp;
            }
            if lists.split.load(place.mt).smallest_from(place.order).is_some() {
                return false;
            }
        }
        if planted(Bug::NoQuietCheck) || (quiet_before.is_some() && self.area.in_flight.others_quiet() == quiet_before)
        {
            return true;
        }
        if *patience < PATIENCE {
            *patience += 1;
            yield_now();
            return false;
        }
        places
            .iter()
            .zip(&stamps)
            .all(|(place, stamps)| (place.order..=top).all(|k| lists.list(k, place.mt).stamp().0 == stamps[k as usize]))
    }

    /// Frees a block we own to list type `mt` (`__free_one_page`, counters apart).
    #[inline(always)]
    pub fn put(&self, p: PageIdx, order: u32, mt: usize, side: Side) {
        // Not `announced`: a closure of this size would not be inlined.
        self.area.in_flight.begin();
        self.area.put(p, order, mt, side);
        self.area.in_flight.end();
    }

    /// Moves free block (x, order) to the back of list type `mt` (`move_to_free_list`). False if
    /// somebody else took it first.
    pub fn move_to_back(&self, x: PageIdx, order: u32, mt: usize) -> bool {
        self.announced(|| {
            // A pair that is kept apart stays a pair: the kernel does not merge in a move.
            let kept = self.area.look_for_kept_pair(x, order);
            if self.area.take(x, order).is_none() {
                return false;
            }
            self.area.push_back(x, order, mt);
            if !self.area.is_still_kept(kept) && !planted(Bug::NoRecheckAfterMove) {
                self.area.merge_unlikely_pair(x, order, mt);
            }
            true
        })
    }

    /// The order of the free block that starts exactly at `x`, if there is one.
    pub fn free_order(&self, x: PageIdx) -> Option<u32> {
        let word = self.area.lists.word(x);
        if matches!(word.kind(), Kind::Free) {
            return Some(word.order());
        }
        let largest = x.trailing_zeros().min(self.area.rule.top);
        (0..=largest).find(|&order| self.area.is_free(x, order))
    }

    /// The free block that contains `x`.
    pub fn free_block_of(&self, x: PageIdx) -> Option<(PageIdx, u32)> {
        (0..=self.area.rule.top).find_map(|order| {
            let first = x & !((1 << order) - 1);
            self.free_order(first).filter(|&found| found >= order).map(|found| (first, found))
        })
    }

    /// Moves every free block that starts in `start..=end` to the back of list type `mt`, in
    /// ascending order, and counts movable pages on the way (`move_freepages`).
    pub fn move_free_blocks(&self, start: PageIdx, end: PageIdx, mt: usize) -> Moved {
        self.announced(|| self.area.spill_around(start));
        let mut moved = Moved::default();
        let mut x = start;
        loop {
            x = self.skip_used(x, end, &mut moved.nr_movable);
            if x > end {
                return moved;
            }
            let word = self.area.lists.word(x);
            if matches!(word.kind(), Kind::Free) && self.move_to_back(x, word.order(), mt) {
                moved.nr_free += 1 << word.order();
                x += 1 << word.order();
            }
        }
    }

    /// The first page from `x` on that begins a free block, or `end + 1`. Counts the pages before
    /// it that are movable: on an LRU list, or the second page of an allocated compound block of
    /// two pages (whose page count looks like the mark of a movable page).
    ///
    /// Most pages are neither free nor movable, so several are looked at together first.
    #[inline(always)]
    fn skip_used(&self, x: PageIdx, end: PageIdx, nr_movable: &mut u64) -> PageIdx {
        let word_of = |desc: &PageDesc| PageWord::from_raw(desc.word.load(Acquire)); // ORDERING(P2)
        let info_of = |desc: &PageDesc| PageInfo::from_raw(desc.info.load(Relaxed)); // ORDERING(R4)
        let mut before = if x & 1 == 1 && x <= end { self.info(x - 1) } else { PageInfo::NONE };
        let mut is_free = |desc: &PageDesc, before: &mut PageInfo| {
            let is_free = matches!(word_of(desc).kind(), Kind::Free);
            if !is_free {
                let info = info_of(desc);
                *nr_movable += u64::from(info.is_movable() | (before.is_compound_pair() & !info.is_allocated()));
                *before = info;
            }
            is_free
        };
        let (head, pages) = self.pages().range(x, end);
        let mut x = x;
        if let Some(desc) = head {
            if is_free(desc, &mut before) {
                return x;
            }
            x += 1;
        }
        for together in pages.chunks(TOGETHER) {
            if let Some(together) = together.first_chunk::<TOGETHER>() {
                let are_used = PageWord::are_used(together.each_ref().map(word_of));
                if are_used && before.is_plain() && PageInfo::are_plain(together.each_ref().map(info_of)) {
                    (x, before) = (x + TOGETHER as PageIdx, PageInfo::NONE);
                    continue;
                }
            }
            for desc in together {
                if is_free(desc, &mut before) {
                    return x;
                }
                x += 1;
            }
        }
        end + 1
    }

    /// Number of blocks in list (order, mt), counted by walking.
    pub fn nr_blocks(&self, order: u32, mt: MigrateType) -> u64 {
        let mut count = 0;
        self.area.lists.for_each(order, mt.index(), |_| {
            count += 1;
            true
        });
        count
    }

    /// The blocks of list (order, mt), head first.
    pub fn list(&self, order: u32, mt: MigrateType) -> Vec<PageIdx> {
        let mut blocks = Vec::new();
        self.area.lists.for_each(order, mt.index(), |x| {
            debug_assert!(x != NIL);
            blocks.push(x);
            true
        });
        blocks
    }
}
