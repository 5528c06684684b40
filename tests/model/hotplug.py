"""Sections of memory that come and go (spec 13.14): into the last zone of a node; nothing is migrated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import pcp
from .boot import blocks_of
from .config import MOVABLE, UNMOVABLE
from .isolation import pages_isolated, start_isolate_page_range, undo_isolate_page_range

if TYPE_CHECKING:
    from .page_alloc import PageAllocatorModel
    from .sysctl import Tunables


def online_pages(model: PageAllocatorModel, tunables: Tunables, cpu: int, start: int, end: int, node: int) -> None:
    isolate = model.config.migrate_isolate
    assert isolate is not None
    zone = max((zone for zone in model.zones if zone.node == node), key=lambda zone: zone.end_pfn)
    zone.start_pfn, zone.end_pfn = min(zone.start_pfn, start), max(zone.end_pfn, end)
    model.set_extent(start, end, zone)
    for pfn in range(start, end, model.config.pageblock_nr_pages):
        model.memory.set_pageblock_type(pfn, isolate)
        zone.nr_isolate_pageblock += 1
    for pfn, order in blocks_of(start, end, model.config.max_order):
        model.emit("mm_page_free", pfn, order)
        zone.free_one_page(cpu, pfn, order, isolate, to_tail=True)
        model.pgfree += 1 << order
    zone.present += end - start
    zone.managed += end - start
    model.managed_ranges = sorted([*model.managed_ranges, (start, end)])
    undo_isolate_page_range(model, cpu, start, end, MOVABLE)
    tunables.init_per_zone_wmark_min()


def offline_pages(model: PageAllocatorModel, tunables: Tunables, cpu: int, start: int, end: int) -> bool:
    """Sections that came by `online_pages`, if all of their pages are free."""
    zone = model.zone_of(start)
    for each in range(model.nr_cpus):
        pcp.drain_all(zone, each)
    if not start_isolate_page_range(model, cpu, start, end, MOVABLE):
        return False
    if not pages_isolated(model, start, end, offline=True):
        undo_isolate_page_range(model, cpu, start, end, MOVABLE)
        return False
    pfn = start
    while pfn < end:
        if pfn in model.poisoned:
            model.poisoned.remove(pfn)
            pfn += 1
            continue
        order = zone.list_of[pfn].order
        zone.remove(pfn)
        pfn += 1 << order
    for pfn in range(start, end, model.config.pageblock_nr_pages):
        model.memory.set_pageblock_type(pfn, UNMOVABLE)
        zone.nr_isolate_pageblock -= 1
    zone.present -= end - start
    zone.managed -= end - start
    model.managed_ranges.remove((start, end))
    model.remove_extent(start, end)
    zone.end_pfn = max(last for _, last, owner in model.extents() if owner is zone)
    tunables.init_per_zone_wmark_min()
    return True
