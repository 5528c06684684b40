//! The freeing entry points (mm/page_alloc.c, mm/swap.c).
//!
//! A free first turns the first page's info word from ALLOCATED into something else by one CAS:
//! of two frees of the same block exactly one succeeds, and a wrong free changes nothing.

use crate::allocator::{CpuChoice, PageAllocator};
use crate::cpu::Cpu;
use crate::error::{BadPage, BadPageReason};
use crate::free_area::Side;
use crate::page_state::PageState;
use crate::run::for_each_run;
use crate::sync::{AcqRel, Relaxed};
use crate::trace::Event;
use crate::types::{MigrateType, Pfn};
use crate::word::PageIdx;
use crate::word::page_info::{MAX_REFCOUNT, PageInfo};
use crate::zone::Zone;

/// What freeing does with the references of a block's first page.
enum Drop {
    /// It was the last one; the info word to replace.
    Last(PageInfo),
    /// Others remain and keep the whole (compound) block.
    Kept,
    /// Others remain and keep the first page; the rest of the block is free.
    KeptFirstPage,
}

/// What is known of single pages that were allocated and are ours now. Their info words tell the
/// rest.
struct Claims<'a> {
    /// The zone and the type of all of them, if they are the same.
    alike: Option<(Zone<'a>, MigrateType)>,
    /// Some are of isolated pageblocks.
    has_isolated: bool,
}

