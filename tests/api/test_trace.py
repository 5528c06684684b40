"""Trace events, collected in ``with`` blocks."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import threading
from typing import Any

import numpy as np
import pytest

from pagebuddy import (
    GFP,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    MigrateType,
    PageAllocator,
    Trace,
    TraceEvent,
)


@pytest.fixture
def machine() -> PageAllocator:
    return PageAllocator.simple("64M", nr_cpus=2)


def texts(events: list[TraceEvent]) -> list[str]:
    """Events as the kernel prints them, without the address of the descriptor."""
    return [re.sub(r"page=\w+ ", "", str(event)) for event in events]


def exhaust_dma(machine: PageAllocator) -> None:
    """Takes all large blocks of zone DMA: the next request fails."""
    while machine.try_alloc_pages(10, "GFP_DMA") is not None:
        pass


def test_events_of_a_block_alone(machine: PageAllocator) -> None:
    machine.alloc_pages(4)
    with machine.trace() as trace:
        pfn = machine.alloc_pages(4, GFP_HIGHUSER_MOVABLE, cpu=1)
        machine.free_pages(pfn, 4, cpu=0)
    machine.alloc_pages(4)
    alloc = f"mm_page_alloc: pfn={pfn:#x} order=4 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE"
    locked = f"mm_page_alloc_zone_locked: pfn={pfn:#x} order=4 migratetype=1 percpu_refill=0"
    assert texts(trace.events) == [locked, alloc, f"mm_page_free: pfn={pfn:#x} order=4"]
    assert [event.cpu for event in trace.events] == [1, 1, 0]
    assert len(trace) == trace.nr_written == 3
    assert trace.nr_lost == 0
    times = [event.time for event in trace.events]
    assert times == sorted(times)


def test_attributes(machine: PageAllocator) -> None:
    with machine.trace(clock="counter") as trace:
        machine.alloc_pages(4, GFP_KERNEL, cpu=0)
    extfrag, locked, alloc = trace.events
    assert (extfrag.name, extfrag.order, extfrag.fallback_order) == ("mm_page_alloc_extfrag", 4, 10)
    assert (extfrag.migratetype, extfrag.fallback_migratetype) == (MigrateType.UNMOVABLE, MigrateType.MOVABLE)
    assert (extfrag.fragmenting, extfrag.change_ownership) == (False, True)
    assert (locked.percpu_refill, locked.gfp, locked.fallback_order, locked.fragmenting) == (False, None, None, None)
    assert alloc.gfp is not None
    assert (alloc.gfp, type(alloc.gfp)) == (GFP_KERNEL, GFP)
    assert [event.time for event in trace.events] == [1, 2, 3]
    assert repr(alloc) == f"<TraceEvent mm_page_alloc time=3 cpu=0 pfn={alloc.pfn:#x} order=4>"
    exhaust_dma(machine)
    with machine.trace() as trace:
        assert machine.try_alloc_pages(10, "GFP_DMA") is None
    (failed,) = trace.events
    assert (failed.pfn, failed.name) == (None, "mm_page_alloc")
    assert "page=0000000000000000 pfn=0x0 order=10 " in str(failed)


def test_equal_runs_have_equal_events(machine: PageAllocator) -> None:
    def run(machine: PageAllocator) -> list[TraceEvent]:
        with machine.trace(clock="counter") as trace:
            pfns = machine.alloc_pages_bulk(300, cpu=0)
            machine.free_pages_bulk(pfns[::2], cpu=1)
        return trace.events

    first, second = run(machine.fork()), run(machine.fork())
    assert first == second
    assert len({*first, *second}) == len(first)
    assert first != second[:-1]
    assert first[0] != "mm_page_alloc"


def test_several_traces_at_once(machine: PageAllocator) -> None:
    with machine.trace() as outer:
        machine.alloc_pages(4, cpu=0)
        nr_before = len(outer)
        with machine.trace() as inner:
            machine.alloc_pages(4, cpu=0)
        assert not inner.is_active
        assert outer.is_active
        machine.alloc_pages(4, cpu=0)
    assert outer.events[nr_before : nr_before + len(inner)] == inner.events
    assert len(outer) > nr_before + len(inner)
    # Not nested, but crossing.
    first, second = machine.trace(clock="counter"), machine.trace(clock="counter")
    first.__enter__()
    machine.alloc_pages(5, cpu=0)
    second.__enter__()
    machine.alloc_pages(6, cpu=0)
    first.__exit__(None, None, None)
    machine.alloc_pages(7, cpu=0)
    second.__exit__(None, None, None)

    def orders(trace: Trace) -> list[int]:
        return [event.order for event in trace.events if event.name == "mm_page_alloc"]

    assert orders(first) == [5, 6]
    assert orders(second) == [6, 7]


def test_an_exception_ends_the_trace_and_goes_on(machine: PageAllocator) -> None:
    trace = machine.trace()

    def fail() -> None:
        with trace:
            machine.alloc_pages(4)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not trace.is_active
    nr_events = len(trace)
    assert nr_events > 0
    machine.alloc_pages(4)
    assert len(trace) == nr_events


def test_a_trace_collects_once(machine: PageAllocator) -> None:
    trace = machine.trace()
    assert (len(trace), trace.events, trace.nr_written, trace.is_active) == (0, [], 0, False)
    assert repr(trace) == "<Trace new events=0>"
    with trace:
        assert repr(trace) == "<Trace active events=0>"
        with pytest.raises(RuntimeError, match="collects once"):
            trace.__enter__()
        machine.alloc_pages(4)
    with pytest.raises(RuntimeError, match="collects once"), trace:
        pass
    trace.__exit__(None, None, None)
    assert repr(trace) == f"<Trace done events={len(trace)}>"


def test_a_forgotten_trace_stops(machine: PageAllocator) -> None:
    trace = machine.trace(clock="counter")
    trace.__enter__()
    del trace
    gc.collect()
    with machine.trace(clock="counter") as other:
        machine.alloc_pages(4)
    assert other.events[0].time == 1


def test_the_latest_events_are_kept(machine: PageAllocator) -> None:
    with machine.trace(max_events=10) as few, machine.trace(max_events=0) as none, machine.trace() as everything:
        machine.free_pages_bulk(machine.alloc_pages_bulk(500, cpu=0), cpu=0)
    assert few.events == everything.events[-10:]
    assert (len(few), few.nr_written) == (10, len(everything))
    assert few.nr_lost == len(everything) - 10
    assert (none.events, none.nr_written) == ([], len(everything))
    header = f"# entries-in-buffer/entries-written: 10/{len(everything)}   #P:2"
    text = few.to_ftrace()
    assert header in text.splitlines()
    assert f"CPU:0 [LOST {few.nr_lost} EVENTS]" in text.splitlines()


def test_columns(machine: PageAllocator) -> None:
    exhaust_dma(machine)
    with machine.trace() as trace:
        machine.alloc_pages(4, cpu=0)
        machine.free_pages_bulk(machine.alloc_pages_bulk(200, cpu=1), cpu=0)
        machine.try_alloc_pages(10, "GFP_DMA")
    table = trace.table()
    dtypes = {name: column.dtype for name, column in table.items()}
    wide = {"time": np.uint64, "cpu": np.uint32, "event": np.uint8, "pfn": np.uint64, "gfp": np.uint32}
    assert dtypes == {name: np.dtype(wide.get(name, np.int8)) for name in table}
    assert len(table) == 12

    def number(value: Any, missing: int = -1) -> int:
        return missing if value is None else int(value)

    for position, event in enumerate(trace.events):
        row = {name: int(column[position]) for name, column in table.items()}
        assert Trace.EVENT_NAMES[row.pop("event")] == event.name
        assert row.pop("pfn") == number(event.pfn, 2**64 - 1)
        assert row.pop("gfp") == number(event.gfp, 0)
        assert row == {name: number(getattr(event, name)) for name in row}
    table["order"][:] = 7
    assert trace.events[0].order == 4


def test_ftrace_text(machine: PageAllocator) -> None:
    with machine.trace() as trace:
        machine.alloc_pages(4, cpu=1)
    lines = trace.to_ftrace().splitlines()
    assert lines[0] == "# tracer: nop"
    assert lines[2] == "# entries-in-buffer/entries-written: 3/3   #P:2"
    for line, event in zip(lines[12:], trace.events, strict=True):
        irqs = "....." if event.name == "mm_page_alloc" else "d...."
        micros = (event.time + 500) // 1000
        time = f"{micros // 1_000_000:5}.{micros % 1_000_000:06}"
        assert line == f"{'python':>16}-{os.getpid():<7} [001] {irqs} {time}: {event}"
    assert f"{'a task':>16}-{42:<7} [001] " in trace.to_ftrace(comm="a task", pid=42)
    long = trace.to_ftrace(comm="näme with\nline end", pid=2**32 - 1).splitlines()
    assert len(long) == len(lines)
    assert long[-1].startswith(" näme with line -4294967295 [001]")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"clock": "tsc"}, ValueError),
        ({"clock": 1}, TypeError),
        ({"max_events": -1}, ValueError),
        ({"max_events": 2**64}, OverflowError),
        ({"max_events": 1.5}, TypeError),
        ({"size": 1}, TypeError),
    ],
)
def test_wrong_options(machine: PageAllocator, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        machine.trace(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"pid": -1}, ValueError), ({"pid": 2**32}, OverflowError), ({"pid": "1"}, TypeError), ({"comm": 1}, TypeError)],
)
def test_wrong_tasks(machine: PageAllocator, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        machine.trace().to_ftrace(**options)


def test_threads_trace_and_are_traced() -> None:
    machine = PageAllocator.simple("256M", nr_cpus=4)
    nr_rounds, nr_threads = 300, 4
    lengths: list[int] = []

    def work(cpu: int) -> None:
        for _ in range(nr_rounds):
            with machine.trace() as own:
                machine.free_pages(machine.alloc_pages(4, cpu=cpu), 4, cpu=cpu)
            lengths.append(sum(event.cpu == cpu for event in own.events))

    threads = [threading.Thread(target=work, args=(cpu,)) for cpu in range(nr_threads)]
    with machine.trace() as trace:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            len(trace)
            trace.events[-10:]
        for thread in threads:
            thread.join()
    table = trace.table()
    frees = table["event"] == Trace.EVENT_NAMES.index("mm_page_free")
    assert np.count_nonzero(frees) == nr_rounds * nr_threads
    assert np.all(np.diff(table["time"].astype(np.int64)) >= 0)
    assert len(lengths) == nr_rounds * nr_threads
    assert min(lengths) >= 3


def traced_child(machine: PageAllocator, inherited: Trace, answers: Any) -> None:
    machine.free_pages(machine.alloc_pages(4, cpu=0), 4, cpu=0)
    before = len(inherited)
    inherited.__exit__(None, None, None)
    with machine.trace() as own:
        machine.free_pages(machine.alloc_pages(4, cpu=0), 4, cpu=0)
    answers.put((before, len(inherited), [event.name for event in own.events if event.order == 4][-1]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_traces_for_itself(machine: PageAllocator) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with machine.trace() as trace:
        machine.alloc_pages(4, cpu=0)
        nr_events = len(trace)
        process = context.Process(target=traced_child, args=(machine, trace, answers))
        process.start()
        assert answers.get(timeout=60) == (0, 0, "mm_page_free")
        process.join(60)
        assert process.exitcode == 0
        assert len(trace) == nr_events
