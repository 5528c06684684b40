"""Initial fill of the free lists from the boot memory allocator's regions (spec 02.5, 03.1, 03.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .config import MOVABLE
from .page_alloc import PageAllocatorModel

Region = Sequence[int]  # base, size in bytes, nid, flags
NOMAP, DRIVER_MANAGED = 4, 8


def memory_pfns(memory: Iterable[Region]) -> list[tuple[int, int, int]]:
    """(start, end, nid) of the whole pages of memory regions; touching regions stay apart, holes do not matter."""
    ranges = []
    for base, size, nid, _ in memory:
        start, end = (base + 4095) >> 12, (base + size) >> 12
        if start < end:
            ranges.append((start, end, nid))
    return ranges


def set_initial_pageblock_types(model: PageAllocatorModel, memory: Iterable[Region]) -> None:
    """Only a pageblock whose first pfn is memory becomes Movable, all others stay Unmovable (spec 02.5).

    This happens before the kernel decides about mobility grouping (spec 02.7), so the switch has no effect here.
    """
    order, size = model.config.pageblock_order, model.config.pageblock_nr_pages
    for start, end, _ in memory_pfns(memory):
        for pfn in range((start + size - 1) // size * size, end, size):
            model.memory.pageblock_types[pfn >> order] = MOVABLE


def free_ranges(memory: Iterable[Region], reserved: Iterable[Region]) -> list[tuple[int, int]]:
    """Pfn ranges that are memory and not reserved: reserved regions are rounded outwards, free ones inwards."""
    holes = sorted((base, base + size) for base, size, _, _ in reserved)
    ranges = []
    for base, size, _, flags in sorted(memory, key=lambda region: region[0]):
        if flags & (NOMAP | DRIVER_MANAGED):
            continue
        position, end = base, base + size
        for hole_start, hole_end in [*holes, (end, end)]:
            piece_end = min(hole_start, end)
            start_pfn, end_pfn = (position + 4095) >> 12, piece_end >> 12
            if start_pfn < end_pfn:
                ranges.append((start_pfn, end_pfn))
            position = max(position, hole_end)
    return ranges


def blocks_of(start: int, end: int, max_order: int) -> Iterable[tuple[int, int]]:
    """Cut a range into aligned blocks, as large as alignment and the range's end allow (spec 03.2)."""
    while start < end:
        order = min(max_order - 1, (start & -start).bit_length() - 1) if start else max_order - 1
        while start + (1 << order) > end:
            order -= 1
        yield start, order
        start += 1 << order


def hand_over(model: PageAllocatorModel, ranges: Iterable[tuple[int, int]], cpu: int = 0) -> None:
    """memblock_free_all: every range block by block to the list tails; counts what every zone manages."""
    for zone in model.zones:
        zone.managed = 0
    for start, end in ranges:
        model.managed_ranges.append((start, end))
        for pfn, order in blocks_of(start, end, model.config.max_order):
            zone = model.zone_of(pfn)
            zone.managed += 1 << order
            zone.free_one_page(cpu, pfn, order, model.memory.pageblock_type(pfn), to_tail=True)
            model.pgfree += 1 << order
