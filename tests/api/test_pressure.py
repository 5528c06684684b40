"""Shrinkers and event callbacks: called where the kernel would reclaim, and harmless whatever they do."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest

from pagebuddy import (
    GFP,
    GFP_ATOMIC,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    AllocationFailed,
    PageAllocator,
    PressureEvent,
    ShrinkControl,
    WouldLoopForever,
)


@pytest.fixture
def machine() -> PageAllocator:
    return PageAllocator.simple("64M")


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    seen: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: seen.append(report.exc_value))
    return seen


def exhaust(machine: PageAllocator, gfp: GFP | int = GFP_KERNEL) -> list[int]:
    pages = []
    while (pfn := machine.try_alloc_pages(0, gfp)) is not None:
        pages.append(pfn)
    return pages


def free_pages_of(machine: PageAllocator) -> int:
    return sum(int(count) << order for zone in machine.free_area_counts() for order, count in enumerate(zone.sum(-1)))


def test_background_reclaim_keeps_a_cache_from_filling_memory(machine: PageAllocator) -> None:
    cache: list[int] = []
    controls: list[ShrinkControl] = []

    def scan(control: ShrinkControl) -> int:
        controls.append(control)
        freed = [cache.pop(0) for _ in range(min(control.nr_to_scan, len(cache)))]
        machine.free_pages_bulk(freed)
        return len(freed)

    with machine.register_shrinker(scan):
        # Page by page: the shrinker takes from the cache meanwhile.
        cache.extend(machine.alloc_pages(0, GFP_HIGHUSER_MOVABLE) for _ in range(40_000))
    assert controls
    assert all(control.nid == 0 and control.priority == 12 for control in controls), "kswapd was enough"
    machine.validate()
    called = len(controls)
    exhaust(machine)
    assert len(controls) == called, "unregistered"


def test_direct_reclaim_serves_a_request_that_would_fail(machine: PageAllocator) -> None:
    held = exhaust(machine, GFP_KERNEL)
    events: list[str] = []
    machine.on_event(lambda event: events.append(event.kind))

    def scan(control: ShrinkControl) -> int:
        if control.nid is not None:
            return 0  # only direct reclaim finds something
        freed, held[:64] = held[:64], []
        machine.free_pages_bulk(freed)
        return len(freed)

    machine.register_shrinker(scan, count=lambda nid: len(held))
    pfn = machine.alloc_pages(0, GFP_KERNEL)
    assert machine.page(pfn).refcount == 1
    assert "wake_kswapd" in events and "direct_reclaim" in events
    assert events.index("wake_kswapd") < events.index("direct_reclaim")
    exhaust(machine, GFP_ATOMIC)
    with pytest.raises(AllocationFailed):
        machine.alloc_pages(0, GFP_ATOMIC)  # may not reclaim directly
    machine.validate()


def test_callbacks_may_raise_register_and_allocate(
    machine: PageAllocator, unraisable: list[BaseException | None]
) -> None:
    held = exhaust(machine)
    extra: list[Any] = []

    def bad_scan(control: ShrinkControl) -> int:
        extra.append(machine.on_event(lambda event: None))
        machine.try_alloc_pages(0, GFP_KERNEL)
        raise RuntimeError("scan failed")

    def odd_scan(control: ShrinkControl) -> Any:
        return "many"

    def negative_scan(control: ShrinkControl) -> int:
        return -5

    registrations = [machine.register_shrinker(scan) for scan in (bad_scan, odd_scan, negative_scan)]
    machine.on_event(lambda event: 1 / 0, kinds=["direct_reclaim"])
    assert machine.try_alloc_pages(0, GFP_KERNEL) is None
    kinds = {type(error) for error in unraisable}
    assert {RuntimeError, TypeError, ZeroDivisionError} <= kinds
    for registration in registrations:
        assert registration.unregister() is True
        assert registration.unregister() is False
    machine.free_pages_bulk(held)
    machine.validate()


def test_lying_callbacks_cannot_hang_a_request(machine: PageAllocator) -> None:
    exhaust(machine)
    machine.register_shrinker(lambda control: 1 << 60, count=lambda nid: 1 << 60)
    machine.on_event(lambda event: True)
    assert machine.try_alloc_pages(0, GFP_KERNEL) is None
    assert machine.try_alloc_pages(5, GFP_KERNEL | GFP.RETRY_MAYFAIL) is None
    exhaust(machine, GFP_KERNEL | GFP.NOFAIL)
    with pytest.raises(WouldLoopForever):
        machine.alloc_pages(0, GFP_KERNEL | GFP.NOFAIL)
    machine.validate()


def test_an_oom_callback_that_frees_memory_is_believed(machine: PageAllocator) -> None:
    held = exhaust(machine)
    seen: list[PressureEvent] = []

    def kill(event: PressureEvent) -> bool:
        seen.append(event)
        machine.free_pages_bulk(held[:256])
        del held[:256]
        return True

    machine.on_event(kill, kinds=["out_of_memory"])
    assert machine.alloc_pages(0, GFP_KERNEL)
    assert [(event.kind, event.order, event.gfp) for event in seen] == [("out_of_memory", 0, int(GFP_KERNEL))]


def test_fallbacks_are_told_with_both_types(machine: PageAllocator) -> None:
    seen: list[PressureEvent] = []
    with machine.on_event(seen.append, kinds=["fallback"]):
        machine.alloc_pages(0, GFP_KERNEL)
    machine.alloc_pages(9, GFP_KERNEL | GFP.RECLAIMABLE)
    assert len(seen) == 1
    event = seen[0]
    assert (event.migratetype, event.fallback_migratetype, event.order, event.fallback_order) == (0, 1, 0, 10)
    assert event.pfn is not None and event.pfn % 1024 == 0


def test_bad_registrations(machine: PageAllocator) -> None:
    with pytest.raises(TypeError, match="callable"):
        machine.register_shrinker(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callable"):
        machine.register_shrinker(lambda control: 0, count=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no such event"):
        machine.on_event(print, kinds=["tsunami"])


def test_a_machine_in_a_cycle_with_its_callback_is_collected() -> None:
    machine = PageAllocator.simple("64M")

    def scan(control: ShrinkControl, machine: PageAllocator = machine) -> int:
        return 0

    machine.register_shrinker(scan)
    reference = weakref.ref(machine)
    del machine, scan
    gc.collect()
    assert reference() is None


def test_copies_have_no_callbacks(machine: PageAllocator) -> None:
    calls: list[ShrinkControl] = []

    def scan(control: ShrinkControl) -> int:
        calls.append(control)
        return 0

    machine.register_shrinker(scan)
    exhaust(machine.fork())
    exhaust(PageAllocator.restore(machine.snapshot()))
    assert not calls
