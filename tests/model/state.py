"""A zone's state in the shape of the recordings' zstate and digest records."""

from __future__ import annotations

from typing import Any

from .config import MIGRATE_PCPTYPES
from .zone import Zone

FNV_BASIS = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
MASK64 = (1 << 64) - 1


def free_lists(zone: Zone) -> list[list[list[int]]]:
    """[order][migratetype] -> pfns, list head first."""
    return [[list(free_list.blocks) for free_list in lists] for lists in zone.free_area]


def pcp_state(zone: Zone, cpu: int) -> dict[str, Any]:
    pcp = zone.pcp[cpu]
    other_type = [
        [pfn, migratetype]
        for index, entries in enumerate(pcp.lists)
        for pfn, migratetype in entries
        if migratetype != index % MIGRATE_PCPTYPES
    ]
    return {
        "cpu": cpu,
        "count": pcp.count,
        "high": pcp.high,
        "batch": pcp.batch,
        "free_factor": pcp.free_factor,
        "lists": [[pfn for pfn, _ in entries] for entries in pcp.lists],
        "mt": other_type,
    }


def zone_state(zone: Zone) -> dict[str, Any]:
    config, counters = zone.config, zone.counters
    cpus = range(len(zone.pcp))
    blocks_start = zone.start_pfn & ~(config.pageblock_nr_pages - 1)
    blocks = range(blocks_start, zone.end_pfn, config.pageblock_nr_pages)
    return {
        "node": zone.node,
        "zone": zone.index,
        "name": zone.name,
        "start_pfn": zone.start_pfn,
        "spanned": zone.end_pfn - zone.start_pfn,
        "present": zone.present,
        "managed": zone.managed,
        "wmark": zone.wmark,
        "boost": zone.boost,
        "lowmem_reserve": zone.lowmem_reserve,
        "highatomic": zone.nr_reserved_highatomic,
        "flags": zone.boosted_flag | zone.reclaim_active << 1,
        "free": counters.free,
        "drift_mark": zone.drift_mark,
        "pageset_high": zone.pageset_high,
        "pageset_batch": zone.pageset_batch,
        "nr_isolate_pageblock": zone.nr_isolate_pageblock,
        "free_cma": counters.free_cma,
        "cpustat": [[cpu, counters.free_diff[cpu], counters.threshold[cpu], counters.cma_diff[cpu]] for cpu in cpus],
        "free_area": [[zone.nr_free(order), lists] for order, lists in enumerate(free_lists(zone))],
        "pcp": [pcp_state(zone, cpu) for cpu in cpus],
        "blocks_start": blocks_start,
        "blocks": "".join(str(zone.memory.pageblock_type(pfn)) for pfn in blocks),
    }


def fnv1a(words: list[int]) -> str:
    value = FNV_BASIS
    for word in words:
        for byte in word.to_bytes(4, "little"):
            value = (value ^ byte) * FNV_PRIME & MASK64
    return f"{value:016x}"


def digest(zone: Zone) -> list[Any]:
    """[node, zone, free_pages, pcp_pages, highatomic, boost, free_counter, hf, hp]"""
    free_words: list[int] = []
    free_pages = 0
    for order, lists in enumerate(zone.free_area):
        for migratetype, free_list in enumerate(lists):
            free_words.append(0xFFFFFF00 + order * 8 + migratetype)
            free_words.extend(free_list.blocks)
            free_pages += len(free_list.blocks) << order
    pcp_words: list[int] = []
    for cpu, pcp in enumerate(zone.pcp):
        pcp_words += [0xFFFFFE00 + cpu, pcp.count, pcp.free_factor]
        for index, entries in enumerate(pcp.lists):
            pcp_words.append(0xFFFFFF00 + index)
            pcp_words.extend(pfn for pfn, _ in entries)
    return [
        zone.node,
        zone.index,
        free_pages,
        sum(pcp.count for pcp in zone.pcp),
        zone.nr_reserved_highatomic,
        zone.boost,
        zone.counters.free,
        fnv1a(free_words),
        fnv1a(pcp_words),
    ]
