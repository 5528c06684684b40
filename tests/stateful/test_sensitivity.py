"""Would a difference be noticed? Rules of the model are bent one at a time; every time the runs must disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.model import (
    fallback,
    highatomic,
    hotplug,
    hwpoison,
    isolation,
    page_alloc,
    page_frag,
    pcp,
    reclaim,
    slow_path,
    watermark,
)
from tests.model.config import UNMOVABLE
from tests.model.counters import ZoneCounters
from tests.model.page_alloc import PageAllocatorModel
from tests.model.reclaim import Reclaim
from tests.model.zone import Zone

from . import long_run
from .long_run import run_machine
from .machines import MACHINES
from .pair import Disagreement


def always(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


def fold_at_threshold(self: ZoneCounters, cpu: int, delta: int) -> None:
    x = self.free_diff[cpu] + delta
    fold = abs(x) >= self.threshold[cpu]
    self.free += x if fold else 0
    self.free_diff[cpu] = 0 if fold else x


def smallest_first(zone: Zone, order: int, migratetype: int, flags: int) -> tuple[int, int, bool] | None:
    for current in range(order, zone.config.max_order):
        fallback_type = fallback.find_suitable_fallback(zone, current, migratetype)
        if fallback_type is not None:
            return current, fallback_type, fallback.can_steal_fallback(zone, current, migratetype)
    return None


def put_back_at_the_tail(model: PageAllocatorModel, cpu: int, pfn: int) -> bool:
    model.poisoned.remove(pfn)
    model.zone_of(pfn).free_one_page(cpu, pfn, 0, model.memory.pageblock_type(pfn), to_tail=True)
    return True


def end_as_unmovable(model: PageAllocatorModel, cpu: int, start: int, end: int, migratetype: int) -> None:
    isolation.undo_isolate_page_range(model, cpu, start, end, UNMOVABLE)


def keep_boosts(self: Reclaim, node: int, order: int, highest: int) -> None:
    boosts = [zone.boost for zone in self.model.zones]
    BALANCE(self, node, order, highest)
    for zone, boost in zip(self.model.zones, boosts, strict=True):
        zone.boost = boost


BALANCE = Reclaim.balance

# name -> (object, attribute, replacement, machine)
BENT: dict[str, tuple[Any, str, Any, str]] = {
    "a block is never put at the tail": (Zone, "merge_likely", always(False), "64M"),
    "drains do not grow": (pcp, "nr_pcp_free", lambda lists, high: min(lists.batch, high), "isolation-128M"),
    "reclaim does not lower the limit": (pcp, "effective_high", lambda zone, lists: lists.high + 1, "128M-4cpu"),
    "differentials fold at the threshold": (ZoneCounters, "mod_free", fold_at_threshold, "64M"),
    "fallback takes the smallest block": (fallback, "choose_fallback", smallest_first, "64M"),
    "stealing takes single blocks": (fallback, "can_steal_fallback", always(False), "64M"),
    "nothing boosts watermarks": (fallback, "boost_watermark", always(False), "128M-4cpu"),
    "nothing is reserved": (highatomic, "reserve_highatomic_pageblock", always(None), "64M"),
    "free pages are all usable": (watermark, "unusable_free", always(0), "64M"),
    "NOFRAGMENT is unknown": (page_alloc, "ALLOC_NOFRAGMENT", 0, "normal-192M-2cpu"),
    "free pages of isolated blocks count": (isolation, "move_freepages_block", always((0, 0)), "isolation-128M"),
    "the last reference of a tail frees nothing": (PageAllocatorModel, "put_page", always(None), "64M"),
    "poisoned pages come back at the tail": (hwpoison, "put_page_back_buddy", put_back_at_the_tail, "64M"),
    "fragments are cut from smaller pages": (page_frag, "MAX_ORDER_OF_CACHE", 2, "64M"),
    "new sections become Unmovable": (hotplug, "undo_isolate_page_range", end_as_unmovable, "hotplug-256M-2cpu"),
    "statistics go to the wrong node": (PageAllocatorModel, "zone_statistics", always(None), "numa-2x64M"),
}


# The same, in runs with shrinkers and requests that may reclaim.
BENT_UNDER_PRESSURE: dict[str, tuple[Any, str, Any, str]] = {
    "reserves are never given back": (slow_path, "unreserve_highatomic_pageblock", always(False), "hotplug-256M-2cpu"),
    "direct reclaim is content with less": (reclaim, "SWAP_CLUSTER_MAX", 31, "64M"),
    "nothing needs kswapd": (Reclaim, "is_balanced", always(True), "64M"),
    "kswapd keeps boosts": (Reclaim, "balance", keep_boosts, "128M-4cpu"),
    "kswapd trusts differentials": (Reclaim, "set_thresholds", always(None), "128M-4cpu"),
    "kswapd never gives up": (reclaim, "MAX_RECLAIM_RETRIES", 1000, "numa-2x64M"),
}


@pytest.mark.parametrize("name", BENT | BENT_UNDER_PRESSURE)
def test_a_bent_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, replacement, machine = (BENT | BENT_UNDER_PRESSURE)[name]
    monkeypatch.setattr(owner, attribute, replacement)
    if name == "kswapd trusts differentials":
        monkeypatch.setattr(long_run, "COMPARE_EVERY", 100)  # the next fold hides it
    with pytest.raises(Disagreement):
        run_machine(MACHINES[machine], 1, 200_000, round_number=2 if name in BENT_UNDER_PRESSURE else 0)
