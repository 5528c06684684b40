"""What a page costs from Python, beside what Python itself costs, in one run.

Usage: python_calls.py [--json] [--seconds S]

Every work is timed in rounds that alternate with all others, so that a slow moment of the machine hits all of them; the
median and the fastest round are told. Numbers of different runs do not compare, ratios do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from pagebuddy import GFP_HIGHUSER_MOVABLE, PageAllocator, __version__

Work = Callable[[int], None]

BATCH = 256


def floor_list(nr: int) -> None:
    """A list as a stack: the least that a pool in Python can cost."""
    pages = list(range(64))
    pop, append = pages.pop, pages.append
    for _ in range(nr):
        append(pop())


def floor_deque_lock(nr: int) -> None:
    """A deque and a lock: a simple pool for several threads."""
    pages = deque(range(64))
    lock = threading.Lock()
    for _ in range(nr):
        with lock:
            page = pages.popleft()
        with lock:
            pages.append(page)


def pair(order: int) -> Work:
    """One block allocated and freed."""
    machine = PageAllocator.simple("1G", nr_cpus=os.cpu_count() or 1)

    def work(nr: int) -> None:
        alloc, free = machine.alloc_pages, machine.free_pages
        for _ in range(nr):
            free(alloc(order, GFP_HIGHUSER_MOVABLE), order)

    return work


def bulk(nr: int) -> None:
    """Single pages allocated and freed in batches, NumPy arrays all the way."""
    machine = _BULK_MACHINE
    for _ in range(nr // BATCH):
        machine.free_pages_bulk(machine.alloc_pages_bulk(BATCH, GFP_HIGHUSER_MOVABLE))


_BULK_MACHINE = PageAllocator.simple("1G", nr_cpus=os.cpu_count() or 1)

WORKS: dict[str, Work] = {
    "list.pop and append": floor_list,
    "deque with a lock": floor_deque_lock,
    "alloc_pages and free_pages, order 0": pair(0),
    "alloc_pages and free_pages, order 3": pair(3),
    "alloc_pages and free_pages, order 9": pair(9),
    f"bulk of {BATCH}, per page": bulk,
}


def measure(seconds: float) -> dict[str, dict[str, float]]:
    """Median and fastest round of every work, in ns per pair."""
    nr = BATCH * 200
    rounds: dict[str, list[float]] = {name: [] for name in WORKS}
    end = time.monotonic() + seconds
    while time.monotonic() < end or not all(rounds.values()):
        for name, work in WORKS.items():
            start = time.perf_counter_ns()
            work(nr)
            rounds[name].append((time.perf_counter_ns() - start) / nr)
    return {
        name: {"median_ns": statistics.median(values), "fastest_ns": min(values), "rounds": len(values)}
        for name, values in rounds.items()
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to measure (default: %(default)s)")
    arguments = parser.parse_args()
    results = measure(arguments.seconds)
    if arguments.json:
        print(json.dumps({"version": __version__, "python": platform.python_version(), "results": results}, indent=2))
        return
    first = next(iter(results.values()))["median_ns"]
    print(f"pagebuddy {__version__}, Python {platform.python_version()}, NumPy {np.__version__}, ns per pair")
    print(f"{'':<38} {'median':>8} {'fastest':>8} {'of list':>8}")
    for name, result in results.items():
        print(f"{name:<38} {result['median_ns']:8.1f} {result['fastest_ns']:8.1f} {result['median_ns'] / first:7.1f}x")


if __name__ == "__main__":
    main()