impl Zone<'_> {
    fn load_info(self, x: PageIdx) -> PageInfo {
        self.view().info(x)
    }

    /// The page that counts the references to a page, and its info word (`compound_head`): the page
    /// itself if it is the first one of an allocated block, or the head of a compound block that it
    /// is a tail of.
    fn compound_head(self, x: PageIdx) -> Option<(PageIdx, PageInfo)> {
        let own = self.load_info(x);
        if own.is_allocated() {
            return Some((x, own));
        }
        // The head's word alone says how far its block reaches.
        (1..self.config.max_order).find_map(|order| {
            let head = x & !((1 << order) - 1);
            let info = self.load_info(head);
            (info.is_compound() && info.order() >= order).then_some((head, info))
        })
    }

    #[inline(always)]
    pub(crate) fn replace_info(self, x: PageIdx, old: PageInfo, new: PageInfo) -> bool {
        self.view().replace_info(x, old, new)
    }

    /// `free_the_page`: to the per-cpu lists if the order is allowed there, else to the zone.
    /// `claim` makes the block ours by replacing its info word; nothing happens if it fails.
    #[inline]
    fn free_the_page(self, cpu: &Cpu<'_>, x: PageIdx, order: u32, claim: impl FnOnce(PageInfo) -> bool) -> bool {
        let claim = |new: PageInfo| {
            let claimed = claim(new);
            if claimed {
                self.trace.emit(cpu.id(), || Event::Free { pfn: self.pfn(x), order });
            }
            claimed
        };
        if self.pcp_allowed_order(order) {
            let mt = self.blocks().get(x);
            if let Some(pcp) = self.pcp(cpu)
                && mt != MigrateType::Isolate
            {
                return pcp.commit(cpu, x, order, mt, claim);
            }
            if !claim(PageInfo::NONE) {
                return false;
            }
            self.free_one_page(cpu, x, order, self.blocks().get(x), Side::Likely);
            return true;
        }
        if !claim(PageInfo::NONE) {
            return false;
        }
        self.count_pgfree(cpu, 1 << order);
        self.free_one_page(cpu, x, order, self.blocks().get(x), Side::Likely);
        true
    }

    /// Gives up one reference of an allocated block; `None` if there is no such block.
    #[inline(always)]
    fn drop_reference(self, x: PageIdx, order: u32) -> Option<Drop> {
        loop {
            let info = self.load_info(x);
            if !info.is_allocated() || info.order() != order {
                return None;
            }
            let refcount = info.refcount();
            if refcount <= 1 {
                return Some(Drop::Last(info));
            }
            let rest = info.with_refcount(refcount - 1);
            if info.is_compound() || order == 0 {
                if self.replace_info(x, info, rest) {
                    return Some(Drop::Kept);
                }
            } else if self.replace_info(x, info, rest.with_order(0)) {
                return Some(Drop::KeptFirstPage);
            }
        }
    }

    /// `__free_pages` on a page of this zone; false if there is no such block.
    #[inline]
    fn free_pages(self, cpu: &Cpu<'_>, x: PageIdx, order: u32) -> bool {
        loop {
            match self.drop_reference(x, order) {
                Some(Drop::Last(info)) => {
                    if self.free_the_page(cpu, x, order, |new| self.replace_info(x, info, new)) {
                        return true;
                    }
                }
                Some(Drop::Kept) => return true,
                Some(Drop::KeptFirstPage) => {
                    for k in (0..order).rev() {
                        self.free_owned(cpu, x + (1 << k), k);
                    }
                    return true;
                }
                None => return false,
            }
        }
    }

    /// Makes allocated single pages ours as long as they are good and lie in one aligned block of
    /// order `window`, where all have type `mt`: how many, and whether the next one was good, too.
    #[inline]
    fn claim_in_window(self, pfns: &[Pfn], window: u32, mt: MigrateType) -> (usize, bool) {
        let (pages, base_pfn) = (self.pages(), self.base_pfn);
        let block = pfns.first().map_or(0, |pfn| pfn >> window);
        let mut likely = PageInfo::allocated(0, false, false);
        for (nr_claimed, &pfn) in pfns.iter().enumerate() {
            if pfn >> window != block {
                return (nr_claimed, true);
            }
            let word = &pages.page((pfn - base_pfn) as PageIdx).info;
            // ORDERING(P8): AcqRel, what all former users wrote happens before the next one's use.
            let claim = |from: PageInfo| word.compare_exchange(from.raw(), from.claimed(mt).raw(), AcqRel, Relaxed);
            // An exchange waits for the loads before it, so the word is not looked at first: it is
            // most likely what the last one was.
            if let Err(seen) = claim(likely) {
                likely = PageInfo::from_raw(seen);
                if !likely.is_allocated_once(0) || claim(likely).is_err() {
                    return (nr_claimed, false);
                }
            }
        }
        (pfns.len(), true)
    }

    /// Frees claimed pages of this zone and one type, in the given order.
    #[inline(always)]
    fn free_claimed(self, cpu: &Cpu<'_>, mt: MigrateType, pfns: &[Pfn]) {
        let base_pfn = self.base_pfn;
        let pages = pfns.iter().map(move |&pfn| (pfn - base_pfn) as PageIdx);
        if mt != MigrateType::Isolate
            && let Some(pcp) = self.pcp(cpu)
        {
            pcp.commit_run(cpu, mt, pages);
        } else {
            self.free_directly(cpu, mt, pages);
        }
    }

    /// Frees single pages of one type that are ours to the zone.
    #[inline(never)]
    fn free_directly(self, cpu: &Cpu<'_>, mt: MigrateType, pages: impl Iterator<Item = PageIdx> + Clone) {
        pages.clone().for_each(|x| self.view().set_info(x, PageInfo::NONE));
        for_each_run(pages, self.view().run_window(), |run| self.free_run(cpu, run, mt, Side::Likely));
    }

    /// Frees a block that is ours already and whose info word is NONE.
    pub(crate) fn free_owned(self, cpu: &Cpu<'_>, x: PageIdx, order: u32) {
        self.free_the_page(cpu, x, order, |new| {
            self.view().set_info(x, new);
            true
        });
    }
}

impl PageAllocator {
    /// The zone of a page and its index there.
    #[inline(always)]
    fn locate(&self, pfn: Pfn) -> Result<(Zone<'_>, PageIdx), BadPage> {
        let zone = self.zone_of(pfn).ok_or(BadPage { pfn, reason: BadPageReason::OutOfRange })?;
        Ok((zone, zone.idx(pfn)))
    }

    /// The zone and index of a block that could be freed with this order.
    #[inline(always)]
    fn locate_block(&self, pfn: Pfn, order: u32) -> Result<(Zone<'_>, PageIdx), BadPage> {
        if order >= self.config().max_order {
            return Err(BadPage { pfn, reason: BadPageReason::OrderOutOfRange });
        }
        let (zone, x) = self.locate(pfn)?;
        if x & ((1 << order) - 1) != 0 {
            return Err(BadPage { pfn, reason: BadPageReason::Unaligned });
        }
        Ok((zone, x))
    }

