//! `__alloc_pages`: fast path, zonelist walk, slow path (mm/page_alloc.c).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::cpu::Cpu;
use crate::gfp::{AllocFlags, FastPathInputs, Gfp};
use crate::pressure::{Hooks, as_memalloc};
use crate::state::ZONE_FLAG_RECLAIM_ACTIVE;
use crate::sync::Relaxed;
use crate::trace::Event;
use crate::types::{MigrateType, Pfn};
use crate::watermark::{WMARK_HIGH, WMARK_LOW, WatermarkTest, ZoneMarks};
use crate::word::PageIdx;
use crate::word::page_info::PageInfo;
use crate::zone::Zone;
use crate::zonelist::Walk;
use core::fmt;

/// Why no page was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// The kernel would return NULL.
    NoMemory,
    /// The order is not below `MAX_ORDER` (NULL in the kernel, with a warning).
    OrderOutOfRange,
    /// The kernel would loop for ever: NOFAIL, and nothing can be reclaimed.
    WouldLoopForever,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AllocError::NoMemory => "page allocation failure",
            AllocError::OrderOutOfRange => "the order is not below MAX_ORDER",
            AllocError::WouldLoopForever => {
                "__GFP_NOFAIL request that nothing can satisfy: the kernel would loop for ever"
            }
        })
    }
}

impl std::error::Error for AllocError {}

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct AllocRequest {
    /// Flags as given, before any mask.
    pub gfp: Gfp,
    /// Order.
    pub order: u32,
    /// Preferred node.
    pub nid: u32,
    /// Nodes allowed; `None` is all.
    pub nodemask: Option<u64>,
}

/// A page just taken from a zone.
#[derive(Clone, Copy)]
pub(crate) struct Taken<'a> {
    pub zone: Zone<'a>,
    pub x: PageIdx,
}

/// Everything about a request that does not change while it is tried (`struct alloc_context`).
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub cpu: CpuChoice,
    pub order: u32,
    pub migratetype: MigrateType,
    pub walk: Walk<'a>,
}

impl<'a> Zone<'a> {
    /// What the watermark tests look at.
    #[inline(always)]
    pub(crate) fn marks(self) -> ZoneMarks {
        ZoneMarks {
            raw: core::array::from_fn(|which| self.raw_watermark(which)),
            boost: self.boost(),
            lowmem_reserve: core::array::from_fn(|i| self.shared.lowmem_reserve[i].load(Relaxed)), // ORDERING(R7)
            nr_reserved_highatomic: self.shared.nr_reserved_highatomic.load(Relaxed),              // ORDERING(R7)
            free_cma: if self.config.cma { self.free_cma_approximate() } else { 0 },
        }
    }

    /// `zone_watermark_fast` with the mark that the flags select.
    #[inline(always)]
    pub(crate) fn watermark_fast(self, order: u32, highest: usize, flags: AllocFlags, gfp: Gfp) -> bool {
        self.is_far_above_watermark(order, highest, flags.watermark_index())
            || self.watermark_fast_exact(order, highest, flags, gfp)
    }

    #[cold]
    #[inline(never)]
    fn watermark_fast_exact(self, order: u32, highest: usize, flags: AllocFlags, gfp: Gfp) -> bool {
        let lists = |o, mt| self.has_free(o, mt);
        WatermarkTest { config: &self.config, marks: &self.marks(), lists: &lists }.is_ok_fast(
            order,
            highest,
            flags,
            gfp,
            self.free_pages_approximate(),
        )
    }

    /// `__zone_watermark_ok` with a mark and a free count of the caller's.
    pub(crate) fn watermark_ok(self, order: u32, mark: u64, highest: usize, flags: AllocFlags, free: i64) -> bool {
        let lists = |o, mt| self.has_free(o, mt);
        WatermarkTest { config: &self.config, marks: &self.marks(), lists: &lists }
            .is_ok(order, mark, highest, flags, free)
    }

    /// The test of a bulk request for `n` pages: the low watermark, raised by all of them.
    pub(crate) fn watermark_fast_bulk(self, n: u64, highest: usize, flags: AllocFlags, gfp: Gfp) -> bool {
        let lists = |o, mt| self.has_free(o, mt);
        let mut marks = self.marks();
        marks.raw[WMARK_LOW] = marks.raw[WMARK_LOW].saturating_add(n);
        WatermarkTest { config: &self.config, marks: &marks, lists: &lists }.is_ok_fast(
            0,
            highest,
            flags,
            gfp,
            self.free_pages_approximate(),
        )
    }

    /// A watermark with the boost.
    #[inline(always)]
    pub(crate) fn watermark(self, which: usize) -> u64 {
        self.raw_watermark(which) + self.boost()
    }
}

