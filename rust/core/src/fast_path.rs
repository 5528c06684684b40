//! The commonest calls in one piece: a block from or to a per-cpu list that needs no refill and no
//! drain, or from and to the lists of a zone that is far above its watermark, while nobody traces.
//!
//! Each function does exactly what the ordinary path would do, or it changes nothing and says so;
//! then the ordinary path decides. Nothing here is a rule of its own.

use crate::allocator::PageAllocator;
use crate::counters::NumaEvent;
use crate::cpu::Lease;
use crate::free_area::Side;
use crate::gfp::Gfp;
use crate::pcp_list::PcpDeque;
use crate::segment::Desk;
use crate::state::{ZONE_FLAG_BOOSTED_WATERMARK, ZONE_FLAG_RECLAIM_ACTIVE};
use crate::sync::{AcqRel, AtomicU32, AtomicU64, Relaxed};
use crate::types::{MAX_NR_ZONES, MIGRATE_PCPTYPES, MigrateType, Pfn};
use crate::watermark::WMARK_LOW;
use crate::word::PageIdx;
use crate::word::page_info::{PageInfo, Remembered};
use crate::zone::Zone;

/// Changes a word that only the lease's holder writes.
#[inline(always)]
fn add(word: &AtomicU32, n: u32) {
    word.store(word.load(Relaxed).wrapping_add(n), Relaxed); // ORDERING(R8)
}

#[inline(always)]
fn count(word: &AtomicU64, n: u64) {
    word.store(word.load(Relaxed) + n, Relaxed); // ORDERING(R8)
}

impl<'a> Zone<'a> {
    /// Is the zone so full that a request without privileges needs no closer look?
    #[inline(always)]
    pub(crate) fn is_far_above_watermark(self, order: u32, highest: usize, which: usize) -> bool {
        let shared = &*self.shared;
        let reserve = shared.lowmem_reserve[highest % MAX_NR_ZONES].load(Relaxed); // ORDERING(R7)
        let highatomic = shared.nr_reserved_highatomic.load(Relaxed); // ORDERING(R7)
        let cma = if self.config.cma { self.free_cma_approximate() as u64 } else { 0 };
        let needed = self.watermark(which) + reserve + highatomic + cma + (1 << order) - 1;
        let free = shared.nr_free_pages.load(Relaxed); // ORDERING(R7)
        // A count below zero counts as zero.
        free > 0 && free as u64 > needed && (order == 0 || self.view().area.has_any_from(order))
    }

    #[inline(always)]
    fn has_flag(self, flag: u32) -> bool {
        self.shared.flags.load(Relaxed) & flag != 0 // ORDERING(R7)
    }

    /// The first block of a list of a cpu whose lease the caller holds, unless it needs a refill.
    #[inline(always)]
    pub fn take_ready(self, desk: &Desk<'_>, order: u32, mt: usize) -> Option<PageIdx> {
        let state = desk.state;
        let x = PcpDeque::of(desk, self.pcp_list_index(order, mt)).pop_front()?;
        add(&state.count, (1u32 << order).wrapping_neg());
        state.free_factor.store(state.free_factor.load(Relaxed) >> 1, Relaxed); // ORDERING(R8)
        Some(x)
    }

    /// A block to the front of a list of a cpu whose lease the caller holds, unless that needs a
    /// drain. `claim` writes the block's info word; if it does not, nothing happens.
    #[inline(always)]
    pub fn put_ready(
        self,
        desk: &Desk<'_>,
        x: PageIdx,
        order: u32,
        mt: usize,
        claim: impl FnOnce(PageInfo) -> bool,
    ) -> bool {
        let state = desk.state;
        let count = state.count.load(Relaxed) + (1 << order); // ORDERING(R8)
        let list = PcpDeque::of(desk, self.pcp_list_index(order, mt));
        // ORDERING(R8)
        if count >= state.high.load(Relaxed) || !claim(list.front_info(Remembered::Own)) {
            return false;
        }
        list.link_front(x);
        state.count.store(count, Relaxed); // ORDERING(R8)
        self::count(&state.pgfree, 1);
        true
    }
}

impl PageAllocator {
    /// A block from the cpu's list of the first zone, or from that zone, for a request that any
    /// node may serve.
    #[inline(always)]
    pub(crate) fn alloc_ready(&self, cpu: usize, gfp: Gfp, order: u32, nid: u32) -> Option<Pfn> {
        if order == 0 {
            self.alloc_page_ready(cpu, gfp, nid)
        } else if self.pcp_orders().contains(order) {
            self.alloc_block_ready(cpu, gfp, order, nid)
        } else {
            self.alloc_large_ready(cpu, gfp, order, nid)
        }
    }

    #[inline(never)]
    fn alloc_page_ready(&self, cpu: usize, gfp: Gfp, nid: u32) -> Option<Pfn> {
        self.alloc_ready_of(cpu, gfp, 0, nid, true)
    }

    #[inline(never)]
    fn alloc_block_ready(&self, cpu: usize, gfp: Gfp, order: u32, nid: u32) -> Option<Pfn> {
        self.alloc_ready_of(cpu, gfp, order, nid, true)
    }

    #[inline(never)]
    fn alloc_large_ready(&self, cpu: usize, gfp: Gfp, order: u32, nid: u32) -> Option<Pfn> {
        if order >= self.config().max_order { None } else { self.alloc_ready_of(cpu, gfp, order, nid, false) }
    }

