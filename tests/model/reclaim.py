"""Direct reclaim and kswapd around shrinkers (spec 08.2, 11.6, 11.7); kswapd's work is done where it is woken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from .counters import normal_threshold
from .gfp import GFP_KERNEL, WMARK_HIGH, WMARK_LOW, WMARK_MIN
from .watermark import zone_watermark_ok

if TYPE_CHECKING:
    from .page_alloc import PageAllocatorModel, Request
    from .zone import Zone

DEF_PRIORITY = 12
SWAP_CLUSTER_MAX = 32
MAX_RECLAIM_RETRIES = 16


class Scan(NamedTuple):
    """What a shrinker is told."""

    nr_to_scan: int
    nid: int | None
    gfp: int
    order: int
    priority: int


class Reclaim:
    """Calls one shrinker: it frees pages and says how many."""

    def __init__(self, model: PageAllocatorModel, shrink: Callable[[Scan], int]) -> None:
        self.model = model
        self.shrink = shrink
        self.is_inside = False
        self.target_order = dict.fromkeys(model.nodes, 0)
        self.target_index = dict.fromkeys(model.nodes, -1)
        self.failures = dict.fromkeys(model.nodes, 0)

    def scan(self, scan: Scan) -> int:
        self.is_inside = True
        freed = self.shrink(scan)
        self.is_inside = False
        return freed

    def direct(self, gfp: int, order: int) -> int:
        """try_to_free_pages: gently first, until enough pages for one batch are free."""
        progress = 0
        for priority in range(DEF_PRIORITY, -1, -1):
            progress += self.scan(Scan(SWAP_CLUSTER_MAX, None, gfp, order, priority))
            if progress >= SWAP_CLUSTER_MAX:
                break
        return progress

    # -- kswapd ----------------------------------------------------------------------------------------------------

    def wake_all(self, request: Request, order: int) -> None:
        """Once for every run of entries of the same node."""
        last = None
        for zone in request.zones:
            if zone.node != last:
                self.wake(zone, order, request.highest)
            last = zone.node

    def wake(self, zone: Zone, order: int, highest: int) -> None:
        node = zone.node
        if zone.managed == 0 or self.is_inside:
            return
        self.target_order[node] = max(self.target_order[node], order)
        self.target_index[node] = max(self.target_index[node], highest)
        boosted = any(each.boost for each in self.zones(node, highest))
        if self.failures[node] >= MAX_RECLAIM_RETRIES or (self.is_balanced(node, order, highest) and not boosted):
            return
        self.set_thresholds(node, under_pressure=True)
        self.balance(node, self.target_order[node], self.target_index[node])
        self.set_thresholds(node, under_pressure=False)
        self.target_order[node], self.target_index[node] = 0, -1

    def zones(self, node: int, highest: int) -> list[Zone]:
        return [zone for zone in self.model.zones if zone.node == node and zone.index <= highest and zone.managed]

    def is_balanced(self, node: int, order: int, highest: int) -> bool:
        zones = self.zones(node, highest)
        return not zones or any(self.watermark_ok_safe(zone, order, highest) for zone in zones)

    @staticmethod
    def watermark_ok_safe(zone: Zone, order: int, highest: int) -> bool:
        """The snapshot counts when differentials could hide that a mark was passed (spec 08.4)."""
        free = zone.counters.free_pages()
        if zone.drift_mark and free < zone.drift_mark:
            free = zone.counters.free_pages_snapshot()
        return zone_watermark_ok(zone, order, zone.wmark[WMARK_HIGH] + zone.boost, highest, 0, free)

    def balance(self, node: int, order: int, highest: int) -> None:
        """balance_pgdat: until some zone is above its high watermark and what was boosted is paid off."""
        zones = self.zones(node, highest)
        boosts = [zone.boost for zone in zones]
        unpaid, total, priority = sum(boosts), 0, DEF_PRIORITY
        for zone in zones:
            zone.reclaim_active = True
        while priority >= 1:
            balanced = self.is_balanced(node, order, highest)
            if balanced and not unpaid:
                break
            if not balanced:
                unpaid = 0
            wanted = sum(max(zone.wmark[WMARK_HIGH] + zone.boost, SWAP_CLUSTER_MAX) for zone in zones)
            freed = self.scan(Scan(wanted, node, GFP_KERNEL, order, priority))
            total += freed
            unpaid = max(0, unpaid - freed)
            if freed < SWAP_CLUSTER_MAX:
                priority -= 1
        for zone, boost in zip(zones, boosts, strict=True):
            zone.reclaim_active = False
            zone.boost -= min(boost, zone.boost)
        self.failures[node] = 0 if total else self.failures[node] + 1

    def set_thresholds(self, node: int, *, under_pressure: bool) -> None:
        """Differentials are kept small while kswapd works (spec 08.2)."""
        nr_cpus = self.model.nr_cpus
        for zone in pressed(self.model.zones, node):
            threshold = normal_threshold(zone.managed, nr_cpus)
            if under_pressure:
                threshold = min(125, max(1, (zone.wmark[WMARK_LOW] - zone.wmark[WMARK_MIN]) // nr_cpus))
            zone.counters.threshold = [threshold] * nr_cpus


def pressed(zones: Iterable[Zone], node: int) -> list[Zone]:
    return [zone for zone in zones if zone.node == node and zone.drift_mark]
