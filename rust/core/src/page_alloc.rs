//! `__alloc_pages`: fast path, zonelist walk, slow path (mm/page_alloc.c).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::cpu::Cpu;
use crate::gfp::{AllocFlags, FastPathInputs, Gfp, TaskState};
use crate::pressure::{CompactPriority, CompactResult, Hooks, PressureEvent, Request};
use crate::reclaim;
use crate::sync::Relaxed;
use crate::trace::Event;
use crate::types::{MigrateType, Pfn};
use crate::watermark::{WMARK_HIGH, WMARK_LOW, WMARK_MIN, WatermarkTest, ZoneMarks};
use crate::word::PageIdx;
use crate::word::page_info::PageInfo;
use crate::zone::Zone;
use crate::zonelist::Walk;
use core::fmt;

/// Orders above this are "costly" (`PAGE_ALLOC_COSTLY_ORDER`).
const COSTLY_ORDER: u32 = 3;
/// Rounds without progress before reclaim gives up (`MAX_RECLAIM_RETRIES`).
const MAX_RECLAIM_RETRIES: u32 = 16;
/// Compaction rounds before its priority is raised (`MAX_COMPACT_RETRIES`).
const MAX_COMPACT_RETRIES: u32 = 16;
/// Rounds a NOFAIL request may go through without any hook making progress.
const MAX_NOFAIL_ROUNDS: u32 = 64;

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
struct Context<'a> {
    cpu: CpuChoice,
    order: u32,
    migratetype: MigrateType,
    walk: Walk<'a>,
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
    #[inline]
    pub(crate) fn watermark_fast(self, order: u32, highest: usize, flags: AllocFlags, gfp: Gfp) -> bool {
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
    pub fn alloc_pages(&self, cpu: CpuChoice, request: AllocRequest, hooks: &dyn Hooks) -> Result<Pfn, AllocError> {
        let AllocRequest { gfp, order, nid, nodemask } = request;
        if order >= self.config().max_order {
            return Err(AllocError::OrderOutOfRange);
        }
        let gfp = Gfp(gfp.0 & self.machine().gfp_allowed_mask.load(Relaxed)); // ORDERING(R7)
        let ctx = Context {
            cpu,
            order,
            migratetype: self.migratetype_of(gfp),
            walk: Walk { list: self.zonelist(nid, gfp), highest: self.highest_zone(gfp), nodemask },
        };
        let flags = self.fast_path_flags(&ctx, gfp);
        let result = match self.get_page_from_freelist(&ctx, ctx.walk, gfp, flags, hooks) {
            Some(taken) => Ok(taken),
            None => self.slow_path(&ctx, gfp, hooks),
        };
        let pfn = result.map(|taken| taken.zone.pfn(taken.x));
        self.trace().emit(self.cpu_hint(cpu), || Event::Alloc {
            pfn: pfn.ok(),
            order,
            gfp: gfp.0,
            migratetype: ctx.migratetype as u8,
        });
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
            preferred_zone: preferred.map(|entry| self.zone(entry.zone).kind()),
            is_dma32_populated: preferred.is_some_and(|entry| self.has_dma32(entry.nid)),
            zone_dma32: config.zone_dma32,
            nr_online_nodes: self.nr_online_nodes(),
        };
        AllocFlags::fast_path(gfp, ctx.migratetype, inputs)
    }

    /// `get_page_from_freelist`: walks the zones, tests watermarks, takes a page and prepares it.
    fn get_page_from_freelist<'a>(
        &'a self,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        gfp: Gfp,
        flags: AllocFlags,
        hooks: &dyn Hooks,
    ) -> Option<Taken<'a>> {
        let (taken, boosted) = {
            let cpu = self.enter(ctx.cpu);
            self.walk_zones(&cpu, ctx, walk, gfp, flags)
        };
        // With the lease given back, because the hook may allocate.
        for zone in boosted.into_iter().flatten() {
            self.wake_kswapd_boosted(zone, hooks);
        }
        taken
    }

    /// The walk itself. Also the zones whose boosted flag it cleared, at most two of them are
    /// reported.
    #[inline]
    fn walk_zones<'a>(
        &'a self,
        cpu: &Cpu<'_>,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        gfp: Gfp,
        mut flags: AllocFlags,
    ) -> (Option<Taken<'a>>, [Option<Zone<'a>>; 2]) {
        let mut boosted = [None; 2];
        let Some(preferred) = walk.preferred() else { return (None, boosted) };
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
                let taken = self.rmqueue(cpu, self.zone(preferred.zone), zone, ctx, flags, &mut boosted);
                let Some(x) = taken else { continue };
                zone.view().set_info(
                    x,
                    PageInfo::allocated(order, gfp.contains(Gfp::COMP), flags.contains(AllocFlags::NO_WATERMARKS)),
                );
                if order > 0 && flags.contains(AllocFlags::HARDER) {
                    zone.reserve_highatomic(cpu, x);
                }
                return (Some(Taken { zone, x }), boosted);
            }
            if !no_fallback {
                return (None, boosted);
            }
            flags = flags.without(AllocFlags::NOFRAGMENT);
        }
    }

    /// `rmqueue`: per-cpu lists or the zone, then counters and the boosted flag.
    #[inline]
    fn rmqueue<'a>(
        &'a self,
        cpu: &Cpu<'_>,
        preferred: Zone<'_>,
        zone: Zone<'a>,
        ctx: &Context<'_>,
        flags: AllocFlags,
        boosted: &mut [Option<Zone<'a>>; 2],
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
        if zone.take_boosted_flag()
            && let Some(free) = boosted.iter_mut().find(|slot| slot.is_none())
        {
            *free = Some(zone);
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

    /// `__alloc_pages_slowpath`.
    #[cold]
    #[inline(never)]
    fn slow_path<'a>(&'a self, ctx: &Context<'_>, gfp: Gfp, hooks: &dyn Hooks) -> Result<Taken<'a>, AllocError> {
        let can_reclaim = gfp.contains(Gfp::DIRECT_RECLAIM);
        // ATOMIC contradicts DIRECT_RECLAIM: it is dropped.
        let gfp = gfp.in_slow_path();
        let costly = ctx.order > COSTLY_ORDER;
        let rt_task = self.machine().rt_task.load(Relaxed) != 0; // ORDERING(R7)
        let mut walk = ctx.walk;
        let request = Request { gfp, order: ctx.order, highest_zone: walk.highest, nodemask: walk.nodemask };
        let mut flags = AllocFlags::slow_path(gfp, ctx.migratetype, self.config().cma, rt_task);
        if walk.preferred().is_none() {
            return self.no_page(ctx, walk, gfp, can_reclaim, hooks)?.ok_or(AllocError::NoMemory);
        }
        let wake = flags.contains(AllocFlags::KSWAPD);
        if wake {
            self.wake_all_kswapds(walk, request, hooks);
        }
        if let Some(taken) = self.get_page_from_freelist(ctx, walk, gfp, flags, hooks) {
            return Ok(taken);
        }
        let task = TaskState { pf_memalloc: reclaim::is_memalloc(), ..TaskState::default() };
        let reserves = AllocFlags::reserve_access(gfp, ctx.migratetype, self.config().cma, task);
        let may_reclaim = can_reclaim && !task.pf_memalloc;
        let mut retry = Retry::new();
        if can_reclaim && reserves.is_none() && (costly || (ctx.order > 0 && ctx.migratetype != MigrateType::Movable)) {
            let (result, page) = self.direct_compact(ctx, walk, gfp, flags, request, CompactPriority::Async, hooks);
            if let Some(taken) = page {
                return Ok(taken);
            }
            if costly && gfp.contains(Gfp::NORETRY) {
                if matches!(result, CompactResult::Skipped | CompactResult::Deferred) {
                    return self.no_page(ctx, walk, gfp, can_reclaim, hooks)?.ok_or(AllocError::NoMemory);
                }
                retry.priority = CompactPriority::Async;
            }
        }
        let mut rounds = 0;
        loop {
            if flags.contains(AllocFlags::KSWAPD) {
                self.wake_all_kswapds(walk, request, hooks);
            }
            if let Some(reserves) = reserves {
                flags = reserves;
            }
            if !flags.contains(AllocFlags::CPUSET) || reserves.is_some() {
                walk.nodemask = None;
            }
            if let Some(taken) = self.get_page_from_freelist(ctx, walk, gfp, flags, hooks) {
                return Ok(taken);
            }
            let again = may_reclaim && {
                let (outcome, page) = self.reclaim_round(ctx, walk, gfp, flags, request, &mut retry, hooks);
                if let Some(taken) = page {
                    return Ok(taken);
                }
                outcome
            };
            if again {
                continue;
            }
            match self.no_page(ctx, walk, gfp, can_reclaim, hooks)? {
                Some(taken) => return Ok(taken),
                None if gfp.contains(Gfp::NOFAIL) && can_reclaim => {
                    rounds += 1;
                    if rounds > MAX_NOFAIL_ROUNDS {
                        return Err(AllocError::WouldLoopForever);
                    }
                }
                None => return Err(AllocError::NoMemory),
            }
        }
    }

    /// One round of reclaim, compaction and OOM; whether to try again, and maybe a page.
    #[expect(clippy::too_many_arguments, reason = "the kernel's slow path shares all of these")]
    fn reclaim_round<'a>(
        &'a self,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        gfp: Gfp,
        flags: AllocFlags,
        request: Request,
        retry: &mut Retry,
        hooks: &dyn Hooks,
    ) -> (bool, Option<Taken<'a>>) {
        let costly = ctx.order > COSTLY_ORDER;
        let progress = self.direct_reclaim(request, hooks);
        if progress > 0 {
            let mut page = self.get_page_from_freelist(ctx, walk, gfp, flags, hooks);
            if page.is_none() {
                self.unreserve_highatomic(ctx.cpu, walk, ctx.migratetype, false);
                self.drain_all(None);
                page = self.get_page_from_freelist(ctx, walk, gfp, flags, hooks);
            }
            if page.is_some() {
                return (false, page);
            }
        }
        let (result, page) = self.direct_compact(ctx, walk, gfp, flags, request, retry.priority, hooks);
        if page.is_some() {
            return (false, page);
        }
        if gfp.contains(Gfp::NORETRY) || (costly && !gfp.contains(Gfp::RETRY_MAYFAIL)) {
            return (false, None);
        }
        if self.should_reclaim_retry(ctx, walk, flags, progress, retry, hooks)
            || (progress > 0 && self.should_compact_retry(ctx, walk, flags, result, retry, hooks))
        {
            return (true, None);
        }
        // `__alloc_pages_may_oom`
        let careful = (gfp | Gfp::HARDWALL).without(Gfp::DIRECT_RECLAIM);
        let page = self.get_page_from_freelist(ctx, walk, careful, AllocFlags::WMARK_HIGH | AllocFlags::CPUSET, hooks);
        if page.is_some() {
            return (false, page);
        }
        let no_kill = costly
            || gfp.contains(Gfp::RETRY_MAYFAIL)
            || gfp.contains(Gfp::THISNODE)
            || walk.highest < self.normal_zone_index();
        if no_kill {
            return (false, None);
        }
        hooks.event(PressureEvent::OutOfMemory(request));
        if retry.oom_kills < MAX_RECLAIM_RETRIES && reclaim::as_memalloc(|| hooks.out_of_memory(request)) {
            retry.oom_kills += 1;
            retry.no_progress = 0;
            return (true, None);
        }
        if gfp.contains(Gfp::NOFAIL) {
            let page = self
                .get_page_from_freelist(ctx, walk, gfp, AllocFlags::NO_WATERMARKS | AllocFlags::CPUSET, hooks)
                .or_else(|| self.get_page_from_freelist(ctx, walk, gfp, AllocFlags::NO_WATERMARKS, hooks));
            return (false, page);
        }
        (false, None)
    }

    /// The label "nopage": the last attempt of a NOFAIL request.
    fn no_page<'a>(
        &'a self,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        gfp: Gfp,
        can_reclaim: bool,
        hooks: &dyn Hooks,
    ) -> Result<Option<Taken<'a>>, AllocError> {
        if !gfp.contains(Gfp::NOFAIL) || !can_reclaim {
            return Ok(None);
        }
        if walk.preferred().is_none() {
            return Err(AllocError::WouldLoopForever);
        }
        Ok(self
            .get_page_from_freelist(ctx, walk, gfp, AllocFlags::HARDER | AllocFlags::CPUSET, hooks)
            .or_else(|| self.get_page_from_freelist(ctx, walk, gfp, AllocFlags::HARDER, hooks)))
    }

    /// `__alloc_pages_direct_compact`.
    #[expect(clippy::too_many_arguments, reason = "the kernel's slow path shares all of these")]
    fn direct_compact<'a>(
        &'a self,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        gfp: Gfp,
        flags: AllocFlags,
        request: Request,
        priority: CompactPriority,
        hooks: &dyn Hooks,
    ) -> (CompactResult, Option<Taken<'a>>) {
        if ctx.order == 0 || !self.config().compaction || !gfp.contains(Gfp::IO) {
            return (CompactResult::Skipped, None);
        }
        hooks.event(PressureEvent::DirectCompact(request, priority));
        let result = reclaim::as_memalloc(|| hooks.compact(request, priority));
        if result == CompactResult::Skipped {
            return (result, None);
        }
        (result, self.get_page_from_freelist(ctx, walk, gfp, flags, hooks))
    }

    /// `should_reclaim_retry`.
    fn should_reclaim_retry(
        &self,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        flags: AllocFlags,
        progress: u64,
        retry: &mut Retry,
        hooks: &dyn Hooks,
    ) -> bool {
        if progress > 0 && ctx.order <= COSTLY_ORDER {
            retry.no_progress = 0;
        } else {
            retry.no_progress += 1;
        }
        if retry.no_progress > MAX_RECLAIM_RETRIES {
            return self.unreserve_highatomic(ctx.cpu, walk, ctx.migratetype, true);
        }
        walk.zones().any(|entry| {
            let zone = self.zone(entry.zone);
            let reclaimable = hooks.reclaimable_pages(entry.nid, entry.index).min(i64::MAX as u64 / 2) as i64;
            let available = reclaimable + zone.free_pages_snapshot();
            zone.watermark_ok(ctx.order, zone.watermark(WMARK_MIN), walk.highest, flags, available)
        })
    }

    /// `should_compact_retry`.
    fn should_compact_retry(
        &self,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        flags: AllocFlags,
        result: CompactResult,
        retry: &mut Retry,
        hooks: &dyn Hooks,
    ) -> bool {
        let costly = ctx.order > COSTLY_ORDER;
        if ctx.order == 0 {
            return false;
        }
        if !self.config().compaction {
            return !costly
                && walk.zones().any(|entry| {
                    let zone = self.zone(entry.zone);
                    zone.watermark_ok(0, zone.watermark(WMARK_MIN), walk.highest, flags, zone.free_pages_approximate())
                });
        }
        if result == CompactResult::Success {
            retry.compaction += 1;
        }
        match result {
            CompactResult::Skipped => return self.compaction_zonelist_suitable(ctx, walk, flags, hooks),
            CompactResult::Complete
            | CompactResult::Deferred
            | CompactResult::Contended
            | CompactResult::PartialSkipped => {}
            _ => {
                let max = if costly { MAX_COMPACT_RETRIES / 4 } else { MAX_COMPACT_RETRIES };
                if retry.compaction <= max {
                    return true;
                }
            }
        }
        let lowest = if costly { CompactPriority::SyncLight } else { CompactPriority::SyncFull };
        if retry.priority > lowest {
            retry.priority = match retry.priority {
                CompactPriority::Async => CompactPriority::SyncLight,
                _ => CompactPriority::SyncFull,
            };
            retry.compaction = 0;
            return true;
        }
        false
    }

    /// `compaction_zonelist_suitable`.
    fn compaction_zonelist_suitable(
        &self,
        ctx: &Context<'_>,
        walk: Walk<'_>,
        flags: AllocFlags,
        hooks: &dyn Hooks,
    ) -> bool {
        walk.zones().any(|entry| {
            let zone = self.zone(entry.zone);
            let reclaimable = hooks.reclaimable_pages(entry.nid, entry.index).min(i64::MAX as u64 / 2) as i64;
            let available = reclaimable / i64::from(ctx.order) + zone.free_pages_snapshot();
            let mark = zone.watermark(flags.watermark_index());
            if zone.watermark_ok(ctx.order, mark, walk.highest, flags, zone.free_pages_approximate()) {
                return true;
            }
            let which = if ctx.order > COSTLY_ORDER { WMARK_LOW } else { WMARK_MIN };
            let mark = zone.watermark(which) + (2 << ctx.order);
            zone.watermark_ok(0, mark, walk.highest, AllocFlags::CMA, available)
        })
    }

    /// `wake_all_kswapds`: once per run of entries of the same node.
    fn wake_all_kswapds(&self, walk: Walk<'_>, request: Request, hooks: &dyn Hooks) {
        let mut last = None;
        for entry in walk.zones() {
            if last != Some(entry.nid) {
                self.wake_kswapd(self.zone(entry.zone), request, hooks);
            }
            last = Some(entry.nid);
        }
    }

    /// `unreserve_highatomic_pageblock`: gives one pageblock back on behalf of a request.
    pub(crate) fn unreserve_highatomic(&self, cpu: CpuChoice, walk: Walk<'_>, mt: MigrateType, force: bool) -> bool {
        let cpu = self.enter(cpu);
        walk.zones().any(|entry| self.zone(entry.zone).unreserve_highatomic(&cpu, mt, force))
    }

    /// The same for a request given by its flags.
    pub fn unreserve_highatomic_pageblock(&self, cpu: CpuChoice, gfp: Gfp, nid: u32, force: bool) -> bool {
        let walk = Walk { list: self.zonelist(nid, gfp), highest: self.highest_zone(gfp), nodemask: None };
        self.unreserve_highatomic(cpu, walk, self.migratetype_of(gfp), force)
    }
}

const _: () = assert!(WMARK_HIGH == 2, "AllocFlags selects watermarks by number");

/// What the slow path remembers between rounds.
struct Retry {
    no_progress: u32,
    /// Calls of the OOM killer that claimed success; the kernel has no bound here, but a hook that
    /// always claims success must not hang its caller.
    oom_kills: u32,
    compaction: u32,
    priority: CompactPriority,
}

impl Retry {
    fn new() -> Self {
        Retry { no_progress: 0, oom_kills: 0, compaction: 0, priority: CompactPriority::SyncLight }
    }
}
