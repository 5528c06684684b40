//! Taking blocks from a zone: smallest fit, fallback and stealing, the HighAtomic reserve, the
//! watermark boost (mm/page_alloc.c, `__rmqueue` and what it calls).

use crate::buddy::{MOST_PLACES, Moved, Place};
use crate::cpu::Cpu;
use crate::gfp::AllocFlags;
use crate::pressure::PressureEvent;
use crate::state::ZONE_FLAG_BOOSTED_WATERMARK;
use crate::sync::Relaxed;
use crate::trace::Event;
use crate::types::{MIGRATE_PCPTYPES, MigrateType};
use crate::watermark::{WMARK_HIGH, sizing};
use crate::word::PageIdx;
use crate::zone::Zone;

use MigrateType::{Cma, HighAtomic, Isolate, Movable, Reclaimable, Unmovable};

/// Where a request of each type looks when its own lists are empty (`fallbacks`).
const FALLBACKS: [[MigrateType; 2]; MIGRATE_PCPTYPES] =
    [[Reclaimable, Movable], [Reclaimable, Unmovable], [Unmovable, Movable]];

/// How often a request moves a pageblock's free blocks to its own lists before it takes one where
/// it lies.
///
/// Alone it needs one move. But requests of different types can move the only block there is to and
/// fro, and none of them would ever get it.
const MOST_MOVES: u32 = if cfg!(feature = "schedules") { 1 } else { 16 };

/// A block found for a fallback.
struct Fallback {
    order: u32,
    mt: MigrateType,
    can_steal: bool,
}

/// What a fallback did.
enum FellBack {
    /// Took a block, or several in a row: the first page and how many.
    Took(PageIdx, u32),
    /// Moved blocks to the lists of the request, or found that somebody else was quicker.
    Again,
    /// There is nothing to fall back to.
    Nowhere,
}

/// A request that falls back.
#[derive(Clone, Copy)]
struct Needy {
    order: u32,
    mt: MigrateType,
    flags: AllocFlags,
    /// How many blocks it takes in a row.
    max: u32,
    /// May it move the free blocks of a pageblock?
    may_move: bool,
}

