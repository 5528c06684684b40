"""The reserve of pageblocks for high-order atomic requests (spec 06)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .config import HIGHATOMIC
from .fallback import move_freepages_block

if TYPE_CHECKING:
    from .zone import Zone


def reserve_highatomic_pageblock(zone: Zone, pfn: int) -> None:
    """spec 06.1"""
    nr_pages = zone.config.pageblock_nr_pages
    if zone.nr_reserved_highatomic >= zone.managed // 100 + nr_pages:
        return
    excluded = (HIGHATOMIC, zone.config.migrate_isolate, zone.config.migrate_cma)
    if zone.memory.pageblock_type(pfn) not in excluded:
        zone.nr_reserved_highatomic += nr_pages
        zone.memory.set_pageblock_type(pfn, HIGHATOMIC)
        move_freepages_block(zone, pfn, HIGHATOMIC)


def unreserve_highatomic_pageblock(zones: Iterable[Zone], migratetype: int, force: bool) -> bool:
    """Give one pageblock back to the request's type; True if free pages were moved (spec 06.4)."""
    for zone in zones:
        nr_pages = zone.config.pageblock_nr_pages
        if not force and zone.nr_reserved_highatomic <= nr_pages:
            continue
        for order in range(zone.config.max_order):
            blocks = zone.free_area[order][HIGHATOMIC].blocks
            if not blocks:
                continue
            pfn = next(iter(blocks))
            if zone.memory.pageblock_type(pfn) == HIGHATOMIC:
                zone.nr_reserved_highatomic -= min(nr_pages, zone.nr_reserved_highatomic)
            zone.memory.set_pageblock_type(pfn, migratetype)
            if move_freepages_block(zone, pfn, migratetype)[0]:
                return True
    return False
