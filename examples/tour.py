"""A tour in a minute: one page splits a block of 1024, frees merge it again, mistakes are refused.

Run it with ``make demo``, or ``python examples/tour.py`` where pagebuddy is installed.
"""

from __future__ import annotations

import time

from pagebuddy import GFP_HIGHUSER_MOVABLE, GFP_NOWAIT, AllocationFailed, BadPageError, PageAllocator


def show(title: str, text: str) -> None:
    """Prints one stop of the tour."""
    print(f"\n== {title}\n{text.rstrip()}")


def main() -> None:
    """Walks through one small machine."""
    machine = PageAllocator.simple("64M", nr_cpus=2)
    show("A machine of 64 MiB has booted. Its free blocks, by order, as /proc/buddyinfo:", machine.buddyinfo())

    pfn = machine.alloc_pages()
    show(f"One page was allocated, pfn {pfn}. A block of 1024 pages had to be split:", machine.buddyinfo())

    machine.free_pages(pfn)
    machine.drain()
    show("It was freed and the per-cpu lists drained. The halves have merged again:", machine.buddyinfo())

    try:
        machine.free_pages(pfn)
    except BadPageError as error:
        show("Freeing it twice is refused, and nothing has changed:", repr(error))

    pages = machine.alloc_pages_bulk(4096, GFP_HIGHUSER_MOVABLE)
    show(f"{len(pages)} pages in one call, as a NumPy array:", repr(pages))
    machine.free_pages_bulk(pages)

    held = []
    try:
        while True:
            held.append(machine.alloc_pages(10, GFP_NOWAIT))
    except AllocationFailed as error:
        show(
            f"After {len(held)} blocks of 4 MiB the watermarks say no. The kernel's report begins:", error.report[:180]
        )
    for block in held:
        machine.free_pages(block, 10)

    nr_pairs = 100_000
    alloc, free = machine.alloc_pages, machine.free_pages
    start = time.perf_counter_ns()
    for _ in range(nr_pairs):
        free(alloc())
    pair_ns = (time.perf_counter_ns() - start) / nr_pairs
    machine.validate()
    show(
        "Every invariant was recounted and holds.",
        f"A page allocated and freed from Python took {pair_ns:.0f} ns here.",
    )


if __name__ == "__main__":
    main()
