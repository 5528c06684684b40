"""Many Python threads on one machine: no page is handed out twice, none is lost, nobody waits."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pagebuddy import BadPageError, MemPolicy, PageAllocator, PageState

NR_THREADS = 8


@pytest.fixture(autouse=True)
def switching_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def machine() -> PageAllocator:
    return PageAllocator.simple("128M", nr_cpus=4)


def in_threads(work: Callable[[int], object]) -> list[object]:
    """The results of work(0), work(1), ... in threads that start together."""
    barrier = threading.Barrier(NR_THREADS)

    def started(number: int) -> object:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(NR_THREADS) as threads:
        return list(threads.map(started, range(NR_THREADS)))


def managed_free(machine: PageAllocator) -> int:
    machine.drain()
    return sum(zone.counters["nr_free_pages_snapshot"] for zone in machine.zones)


@pytest.mark.parametrize("cpu", [None, "own"])
def test_no_page_has_two_owners(machine: PageAllocator, cpu: str | None, is_soak: bool) -> None:
    before = managed_free(machine)
    owner: dict[int, int] = {}

    def work(number: int) -> None:
        choose = random.Random(number)
        held: list[tuple[int, int]] = []
        own = None if cpu is None else number % 4
        for _ in range(20_000 if is_soak else 1500):
            if held and choose.random() < 0.48:
                pfn, order = held.pop(choose.randrange(len(held)))
                for page in range(pfn, pfn + (1 << order)):
                    assert owner.pop(page) == number
                machine.free_pages(pfn, order, cpu=own)
            else:
                order = choose.choice([0, 0, 0, 1, 2, 3, 4, 6])
                pfn_or_none = machine.try_alloc_pages(order, choose.choice([0xCC0, 0x1100CCA]), cpu=own)
                if pfn_or_none is None:
                    continue
                for page in range(pfn_or_none, pfn_or_none + (1 << order)):
                    # dict.setdefault is atomic.
                    assert owner.setdefault(page, number) == number
                held.append((pfn_or_none, order))
        for pfn, order in held:
            for page in range(pfn, pfn + (1 << order)):
                del owner[page]
            machine.free_pages(pfn, order, cpu=own)

    in_threads(work)
    assert owner == {}
    machine.validate()
    assert managed_free(machine) == before


def test_bulk_calls_run_side_by_side(machine: PageAllocator) -> None:
    before = managed_free(machine)

    def work(number: int) -> None:
        for n in range(100, 160):
            pfns = machine.alloc_pages_bulk(n + number)
            assert len(set(pfns.tolist())) == len(pfns)
            machine.free_pages_bulk(pfns)

    in_threads(work)
    machine.validate()
    assert managed_free(machine) == before


def test_of_two_frees_one_succeeds(machine: PageAllocator) -> None:
    blocks = [machine.alloc_pages(order) for order in (0, 3) for _ in range(200)]

    def work(_: int) -> int:
        freed = 0
        for i, pfn in enumerate(blocks):
            try:
                machine.free_pages(pfn, 0 if i < 200 else 3)
            except BadPageError:
                continue
            freed += 1
        return freed

    assert sum(result for result in in_threads(work) if isinstance(result, int)) == len(blocks)
    machine.validate()


def test_looking_while_others_work(machine: PageAllocator) -> None:
    stop = threading.Event()

    def worker() -> None:
        while not stop.is_set():
            pfn = machine.alloc_pages(2)
            machine.free_pages(pfn, 2)

    threads = [threading.Thread(target=worker) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            for look in (machine.buddyinfo, machine.zoneinfo, machine.pagetypeinfo, machine.show_free_areas):
                assert look()
            states = set(machine.page_map().tolist())
            assert states <= {int(state) for state in PageState}
            assert machine.page(0x2000).state in PageState
            for zone in machine.zones:
                zone.free_list(0, 0)
                zone.pcp(0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    machine.validate()


def test_long_calls_let_others_run(machine: PageAllocator) -> None:
    """A boot of a large machine takes longer than the switch interval; the counter goes on meanwhile."""
    del machine
    sys.setswitchinterval(10.0)  # nobody is forced to give way
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    counted = 0
    large = PageAllocator.simple("1023G")
    after_boot = counted
    large.snapshot()
    after_snapshot = counted
    done.set()
    thread.join()
    assert 0 < after_boot < after_snapshot


def test_threads_share_an_interleaving_policy() -> None:
    machine = PageAllocator.simple("128M", nodes=2)
    policy = MemPolicy.interleave([0, 1])
    in_threads(lambda _: [machine.alloc_pages(policy=policy) for _ in range(50)])
    machine.validate()


def test_a_forked_process_has_a_machine_of_its_own(machine: PageAllocator) -> None:
    before = machine.snapshot()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            machine.free_pages_bulk(machine.alloc_pages_bulk(500))
            machine.alloc_pages(5)
            machine.validate()
            os.write(writer, b"fine")
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 10) == b"fine"
    os.close(reader)
    os.waitpid(child, 0)
    assert machine.snapshot() == before
