//! The free blocks of a zone: free lists and split registers as one structure.
//!
//! A block of order i in the split register of a migratetype is the front element of that list;
//! this module keeps that true: whatever is pushed to a front first spills the element there.

use crate::free_list::FreeLists;
use crate::in_flight::InFlight;
use crate::page_array::PageDesc;
use crate::pageblock::Pageblocks;
use crate::sync::{AtomicU32, Bug, Relaxed, fence_for_model, planted};
use crate::types::{MAX_ORDER, MIGRATE_PCPTYPES, MigrateType, NR_MIGRATETYPES};
use crate::word::PageIdx;
use crate::word::split_register::SplitRegister;

/// How often a split tries to install its remainders at once before it pushes them one by one.
const INSTALL_TRIES: u32 = 2;

/// Which end of its list a freed block goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The kernel's ordinary rule: the back if the parent's buddy is free, else the front
    /// (`buddy_merge_likely`).
    Likely,
    /// The back (`FPI_TO_TAIL`).
    Back,
}

/// How far blocks may merge (mm/page_alloc.c, `__free_one_page`).
#[derive(Clone, Copy)]
pub struct MergeRule<'a> {
    /// Largest order, `MAX_ORDER - 1` of the configuration.
    pub top: u32,
    /// Pageblock types, for the check at and above the pageblock order.
    pub blocks: Pageblocks<'a>,
    /// Number of isolated pageblocks in the zone; while it is 0 nothing restricts merging.
    pub nr_isolated: &'a AtomicU32,
    /// The kernel has memory isolation, so pageblocks may have been isolated before.
    pub has_isolation: bool,
}

impl MergeRule<'_> {
    /// Does the zone have isolated pageblocks?
    #[inline(always)]
    pub fn has_isolated(&self) -> bool {
        self.nr_isolated.load(Relaxed) != 0 // ORDERING(R3)
    }

    /// May two buddies of this order both be free for good? Only isolation keeps such pairs apart,
    /// and only from the pageblock order on; they stay apart when it ends, until one is used.
    #[inline(always)]
    pub fn keeps_pairs(&self, order: u32) -> bool {
        (order >= self.blocks.order() && self.has_isolation) || planted(Bug::EveryPairIsKept)
    }

    /// Block (p, order), to be freed to list `mt`, may merge up to this order without asking again.
    #[inline(always)]
    fn limit(&self, p: PageIdx, order: u32, mt: usize) -> u32 {
        if !self.has_isolated() {
            return self.top;
        }
        let pageblock_order = self.blocks.order();
        if order < pageblock_order {
            return pageblock_order.min(self.top);
        }
        if order == self.top {
            return order;
        }
        let isolate = MigrateType::Isolate;
        let buddy_isolated = self.blocks.get(p ^ (1 << order)) == isolate;
        if buddy_isolated == (mt == isolate.index()) { order + 1 } else { order }
    }
}

/// What a look for a kept pair found: if it is one, the proof that nobody else was at work.
#[derive(Clone, Copy)]
pub struct KeptPair(Option<u32>);

/// Free lists and split registers of one zone.
#[derive(Clone, Copy)]
pub struct FreeArea<'a> {
    /// The lists below.
    pub lists: FreeLists<'a>,
    /// How far blocks may merge.
    pub rule: MergeRule<'a>,
    /// Who has blocks in flight.
    pub in_flight: InFlight<'a>,
}

