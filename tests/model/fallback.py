"""Taking a block of a migratetype: fallback, stealing, watermark boost (spec 05)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import HIGHATOMIC, MOVABLE, RECLAIMABLE, UNMOVABLE
from .gfp import ALLOC_CMA, ALLOC_KSWAPD, ALLOC_NOFRAGMENT, WMARK_HIGH

if TYPE_CHECKING:
    from .zone import Zone

# spec 05.3
FALLBACKS = {
    UNMOVABLE: (RECLAIMABLE, MOVABLE),
    MOVABLE: (RECLAIMABLE, UNMOVABLE),
    RECLAIMABLE: (UNMOVABLE, MOVABLE),
}


def rmqueue(zone: Zone, order: int, migratetype: int, flags: int) -> tuple[int, int] | None:
    """__rmqueue: (pfn, migratetype of the list it came from); spec 05.2."""
    block = find_block(zone, order, migratetype, flags)
    if block is not None and zone.memory.events is not None:
        zone.memory.events.append(("mm_page_alloc_zone_locked", block[0], order, migratetype))
    return block


def find_block(zone: Zone, order: int, migratetype: int, flags: int) -> tuple[int, int] | None:
    cma = zone.config.migrate_cma
    if not flags & ALLOC_CMA:
        cma = None
    if cma is not None and zone.counters.free_cma_pages() > zone.counters.free_pages() // 2:
        pfn = zone.rmqueue_smallest(order, cma)
        if pfn is not None:
            return pfn, cma
    while True:
        pfn = zone.rmqueue_smallest(order, migratetype)
        if pfn is not None:
            return pfn, migratetype
        if cma is not None:
            pfn = zone.rmqueue_smallest(order, cma)
            if pfn is not None:
                return pfn, cma
        if not rmqueue_fallback(zone, order, migratetype, flags):
            return None


def rmqueue_fallback(zone: Zone, order: int, migratetype: int, flags: int) -> bool:
    """__rmqueue_fallback: bring a block of another type to the lists of this type (spec 05.3)."""
    choice = choose_fallback(zone, order, migratetype, flags)
    if choice is None:
        return False
    current, fallback_type, can_steal = choice
    pfn = next(iter(zone.free_area[current][fallback_type].blocks))
    steal_suitable_fallback(zone, pfn, current, migratetype, flags, whole=can_steal)
    if zone.memory.events is not None:
        own = zone.memory.pageblock_type(pfn) == migratetype
        zone.memory.events.append(("mm_page_alloc_extfrag", pfn, order, current, migratetype, fallback_type, own))
    return True


def choose_fallback(zone: Zone, order: int, migratetype: int, flags: int) -> tuple[int, int, bool] | None:
    """(order, type, may take the whole pageblock) of the block to take: the largest, or for a Movable request that may
    not take a whole pageblock the smallest."""
    max_order = zone.config.max_order
    lowest = zone.config.pageblock_order if flags & ALLOC_NOFRAGMENT else order
    for current in range(max_order - 1, lowest - 1, -1):
        fallback_type = find_suitable_fallback(zone, current, migratetype)
        if fallback_type is None:
            continue
        can_steal = can_steal_fallback(zone, current, migratetype)
        if not can_steal and migratetype == MOVABLE and current > order:
            break
        return current, fallback_type, can_steal
    else:
        return None
    for current in range(order, max_order):
        fallback_type = find_suitable_fallback(zone, current, migratetype)
        if fallback_type is not None:
            return current, fallback_type, can_steal_fallback(zone, current, migratetype)
    raise AssertionError("a fallback block was seen but not found again")


def find_suitable_fallback(zone: Zone, order: int, migratetype: int) -> int | None:
    for fallback_type in FALLBACKS[migratetype]:
        if zone.free_area[order][fallback_type].blocks:
            return fallback_type
    return None


def can_steal_fallback(zone: Zone, order: int, migratetype: int) -> bool:
    return (
        order >= zone.config.pageblock_order // 2
        or migratetype in (RECLAIMABLE, UNMOVABLE)
        or zone.memory.grouping_disabled
    )


def steal_suitable_fallback(zone: Zone, pfn: int, order: int, migratetype: int, flags: int, whole: bool) -> None:
    """spec 05.4"""
    memory, config = zone.memory, zone.config
    old_type = memory.pageblock_type(pfn)
    if old_type == HIGHATOMIC:
        zone.move_to_tail(pfn, migratetype)
        return
    if order >= config.pageblock_order:
        for start in range(pfn, pfn + (1 << order), config.pageblock_nr_pages):
            memory.set_pageblock_type(start, migratetype)
        zone.move_to_tail(pfn, migratetype)
        return
    if boost_watermark(zone) and flags & ALLOC_KSWAPD:
        zone.boosted_flag = True
    if not whole:
        zone.move_to_tail(pfn, migratetype)
        return
    nr_free, nr_movable = move_freepages_block(zone, pfn, migratetype)
    if migratetype == MOVABLE:
        nr_alike = nr_movable
    elif old_type == MOVABLE:
        nr_alike = config.pageblock_nr_pages - (nr_free + nr_movable)
    else:
        nr_alike = 0
    if nr_free == 0:  # the pageblock reaches beyond the zone
        zone.move_to_tail(pfn, migratetype)
    elif nr_free + nr_alike >= 1 << (config.pageblock_order - 1) or memory.grouping_disabled:
        memory.set_pageblock_type(pfn, migratetype)


def move_freepages_block(zone: Zone, pfn: int, migratetype: int) -> tuple[int, int]:
    """Move the free blocks of the pageblock to another type: (free pages moved, movable pages in use); spec 05.5."""
    nr_pages = zone.config.pageblock_nr_pages
    start = pfn & ~(nr_pages - 1)
    last = start + nr_pages - 1
    if not zone.start_pfn <= start < zone.end_pfn:
        start = pfn
    if not zone.start_pfn <= last < zone.end_pfn:
        return 0, 0
    nr_free = nr_movable = 0
    while start <= last:
        free_list = zone.list_of.get(start)
        if free_list is not None:
            zone.move_to_tail(start, migratetype)
            nr_free += 1 << free_list.order
            start += 1 << free_list.order
        else:
            nr_movable += start in zone.movable_pages
            start += 1
    return nr_free, nr_movable


def boost_watermark(zone: Zone) -> bool:
    """spec 05.6; the factor is a tunable of the machine."""
    factor = zone.memory.watermark_boost_factor
    nr_pages = zone.config.pageblock_nr_pages
    if not factor or nr_pages * 4 > zone.managed:
        return False
    high = zone.wmark[WMARK_HIGH]
    max_boost = high // 10000 * factor + high % 10000 * factor // 10000
    if not max_boost:
        return False
    zone.boost = min(zone.boost + nr_pages, max(max_boost, nr_pages))
    return True