impl PageAllocator {
    /// Allocates 2^order pages (`__alloc_pages`): the first pfn.
    #[inline(always)]
    pub fn alloc_pages(&self, cpu: CpuChoice, request: AllocRequest, hooks: &dyn Hooks) -> Result<Pfn, AllocError> {
        let AllocRequest { gfp, order, nid, nodemask } = request;
        if nodemask.is_none()
            && let Some(pfn) = self.alloc_ready(self.slot_hint(cpu), gfp, order, nid)
        {
            return Ok(pfn);
        }
        self.alloc_pages_ordinary(cpu, request, hooks)
    }

    #[inline(never)]
    fn alloc_pages_ordinary(
        &self,
        cpu: CpuChoice,
        request: AllocRequest,
        hooks: &dyn Hooks,
    ) -> Result<Pfn, AllocError> {
        let AllocRequest { gfp, order, nid, nodemask } = request;
        if nodemask.is_none()
            && let Some(pfn) = self.alloc_unleased(cpu, gfp, order, nid)
        {
            return Ok(pfn);
        }
        if order >= self.config().max_order {
            return Err(AllocError::OrderOutOfRange);
        }
        let gfp = Gfp(gfp.0 & self.machine().gfp_allowed_mask.load(Relaxed)); // ORDERING(R7)
        let ctx = Context { cpu, order, migratetype: self.migratetype_of(gfp), walk: self.walk(nid, gfp, nodemask) };
        let flags = self.fast_path_flags(&ctx, gfp);
        let result = match self.get_page_from_freelist(&ctx, ctx.walk, gfp, flags, hooks) {
            Some(taken) => Ok(taken),
            None => self.slow_path(&ctx, gfp, hooks),
        };
        let pfn = result.map(|taken| taken.zone.pfn(taken.x));
        // Asked first, so that nobody looks for the cpu in vain. A request that would loop for ever
        // never gets to its event in the kernel.
        if self.trace().is_on() && pfn != Err(AllocError::WouldLoopForever) {
            let event = || Event::Alloc { pfn: pfn.ok(), order, gfp: gfp.0, migratetype: ctx.migratetype as u8 };
            self.trace().emit(self.cpu_hint(cpu), event);
        }
        pfn
    }

    /// Flags of the first attempt (`prepare_alloc_pages`, `alloc_flags_nofragment`).
    #[inline(always)]
    fn fast_path_flags(&self, ctx: &Context<'_>, gfp: Gfp) -> AllocFlags {
        let preferred = ctx.walk.preferred();
        let config = self.config();
        let inputs = FastPathInputs {
            cma: config.cma,
            is_bound_by_cpuset: true,
            preferred_zone: preferred.map(|entry| self.zone(entry.zone).kind),
            is_dma32_populated: preferred.is_some_and(|entry| entry.has_dma32),
            zone_dma32: config.zone_dma32,
            nr_online_nodes: self.nr_online_nodes(),
        };
        AllocFlags::fast_path(gfp, ctx.migratetype, inputs)
    }

