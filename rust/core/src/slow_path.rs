//! The slow path of an allocation: reserves, reclaim, compaction, OOM (mm/page_alloc.c,
//! `__alloc_pages_slowpath`).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::gfp::{AllocFlags, Gfp, TaskState};
use crate::page_alloc::{AllocError, Context, Taken};
use crate::pcp_sizing::PAGE_ALLOC_COSTLY_ORDER;
use crate::pressure::{CompactPriority, CompactResult, Hooks, PressureEvent, Request, as_memalloc, is_memalloc};
use crate::sync::Relaxed;
use crate::types::MigrateType;
use crate::watermark::{WMARK_LOW, WMARK_MIN};
use crate::zonelist::Walk;

/// Rounds without progress before reclaim gives up (`MAX_RECLAIM_RETRIES`).
const MAX_RECLAIM_RETRIES: u32 = 16;
/// Compaction rounds before its priority is raised (`MAX_COMPACT_RETRIES`).
const MAX_COMPACT_RETRIES: u32 = 16;
/// Rounds a NOFAIL request may go through without any hook making progress.
const MAX_NOFAIL_ROUNDS: u32 = 64;

impl PageAllocator {
    /// `__alloc_pages_slowpath`.
    #[cold]
    #[inline(never)]
    pub(crate) fn slow_path<'a>(
        &'a self,
        ctx: &Context<'_>,
        gfp: Gfp,
        hooks: &dyn Hooks,
    ) -> Result<Taken<'a>, AllocError> {
        // Before anything else is made of it that memory is short: the kernel has no spare slots.
        self.drain_spares();
        let can_reclaim = gfp.contains(Gfp::DIRECT_RECLAIM);
        // ATOMIC contradicts DIRECT_RECLAIM: it is dropped.
        let gfp = gfp.in_slow_path();
        let costly = ctx.order > PAGE_ALLOC_COSTLY_ORDER;
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
        let task = TaskState { pf_memalloc: is_memalloc(), ..TaskState::default() };
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
        let costly = ctx.order > PAGE_ALLOC_COSTLY_ORDER;
        let progress = self.direct_reclaim(ctx.cpu, request, hooks);
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
        if retry.oom_kills < MAX_RECLAIM_RETRIES && as_memalloc(|| hooks.out_of_memory(request)) {
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
        let result = as_memalloc(|| hooks.compact(request, priority));
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
        if progress > 0 && ctx.order <= PAGE_ALLOC_COSTLY_ORDER {
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
        let costly = ctx.order > PAGE_ALLOC_COSTLY_ORDER;
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
            let which = if ctx.order > PAGE_ALLOC_COSTLY_ORDER { WMARK_LOW } else { WMARK_MIN };
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
}

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