    /// Why a page is no block that can be freed with this order, or referenced.
    #[cold]
    #[inline(never)]
    fn bad_page(&self, pfn: Pfn, order: Option<u32>) -> BadPage {
        let report = self.page_report(pfn);
        let reason = match (report.state, report.block) {
            (PageState::Hole, _) => BadPageReason::OutOfRange,
            (PageState::Reserved, _) => BadPageReason::Reserved,
            (PageState::Offline, _) => BadPageReason::Offline,
            (PageState::Buddy | PageState::Pcp, _) => BadPageReason::AlreadyFree,
            (PageState::Allocated, Some((first, _))) if first != pfn => BadPageReason::InteriorOfBlock,
            (PageState::Allocated, Some((_, found))) if order.is_some_and(|order| order != found) => {
                BadPageReason::WrongOrder
            }
            // Somebody else was quicker, and allocated it again since.
            (PageState::Allocated, _) => BadPageReason::AlreadyFree,
            (PageState::Used, _) => BadPageReason::InUse,
        };
        BadPage { pfn, reason }
    }

    /// Gives up one reference of a block of 2^order pages and frees it if that was the last one
    /// (`__free_pages`). A wrong free changes nothing.
    #[inline(always)]
    pub fn free_pages(&self, cpu: CpuChoice, pfn: Pfn, order: u32) -> Result<(), BadPage> {
        if self.free_ready(self.slot_hint(cpu), pfn, order) {
            Ok(())
        } else {
            self.free_pages_ordinary(cpu, pfn, order)
        }
    }

    #[inline(never)]
    fn free_pages_ordinary(&self, cpu: CpuChoice, pfn: Pfn, order: u32) -> Result<(), BadPage> {
        if self.free_unleased(cpu, pfn, order) {
            return Ok(());
        }
        let (zone, x) = self.locate_block(pfn, order)?;
        let cpu = self.enter(cpu);
        if zone.free_pages(&cpu, x, order) { Ok(()) } else { Err(self.bad_page(pfn, Some(order))) }
    }

    /// Changes the reference count of the block that a page stands for, see [`Zone::compound_head`];
    /// what its info word is now.
    fn change_references(
        &self,
        pfn: Pfn,
        change: impl Fn(PageInfo) -> Result<PageInfo, BadPageReason>,
    ) -> Result<PageInfo, BadPage> {
        let (zone, x) = self.locate(pfn)?;
        loop {
            let Some((head, info)) = zone.compound_head(x) else { return Err(self.bad_page(pfn, None)) };
            let new = change(info).map_err(|reason| BadPage { pfn, reason })?;
            if zone.replace_info(head, info, new) {
                return Ok(new);
            }
        }
    }

    /// Takes one more reference of an allocated block: by its first page, or if it is compound by any
    /// (`get_page`).
    pub fn get_page(&self, pfn: Pfn) -> Result<(), BadPage> {
        let one_more = |info: PageInfo| match info.refcount() {
            MAX_REFCOUNT => Err(BadPageReason::TooManyReferences),
            refcount => Ok(info.with_refcount(refcount + 1)),
        };
        self.change_references(pfn, one_more).map(|_| ())
    }

    /// Gives up `n` references without freeing anything; how many remain. Fewer than `n` are an
    /// error that changes nothing.
    pub(crate) fn put_references(&self, pfn: Pfn, n: u32) -> Result<u32, BadPage> {
        let fewer = |info: PageInfo| match info.refcount().checked_sub(n) {
            Some(rest) => Ok(info.with_refcount(rest)),
            None => Err(BadPageReason::AlreadyFree),
        };
        self.change_references(pfn, fewer).map(PageInfo::refcount)
    }

    /// Overwrites the reference count of an allocated block that only the caller knows.
    pub(crate) fn set_references(&self, pfn: Pfn, n: u32) -> Result<(), BadPage> {
        self.change_references(pfn, |info| Ok(info.with_refcount(n))).map(|_| ())
    }

    /// Did the block come from the reserves?
    pub(crate) fn is_pfmemalloc(&self, pfn: Pfn) -> bool {
        self.locate(pfn).is_ok_and(|(zone, x)| zone.load_info(x).is_pfmemalloc())
    }