impl Zone<'_> {
    /// Takes a block for a request of type `mt` (`__rmqueue`): the page and the list type it was
    /// finally taken from.
    #[inline]
    pub fn rmqueue_locked(
        self,
        cpu: &Cpu<'_>,
        order: u32,
        mt: MigrateType,
        flags: AllocFlags,
    ) -> Option<(PageIdx, MigrateType)> {
        self.rmqueue_run(cpu, order, mt, flags, 1).map(|(x, _, from)| (x, from))
    }

    /// Takes up to `max` blocks in a row where so many calls of [`Self::rmqueue_locked`] would take
    /// them: the first page, how many blocks, and the list type.
    pub fn rmqueue_run(
        self,
        cpu: &Cpu<'_>,
        order: u32,
        mt: MigrateType,
        flags: AllocFlags,
        max: u32,
    ) -> Option<(PageIdx, u32, MigrateType)> {
        let may_use_cma = self.config.cma && flags.contains(AllocFlags::CMA);
        let buddy = self.buddy(cpu);
        // Whether the next block comes from CMA depends on the counts after this one.
        let max = if may_use_cma { 1 } else { max };
        // Blocks in flight do not count before there is nowhere else to look: who waited for them
        // with others' lists full would wait for threads that stand still.
        let take = |from: MigrateType| buddy.try_take_run(order, from.index(), max).map(|(x, n)| (x, n, from));
        let prefers_cma = may_use_cma && self.free_cma_approximate() > self.free_pages_approximate() / 2;
        let mut found = if prefers_cma { take(Cma) } else { None };
        let (mut nr_moves, mut patience) = (0, 0);
        while found.is_none() {
            found = take(mt);
            if found.is_none() && may_use_cma {
                found = take(Cma);
            }
            if found.is_none() {
                let needy = Needy { order, mt, flags, max, may_move: nr_moves < MOST_MOVES };
                match self.rmqueue_fallback(cpu, needy) {
                    FellBack::Took(x, n) => found = Some((x, n, mt)),
                    FellBack::Again => nr_moves += 1,
                    FellBack::Nowhere if self.is_exhausted(cpu, order, mt, flags, &mut patience) => return None,
                    FellBack::Nowhere => {}
                }
            }
        }
        let (x, n, _) = found?;
        if self.trace.is_on() {
            for x in (x..).step_by(1 << order).take(n as usize) {
                let event = || Event::AllocZoneLocked { pfn: self.pfn(x), order, migratetype: mt as u8 };
                self.trace.emit(cpu.id(), event);
            }
        }
        found
    }

    /// There was nothing for a request, not even to fall back to: may it fail?
    #[cold]
    #[inline(never)]
    fn is_exhausted(self, cpu: &Cpu<'_>, order: u32, mt: MigrateType, flags: AllocFlags, patience: &mut u32) -> bool {
        let mut places = [Place { order, mt: mt.index() }; MOST_PLACES];
        let mut nr_places = 1;
        let mut add = |order, mt: MigrateType| {
            places[nr_places] = Place { order, mt: mt.index() };
            nr_places += 1;
        };
        for from in FALLBACKS.get(mt.index()).into_iter().flatten() {
            add(self.least_fallback_order(order, flags), *from);
        }
        if self.config.cma && flags.contains(AllocFlags::CMA) {
            add(order, Cma);
        }
        self.buddy(cpu).is_exhausted(&places[..nr_places], patience)
    }

    /// Takes a block from the HighAtomic reserve.
    pub fn take_highatomic(self, cpu: &Cpu<'_>, order: u32, request: MigrateType) -> Option<(PageIdx, MigrateType)> {
        let x = self.buddy(cpu).try_take_smallest(order, HighAtomic.index())?;
        self.trace.emit(cpu.id(), || Event::AllocZoneLocked { pfn: self.pfn(x), order, migratetype: request as u8 });
        Some((x, HighAtomic))
    }

    /// Takes a block of another type, or moves the free memory around one to the lists of the
    /// request's type (`__rmqueue_fallback`).
    ///
    /// The kernel moves in either case, and then takes the smallest block that fits from the lists
    /// of the type. If only one block would be moved, that is the one, since there is no other.
    #[cold]
    #[inline(never)]
    fn rmqueue_fallback(self, cpu: &Cpu<'_>, needy: Needy) -> FellBack {
        let Needy { order, mt, flags, .. } = needy;
        let orders = self.least_fallback_order(order, flags)..self.config.max_order;
        let Some(mut choice) = self.find_suitable_fallback(orders.rev(), mt) else { return FellBack::Nowhere };
        if !choice.can_steal && mt == Movable && choice.order > order {
            // Nothing worth stealing: spoil the smallest block instead of the largest.
            let Some(smallest) = self.find_suitable_fallback(order..self.config.max_order, mt) else {
                return FellBack::Nowhere;
            };
            choice = smallest;
        }
        let Some((x, fell_back)) = self.steal(cpu, needy, &choice) else {
            return FellBack::Again; // somebody took it meanwhile: look again
        };
        self.trace.emit(cpu.id(), || Event::AllocExtfrag {
            pfn: self.pfn(x),
            alloc_order: order,
            fallback_order: choice.order,
            alloc_migratetype: mt as u8,
            fallback_migratetype: choice.mt as u8,
            change_ownership: self.blocks().get(x) == mt,
        });
        // ORDERING(R9)
        if self.tells_fallbacks.load(Relaxed) != 0 {
            cpu.remember_fallback(PressureEvent::Fallback {
                nid: self.node,
                zone: self.index,
                pfn: self.pfn(x),
                order,
                fallback_order: choice.order,
                migratetype: mt,
                fallback_migratetype: choice.mt,
            });
        }
        fell_back
    }

    fn first_block(self, order: u32, mt: MigrateType) -> Option<PageIdx> {
        self.view().area.front(order, mt.index())
    }

    /// The smallest order of another type that a request may fall back to.
    #[inline(always)]
    fn least_fallback_order(self, order: u32, flags: AllocFlags) -> u32 {
        if flags.contains(AllocFlags::NOFRAGMENT) { self.config.pageblock_order } else { order }
    }

    /// `find_suitable_fallback` without `only_stealable`, for the first of these orders that has one.
    #[inline(always)]
    fn find_suitable_fallback(self, orders: impl Iterator<Item = u32>, mt: MigrateType) -> Option<Fallback> {
        let types = FALLBACKS.get(mt.index())?;
        let (order, i) = self.view().area.find_list(orders, types.map(MigrateType::index))?;
        let can_steal = order >= self.config.pageblock_order / 2 || mt != Movable || self.mobility_disabled();
        Some(Fallback { order, mt: types[i], can_steal })
    }

    /// `steal_suitable_fallback`: the first page of the block of choice, and what was done. `None`
    /// if somebody else took it.
    #[inline(always)]
    fn steal(self, cpu: &Cpu<'_>, needy: Needy, choice: &Fallback) -> Option<(PageIdx, FellBack)> {
        let Needy { order, mt, flags, max, may_move } = needy;
        let (buddy, pageblock_order) = (self.buddy(cpu), self.config.pageblock_order);
        if may_move && choice.can_steal && choice.order < pageblock_order {
            let x = self.first_block(choice.order, choice.mt)?;
            let old = self.blocks().get(x);
            if old != HighAtomic {
                self.boost_for_fallback(flags);
                if self.steal_pageblock(cpu, x, old, mt) {
                    return Some((x, FellBack::Again));
                }
            }
            // Only the block itself.
            let n = buddy.split_block(x, choice.order, order, max, mt.index())?;
            return Some((x, FellBack::Took(x, n)));
        }
        let (x, n) = buddy.split_front(choice.order, choice.mt.index(), order, max, mt.index())?;
        if self.blocks().get(x) == HighAtomic {
            // Only the block itself.
        } else if choice.order >= pageblock_order {
            for block in (x..x + (1 << choice.order)).step_by(1 << pageblock_order) {
                self.set_pageblock_type(block, mt);
            }
        } else {
            self.boost_for_fallback(flags);
        }
        Some((x, FellBack::Took(x, n)))
    }

    /// Boosts the watermark because a block smaller than a pageblock serves another type.
    #[inline(always)]
    fn boost_for_fallback(self, flags: AllocFlags) {
        if self.boost_watermark() && flags.contains(AllocFlags::KSWAPD) {
            self.shared.flags.fetch_or(ZONE_FLAG_BOOSTED_WATERMARK, Relaxed); // ORDERING(R7)
        }
    }

    /// Moves the free blocks of a pageblock of type `old`, and makes it one of type `mt` if it is
    /// mostly free or used alike. False if it had none.
    fn steal_pageblock(self, cpu: &Cpu<'_>, x: PageIdx, old: MigrateType, mt: MigrateType) -> bool {
        let moved = self.move_freepages_block(cpu, x, mt);
        if moved.nr_free == 0 {
            return false;
        }
        let pageblock_nr_pages = self.config.pageblock_nr_pages();
        let alike = match (mt, old) {
            (Movable, _) => moved.nr_movable,
            (_, Movable) => pageblock_nr_pages.saturating_sub(moved.nr_free + moved.nr_movable),
            _ => 0,
        };
        if moved.nr_free + alike >= pageblock_nr_pages / 2 || self.mobility_disabled() {
            // If somebody changed the type meanwhile, his stands.
            let _ = self.replace_pageblock_type(x, old, mt);
        }
        true
    }

    /// Moves the free blocks of the pageblock of `x` to the lists of `mt`
    /// (`move_freepages_block`).
    pub fn move_freepages_block(self, cpu: &Cpu<'_>, x: PageIdx, mt: MigrateType) -> Moved {
        let first = x & !(self.blocks().nr_pages() - 1);
        let last = first + self.blocks().nr_pages() - 1;
        let start = if self.spans(self.pfn(first)) { first } else { x };
        if !self.spans(self.pfn(last)) {
            return Moved::default();
        }
        self.buddy(cpu).move_free_blocks(start, last, mt.index())
    }

    /// `boost_watermark`: true if the boost was raised (or stands at its limit).
    fn boost_watermark(self) -> bool {
        let factor = self.machine.watermark_boost_factor.load(Relaxed); // ORDERING(R7)
        let (managed, high) = (self.managed(), self.raw_watermark(WMARK_HIGH));
        let boost = &self.shared.watermark_boost;
        let mut seen = boost.load(Relaxed); // ORDERING(R7)
        loop {
            let Some(boosted) = sizing::boosted(&self.config, factor as u32, managed, high, seen) else { return false };
            // ORDERING(R7)
            match boost.compare_exchange(seen, boosted, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Does the flag that asks for kswapd because of a boost stand?
    #[inline(always)]
    pub fn is_boosted_flag_set(self) -> bool {
        self.shared.flags.load(Relaxed) & ZONE_FLAG_BOOSTED_WATERMARK != 0 // ORDERING(R7)
    }

    /// Takes and clears the flag that asks for kswapd because of a boost.
    pub fn take_boosted_flag(self) -> bool {
        // ORDERING(R7): a look first, because the flag is rare.
        self.shared.flags.load(Relaxed) & ZONE_FLAG_BOOSTED_WATERMARK != 0
            // ORDERING(R7)
            && self.shared.flags.fetch_and(!ZONE_FLAG_BOOSTED_WATERMARK, Relaxed) & ZONE_FLAG_BOOSTED_WATERMARK != 0
    }

    /// Reserves the pageblock of a page just allocated for high-order atomic requests
    /// (`reserve_highatomic_pageblock`).
    #[cold]
    #[inline(never)]
    pub fn reserve_highatomic(self, cpu: &Cpu<'_>, x: PageIdx) {
        let pageblock_nr_pages = self.config.pageblock_nr_pages();
        let max = self.managed() / 100 + pageblock_nr_pages;
        let old = self.blocks().get(x);
        if matches!(old, HighAtomic | Isolate | Cma) {
            return;
        }
        let reserved = &self.shared.nr_reserved_highatomic;
        let mut seen = reserved.load(Relaxed); // ORDERING(R7)
        loop {
            if seen >= max {
                return;
            }
            // ORDERING(R7)
            match reserved.compare_exchange(seen, seen + pageblock_nr_pages, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        if self.replace_pageblock_type(x, old, HighAtomic) {
            self.move_freepages_block(cpu, x, HighAtomic);
        } else {
            reserved.fetch_sub(pageblock_nr_pages, Relaxed); // ORDERING(R7): somebody was quicker
        }
    }

    /// Gives one HighAtomic pageblock of this zone back to `mt` (the zone's part of
    /// `unreserve_highatomic_pageblock`). True if free pages were moved.
    pub fn unreserve_highatomic(self, cpu: &Cpu<'_>, mt: MigrateType, force: bool) -> bool {
        let pageblock_nr_pages = self.config.pageblock_nr_pages();
        let reserved = &self.shared.nr_reserved_highatomic;
        // ORDERING(R7)
        if !force && reserved.load(Relaxed) <= pageblock_nr_pages {
            return false;
        }
        for order in 0..self.config.max_order {
            let Some(x) = self.first_block(order, HighAtomic) else { continue };
            if self.blocks().get(x) == HighAtomic {
                let mut seen = reserved.load(Relaxed); // ORDERING(R7)
                // ORDERING(R7)
                while let Err(now) =
                    reserved.compare_exchange(seen, seen - seen.min(pageblock_nr_pages), Relaxed, Relaxed)
                {
                    seen = now;
                }
            }
            self.set_pageblock_type(x, mt);
            if self.move_freepages_block(cpu, x, mt).nr_free != 0 {
                return true;
            }
        }
        false
    }
}