    /// `get_page_from_freelist`: walks the zones, tests watermarks, takes a page and prepares it.
    #[inline]
    pub(crate) fn get_page_from_freelist<'a>(
        &'a self,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        gfp: Gfp,
        flags: AllocFlags,
        hooks: &dyn Hooks,
    ) -> Option<Taken<'a>> {
        let mut boosted = Vec::new();
        let cpu = self.enter(ctx.cpu);
        let taken = self.walk_zones(&cpu, ctx, walk, gfp, flags, &mut boosted);
        // Hooks are called with the lease given back, because they may allocate.
        if let Some(fallbacks) = cpu.leave() {
            fallbacks.into_iter().for_each(|event| as_memalloc(|| hooks.event(event)));
        }
        if !boosted.is_empty() {
            boosted.into_iter().for_each(|number| self.wake_kswapd_boosted(self.zone(number), hooks));
        }
        taken
    }

    /// The walk itself. Zones whose boosted flag it cleared are added to `boosted`.
    #[inline(always)]
    fn walk_zones<'a>(
        &'a self,
        cpu: &Cpu<'_>,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        gfp: Gfp,
        mut flags: AllocFlags,
        boosted: &mut Vec<usize>,
    ) -> Option<Taken<'a>> {
        let preferred = walk.preferred()?;
        let order = ctx.order;
        'restart: loop {
            let no_fallback = flags.contains(AllocFlags::NOFRAGMENT);
            for entry in walk.zones() {
                if no_fallback
                    && self.nr_online_nodes() > 1
                    && entry.zone != preferred.zone
                    && entry.nid != preferred.nid
                {
                    flags = flags.without(AllocFlags::NOFRAGMENT);
                    continue 'restart;
                }
                let zone = self.zone(entry.zone);
                if !zone.watermark_fast(order, walk.highest, flags, gfp) && !flags.contains(AllocFlags::NO_WATERMARKS) {
                    continue;
                }
                let taken = self.rmqueue(cpu, self.zone(preferred.zone), zone, ctx, flags, boosted);
                let Some(x) = taken else { continue };
                zone.view().set_info(
                    x,
                    PageInfo::allocated(order, gfp.contains(Gfp::COMP), flags.contains(AllocFlags::NO_WATERMARKS)),
                );
                if order > 0 && flags.contains(AllocFlags::HARDER) {
                    zone.reserve_highatomic(cpu, x);
                }
                return Some(Taken { zone, x });
            }
            if !no_fallback {
                return None;
            }
            flags = flags.without(AllocFlags::NOFRAGMENT);
        }
    }

    /// `rmqueue`: per-cpu lists or the zone, then counters and the boosted flag.
    #[inline(always)]
    fn rmqueue(
        &self,
        cpu: &Cpu<'_>,
        preferred: Zone<'_>,
        zone: Zone<'_>,
        ctx: &Context<'_>,
        flags: AllocFlags,
        boosted: &mut Vec<usize>,
    ) -> Option<PageIdx> {
        let (order, mt) = (ctx.order, ctx.migratetype);
        let through_pcp = zone.pcp_allowed_order(order)
            && (!self.config().cma || flags.contains(AllocFlags::CMA) || mt != MigrateType::Movable);
        // Somebody else may hold the cpu's lists; then the zone serves the request directly.
        let pcp = if through_pcp { zone.pcp(cpu) } else { None };
        let taken = if let Some(pcp) = pcp {
            pcp.decay_free_factor();
            let taken = pcp.take(cpu, order, mt, flags);
            if taken.is_some() {
                zone.count_pgalloc(cpu, 1);
                zone.count_numa_allocation(cpu, preferred, 1);
            }
            taken
        } else {
            let reserve = (order > 0 && flags.contains(AllocFlags::HARDER) && !through_pcp)
                .then(|| zone.take_highatomic(cpu, order, mt))
                .flatten();
            let (x, from) = reserve.or_else(|| zone.rmqueue_locked(cpu, order, mt, flags))?;
            zone.mod_free_pages(cpu, -(1 << order));
            if from == MigrateType::Cma {
                zone.mod_free_cma(cpu, -(1 << order));
            }
            zone.count_pgalloc(cpu, 1 << order);
            zone.count_numa_allocation(cpu, preferred, 1);
            Some(x)
        };
        if zone.take_boosted_flag() {
            boosted.push(zone.number);
        }
        taken
    }

    /// Zones of a bulk request's single-page part and of everything that takes pages one by one
    /// from a zone's per-cpu list.
    pub(crate) fn bulk_zone<'a>(
        &'a self,
        walk: Walk<'_>,
        gfp: Gfp,
        mt: MigrateType,
        n: u64,
    ) -> Option<(Zone<'a>, Zone<'a>, AllocFlags)> {
        let preferred = walk.preferred()?;
        let flags = self.bulk_flags(mt);
        for entry in walk.zones() {
            if self.nr_online_nodes() > 1 && entry.zone != preferred.zone && entry.nid != preferred.nid {
                return None;
            }
            let zone = self.zone(entry.zone);
            if zone.watermark_fast_bulk(n, preferred.index, flags, gfp) {
                return Some((zone, self.zone(preferred.zone), flags));
            }
        }
        None
    }

    /// Flags of a bulk allocation.
    fn bulk_flags(&self, mt: MigrateType) -> AllocFlags {
        let inputs = FastPathInputs { cma: self.config().cma, is_bound_by_cpuset: true, ..FastPathInputs::default() };
        AllocFlags::fast_path(Gfp::NONE, mt, inputs)
    }

    /// The same for a request given by its flags.
    pub fn unreserve_highatomic_pageblock(&self, cpu: CpuChoice, gfp: Gfp, nid: u32, force: bool) -> bool {
        let walk = self.walk(nid, gfp, None);
        self.unreserve_highatomic(cpu, walk, self.migratetype_of(gfp), force)
    }

    /// Sets or clears a zone's reclaim-active flag, as kswapd does while it balances the node
    /// (mm/vmscan.c, `set_reclaim_active`). False if there is no such zone.
    pub fn set_reclaim_active(&self, nid: u32, zone_index: usize, active: bool) -> bool {
        let Some(zone) = self.zone_at(nid, zone_index) else { return false };
        let flags = &zone.shared.flags;
        if active {
            flags.fetch_or(ZONE_FLAG_RECLAIM_ACTIVE, Relaxed); // ORDERING(R7)
        } else {
            flags.fetch_and(!ZONE_FLAG_RECLAIM_ACTIVE, Relaxed); // ORDERING(R7)
        }
        true
    }
}

const _: () = assert!(WMARK_HIGH == 2, "AllocFlags selects watermarks by number");