    /// Gives up one reference of an allocated block, named as for [`Self::get_page`] (`put_page`): a
    /// compound block is freed whole, of any other only the first page.
    pub fn put_page(&self, cpu: CpuChoice, pfn: Pfn) -> Result<(), BadPage> {
        let (zone, x) = self.locate(pfn)?;
        let cpu = self.enter(cpu);
        loop {
            let Some((head, info)) = zone.compound_head(x) else { return Err(self.bad_page(pfn, None)) };
            if info.refcount() > 1 {
                if zone.replace_info(head, info, info.with_refcount(info.refcount() - 1)) {
                    return Ok(());
                }
                continue;
            }
            let order = if info.is_compound() { info.order() } else { 0 };
            if zone.free_the_page(&cpu, head, order, |new| zone.replace_info(head, info, new)) {
                return Ok(());
            }
        }
    }

    /// Splits an allocated block that is not compound into single pages (`split_page`).
    pub fn split_page(&self, pfn: Pfn, order: u32) -> Result<(), BadPage> {
        let (zone, x) = self.locate_block(pfn, order)?;
        let info = zone.load_info(x);
        if !info.is_allocated() || info.order() != order {
            return Err(self.bad_page(pfn, Some(order)));
        }
        if info.is_compound() {
            return Err(BadPage { pfn, reason: BadPageReason::Compound });
        }
        if !zone.replace_info(x, info, info.with_order(0)) {
            return Err(BadPage { pfn, reason: BadPageReason::AlreadyFree });
        }
        for page in x + 1..x + (1 << order) {
            zone.view().set_info(page, PageInfo::allocated(0, false, info.is_pfmemalloc()));
        }
        Ok(())
    }

    /// Frees single pages in one call (`free_unref_page_list`): pages of isolated pageblocks first,
    /// then the others, each group in the given order. If one is wrong, nothing is freed.
    pub fn free_page_list(&self, cpu: CpuChoice, pfns: &[Pfn]) -> Result<(), BadPage> {
        let cpu = self.enter(cpu);
        if self.free_list_ready(&cpu, pfns) {
            return Ok(());
        }
        let claims = self.claim_list(pfns)?;
        if let Some((zone, mt)) = claims.alike
            && !self.trace().is_on()
        {
            zone.free_claimed(&cpu, mt, pfns);
        } else if claims.has_isolated {
            let is_isolated = |pfn: &Pfn| self.claim_of(*pfn).is_some_and(|claim| claim.1 == MigrateType::Isolate);
            let (isolated, others): (Vec<Pfn>, Vec<Pfn>) = pfns.iter().partition(|pfn| is_isolated(pfn));
            self.trace_frees(&cpu, pfns);
            self.free_claimed_lists(&cpu, &isolated);
            self.free_claimed_lists(&cpu, &others);
        } else {
            self.trace_frees(&cpu, pfns);
            self.free_claimed_lists(&cpu, pfns);
        }
        Ok(())
    }

    /// The commonest list in one piece: new pages of one zone and type, for which the per-cpu list
    /// has room. True if that was all there is to do; otherwise nothing is done.
    #[inline(always)]
    fn free_list_ready(&self, cpu: &Cpu<'_>, pfns: &[Pfn]) -> bool {
        let Some(&first) = pfns.first() else { return true };
        let Some((zone, mut window)) = self.zone_around(first) else { return false };
        let Some(pcp) = zone.pcp(cpu) else { return false };
        let (base_pfn, mut block) = (zone.base_pfn, first >> window);
        let mt = zone.blocks().get(zone.idx(first));
        if mt == MigrateType::Isolate || self.trace().is_on() {
            return false;
        }
        let fits = |pfn: Pfn| {
            pfn >> window == block || {
                let around = self.zone_around(pfn).filter(|around| around.0.number == zone.number);
                around.is_some_and(|(_, its_window)| {
                    (window, block) = (its_window, pfn >> its_window);
                    zone.blocks().get(zone.idx(pfn)) == mt
                })
            }
        };
        let index = |pfn: Pfn| (pfn - base_pfn) as PageIdx;
        pcp.commit_ready(cpu, mt, pfns, fits, index, PageInfo::allocated(0, false, false))
    }

    fn trace_frees(&self, cpu: &Cpu<'_>, pfns: &[Pfn]) {
        if self.trace().is_on() {
            pfns.iter().for_each(|&pfn| self.trace().emit(cpu.id(), || Event::Free { pfn, order: 0 }));
        }
    }