    /// One body for three functions, of which each does only what it needs: orders in or not in
    /// per-cpu lists, and single pages.
    #[inline(always)]
    fn alloc_ready_of(&self, cpu: usize, gfp: Gfp, order: u32, nid: u32, has_lists: bool) -> Option<Pfn> {
        let gfp = Gfp(gfp.0 & self.machine().gfp_allowed_mask.load(Relaxed)); // ORDERING(R7)
        let (number, highest) = self.first_zone(nid, gfp)?;
        if self.trace().is_on() {
            return None;
        }
        let zone = self.zone(number);
        if !zone.is_far_above_watermark(order, highest, WMARK_LOW) || zone.has_flag(ZONE_FLAG_BOOSTED_WATERMARK) {
            return None;
        }
        let mt = self.migratetype_of(gfp);
        let desk = zone.desk(cpu);
        let _lease = self.lease(desk)?;
        let state = desk.state;
        let x = if has_lists {
            let x = zone.take_ready(desk, order, mt.index())?;
            count(&state.pgalloc, 1);
            x
        } else {
            self.take_from_zone(zone, desk, order, mt)?
        };
        desk.buddy.set_info(x, PageInfo::allocated(order, gfp.contains(Gfp::COMP), false));
        // ORDERING(R7)
        if self.config().numa && self.machine().numa_stat.load(Relaxed) != 0 {
            let is_remote = zone.node() != desk.slot.node.load(Relaxed); // ORDERING(R1)
            count(&state.numa_events[NumaEvent::Hit as usize], 1);
            count(&state.numa_events[NumaEvent::Local as usize + usize::from(is_remote)], 1);
        }
        Some(zone.pfn(x))
    }

    /// A block of an order without per-cpu lists from the zone's own type; no fallback.
    #[inline(never)]
    fn take_from_zone(&self, zone: Zone<'_>, desk: &Desk<'_>, order: u32, mt: MigrateType) -> Option<PageIdx> {
        if self.config().cma && mt == MigrateType::Movable {
            return None; // CMA pageblocks may have to be used first
        }
        let x = desk.buddy.try_take_smallest(order, mt.index())?;
        let state = desk.state;
        state.modify_own(&zone.shared.nr_free_pages, &state.diff_free, -(1 << order));
        count(&state.pgalloc, 1 << order);
        Some(x)
    }

    /// A block to the cpu's list of its zone, or to the zone. True if that was all there is to do.
    #[inline(always)]
    pub(crate) fn free_ready(&self, cpu: usize, pfn: Pfn, order: u32) -> bool {
        if order == 0 {
            self.free_page_ready(cpu, pfn)
        } else if self.pcp_orders().contains(order) {
            self.free_block_ready(cpu, pfn, order)
        } else {
            self.free_large_ready(cpu, pfn, order)
        }
    }

    #[inline(never)]
    fn free_page_ready(&self, cpu: usize, pfn: Pfn) -> bool {
        self.free_ready_of(cpu, pfn, 0, true)
    }

    #[inline(never)]
    fn free_block_ready(&self, cpu: usize, pfn: Pfn, order: u32) -> bool {
        self.free_ready_of(cpu, pfn, order, true)
    }

    #[inline(never)]
    fn free_large_ready(&self, cpu: usize, pfn: Pfn, order: u32) -> bool {
        order < self.config().max_order && self.free_ready_of(cpu, pfn, order, false)
    }

    #[inline(always)]
    fn free_ready_of(&self, cpu: usize, pfn: Pfn, order: u32, has_lists: bool) -> bool {
        if self.trace().is_on() {
            return false;
        }
        let Some(zone) = self.zone_of_whole(pfn) else { return false };
        let x = zone.idx(pfn);
        if x & ((1 << order) - 1) != 0 {
            return false;
        }
        let mt = zone.blocks().get(x);
        let info = &zone.pages().page(x).info;
        let old = PageInfo::from_raw(info.load(Relaxed)); // ORDERING(R4)
        if !old.is_allocated_once(order) || mt.index() >= MIGRATE_PCPTYPES || zone.has_flag(ZONE_FLAG_RECLAIM_ACTIVE) {
            return false;
        }
        let desk = zone.desk(cpu);
        let Some(_lease) = self.lease(desk) else { return false };
        // ORDERING(P8): AcqRel, what we wrote into the block happens before the next one's use.
        let claim = |new: PageInfo| info.compare_exchange(old.raw(), new.raw(), AcqRel, Relaxed).is_ok();
        if has_lists {
            zone.put_ready(desk, x, order, mt.index(), claim)
        } else {
            claim(PageInfo::NONE) && self.put_into_zone(zone, desk, x, order, mt)
        }
    }

    /// A block that is ours to the lists of the zone; says that it did.
    #[inline(never)]
    fn put_into_zone(&self, zone: Zone<'_>, desk: &Desk<'_>, x: PageIdx, order: u32, mt: MigrateType) -> bool {
        let state = desk.state;
        count(&state.pgfree, 1 << order);
        state.modify_own(&zone.shared.nr_free_pages, &state.diff_free, 1 << order);
        desk.buddy.put(x, order, mt.index(), Side::Likely);
        true
    }

    /// The lease of a cpu, if it is online and nobody has the lease.
    #[inline(always)]
    fn lease<'a>(&self, desk: &Desk<'a>) -> Option<Lease<'a>> {
        // Nobody drains the lists of a cpu that never came online.
        if !desk.slot.is_online() {
            return None;
        }
        Lease::take(desk.slot, self.holder())
    }
}