impl FreeArea<'_> {
    #[inline(always)]
    fn register(&self, mt: usize) -> SplitRegister {
        self.lists.lists.split.load(mt)
    }

    #[inline(always)]
    fn cas_register(&self, mt: usize, old: SplitRegister, new: SplitRegister) -> Result<(), SplitRegister> {
        self.lists.lists.split.cas(mt, old, new)
    }

    /// Is there a block of exactly this order and migratetype? (A linked zombie counts.)
    #[inline(always)]
    pub fn has(&self, order: u32, mt: usize) -> bool {
        self.register(mt).has(order) || !self.lists.lists.list(order, mt).is_empty()
    }

    /// The first of `orders` of which one of these types has a block, and which of the types: the
    /// first of them that has one.
    #[inline(always)]
    pub fn find_list(&self, mut orders: impl Iterator<Item = u32>, mts: [usize; 2]) -> Option<(u32, usize)> {
        let registers = mts.map(|mt| self.register(mt));
        let has = |i: usize, order| registers[i].has(order) || !self.lists.lists.list(order, mts[i]).is_empty();
        orders.find_map(|order| (0..mts.len()).find(|i| has(*i, order)).map(|i| (order, i)))
    }

    /// Is there a block of at least this order that an ordinary request could use? Most free blocks
    /// of a zone are of the largest order, or small if it is nearly full.
    #[inline(never)]
    pub fn has_any_from(&self, order: u32) -> bool {
        self.has_linked(self.rule.top)
            || (0..MIGRATE_PCPTYPES).any(|mt| self.register(mt).smallest_from(order).is_some())
            || self.has_linked(order)
            || (order + 1..self.rule.top).rev().any(|k| self.has_linked(k))
    }

    /// Is there a linked block of exactly this order that an ordinary request could use?
    #[inline(always)]
    fn has_linked(&self, order: u32) -> bool {
        (0..MIGRATE_PCPTYPES).any(|mt| !self.lists.lists.list(order, mt).is_empty())
    }

    /// Is block (b, order) free, in whatever list or register?
    #[inline(always)]
    pub fn is_free(&self, b: PageIdx, order: u32) -> bool {
        self.lists.is_free(b, order) || self.register_of(b, order).is_some()
    }

    /// The migratetype whose split register holds block (b, order).
    #[inline(always)]
    fn register_of(&self, b: PageIdx, order: u32) -> Option<usize> {
        self.used_registers().find(|mt| self.register(mt).contains(b, order))
    }

    /// The split registers that may have elements.
    #[inline(always)]
    fn used_registers(&self) -> Registers {
        Registers(self.lists.lists.split.used())
    }

    // ---- putting blocks in ------------------------------------------------------------------

    /// Blocks of the two largest orders are freed into empty registers.
    #[inline(always)]
    fn is_large(&self, order: u32) -> bool {
        order + 1 >= self.rule.top
    }

    /// Puts a block we own at the front: a large one into the register if that is empty, which
    /// takes one exchange instead of two, as does taking it or a part of it from there. (A small
    /// one would soon be in the way of the remainders of a split.)
    #[inline(always)]
    pub fn push_front(&self, x: PageIdx, order: u32, mt: usize) {
        let register = self.register(mt);
        if self.is_large(order)
            && register.is_empty()
            && self.cas_register(mt, register, SplitRegister::only(x, order)).is_ok()
        {
            // The looks at buddies that follow are as for a promote.
            return fence_for_model();
        }
        if register.has(order) {
            self.spill(mt, register, 1 << order);
        }
        self.lists.push_front(x, order, mt);
    }

    /// Puts a block we own at the back.
    #[inline]
    pub fn push_back(&self, x: PageIdx, order: u32, mt: usize) {
        self.lists.push_back(x, order, mt);
    }

    /// Moves the register's elements of `orders` to the fronts of their lists, where they belong.
    ///
    /// A buddy that is freed while its element is in neither place does not see it, so every
    /// spilled block is checked again. A pair that isolation kept apart is left as it was: the
    /// kernel does not merge it here either.
    #[cold]
    #[inline(never)]
    pub fn spill(&self, mt: usize, register: SplitRegister, orders: u32) {
        let orders = orders & register.mask();
        let each = |f: &mut dyn FnMut(u32)| {
            (0..MAX_ORDER as u32).rev().filter(|o| orders >> o & 1 == 1).for_each(f);
        };
        let mut kept = [KeptPair(None); MAX_ORDER];
        each(&mut |o| kept[o as usize] = self.look_for_kept_pair(register.element(o), o));
        if planted(Bug::SpillLinksFirst) {
            each(&mut |o| self.lists.push_front(register.element(o), o, mt));
        }
        if self.cas_register(mt, register, register.without(orders)).is_err() || planted(Bug::SpillLinksFirst) {
            return;
        }
        each(&mut |o| self.lists.push_front(register.element(o), o, mt));
        if planted(Bug::NoRecheckAfterSpill) {
            return;
        }
        each(&mut |o| {
            if !self.is_still_kept(kept[o as usize]) {
                self.merge_unlikely_pair(register.element(o), o, mt);
            }
        });
    }

    /// Spills whatever register elements lie in the block of the largest order around `x`.
    pub fn spill_around(&self, x: PageIdx) {
        for mt in 0..NR_MIGRATETYPES {
            let register = self.register(mt);
            let block = MAX_ORDER as u32 - 1;
            let is_around = |page: PageIdx| page >> block == x >> block;
            // All elements lie in one largest block, but for one that is such a block itself.
            let has_some = is_around(register.base()) || (register.has(block) && is_around(register.element(block)));
            if !register.is_empty() && has_some {
                self.spill(mt, register, register.mask());
            }
        }
    }

    /// After a split of our own block: the remainders become the new fronts of their lists.
    #[inline(always)]
    pub fn install(&self, mt: usize, base: PageIdx, orders: u32) {
        if orders == 0 {
            return;
        }
        let new = SplitRegister::new(base, orders);
        for _ in 0..INSTALL_TRIES {
            let register = self.register(mt);
            if !register.is_empty() {
                self.spill(mt, register, register.mask());
            } else if planted(Bug::InstallOverwrites) {
                return self.lists.lists.split.blind_store(mt, new);
            } else if self.cas_register(mt, register, new).is_ok() {
                return;
            }
        }
        for order in (0..MAX_ORDER as u32).rev().filter(|o| orders >> o & 1 == 1) {
            self.push_front(new.element(order), order, mt);
        }
    }

    // ---- taking blocks out ------------------------------------------------------------------

    /// The front block of exactly this order and migratetype, which others may take at any moment.
    pub fn front(&self, order: u32, mt: usize) -> Option<PageIdx> {
        let register = self.register(mt);
        if register.has(order) { Some(register.element(order)) } else { self.lists.first(order, mt) }
    }

    /// Takes the front block of exactly this order and migratetype.
    #[inline]
    pub fn take_front(&self, order: u32, mt: usize) -> Option<PageIdx> {
        let mut register = self.register(mt);
        while register.has(order) {
            match self.cas_register(mt, register, register.without(1 << order)) {
                Ok(()) => return Some(register.element(order)),
                Err(seen) => register = seen,
            }
        }
        self.lists.pop(order, mt)
    }

    /// Takes block (b, order) out of wherever it is; its migratetype.
    pub fn take(&self, b: PageIdx, order: u32) -> Option<usize> {
        if let Some(frozen) = self.lists.claim(b, order) {
            self.lists.detach(b, frozen);
            return Some(frozen.mt());
        }
        while let Some(mt) = self.register_of(b, order) {
            let register = self.register(mt);
            if register.contains(b, order) && self.cas_register(mt, register, register.without(1 << order)).is_ok() {
                return Some(mt);
            }
        }
        None
    }

    // ---- merging ----------------------------------------------------------------------------

    /// Merges block (p, order) that we own with its free buddies and publishes the result in a
    /// list of `mt` (mm/page_alloc.c, `__free_one_page` without the counters).
    ///
    /// Two buddies freed at the same time can miss each other: both look, then both publish. So
    /// each side looks again after its SeqCst publication; at least one of them then sees both
    /// blocks free. Both claim the lower block first: the loser walks away, the winner goes on
    /// merging from there.
    #[inline(always)]
    pub fn put(&self, p: PageIdx, order: u32, mt: usize, side: Side) {
        let near = self.registers_near(p);
        if near.0 != 0 || !self.put_alone(p, order, mt, side) {
            self.put_and_merge(p, order, mt, side, near);
        }
    }

    /// [`Self::put`] in one piece for the commonest case: the block has nobody to merge with, no
    /// register has an element near it, and it goes to the front, before nothing that is in the
    /// register. False if this is not it; then nothing was done.
    #[inline(always)]
    fn put_alone(&self, p: PageIdx, order: u32, mt: usize, side: Side) -> bool {
        let (pages, size, register) = (self.lists.pages, 1 << order, self.register(mt));
        if side != Side::Likely || order >= self.rule.top || self.rule.has_isolated() {
            return false;
        }
        let Some(buddy) = pages.get(p ^ size).filter(|buddy| buddy.is_in_use()) else { return false };
        let missed = if self.is_large(order) {
            if !register.is_empty() || self.cas_register(mt, register, SplitRegister::only(p, order)).is_err() {
                return false;
            }
            fence_for_model();
            // Our own register was empty. If the buddy gets in there our block has left, and whoever
            // took or spilled it looks himself.
            !buddy.is_in_use()
                || (!planted(Bug::NoSecondLookAtRegisters)
                    && self.used_registers().but(mt).any(|mt| self.register(mt).contains(p ^ size, order)))
        } else {
            let parents_buddy = pages.get((p & !size) ^ (2 * size));
            if register.has(order) || !parents_buddy.is_some_and(PageDesc::is_in_use) {
                return false;
            }
            self.lists.push_front(p, order, mt);
            !buddy.is_in_use()
        };
        if missed && !planted(Bug::NoRecheck) {
            self.merge_missed_pair(p, order, mt);
        }
        true
    }

    /// [`Self::put`] with all there may be to look at. `near` are the registers near `p`.
    #[inline(never)]
    fn put_and_merge(&self, mut p: PageIdx, mut order: u32, mut mt: usize, side: Side, mut near: Registers) {
        loop {
            loop {
                let limit = self.rule.limit(p, order, mt);
                if order >= limit {
                    break;
                }
                let Some(merged) = self.merge_up(p, order, limit, near) else { break };
                order = merged;
                p &= !((1 << order) - 1);
            }
            if side == Side::Back || self.is_merge_likely(p, order, near) {
                self.push_back(p, order, mt);
            } else {
                self.push_front(p, order, mt);
            }
            if order >= self.rule.top || planted(Bug::NoRecheck) {
                return;
            }
            if self.is_large(order) && !planted(Bug::NoSecondLookAtRegisters) {
                near = self.registers_near(p);
            }
            let Some((lower, list)) = self.take_missed_pair(p, order, mt, near) else { return };
            (p, mt) = (lower, list);
            near = self.registers_near(p);
        }
    }

    /// Is the buddy of the parent block free as a whole, so that a merge is likely soon
    /// (`buddy_merge_likely`)?
    #[inline(always)]
    fn is_merge_likely(&self, p: PageIdx, order: u32, near: Registers) -> bool {
        order + 1 < self.rule.top && {
            let parent = p & !(1 << order);
            self.is_free_near(parent ^ (2 << order), order + 1, near)
        }
    }

    /// The split registers that can hold a buddy of a block we own and are about to free.
    ///
    /// A small element that could merge with our block was left by the split of a larger block
    /// around both, so it was in its register before we owned ours: a register without elements
    /// around our block now has no such one later. Large elements may be freed into registers at
    /// any time, so who publishes a large block looks again afterwards. (Elements can go away;
    /// every use looks again.)
    #[inline(always)]
    fn registers_near(&self, p: PageIdx) -> Registers {
        self.used_registers().filter(|mt| self.register(mt).is_near(p))
    }

    /// [`Self::is_free`] for a buddy of a block we own.
    #[inline(always)]
    fn is_free_near(&self, b: PageIdx, order: u32, near: Registers) -> bool {
        self.lists.is_free(b, order) || near.any(|mt| self.register(mt).contains(b, order))
    }

    /// Before free block (x, order) is moved from one list to another: is its buddy free too, and
    /// is it isolation that kept the two from merging?
    ///
    /// A pair that others are about to merge looks the same. So nobody else may have had anything
    /// in flight from before this look until after the move, when [`Self::is_still_kept`] asks
    /// again: then no block was put anywhere in between, both blocks were free before, and whoever
    /// freed them has looked for buddies since.
    #[inline(always)]
    pub fn look_for_kept_pair(&self, x: PageIdx, order: u32) -> KeptPair {
        let buddy = x ^ (1 << order);
        let is_pair = || order < self.rule.top && self.rule.keeps_pairs(order) && self.is_free(buddy, order);
        if !is_pair() {
            return KeptPair(None);
        }
        if planted(Bug::EveryPairIsKept) {
            return KeptPair(Some(0));
        }
        let quiet = self.in_flight.others_quiet();
        KeptPair(quiet.filter(|_| is_pair()))
    }

    /// After the move: is the pair to be left alone?
    #[inline(always)]
    pub fn is_still_kept(&self, pair: KeptPair) -> bool {
        pair.0.is_some() && (planted(Bug::EveryPairIsKept) || pair.0 == self.in_flight.others_quiet())
    }

    /// [`Self::merge_missed_pair`] for a block that rarely has a free buddy.
    #[inline(always)]
    pub fn merge_unlikely_pair(&self, x: PageIdx, order: u32, mt: usize) {
        if order < self.rule.top && self.is_free(x ^ (1 << order), order) {
            self.merge_missed_pair(x, order, mt);
        }
    }

    /// Two free buddies may have missed each other: merges them if they are still both free.
    #[cold]
    #[inline(never)]
    pub fn merge_missed_pair(&self, x: PageIdx, order: u32, mt: usize) {
        if let Some((lower, list)) = self.take_missed_pair(x, order, mt, self.used_registers()) {
            self.put(lower, order, list, Side::Likely);
        }
    }

    /// If block (x, order) of list `mt` may merge with its buddy and both are free: takes the
    /// lower one of the two. Its page and list.
    #[inline(always)]
    fn take_missed_pair(&self, x: PageIdx, order: u32, mt: usize, near: Registers) -> Option<(PageIdx, usize)> {
        let buddy = x ^ (1 << order);
        if order >= self.rule.top || !self.is_free_near(buddy, order, near) || self.rule.limit(x, order, mt) <= order {
            return None;
        }
        let lower = x.min(buddy);
        self.take(lower, order).map(|list| (lower, list))
    }

    /// One merge step for block (p, order) that we own: takes its buddy, or the whole run of
    /// buddies that one split register holds, up to order `limit`. The new order, if any.
    #[inline(always)]
    fn merge_up(&self, p: PageIdx, order: u32, limit: u32, near: Registers) -> Option<u32> {
        if near.0 != 0
            && let Some(merged) = self.merge_into_register(p, order, limit, near)
        {
            return Some(merged);
        }
        let buddy = p ^ (1 << order);
        let frozen = self.lists.claim(buddy, order)?;
        self.lists.detach(buddy, frozen);
        Some(order + 1)
    }

    /// The part of [`Self::merge_up`] that looks at split registers.
    fn merge_into_register(&self, p: PageIdx, order: u32, limit: u32, near: Registers) -> Option<u32> {
        near.find_map(|mt| {
            let mut register = self.register(mt);
            while register.has_buddy_of(p, order) {
                let run = register.run_from(order, limit);
                let new = register.without(((1 << run) - 1) << order);
                if planted(Bug::BlindSplitMerge) {
                    self.lists.lists.split.blind_store(mt, new);
                    return Some(order + run);
                }
                match self.cas_register(mt, register, new) {
                    Ok(()) => return Some(order + run),
                    Err(seen) => register = seen,
                }
            }
            None
        })
    }
}

