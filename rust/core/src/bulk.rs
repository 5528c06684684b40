//! Bulk, exact and list allocations, drains (mm/page_alloc.c, `__alloc_pages_bulk` and others).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::gfp::Gfp;
use crate::page_alloc::{AllocError, AllocRequest};
use crate::pressure::{Hooks, as_memalloc};
use crate::sync::Relaxed;
use crate::types::{MigrateType, Pfn};
use crate::word::PageIdx;
use crate::word::page_info::PageInfo;

/// A bulk request for single pages.
#[derive(Clone, Copy, Debug)]
pub struct BulkRequest {
    /// Flags as given.
    pub gfp: Gfp,
    /// Preferred node.
    pub nid: u32,
    /// Nodes allowed; `None` is all.
    pub nodemask: Option<u64>,
}

/// A place for a pfn in the array of a bulk request. A plain number is always empty: whoever has no
/// holes gets the pfns without a copy.
pub trait Slot {
    /// Does the request fill it?
    fn is_empty(&self) -> bool;
    /// Puts a pfn there.
    fn fill(&mut self, pfn: Pfn);
}

impl Slot for Option<Pfn> {
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.is_none()
    }

    #[inline(always)]
    fn fill(&mut self, pfn: Pfn) {
        *self = Some(pfn);
    }
}

impl Slot for Pfn {
    #[inline(always)]
    fn is_empty(&self) -> bool {
        true
    }

    #[inline(always)]
    fn fill(&mut self, pfn: Pfn) {
        *self = pfn;
    }
}

impl PageAllocator {
    /// Fills the empty slots of an array with single pages (`__alloc_pages_bulk`, array form).
    /// Returns the number of filled positions from the start, those that were filled before
    /// included; slots behind it are untouched.
    pub fn alloc_pages_bulk_array<S: Slot>(
        &self,
        cpu: CpuChoice,
        request: BulkRequest,
        slots: &mut [S],
        hooks: &dyn Hooks,
    ) -> usize {
        let filled = slots.iter().take_while(|slot| !slot.is_empty()).count();
        if filled == slots.len() {
            return filled;
        }
        if slots.len() - filled > 1
            && let Some(filled) = self.bulk_from_lists(cpu, request, slots, filled, hooks)
        {
            return filled;
        }
        self.bulk_single(cpu, request, slots, filled, hooks)
    }

    /// Allocates up to `n` single pages (`__alloc_pages_bulk`, list form): in the order they were
    /// taken. The kernel's list holds them the other way round, because each is pushed at its head.
    pub fn alloc_pages_bulk(&self, cpu: CpuChoice, request: BulkRequest, n: usize, hooks: &dyn Hooks) -> Vec<Pfn> {
        let mut pfns = vec![0; n];
        let filled = self.alloc_pages_bulk_array(cpu, request, &mut pfns, hooks);
        pfns.truncate(filled);
        pfns
    }

    /// The part that takes pages from one zone's per-cpu list; `None` if a single page is to be
    /// tried instead.
    fn bulk_from_lists<S: Slot>(
        &self,
        cpu: CpuChoice,
        request: BulkRequest,
        slots: &mut [S],
        start: usize,
        hooks: &dyn Hooks,
    ) -> Option<usize> {
        let gfp = Gfp(request.gfp.0 & self.machine().gfp_allowed_mask.load(Relaxed)); // ORDERING(R7)
        let mt = self.migratetype_of(gfp);
        let walk = self.walk(request.nid, gfp, request.nodemask);
        let (zone, preferred, flags) = self.bulk_zone(walk, gfp, mt, slots.len() as u64)?;
        let cpu = self.enter(cpu);
        let nr_slots = slots.len();
        let wanted = slots[start..].iter().filter(|slot| slot.is_empty()).count();
        let mut rest = slots[start..].iter_mut();
        let (info, base_pfn) = (PageInfo::allocated(0, false, false), zone.base_pfn);
        let mut places = rest.by_ref().filter(|slot| slot.is_empty());
        let fill = |slot: &mut S, x: PageIdx| slot.fill(base_pfn + Pfn::from(x));
        let taken = if let Some(pcp) = zone.pcp(&cpu) {
            pcp.take_many(&cpu, mt, flags, wanted, places, info, fill)
        } else {
            let mut taken = 0;
            while taken < wanted {
                let most = (wanted - taken) as u32;
                let Some((first, n, from)) = zone.rmqueue_run(&cpu, 0, mt, flags, most) else { break };
                zone.mod_free_pages(&cpu, -i64::from(n));
                if from == MigrateType::Cma {
                    zone.mod_free_cma(&cpu, -i64::from(n));
                }
                for (x, slot) in (first..first + n).zip(&mut places) {
                    zone.view().set_info(x, info);
                    fill(slot, x);
                }
                taken += n as usize;
            }
            taken
        };
        let filled = nr_slots - rest.skip_while(|slot| !slot.is_empty()).count();
        if filled == 0 {
            return None;
        }
        zone.count_pgalloc(&cpu, taken as u64);
        zone.count_numa_allocation(&cpu, preferred, taken as u64);
        if let Some(fallbacks) = cpu.leave() {
            fallbacks.into_iter().for_each(|event| as_memalloc(|| hooks.event(event)));
        }
        Some(filled)
    }

    fn bulk_single<S: Slot>(
        &self,
        cpu: CpuChoice,
        request: BulkRequest,
        slots: &mut [S],
        filled: usize,
        hooks: &dyn Hooks,
    ) -> usize {
        let BulkRequest { gfp, nid, nodemask } = request;
        match self.alloc_pages(cpu, AllocRequest { gfp, order: 0, nid, nodemask }, hooks) {
            Ok(pfn) => {
                slots[filled].fill(pfn);
                filled + 1
            }
            Err(_) => filled,
        }
    }

    /// Allocates exactly `nr_pages` contiguous single pages (`alloc_pages_exact`): the next power
    /// of two is split and its surplus freed page by page, ascending. Without a node the policy of
    /// the cpu's task decides.
    pub fn alloc_pages_exact(
        &self,
        cpu: CpuChoice,
        gfp: Gfp,
        nr_pages: u64,
        nid: Option<u32>,
        hooks: &dyn Hooks,
    ) -> Result<Pfn, AllocError> {
        let order = nr_pages.max(1).checked_next_power_of_two().map_or(64, u64::trailing_zeros);
        let gfp = gfp.without(Gfp::COMP).without(Gfp::HIGHMEM);
        let pfn = match nid {
            Some(nid) => self.alloc_pages(cpu, AllocRequest { gfp, order, nid, nodemask: None }, hooks)?,
            None => self.alloc_pages_task(cpu, gfp, order, hooks)?,
        };
        self.make_exact(cpu, pfn, order, nr_pages);
        Ok(pfn)
    }

    /// `make_alloc_exact`.
    pub(crate) fn make_exact(&self, cpu: CpuChoice, pfn: Pfn, order: u32, nr_pages: u64) {
        let _ = self.split_page(pfn, order);
        for page in pfn + nr_pages.max(1)..pfn + (1 << order) {
            let _ = self.free_pages(cpu, page, 0);
        }
    }
}
