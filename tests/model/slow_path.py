"""__alloc_pages_slowpath (spec 11.4 to 11.8): reclaim and the OOM killer are hooks, compaction answers SKIPPED."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import pcp
from .gfp import (
    ALLOC_CMA,
    ALLOC_CPUSET,
    ALLOC_HARDER,
    ALLOC_HIGH,
    ALLOC_KSWAPD,
    ALLOC_NO_WATERMARKS,
    GFP_ATOMIC_BIT,
    GFP_DIRECT_RECLAIM,
    GFP_HARDWALL,
    GFP_HIGH,
    GFP_KSWAPD_RECLAIM,
    GFP_MEMALLOC,
    GFP_NOFAIL,
    GFP_NOMEMALLOC,
    GFP_NORETRY,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MASK,
    WMARK_MIN,
)
from .highatomic import unreserve_highatomic_pageblock
from .watermark import zone_watermark_ok

if TYPE_CHECKING:
    from .page_alloc import PageAllocatorModel, Request

COSTLY_ORDER = 3
MAX_RECLAIM_RETRIES = 16


class WouldLoopForEver(Exception):
    """A NOFAIL request that nothing can serve."""


@dataclass
class SlowPath:
    """One request on its way through the slow path."""

    model: PageAllocatorModel
    cpu: int
    gfp: int
    order: int
    request: Request
    flags: int = 0
    no_progress_loops: int = 0

    def __post_init__(self) -> None:
        self.can_reclaim = bool(self.gfp & GFP_DIRECT_RECLAIM)
        self.costly = self.order > COSTLY_ORDER
        if self.can_reclaim:
            self.gfp &= ~GFP_ATOMIC_BIT  # S0
        self.flags = self.alloc_flags()

    def alloc_flags(self) -> int:
        """gfp_to_alloc_flags (spec 10.8)"""
        gfp, flags = self.gfp, WMARK_MIN | ALLOC_CPUSET
        if gfp & GFP_HIGH:
            flags |= ALLOC_HIGH
        if gfp & GFP_KSWAPD_RECLAIM:
            flags |= ALLOC_KSWAPD
        if gfp & GFP_ATOMIC_BIT:
            if not gfp & GFP_NOMEMALLOC:
                flags |= ALLOC_HARDER
            flags &= ~ALLOC_CPUSET
        elif self.model.rt_task:
            flags |= ALLOC_HARDER
        return flags | self.model.cma_flag(self.request.migratetype)

    def walk(self, flags: int, gfp: int | None = None) -> int | None:
        return self.model.walk(self.cpu, self.gfp if gfp is None else gfp, self.order, flags, self.request)

    def run(self) -> int | None:
        if not self.request.zones:
            return self.give_up()
        self.wake_kswapd()  # S2
        pfn = self.walk(self.flags)  # S3
        if pfn is not None:
            return pfn
        # S4: compaction is SKIPPED
        may_compact = self.can_reclaim and (self.costly or (self.order > 0 and self.request.migratetype != 1))
        if may_compact and not self.reserve_access() and self.costly and self.gfp & GFP_NORETRY:
            return self.give_up()
        while True:
            pfn, again = self.retry()
            if pfn is not None or not again:
                return pfn if pfn is not None else self.give_up()

    def wake_kswapd(self) -> None:
        if self.model.reclaim is not None and self.flags & ALLOC_KSWAPD:
            self.model.reclaim.wake_all(self.request, self.order)

    def reserve_access(self) -> int:
        """__gfp_pfmemalloc_flags (spec 10.9)"""
        return ALLOC_NO_WATERMARKS if self.gfp & GFP_MEMALLOC and not self.gfp & GFP_NOMEMALLOC else 0

    def retry(self) -> tuple[int | None, bool]:
        """One turn of S5 to S15: (page, whether to try again)."""
        model, reserve = self.model, self.reserve_access()
        self.wake_kswapd()  # S5
        if reserve:
            self.flags = reserve | model.cma_flag(self.request.migratetype)
        if reserve or not self.flags & ALLOC_CPUSET:
            request = self.request
            zones = model.suitable(request.nid, request.thisnode, request.highest, None)
            self.request = request._replace(zones=zones)
        pfn = self.walk(self.flags)  # S6
        if pfn is not None or not self.can_reclaim:
            return pfn, False
        progress = 0 if model.reclaim is None else model.reclaim.direct(self.gfp, self.order)  # S8
        if progress:
            pfn = self.walk_after_reclaim()
            if pfn is not None:
                return pfn, False
        if self.gfp & GFP_NORETRY or (self.costly and not self.gfp & GFP_RETRY_MAYFAIL):  # S10, S11
            return None, False
        if self.should_reclaim_retry(progress):  # S12
            return None, True
        if progress and self.should_compact_retry():  # S13
            return None, True
        pfn = self.walk(WMARK_HIGH | ALLOC_CPUSET, (self.gfp | GFP_HARDWALL) & ~GFP_DIRECT_RECLAIM)  # S15, spec 11.8
        if pfn is not None:
            return pfn, False
        normal = model.config.zone_names.index("Normal")
        spared = self.order > COSTLY_ORDER or self.gfp & (GFP_RETRY_MAYFAIL | GFP_THISNODE)
        if spared or self.request.highest < normal or not model.oom_kill(self.gfp, self.order):
            return None, False
        self.no_progress_loops = 0
        return None, True

    def walk_after_reclaim(self) -> int | None:
        """spec 11.6: pages may be pinned down in reserves and on per-cpu lists"""
        pfn = self.walk(self.flags)
        if pfn is None:
            unreserve_highatomic_pageblock(self.request.zones, self.request.migratetype, force=False)
            for cpu in range(self.model.nr_cpus):
                for zone in self.model.zones:
                    pcp.drain_all(zone, cpu)
            pfn = self.walk(self.flags)
        return pfn

    def should_reclaim_retry(self, progress: int) -> bool:
        if progress and not self.costly:
            self.no_progress_loops = 0
        else:
            self.no_progress_loops += 1
        request = self.request
        if self.no_progress_loops > MAX_RECLAIM_RETRIES:
            return unreserve_highatomic_pageblock(request.zones, request.migratetype, force=True)
        for zone in request.zones:
            mark = zone.wmark[WMARK_MIN] + zone.boost
            available = zone.counters.free_pages_snapshot()
            if zone_watermark_ok(zone, self.order, mark, request.highest, self.flags, available):
                return True
        return False

    def should_compact_retry(self) -> bool:
        """spec 11.5, result SKIPPED: worth it where compaction would have enough free pages to work with"""
        if self.order == 0:
            return False
        highest = self.request.highest
        for zone in self.request.zones:
            mark = zone.wmark[self.flags & WMARK_MASK] + zone.boost
            if zone_watermark_ok(zone, self.order, mark, highest, self.flags, zone.counters.free_pages()):
                return True
            mark = zone.wmark[WMARK_LOW if self.costly else WMARK_MIN] + zone.boost + (2 << self.order)
            available = zone.counters.free_pages_snapshot()
            if zone_watermark_ok(zone, 0, mark, highest, ALLOC_CMA, available):
                return True
        return False

    def give_up(self) -> int | None:
        """NOPAGE: NOFAIL cannot fail unless it may not reclaim."""
        if self.gfp & GFP_NOFAIL and self.can_reclaim:
            raise WouldLoopForEver
        return None
