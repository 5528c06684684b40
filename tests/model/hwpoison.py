"""Pages taken away after hardware errors, and given back (spec 13.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .page_alloc import PageAllocatorModel


def take_page_off_buddy(model: PageAllocatorModel, cpu: int, pfn: int) -> bool:
    """Cut a free page out of its block; False if it is not free."""
    zone, memory = model.zone_of(pfn), model.memory
    for order in range(model.config.max_order):
        head = pfn >> order << order
        free_list = zone.list_of.get(head)
        if free_list is None or free_list.order < order:
            continue
        migratetype = memory.pageblock_type(head)
        zone.remove(head)
        first = head
        for half in range(free_list.order - 1, -1, -1):
            upper = first + (1 << half)
            kept, first = (first, upper) if pfn >= upper else (upper, first)
            zone.add_to_head(kept, half, migratetype)
        if migratetype != model.config.migrate_isolate:
            zone.account_freepage(cpu, -1, migratetype)
        model.poisoned.add(pfn)
        return True
    return False


def put_page_back_buddy(model: PageAllocatorModel, cpu: int, pfn: int) -> bool:
    if pfn not in model.poisoned:
        return False
    model.poisoned.remove(pfn)
    model.zone_of(pfn).free_one_page(cpu, pfn, 0, model.memory.pageblock_type(pfn))
    return True