    /// Frees claimed pages of any zones and types in the given order.
    #[inline(never)]
    fn free_claimed_lists(&self, cpu: &Cpu<'_>, pfns: &[Pfn]) {
        let mut rest = pfns;
        while let Some((zone, mt)) = rest.first().and_then(|&pfn| self.claim_of(pfn)) {
            let is_alike = |other: Option<(Zone<'_>, MigrateType)>| {
                other.is_some_and(|other| other.0.number == zone.number && other.1 == mt)
            };
            // Events tell of one page after the other.
            let is_traced = self.trace().is_on();
            let len = if is_traced { 1 } else { rest.iter().take_while(|pfn| is_alike(self.claim_of(**pfn))).count() };
            let (alike, after) = rest.split_at(len);
            if mt != MigrateType::Isolate {
                self.trace().emit(cpu.id(), || Event::FreeBatched { pfn: alike[0] });
            }
            zone.free_claimed(cpu, mt, alike);
            rest = after;
        }
    }

    /// Zone and type of a page that [`Self::claim_list`] claimed.
    fn claim_of(&self, pfn: Pfn) -> Option<(Zone<'_>, MigrateType)> {
        let zone = self.zone_of(pfn)?;
        Some((zone, zone.load_info(zone.idx(pfn)).claimed_type()))
    }

    /// Makes allocated single pages ours: all of them, or none and why.
    fn claim_list(&self, pfns: &[Pfn]) -> Result<Claims<'_>, BadPage> {
        let mut claims = Claims { alike: None, has_isolated: false };
        let mut rest = pfns;
        while let Some(&first) = rest.first() {
            let Some((zone, window)) = self.zone_around(first) else {
                return Err(self.unclaim(pfns, pfns.len() - rest.len()));
            };
            // Read once: the pageblock may be isolated meanwhile.
            let mt = zone.blocks().get(zone.idx(first));
            let is_first = rest.len() == pfns.len();
            let is_alike = claims.alike.is_some_and(|alike| alike.0.number == zone.number && alike.1 == mt);
            claims.alike = (is_first || is_alike).then_some((zone, mt));
            claims.has_isolated |= mt == MigrateType::Isolate;
            let (nr_claimed, is_good) = zone.claim_in_window(rest, window, mt);
            rest = &rest[nr_claimed..];
            if !is_good {
                return Err(self.unclaim(pfns, pfns.len() - rest.len()));
            }
        }
        Ok(claims)
    }

    /// The zone of a page, and the order of a block around it of which all pages belong to that zone
    /// and to one pageblock.
    #[inline(never)]
    fn zone_around(&self, pfn: Pfn) -> Option<(Zone<'_>, u32)> {
        match self.zone_of_whole(pfn) {
            Some(zone) => Some((zone, zone.view().run_window())),
            None => Some((self.zone_of(pfn)?, 0)),
        }
    }

    /// Gives claimed pages back to their owner; what is wrong with the one after them.
    #[cold]
    #[inline(never)]
    fn unclaim(&self, pfns: &[Pfn], nr_claimed: usize) -> BadPage {
        let (claimed, pfn) = (&pfns[..nr_claimed], pfns[nr_claimed]);
        let reason = match self.locate(pfn).map(|(zone, x)| zone.load_info(x)) {
            Err(bad) => Some(bad.reason),
            Ok(_) if claimed.contains(&pfn) => Some(BadPageReason::AlreadyFree),
            Ok(info) if info.is_allocated() && info.order() == 0 && info.refcount() != 1 => {
                Some(BadPageReason::StillReferenced)
            }
            _ => None,
        };
        let bad = reason.map_or_else(|| self.bad_page(pfn, Some(0)), |reason| BadPage { pfn, reason });
        for &pfn in claimed {
            if let Some(zone) = self.zone_of(pfn) {
                let x = zone.idx(pfn);
                zone.view().set_info(x, zone.load_info(x).unclaimed());
            }
        }
        bad
    }

    /// Frees `nr_pages` single pages from `pfn` on, ascending (`free_pages_exact`).
    pub fn free_pages_exact(&self, cpu: CpuChoice, pfn: Pfn, nr_pages: u64) -> Result<(), BadPage> {
        let end = pfn.checked_add(nr_pages).ok_or(BadPage { pfn, reason: BadPageReason::OutOfRange })?;
        for page in pfn..end {
            let (zone, x) = self.locate(page)?;
            let info = zone.load_info(x);
            if !info.is_allocated() || info.order() != 0 {
                return Err(self.bad_page(page, Some(0)));
            }
        }
        (pfn..end).try_for_each(|page| self.free_pages(cpu, page, 0))
    }
}
