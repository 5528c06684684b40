"""Would a difference be noticed? Rules of the model are bent one at a time; every time the runs must disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.model import fallback, highatomic, isolation, page_alloc, pcp, watermark
from tests.model.counters import ZoneCounters
from tests.model.page_alloc import PageAllocatorModel
from tests.model.zone import Zone

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
    "statistics go to the wrong node": (PageAllocatorModel, "zone_statistics", always(None), "numa-2x64M"),
}


@pytest.mark.parametrize("name", BENT)
def test_a_bent_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, replacement, machine = BENT[name]
    monkeypatch.setattr(owner, attribute, replacement)
    with pytest.raises(Disagreement):
        run_machine(MACHINES[machine], 1, 200_000)
