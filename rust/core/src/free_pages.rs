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

/// A single page that was allocated and is ours now.
struct Claimed<'a> {
    zone: Zone<'a>,
    x: PageIdx,
    /// What its info word was.
    info: PageInfo,
    /// Type of its pageblock.
    mt: MigrateType,
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
        if self.free_ready(self.cpu_hint(cpu), pfn, order) { Ok(()) } else { self.free_pages_ordinary(cpu, pfn, order) }
    }

    #[inline(never)]
    fn free_pages_ordinary(&self, cpu: CpuChoice, pfn: Pfn, order: u32) -> Result<(), BadPage> {
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
        let claimed = self.claim_list(pfns)?;
        let cpu = self.enter(cpu);
        if self.trace().is_on() {
            for page in &claimed {
                self.trace().emit(cpu.id(), || Event::Free { pfn: page.zone.pfn(page.x), order: 0 });
            }
        }
        for page in claimed.iter().filter(|page| page.mt == MigrateType::Isolate) {
            page.zone.free_one_page(&cpu, page.x, 0, page.mt, Side::Likely);
        }
        let mut rest = &claimed[..];
        while let Some(Claimed { zone, x, mt, .. }) = rest.first() {
            // Events tell of one page after the other.
            let alike = |page: &&Claimed<'_>| page.zone.number == zone.number && page.mt == *mt;
            let len = if self.trace().is_on() { 1 } else { rest.iter().take_while(alike).count() };
            let (run, after) = rest.split_at(len);
            rest = after;
            if *mt == MigrateType::Isolate {
                continue;
            }
            zone.trace.emit(cpu.id(), || Event::FreeBatched { pfn: zone.pfn(*x) });
            match zone.pcp(&cpu) {
                Some(pcp) => pcp.commit_run(&cpu, *mt, run.iter().map(|page| page.x)),
                None => for_each_run(run.iter().map(|page| page.x), zone.view().run_window(), |run| {
                    zone.free_run(&cpu, run, *mt, Side::Likely);
                }),
            }
        }
        Ok(())
    }

    /// Makes allocated single pages ours: all of them, or none and why.
    fn claim_list(&self, pfns: &[Pfn]) -> Result<Vec<Claimed<'_>>, BadPage> {
        let mut claimed = Vec::with_capacity(pfns.len());
        for &pfn in pfns {
            match self.claim_single(pfn) {
                Ok(page) => claimed.push(page),
                Err(bad) => {
                    let comes_twice = claimed.iter().any(|page| page.zone.pfn(page.x) == pfn);
                    claimed.iter().for_each(|page| page.zone.view().set_info(page.x, page.info));
                    return Err(if comes_twice { BadPage { pfn, reason: BadPageReason::AlreadyFree } } else { bad });
                }
            }
        }
        Ok(claimed)
    }

    /// Makes an allocated single page ours.
    #[inline(always)]
    fn claim_single(&self, pfn: Pfn) -> Result<Claimed<'_>, BadPage> {
        let (zone, x) = self.locate(pfn)?;
        let info = zone.load_info(x);
        if !info.is_allocated_once(0) {
            let is_referenced = info.is_allocated() && info.order() == 0;
            let referenced = BadPage { pfn, reason: BadPageReason::StillReferenced };
            return Err(if is_referenced { referenced } else { self.bad_page(pfn, Some(0)) });
        }
        if !zone.replace_info(x, info, PageInfo::NONE) {
            return Err(self.bad_page(pfn, Some(0)));
        }
        // Read once: the pageblock may be isolated meanwhile.
        Ok(Claimed { zone, x, info, mt: zone.blocks().get(x) })
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
