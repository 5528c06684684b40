"""Watermark tests, and how watermarks and reserves are computed (spec 09)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import TYPE_CHECKING

from .config import HIGHATOMIC, MIGRATE_PCPTYPES
from .gfp import ALLOC_CMA, ALLOC_HARDER, ALLOC_HIGH, ALLOC_OOM, GFP_ATOMIC_BIT, WMARK_HIGH, WMARK_MASK, WMARK_MIN

if TYPE_CHECKING:
    from .zone import Zone


def mult_frac(x: int, numerator: int, denominator: int) -> int:
    return x // denominator * numerator + x % denominator * numerator // denominator


# -- tests -------------------------------------------------------------------------------------------------------------


def unusable_free(zone: Zone, order: int, flags: int) -> int:
    """spec 09.7"""
    unusable = (1 << order) - 1
    if not flags & (ALLOC_HARDER | ALLOC_OOM):
        unusable += zone.nr_reserved_highatomic
    if zone.config.cma and not flags & ALLOC_CMA:
        unusable += zone.counters.free_cma_pages()
    return unusable


def zone_watermark_ok(zone: Zone, order: int, mark: int, highest: int, flags: int, free: int) -> bool:
    """spec 09.8"""
    free -= unusable_free(zone, order, flags)
    least = mark
    if flags & ALLOC_HIGH:
        least -= least // 2
    if flags & ALLOC_OOM:
        least -= least // 2
    elif flags & ALLOC_HARDER:
        least -= least // 4
    if free <= least + zone.lowmem_reserve[highest]:
        return False
    if order == 0:
        return True
    usable = list(range(MIGRATE_PCPTYPES))
    if zone.config.migrate_cma is not None and flags & ALLOC_CMA:
        usable.append(zone.config.migrate_cma)
    if flags & (ALLOC_HARDER | ALLOC_OOM):
        usable.append(HIGHATOMIC)
    return any(lists[mt].blocks for lists in zone.free_area[order:] for mt in usable)


def zone_watermark_fast(zone: Zone, order: int, mark: int, highest: int, flags: int, gfp: int) -> bool:
    """spec 09.9"""
    free = zone.counters.free_pages()
    if order == 0:
        usable = free - unusable_free(zone, 0, flags)
        # The kernel compares unsigned: a negative left side is huge and passes.
        if usable < 0 or usable > mark + zone.lowmem_reserve[highest]:
            return True
    if zone_watermark_ok(zone, order, mark, highest, flags, free):
        return True
    if order == 0 and gfp & GFP_ATOMIC_BIT and zone.boost and flags & WMARK_MASK == WMARK_MIN:
        return zone_watermark_ok(zone, order, zone.wmark[WMARK_MIN], highest, flags, free)
    return False


# -- computation -------------------------------------------------------------------------------------------------------


def low_memory_pages(zones: Sequence[Zone]) -> int:
    """nr_free_buffer_pages over the given zones of one fallback list (spec 09.1): Movable zones are not in the sum."""
    normal = zones[0].config.zone_names.index("Normal") if zones else 0
    return sum(max(0, zone.managed - zone.wmark[WMARK_HIGH] - zone.boost) for zone in zones if zone.index <= normal)


def calculate_min_free_kbytes(zones: Sequence[Zone]) -> int:
    """The unclamped value, to compare with the user's (spec 09.1)."""
    return isqrt(low_memory_pages(zones) * 4 * 16)


def recommended_min_free_kbytes(zones: Sequence[Zone], local_zones: Sequence[Zone]) -> int:
    """What transparent huge pages ask for (spec 09.2)."""
    config = zones[0].config
    normal = config.zone_names.index("Normal")
    nr_zones = sum(1 for zone in zones if zone.present and zone.index <= normal)
    pages = config.pageblock_nr_pages * nr_zones * 2 + config.pageblock_nr_pages * nr_zones * 9
    return min(pages, low_memory_pages(local_zones) // 20) * 4


def setup_per_zone_wmarks(zones: Sequence[Zone], min_free_kbytes: int, scale_factor: int) -> None:
    """spec 09.3"""
    min_pages = min_free_kbytes // 4
    total = sum(zone.managed for zone in zones)
    for zone in zones:
        least = min_pages * zone.managed // total
        distance = max(least // 4, mult_frac(zone.managed, scale_factor, 10000))
        zone.wmark = [least, least + distance, least + 2 * distance]
        zone.boost = 0


def setup_per_zone_lowmem_reserve(zones: Sequence[Zone], ratios: Sequence[int]) -> None:
    """spec 09.4"""
    managed = {(zone.node, zone.index): zone.managed for zone in zones}
    for zone in zones:
        above = 0
        for j in range(zone.index + 1, len(zone.lowmem_reserve)):
            above += managed.get((zone.node, j), 0)
            ratio = ratios[zone.index]
            zone.lowmem_reserve[j] = above // ratio if ratio and zone.managed else 0


def totalreserve_pages(zones: Sequence[Zone], node: int | None = None) -> int:
    """spec 09.5, of one node or of all."""
    total = 0
    for zone in zones:
        if node in (None, zone.node):
            reserve = max(zone.lowmem_reserve[zone.index :]) + zone.wmark[WMARK_HIGH] + zone.boost
            total += min(reserve, zone.managed)
    return total