/// A set of split registers, by migratetype.
#[derive(Clone, Copy)]
struct Registers(u32);

/// Where it is called, the compiler keeps a branch and the rest short.
#[cold]
fn unlikely() {}

impl Registers {
    /// All but this one.
    #[inline(always)]
    fn but(self, mt: usize) -> Registers {
        Registers(self.0 & !(1 << mt))
    }

    #[inline(always)]
    fn find_map<R>(self, mut look: impl FnMut(usize) -> Option<R>) -> Option<R> {
        let mut rest = self.0;
        while rest != 0 {
            if let Some(found) = look(rest.trailing_zeros() as usize) {
                return Some(found);
            }
            rest &= rest - 1;
        }
        None
    }

    #[inline(always)]
    fn find(self, mut holds: impl FnMut(usize) -> bool) -> Option<usize> {
        self.find_map(|mt| holds(mt).then_some(mt))
    }

    #[inline(always)]
    fn any(self, holds: impl FnMut(usize) -> bool) -> bool {
        self.find(holds).is_some()
    }

    #[inline(always)]
    fn filter(self, mut holds: impl FnMut(usize) -> bool) -> Registers {
        let mut kept = 0;
        let mut rest = self.0;
        while rest != 0 {
            let mt = rest.trailing_zeros() as usize;
            if holds(mt) {
                unlikely();
                kept |= 1 << mt;
            }
            rest &= rest - 1;
        }
        Registers(kept)
    }
}
