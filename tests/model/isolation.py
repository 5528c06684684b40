"""Pageblock isolation and contiguous ranges (spec 13.9 to 13.12)."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from . import pcp
from .config import HIGHATOMIC, MOVABLE
from .fallback import move_freepages_block

if TYPE_CHECKING:
    from .page_alloc import PageAllocatorModel
    from .zone import Zone


def is_reserved(model: PageAllocatorModel, pfn: int) -> bool:
    ranges = model.managed_ranges
    position = bisect_right(ranges, (pfn, float("inf"))) - 1
    return position < 0 or pfn >= ranges[position][1]


def has_unmovable_pages(model: PageAllocatorModel, pfn: int, migratetype: int) -> bool:
    """spec 13.10, of the pageblock that begins at pfn; the model's own pages are neither movable nor on an LRU list."""
    config = model.config
    if is_reserved(model, pfn):
        return True
    zone = model.zone_of(pfn)
    if config.migrate_cma is not None and model.memory.pageblock_type(pfn) == config.migrate_cma:
        return migratetype != config.migrate_cma
    page, end = pfn, pfn + config.pageblock_nr_pages
    while page < end:
        free_list = zone.list_of.get(page)
        if free_list is not None:
            page += 1 << free_list.order
            continue
        if is_reserved(model, page):
            return True
        if zone.name != "Movable" and model.refcount.get(page, 0) and page not in zone.movable_pages:
            return True
        page += 1
    return False


def isolate_pageblock(model: PageAllocatorModel, cpu: int, pfn: int) -> None:
    """set_migratetype_isolate of a pageblock that holds nothing unmovable."""
    isolate = model.config.migrate_isolate
    if isolate is None:
        raise ValueError("this configuration has no Isolate type")
    zone, old_type = model.zone_of(pfn), model.memory.pageblock_type(pfn)
    model.memory.set_pageblock_type(pfn, isolate)
    zone.nr_isolate_pageblock += 1
    nr_free, _ = move_freepages_block(zone, pfn, isolate)
    zone.account_freepage(cpu, -nr_free, old_type)


def unisolate_pageblock(model: PageAllocatorModel, cpu: int, pfn: int, migratetype: int) -> None:
    """unset_migratetype_isolate"""
    config, memory = model.config, model.memory
    if memory.pageblock_type(pfn) != config.migrate_isolate:
        return  # a steal took the block over; the zone's count keeps the surplus
    zone = model.zone_of(pfn)
    free_list = zone.list_of.get(pfn)
    order = -1 if free_list is None else free_list.order
    mergeable = config.pageblock_order <= order < config.max_order - 1
    if mergeable and memory.pageblock_type(pfn ^ (1 << order)) != config.migrate_isolate:
        take_isolated_block(model, zone, pfn, order)
        memory.set_pageblock_type(pfn, migratetype)
        zone.free_one_page(cpu, pfn, order, migratetype, to_tail=True)
    else:
        nr_free, _ = move_freepages_block(zone, pfn, migratetype)
        zone.account_freepage(cpu, nr_free, migratetype)
        memory.set_pageblock_type(pfn, migratetype)
    zone.nr_isolate_pageblock -= 1


def take_isolated_block(model: PageAllocatorModel, zone: Zone, pfn: int, order: int) -> None:
    """__isolate_free_page of a block in an isolated pageblock: neither watermark test nor counter (spec 13.11)."""
    config, memory = model.config, model.memory
    zone.remove(pfn)
    if order >= config.pageblock_order - 1:
        kept = (config.migrate_isolate, config.migrate_cma, HIGHATOMIC)
        for start in range(pfn, pfn + (1 << order), config.pageblock_nr_pages):
            if memory.pageblock_type(start) not in kept:
                memory.set_pageblock_type(start, MOVABLE)


def start_isolate_page_range(model: PageAllocatorModel, cpu: int, start: int, end: int, migratetype: int) -> bool:
    """Isolate every pageblock of the range, or none: False is the kernel's -EBUSY (spec 13.9)."""
    size = model.config.pageblock_nr_pages
    for pfn in range(start, end, size):
        isolated = model.memory.pageblock_type(pfn) == model.config.migrate_isolate
        if isolated or has_unmovable_pages(model, pfn, migratetype):
            undo_isolate_page_range(model, cpu, start, pfn, migratetype)
            return False
        isolate_pageblock(model, cpu, pfn)
    return True


def undo_isolate_page_range(model: PageAllocatorModel, cpu: int, start: int, end: int, migratetype: int) -> None:
    for pfn in range(start, end, model.config.pageblock_nr_pages):
        unisolate_pageblock(model, cpu, pfn, migratetype)


# -- contiguous ranges (spec 13.12) ------------------------------------------------------------------------------------


def pages_isolated(model: PageAllocatorModel, start: int, end: int, *, offline: bool = False) -> bool:
    """test_pages_isolated: all pageblocks Isolate and every page of the range in a free block; where memory goes
    offline, poisoned pages may go with it."""
    size = model.config.pageblock_nr_pages
    blocks = range(start // size * size, end, size)
    if any(model.memory.pageblock_type(pfn) != model.config.migrate_isolate for pfn in blocks):
        return False
    pfn = start
    while pfn < end:
        free_list = model.zone_of(pfn).list_of.get(pfn)
        if free_list is None and not (offline and pfn in model.poisoned):
            return False
        pfn += 1 if free_list is None else 1 << free_list.order
    return True


def alloc_contig_range(model: PageAllocatorModel, cpu: int, start: int, end: int, migratetype: int = MOVABLE) -> bool:
    """Every page of [start, end) ends with one reference; nothing can be migrated here."""
    config = model.config
    align = max(1 << (config.max_order - 1), config.pageblock_nr_pages)
    first, last = start // align * align, (end + align - 1) // align * align
    if not start_isolate_page_range(model, cpu, first, last, migratetype):
        return False
    zone = model.zone_of(start)
    for each in range(model.nr_cpus):
        pcp.drain_all(zone, each)
    outer_start = free_block_around(model, zone, start)
    done = pages_isolated(model, outer_start, end)
    if done:
        pfn = outer_start
        while pfn < end:
            order = zone.list_of[pfn].order
            take_isolated_block(model, zone, pfn, order)
            model.refcount[pfn] = 1
            model.split_page(pfn, order)
            pfn += 1 << order
        for page in [*range(outer_start, start), *range(end, pfn)]:
            model.free_pages(cpu, page, 0)
    undo_isolate_page_range(model, cpu, first, last, migratetype)
    return done


def free_block_around(model: PageAllocatorModel, zone: Zone, start: int) -> int:
    """First page of the free block that contains `start`, or `start` itself."""
    for order in range(model.config.max_order):
        head = start >> order << order
        free_list = zone.list_of.get(head)
        if free_list is not None:
            return head if head + (1 << free_list.order) > start else start
    return start
