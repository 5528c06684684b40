"""Pageblock isolation (spec 13.9, 13.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import HIGHATOMIC, MOVABLE
from .fallback import move_freepages_block

if TYPE_CHECKING:
    from .page_alloc import PageAllocatorModel


def start_isolate_page_range(model: PageAllocatorModel, cpu: int, start: int, end: int) -> None:
    """Isolate pageblocks that are known to hold nothing unmovable."""
    memory, isolate = model.memory, model.config.migrate_isolate
    if isolate is None:
        raise ValueError("this configuration has no Isolate type")
    for pfn in range(start, end, model.config.pageblock_nr_pages):
        zone = model.zone_of(pfn)
        old_type = memory.pageblock_type(pfn)
        if old_type == isolate:
            raise ValueError(f"pageblock {pfn} is isolated already")
        memory.set_pageblock_type(pfn, isolate)
        zone.nr_isolate_pageblock += 1
        nr_free, _ = move_freepages_block(zone, pfn, isolate)
        zone.account_freepage(cpu, -nr_free, old_type)


def undo_isolate_page_range(model: PageAllocatorModel, cpu: int, start: int, end: int, migratetype: int) -> None:
    config, memory = model.config, model.memory
    for pfn in range(start, end, config.pageblock_nr_pages):
        if memory.pageblock_type(pfn) != config.migrate_isolate:
            continue  # a steal took the block over; the zone's count keeps the surplus
        zone = model.zone_of(pfn)
        free_list = zone.list_of.get(pfn)
        order = -1 if free_list is None else free_list.order
        mergeable = config.pageblock_order <= order < config.max_order - 1
        if mergeable and memory.pageblock_type(pfn ^ (1 << order)) != config.migrate_isolate:
            take_isolated_block(model, pfn, order)
            memory.set_pageblock_type(pfn, migratetype)
            zone.free_one_page(cpu, pfn, order, migratetype, to_tail=True)
        else:
            nr_free, _ = move_freepages_block(zone, pfn, migratetype)
            zone.account_freepage(cpu, nr_free, migratetype)
            memory.set_pageblock_type(pfn, migratetype)
        zone.nr_isolate_pageblock -= 1


def take_isolated_block(model: PageAllocatorModel, pfn: int, order: int) -> None:
    """__isolate_free_page of a block in an isolated pageblock: neither watermark test nor counter."""
    config, memory = model.config, model.memory
    model.zone_of(pfn).remove(pfn)
    if order >= config.pageblock_order - 1:
        kept = (config.migrate_isolate, config.migrate_cma, HIGHATOMIC)
        for start in range(pfn, pfn + (1 << order), config.pageblock_nr_pages):
            if memory.pageblock_type(start) not in kept:
                memory.set_pageblock_type(start, MOVABLE)
