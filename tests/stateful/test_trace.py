"""The product's trace events and event counts are those of the model, operation by operation."""

from __future__ import annotations

from typing import Any

import pytest

import pagebuddy

from .machines import MACHINES
from .pair import Pair

# In every machine; policies, tunables and requests that may reclaim come in by turns.
OPTIONS: list[dict[str, bool]] = [{}, {"with_sysctl": True}, {"with_reclaim": True}]


def plain(event: pagebuddy.TraceEvent) -> tuple[object, ...]:
    """An event in the model's words."""
    name, pfn, order = event.name, event.pfn, event.order
    if name == "mm_page_alloc":
        assert event.gfp is not None
        return name, pfn, order, int(event.gfp), event.migratetype
    if name == "mm_page_alloc_zone_locked":
        assert event.percpu_refill == (order == 0)
        return name, pfn, order, event.migratetype
    if name == "mm_page_alloc_extfrag":
        origin = event.fallback_order, event.migratetype, event.fallback_migratetype
        return name, pfn, order, *origin, event.change_ownership
    if name == "mm_page_free":
        return name, pfn, order
    if name == "mm_page_free_batched":
        return name, pfn
    assert name == "mm_page_pcpu_drain"
    return name, pfn, order, event.migratetype


def shown(events: list[tuple[object, ...]], config: Any) -> list[tuple[object, ...]]:
    """The model's events with the product's number of the Isolate type, the only one that can differ."""
    drained = "mm_page_pcpu_drain"
    return [
        (*event[:3], 5) if event[0] == drained and event[3] == config.migrate_isolate else event for event in events
    ]


@pytest.mark.parametrize("name", MACHINES)
def test_events(name: str) -> None:
    pair = Pair(MACHINES[name])
    number = list(MACHINES).index(name)
    numa = len(pair.machine.nodes) > 1
    workload = pair.workload(40 + number, with_policy=numa, **(OPTIONS[number % 3] if not numa else {}))
    seen: set[object] = set()
    for _ in range(150):
        pair.model.memory.events = []
        with pair.product.allocator.trace(clock="counter") as trace:
            for _ in range(40):
                op = workload.next_op()
                workload.done(op, pair.apply(op))
        expected = shown(pair.model.memory.events, pair.machine.config)
        got = [plain(event) for event in trace.events]
        for position, (mine, its) in enumerate(zip(expected, got, strict=False)):
            assert its == mine, (position, pair.recent)
        assert len(got) == len(expected)
        seen.update(event[0] for event in got)
    assert seen >= {"mm_page_alloc", "mm_page_alloc_zone_locked", "mm_page_free"}
    if name == "64M":  # every kind of event in this run at least
        assert seen >= set(pagebuddy.Trace.EVENT_NAMES)
    compare_counts(pair)


def compare_counts(pair: Pair) -> None:
    """Event counts of /proc/vmstat (spec 08.6)."""
    counts = pair.product.allocator.vmstat()
    model = pair.model
    assert counts["pgfree"] == model.pgfree
    for index, zone_name in enumerate(model.config.zone_names):
        assert counts[f"pgalloc_{zone_name.lower()}"] == model.pgalloc[index], zone_name
