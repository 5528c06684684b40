//! The commonest calls in one piece: a block from or to a per-cpu list that needs no refill and no
//! drain, or from and to the lists of a zone that is far above its watermark, while nobody traces.
//!
//! Each function does exactly what the ordinary path would do, or it changes nothing and says so;
//! then the ordinary path decides. Nothing here is a rule of its own.

use crate::allocator::{CpuChoice, PageAllocator};
use crate::counters::NumaEvent;
use crate::cpu::Lease;
use crate::free_area::Side;
use crate::gfp::Gfp;
use crate::pcp_list::PcpDeque;
use crate::segment::CpuZone;
use crate::state::{ZONE_FLAG_BOOSTED_WATERMARK, ZONE_FLAG_RECLAIM_ACTIVE};
use crate::sync::{AcqRel, AtomicU32, AtomicU64, Relaxed};
use crate::types::{MIGRATE_PCPTYPES, MigrateType, Pfn};
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
        let reserve = shared.lowmem_reserve[highest].load(Relaxed); // ORDERING(R7)
        let highatomic = shared.nr_reserved_highatomic.load(Relaxed); // ORDERING(R7)
        let cma = if self.config.cma { self.free_cma_approximate() as u64 } else { 0 };
        let needed = self.watermark(which) + reserve + highatomic + cma + (1 << order) - 1;
        self.free_pages_approximate() as u64 > needed && (order == 0 || self.view().area.has_any_from(order))
    }

    #[inline(always)]
    fn has_flag(self, flag: u32) -> bool {
        self.shared.flags.load(Relaxed) & flag != 0 // ORDERING(R7)
    }

    #[inline(always)]
    fn deque(self, state: &'a CpuZone, order: u32, mt: usize) -> PcpDeque<'a> {
        PcpDeque::new(&state.lists[self.pcp_list_index(order, mt)], self.pages())
    }
}

impl PageAllocator {
    /// A block from the cpu's list of the first zone, or from that zone, for a request that any
    /// node may serve.
    #[inline(always)]
    pub(crate) fn alloc_ready(&self, choice: CpuChoice, gfp: Gfp, order: u32, nid: u32) -> Option<Pfn> {
        let gfp = Gfp(gfp.0 & self.machine().gfp_allowed_mask.load(Relaxed)); // ORDERING(R7)
        if order >= self.config().max_order || self.trace().is_on() {
            return None;
        }
        let mt = self.migratetype_of(gfp);
        let walk = self.walk(nid, gfp, None);
        let zone = self.zone(walk.list.first()?.zone);
        if !zone.is_far_above_watermark(order, walk.highest, WMARK_LOW) || zone.has_flag(ZONE_FLAG_BOOSTED_WATERMARK) {
            return None;
        }
        let (_lease, cpu) = self.lease(choice)?;
        let state = &zone.0.cpu_zones[cpu];
        let x = if self.pcp_orders().contains(order) {
            let (x, _) = zone.deque(state, order, mt.index()).pop_front()?;
            add(&state.count, (1u32 << order).wrapping_neg());
            state.free_factor.store(state.free_factor.load(Relaxed) >> 1, Relaxed); // ORDERING(R8)
            count(&state.pgalloc, 1);
            x
        } else {
            self.take_from_zone(zone, cpu, order, mt)?
        };
        zone.view().set_info(x, PageInfo::allocated(order, gfp.contains(Gfp::COMP), false));
        // ORDERING(R7)
        if self.config().numa && self.machine().numa_stat.load(Relaxed) != 0 {
            let is_remote = zone.node() != self.cpu_node(cpu);
            count(&state.numa_events[NumaEvent::Hit as usize], 1);
            count(&state.numa_events[NumaEvent::Local as usize + usize::from(is_remote)], 1);
        }
        Some(zone.pfn(x))
    }

    /// A block of an order without per-cpu lists from the zone's own type; no fallback.
    #[inline(never)]
    fn take_from_zone(&self, zone: Zone<'_>, cpu: usize, order: u32, mt: MigrateType) -> Option<PageIdx> {
        if self.config().cma && mt == MigrateType::Movable {
            return None; // CMA pageblocks may have to be used first
        }
        let x = zone.buddy_of(cpu).take_smallest(order, mt.index())?;
        let state = &zone.0.cpu_zones[cpu];
        state.modify_own(&zone.shared.nr_free_pages, &state.diff_free, -(1 << order));
        count(&state.pgalloc, 1 << order);
        Some(x)
    }

    /// A block to the cpu's list of its zone, or to the zone. True if that was all there is to do.
    #[inline(always)]
    pub(crate) fn free_ready(&self, choice: CpuChoice, pfn: Pfn, order: u32) -> bool {
        if order >= self.config().max_order || self.trace().is_on() {
            return false;
        }
        let Some(zone) = self.zone_of(pfn) else { return false };
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
        let Some((_lease, cpu)) = self.lease(choice) else { return false };
        let state = &zone.0.cpu_zones[cpu];
        // ORDERING(P8): AcqRel, what we wrote into the block happens before the next one's use.
        let claim = |new: PageInfo| info.compare_exchange(old.raw(), new.raw(), AcqRel, Relaxed).is_ok();
        if !self.pcp_orders().contains(order) {
            return claim(PageInfo::NONE) && self.put_into_zone(zone, cpu, x, order, mt);
        }
        // ORDERING(R8)
        if state.count.load(Relaxed) + (1 << order) >= state.high.load(Relaxed) {
            return false; // a drain
        }
        let list = zone.deque(state, order, mt.index());
        if !claim(list.front_info(Remembered::Own)) {
            return false;
        }
        list.link_front(x);
        add(&state.count, 1 << order);
        count(&state.pgfree, 1);
        true
    }

    /// A block that is ours to the lists of the zone; says that it did.
    #[inline(never)]
    fn put_into_zone(&self, zone: Zone<'_>, cpu: usize, x: PageIdx, order: u32, mt: MigrateType) -> bool {
        let state = &zone.0.cpu_zones[cpu];
        count(&state.pgfree, 1 << order);
        state.modify_own(&zone.shared.nr_free_pages, &state.diff_free, 1 << order);
        zone.buddy_of(cpu).put(x, order, mt.index(), Side::Likely);
        true
    }

    /// The lease of the online cpu that a choice asks for, if it is free, and the cpu.
    #[inline(always)]
    fn lease(&self, choice: CpuChoice) -> Option<(Lease<'_>, usize)> {
        let cpu = self.cpu_hint(choice);
        let slot = &self.segment.cpus[cpu];
        // ORDERING(R7): nobody drains the lists of a cpu that never came online.
        if slot.online.load(Relaxed) == 0 {
            return None;
        }
        Some((Lease::take(slot, self.holder())?, cpu))
    }
}
