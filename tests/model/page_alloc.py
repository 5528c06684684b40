"""The whole allocator of one machine: allocation paths, freeing entry points, bulk, exact (spec 11 and 13)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import highatomic, pcp
from .config import HIGHATOMIC, MOVABLE, PAGE_SHIFT, Config, Memory
from .fallback import rmqueue
from .gfp import (
    ALLOC_CMA,
    ALLOC_CPUSET,
    ALLOC_HARDER,
    ALLOC_KSWAPD,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    GFP_ALL,
    GFP_COMP,
    GFP_HIGHMEM,
    GFP_KSWAPD_RECLAIM,
    GFP_THISNODE,
    WMARK_LOW,
    WMARK_MASK,
    gfp_migratetype,
    gfp_zone,
)
from .slow_path import SlowPath
from .watermark import zone_watermark_fast
from .zone import Zone

if TYPE_CHECKING:
    from .reclaim import Reclaim


class Request(NamedTuple):
    """alloc_context: what stays fixed while the zonelist is walked (spec 11.1 step 3)."""

    nid: int
    thisnode: bool
    highest: int
    migratetype: int
    zones: tuple[Zone, ...]  # suitable entries; the first one is the preferred zone


class PageAllocatorModel:
    """Zones, zonelists and tunables of one machine, driven one call after the other."""

    def __init__(
        self,
        memory: Memory,
        zones: Sequence[Zone],
        zonelists: dict[tuple[int, bool], list[Zone]],
        *,
        nodes: Sequence[int],
        cpu_node: Sequence[int],
        gfp_allowed_mask: int = GFP_ALL,
        rt_task: bool = False,
        extents: Sequence[tuple[int, int, Zone]] | None = None,
    ) -> None:
        """`zonelists` maps (node, thisnode) to zones in walk order. `extents` lists (start, end, zone) where zone spans
        overlap; by default every zone owns its whole span."""
        self.memory = memory
        self.config: Config = memory.config
        self.zones = sorted(zones, key=lambda zone: (zone.node, zone.index))
        self.zonelists = zonelists
        self.nodes = list(nodes)
        self.cpu_node = list(cpu_node)
        self.gfp_allowed_mask = gfp_allowed_mask
        self.rt_task = rt_task
        self.pgalloc = [0] * len(self.config.zone_names)  # vm events (spec 08.6)
        self.pgfree = 0
        self.refcount: dict[int, int] = {}  # pages with at least one reference
        self.compound: dict[int, int] = {}  # head of a compound block -> its order
        self.pfmemalloc: set[int] = set()  # first pages that were handed out without regard to watermarks
        self.poisoned: set[int] = set()  # pages taken off the free lists
        self.managed_ranges: list[tuple[int, int]] = []  # pages that were handed over; all others are reserved
        owned = extents or [(zone.start_pfn, zone.end_pfn, zone) for zone in self.zones]
        self._extents = sorted(owned, key=lambda extent: extent[0])
        self._extent_starts = [start for start, _, _ in self._extents]
        # What shrinkers make possible; whether the OOM killer freed something on behalf of (gfp, order).
        self.reclaim: Reclaim | None = None
        self.oom_kill: Callable[[int, int], bool] = lambda gfp, order: False
        self._suitable: dict[tuple[int, bool, int, int | None], tuple[Zone, ...]] = {}

    # -- helpers ---------------------------------------------------------------------------------------------------

    @property
    def nr_cpus(self) -> int:
        return len(self.cpu_node)

    def zone_of(self, pfn: int) -> Zone:
        start, end, zone = self._extents[bisect_right(self._extent_starts, pfn) - 1]
        if not start <= pfn < end:
            raise ValueError(f"pfn {pfn} belongs to no zone")
        return zone

    def extents(self) -> list[tuple[int, int, Zone]]:
        return list(self._extents)

    def set_extent(self, start: int, end: int, zone: Zone) -> None:
        """These pages belong to a zone from now on."""
        self._extents = sorted([*self._extents, (start, end, zone)], key=lambda extent: extent[0])
        self._extent_starts = [first for first, _, _ in self._extents]

    def remove_extent(self, start: int, end: int) -> None:
        self._extents = [extent for extent in self._extents if extent[:2] != (start, end)]
        self._extent_starts = [first for first, _, _ in self._extents]

    def emit(self, *event: object) -> None:
        if self.memory.events is not None:
            self.memory.events.append(event)

    def suitable(self, nid: int, thisnode: bool, highest: int, nodemask: int | None) -> tuple[Zone, ...]:
        """Entries of the zonelist with index <= highest on nodes of the mask, in order (spec 12.1)."""
        key = (nid, thisnode and self.config.numa, highest, nodemask)
        zones = self._suitable.get(key)
        if zones is None:
            zones = tuple(
                zone
                for zone in self.zonelists[key[0], key[1]]
                if zone.index <= highest and (nodemask is None or nodemask >> zone.node & 1)
            )
            self._suitable[key] = zones
        return zones

    def prepare(self, gfp: int, nid: int, nodemask: int | None) -> Request:
        thisnode = bool(gfp & GFP_THISNODE)
        highest = gfp_zone(self.config, gfp)
        migratetype = gfp_migratetype(gfp, self.memory.grouping_disabled)
        return Request(nid, thisnode, highest, migratetype, self.suitable(nid, thisnode, highest, nodemask))

    def cma_flag(self, migratetype: int) -> int:
        return ALLOC_CMA if self.config.cma and migratetype == MOVABLE else 0

    # -- allocation (spec 11.1) ------------------------------------------------------------------------------------

    def alloc_pages(self, cpu: int, gfp: int, order: int, nid: int, nodemask: int | None = None) -> int | None:
        """__alloc_pages: the pfn of a block, or None."""
        if order >= self.config.max_order:
            return None
        gfp &= self.gfp_allowed_mask
        request = self.prepare(gfp, nid, nodemask)
        pfn = self.walk(cpu, gfp, order, self.fast_path_flags(gfp, request), request)
        if pfn is None:
            pfn = SlowPath(self, cpu, gfp, order, request).run()
        self.emit("mm_page_alloc", pfn, order, gfp, request.migratetype)
        return pfn

    def fast_path_flags(self, gfp: int, request: Request) -> int:
        """spec 10.7"""
        flags = WMARK_LOW | ALLOC_CPUSET | self.cma_flag(request.migratetype)
        if gfp & GFP_KSWAPD_RECLAIM:
            flags |= ALLOC_KSWAPD
        names = self.config.zone_names
        if request.zones and request.zones[0].name == "Normal" and "DMA32" in names:
            node, dma32 = request.zones[0].node, names.index("DMA32")
            if len(self.nodes) == 1 or any(z.node == node and z.index == dma32 and z.present for z in self.zones):
                flags |= ALLOC_NOFRAGMENT
        return flags

    def walk(self, cpu: int, gfp: int, order: int, flags: int, request: Request) -> int | None:
        """get_page_from_freelist (spec 11.2)"""
        while True:
            for zone in request.zones:
                if flags & ALLOC_NOFRAGMENT and len(self.nodes) > 1 and zone.node != request.zones[0].node:
                    break  # rather fragment the local node than go to another one
                mark = zone.wmark[flags & WMARK_MASK] + zone.boost
                if not zone_watermark_fast(zone, order, mark, request.highest, flags, gfp):
                    if not flags & ALLOC_NO_WATERMARKS:
                        continue
                pfn = self.rmqueue(cpu, request.zones[0], zone, order, flags, request.migratetype)
                if pfn is not None:
                    self.prep_new_page(zone, pfn, order, gfp)
                    if flags & ALLOC_NO_WATERMARKS:
                        self.pfmemalloc.add(pfn)
                    if order and flags & ALLOC_HARDER:
                        highatomic.reserve_highatomic_pageblock(zone, pfn)
                    return pfn
            if not flags & ALLOC_NOFRAGMENT:
                return None
            flags &= ~ALLOC_NOFRAGMENT

    def rmqueue(self, cpu: int, preferred: Zone, zone: Zone, order: int, flags: int, migratetype: int) -> int | None:
        """spec 11.3"""
        pfn: int | None
        reachable = not self.config.cma or flags & ALLOC_CMA or migratetype != MOVABLE
        if pcp.order_allowed(self.config, order) and reachable:
            pfn = pcp.rmqueue_pcplist(zone, cpu, order, migratetype, flags)
            if pfn is not None:
                self.pgalloc[zone.index] += 1
                self.zone_statistics(cpu, preferred, zone, 1)
        else:
            pfn = None
            list_type = HIGHATOMIC
            if order and flags & ALLOC_HARDER:
                pfn = zone.rmqueue_smallest(order, HIGHATOMIC)
                if pfn is not None:
                    self.emit("mm_page_alloc_zone_locked", pfn, order, migratetype)
            if pfn is None:
                block = rmqueue(zone, order, migratetype, flags)
                if block is None:
                    return None  # the boosted flag stays
                pfn, list_type = block
            zone.account_freepage(cpu, -(1 << order), list_type)
            self.pgalloc[zone.index] += 1 << order
            self.zone_statistics(cpu, preferred, zone, 1)
        if zone.boosted_flag:  # spec 05.6
            zone.boosted_flag = False
            if self.reclaim is not None:
                self.reclaim.wake(zone, 0, zone.index)
        return pfn

    def zone_statistics(self, cpu: int, preferred: Zone, zone: Zone, count: int) -> None:
        """spec 08.5"""
        if not self.config.numa:
            return
        numa = zone.counters.numa
        if zone.node == preferred.node:
            numa["hit"] += count
        else:
            numa["miss"] += count
            preferred.counters.numa["foreign"] += count
        numa["local" if zone.node == self.cpu_node[cpu] else "other"] += count

    def prep_new_page(self, zone: Zone, pfn: int, order: int, gfp: int) -> None:
        """spec 13.1: only the first page has a reference; order 0 is never compound."""
        self.refcount[pfn] = 1
        self.pfmemalloc.discard(pfn)
        if order and gfp & GFP_COMP:
            self.compound[pfn] = order
            if order == 1:
                zone.movable_pages.add(pfn + 1)  # spec 05.5: page count 2 looks like a movable mapping

    # -- freeing (spec 13.3, 13.5, 07.4) ---------------------------------------------------------------------------

    def put_page_testzero(self, pfn: int) -> bool:
        count = self.refcount.pop(pfn) - 1
        if count:
            self.refcount[pfn] = count
        return count == 0

    def free_pages(self, cpu: int, pfn: int, order: int) -> None:
        """__free_pages: drop one reference; if others remain on a non-compound block, free all pages but the first,
        the upper half first."""
        if self.put_page_testzero(pfn):
            self.free_the_page(cpu, pfn, order)
        elif pfn not in self.compound:
            for piece in range(order - 1, -1, -1):
                self.free_the_page(cpu, pfn + (1 << piece), piece)

    def compound_head(self, pfn: int) -> int:
        """The head of the compound block that a page belongs to, or the page itself."""
        for order in range(1, self.config.max_order):
            head = pfn & -(1 << order)
            if self.compound.get(head, 0) >= order:
                return head
        return pfn

    def get_page(self, pfn: int) -> None:
        self.refcount[self.compound_head(pfn)] += 1

    def put_page(self, cpu: int, pfn: int) -> None:
        """The last reference frees a compound block whole, of any other block only this page."""
        head = self.compound_head(pfn)
        if self.put_page_testzero(head):
            self.free_the_page(cpu, head, self.compound.get(head, 0))

    def split_page(self, pfn: int, order: int) -> None:
        """spec 13.2"""
        for tail in range(pfn + 1, pfn + (1 << order)):
            self.refcount[tail] = 1

    def free_the_page(self, cpu: int, pfn: int, order: int) -> None:
        zone = self.zone_of(pfn)
        migratetype = self.free_prepare(zone, pfn, order)
        if not pcp.order_allowed(self.config, order):
            zone.free_one_page(cpu, pfn, order, migratetype)
            self.pgfree += 1 << order
        elif migratetype == self.config.migrate_isolate:
            zone.free_one_page(cpu, pfn, order, migratetype)
        else:
            self.pgfree += 1
            pcp.commit(zone, cpu, pfn, order, migratetype)

    def free_prepare(self, zone: Zone, pfn: int, order: int) -> int:
        """The type a freed block gets: that of its pageblock now."""
        self.emit("mm_page_free", pfn, order)
        self.compound.pop(pfn, None)
        if order == 1:
            zone.movable_pages.discard(pfn + 1)
        return self.memory.pageblock_type(pfn)

    def free_list(self, cpu: int, pfns: Sequence[int]) -> None:
        """free_unref_page_list of order-0 pages that lost their last reference (spec 07.7)"""
        remaining: list[tuple[Zone, int, int]] = []
        for pfn in pfns:
            zone = self.zone_of(pfn)
            if not self.put_page_testzero(pfn):
                continue
            migratetype = self.free_prepare(zone, pfn, 0)
            if migratetype == self.config.migrate_isolate:
                zone.free_one_page(cpu, pfn, 0, migratetype)
            else:
                remaining.append((zone, pfn, migratetype))
        for zone, pfn, migratetype in remaining:
            self.emit("mm_page_free_batched", pfn)
            self.pgfree += 1
            pcp.commit(zone, cpu, pfn, 0, migratetype)

    def drain(self, cpu: int, zone: Zone | None = None) -> None:
        """drain_local_pages (spec 07.6)"""
        for each in self.zones if zone is None else [zone]:
            pcp.drain_all(each, cpu)

    # -- exact (spec 13.6) -----------------------------------------------------------------------------------------

    def alloc_pages_exact(self, cpu: int, gfp: int, nr_pages: int, nid: int) -> int | None:
        gfp &= ~(GFP_COMP | GFP_HIGHMEM)
        order = exact_order(nr_pages)
        return self.trim_exact(cpu, self.alloc_pages(cpu, gfp, order, nid), order, nr_pages)

    def trim_exact(self, cpu: int, pfn: int | None, order: int, nr_pages: int) -> int | None:
        if pfn is not None:
            self.split_page(pfn, order)
            for surplus in range(pfn + nr_pages, pfn + (1 << order)):
                self.free_pages(cpu, surplus, 0)
        return pfn

    def free_pages_exact(self, cpu: int, pfn: int, nr_pages: int) -> None:
        for page in range(pfn, pfn + nr_pages):
            self.free_pages(cpu, page, 0)

    # -- bulk (spec 13.7) ------------------------------------------------------------------------------------------

    def alloc_pages_bulk_array(
        self, cpu: int, gfp: int, nid: int, nodemask: int | None, array: list[int | None]
    ) -> int:
        """Fill the None positions of `array`, leave the others alone; returns the number of filled positions."""
        nr_pages = len(array)
        filled = 0
        while filled < nr_pages and array[filled] is not None:
            filled += 1
        if filled == nr_pages:
            return filled
        chosen = None if nr_pages - filled == 1 else self.bulk_zone(gfp, nid, nodemask, nr_pages)
        if chosen is not None:
            zone, preferred, migratetype, flags = chosen
            taken = 0
            while filled < nr_pages:
                if array[filled] is None:
                    pfn = pcp.take(zone, cpu, 0, migratetype, flags)
                    if pfn is None:
                        break
                    self.prep_new_page(zone, pfn, 0, 0)
                    array[filled] = pfn
                    taken += 1
                filled += 1
            self.pgalloc[zone.index] += taken
            self.zone_statistics(cpu, preferred, zone, taken)
            if filled:
                return filled
        pfn = self.alloc_pages(cpu, gfp, 0, nid, nodemask)
        if pfn is not None:
            array[filled] = pfn
            filled += 1
        return filled

    def alloc_pages_bulk_list(self, cpu: int, gfp: int, nid: int, nodemask: int | None, nr_pages: int) -> list[int]:
        """The list form onto an empty list: every page is pushed on the head."""
        array: list[int | None] = [None] * max(nr_pages, 0)
        filled = self.alloc_pages_bulk_array(cpu, gfp, nid, nodemask, array)
        return [pfn for pfn in reversed(array[:filled]) if pfn is not None]

    def bulk_zone(self, gfp: int, nid: int, nodemask: int | None, nr_pages: int) -> tuple[Zone, Zone, int, int] | None:
        """The zone that gives all pages (steps 4 and 5), or None for the single-page way."""
        gfp &= self.gfp_allowed_mask
        request = self.prepare(gfp, nid, nodemask)
        flags = WMARK_LOW | self.cma_flag(request.migratetype)
        for zone in request.zones:
            preferred = request.zones[0]
            if len(self.nodes) > 1 and zone.node != preferred.node:
                return None
            mark = zone.wmark[WMARK_LOW] + zone.boost + nr_pages
            if zone_watermark_fast(zone, 0, mark, preferred.index, flags, gfp):
                return zone, preferred, request.migratetype, flags
        return None

    # -- what reclaim would do -------------------------------------------------------------------------------------

    def unreserve_highatomic(self, gfp: int, nid: int, force: bool) -> bool:
        """unreserve_highatomic_pageblock on behalf of a request (spec 06.4)"""
        request = self.prepare(gfp & self.gfp_allowed_mask, nid, None)
        return highatomic.unreserve_highatomic_pageblock(request.zones, request.migratetype, force)

    def fold_counters(self, cpus: Iterable[int]) -> None:
        for zone in self.zones:
            for cpu in cpus:
                zone.counters.fold(cpu)


def exact_order(nr_pages: int) -> int:
    """Smallest order whose block holds `nr_pages` pages."""
    return (nr_pages - 1).bit_length()


def pages_of(nr_bytes: int) -> int:
    return (nr_bytes + (1 << PAGE_SHIFT) - 1) >> PAGE_SHIFT
