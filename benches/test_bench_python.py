"""What a page costs from Python, beside what Python itself costs.

Every round of a work follows one round of each thing that it is compared with, so that a slow moment of the machine
hits all of them; ``extra_info`` holds the medians. ``make bench`` runs this; ``python_table.py`` makes a table of it.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pagebuddy import GFP_KERNEL, PageAllocator
from pagebuddy._pagebuddy import _core_pairs

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

#: Pairs of a round, and of each thread's share of a round of several threads.
NR_PAIRS = 2048
NR_PAIRS_OF_A_THREAD = 32_768
NR_ROUNDS = 300
NR_ROUNDS_OF_THREADS = 30

#: Does that many pairs.
Work = Callable[[int], None]
#: The same with a number chosen.
Round = Callable[[], None]


def machine() -> PageAllocator:
    return PageAllocator.simple("4G", nr_cpus=os.cpu_count() or 1)


def empty_methods() -> Work:
    """Two methods of a C type that do nothing: what calls alone cost."""
    lock = threading.Lock()

    def work(nr_pairs: int) -> None:
        for _ in range(nr_pairs):
            lock.locked()
            lock.locked()

    return work


def integer_methods() -> Work:
    """Two methods of a C type, of which one makes an integer and the other takes it, as a page number is."""
    numbers = array("Q", [1 << 20] * 64)

    def work(nr_pairs: int) -> None:
        for _ in range(nr_pairs):
            numbers.append(numbers.pop())

    return work


def core() -> Work:
    """What the pair asks the core for, in a loop in Rust."""
    allocator = machine()
    return lambda nr_pairs: _core_pairs(allocator, nr_pairs)


class Pool:
    """Pages as a Python program would keep them: a list behind a lock."""

    def __init__(self) -> None:
        self.pages = list(range(1 << 16))
        self.lock = threading.Lock()

    def alloc(self) -> int:
        with self.lock:
            return self.pages.pop()

    def free(self, page: int) -> None:
        with self.lock:
            self.pages.append(page)


def pool() -> Work:
    pool = Pool()

    def work(nr_pairs: int) -> None:
        for _ in range(nr_pairs):
            pool.free(pool.alloc())

    return work


def bare_list() -> Work:
    pages = list(range(64))

    def work(nr_pairs: int) -> None:
        for _ in range(nr_pairs):
            pages.append(pages.pop())

    return work


def pair() -> Work:
    allocator = machine()

    def work(nr_pairs: int) -> None:
        for _ in range(nr_pairs):
            allocator.free_pages(allocator.alloc_pages())

    return work


def pair_with_order(order: int) -> Callable[[], Work]:
    def make() -> Work:
        allocator = machine()

        def work(nr_pairs: int) -> None:
            for _ in range(nr_pairs):
                allocator.free_pages(allocator.alloc_pages(order, GFP_KERNEL), order)

        return work

    return make


def pair_with_keywords() -> Work:
    allocator = machine()

    def work(nr_pairs: int) -> None:
        for _ in range(nr_pairs):
            allocator.free_pages(allocator.alloc_pages(order=0, cpu=0), order=0, cpu=0)

    return work


def bulk(nr: int) -> Callable[[], Work]:
    """Single pages in batches, into an array that is there already, one for each thread."""

    def make() -> Work:
        allocator = machine()
        arrays = threading.local()

        def work(nr_pairs: int) -> None:
            if not hasattr(arrays, "pfns"):
                arrays.pfns = np.zeros(nr, np.uint64)
            pfns = arrays.pfns
            for _ in range(nr_pairs // nr):
                allocator.alloc_pages_bulk(nr, out=pfns)
                allocator.free_pages_bulk(pfns)

        return work

    return make


#: What one thread does. The first row has a goal.
ONE_THREAD: dict[str, Callable[[], Work]] = {
    "alloc_pages() and free_pages(pfn)": pair,
    "alloc_pages and free_pages, order and cpu by keyword": pair_with_keywords,
    "alloc_pages and free_pages, order 3": pair_with_order(3),
    "alloc_pages and free_pages, order 9": pair_with_order(9),
    "bulk of 64 into an array, per page": bulk(64),
    "bulk of 1024 into an array, per page": bulk(1024),
    "list.pop and list.append": bare_list,
    "list behind a lock, in a class": pool,
}

#: What several threads do.
THREADS: dict[str, Callable[[], Work]] = {
    "alloc_pages() and free_pages(pfn)": pair,
    "bulk of 1024 into an array, per page": bulk(1024),
}


def measure(
    benchmark: BenchmarkFixture,
    work: Round,
    references: dict[str, Round],
    nr_pairs: int,
    nr_rounds: int,
    clock: Callable[[], int],
) -> None:
    """Rounds of the work, each after one of every reference; medians in nanoseconds per pair go to ``extra_info``."""
    samples: dict[str, list[float]] = {name: [] for name in (*references, "work")}

    def timed(name: str, function: Round) -> None:
        start = clock()
        function()
        samples[name].append((clock() - start) / nr_pairs)

    def time_references() -> None:
        for name, reference in references.items():
            timed(name, reference)

    timed_work = partial(timed, "work", work)
    benchmark.pedantic(timed_work, setup=time_references, rounds=nr_rounds)  # type: ignore[no-untyped-call]
    benchmark.extra_info["fastest"] = min(samples["work"])
    for name, values in samples.items():
        benchmark.extra_info[name] = statistics.median(values)


@pytest.mark.parametrize("name", ONE_THREAD)
def test_one_thread(benchmark: BenchmarkFixture, name: str) -> None:
    """Its processor time counts, which other programs hardly change."""
    benchmark.extra_info["name"] = name
    work = ONE_THREAD[name]()
    references = {"empty": empty_methods()}
    if ONE_THREAD[name] is pair:
        references |= {"integer": integer_methods(), "core": core()}
    rounds = {key: partial(reference, NR_PAIRS) for key, reference in references.items()}
    measure(benchmark, partial(work, NR_PAIRS), dict(rounds), NR_PAIRS, NR_ROUNDS, time.thread_time_ns)


@contextmanager
def side_by_side(nr_threads: int, *works: Work) -> Iterator[list[Round]]:
    """The works, each done by several threads at once."""
    with ThreadPoolExecutor(nr_threads) as threads:
        barrier = threading.Barrier(nr_threads)

        def share(work: Work) -> None:
            barrier.wait()
            work(NR_PAIRS_OF_A_THREAD)

        def by_all(work: Work) -> None:
            for done in [threads.submit(share, work) for _ in range(nr_threads)]:
                done.result()

        yield [partial(by_all, work) for work in works]


@pytest.mark.parametrize("nr_threads", [1, 2, 3, 4])
@pytest.mark.parametrize("name", THREADS)
def test_threads(benchmark: BenchmarkFixture, name: str, nr_threads: int) -> None:
    """Threads of one interpreter take turns unless a call lets the others go on, which bulk calls do."""
    benchmark.extra_info |= {"name": name, "threads": nr_threads}
    with side_by_side(nr_threads, THREADS[name](), pool()) as (work, locked):
        nr_pairs = NR_PAIRS_OF_A_THREAD * nr_threads
        measure(benchmark, work, {"pool": locked}, nr_pairs, NR_ROUNDS_OF_THREADS, time.perf_counter_ns)
