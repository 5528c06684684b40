"""The names and forms of calls that users rely on."""

from __future__ import annotations

import inspect

import pytest

import pagebuddy
from pagebuddy import PageAllocator

REQUEST = "gfp=3264, *, nid=None, nodemask=None, policy=None, cpu=None"
CALLS = {
    "boot": "(memblock, *, nr_cpus=None, cpu_node=None, node_distance=None, config=None, sysctl=None, stage='late')",
    "simple": "(size='4G', *, nr_cpus=1, nodes=1, config=None, stage='late')",
    "alloc_pages": f"(self, /, order=0, {REQUEST})",
    "try_alloc_pages": f"(self, /, order=0, {REQUEST})",
    "free_pages": "(self, /, pfn, order=0, *, cpu=None)",
    "alloc_pages_bulk": f"(self, /, n, {REQUEST}, out=None)",
    "free_pages_bulk": "(self, /, pfns, *, cpu=None)",
    "alloc_pages_exact": "(self, /, nr_bytes, gfp=3264, *, nid=None, cpu=None)",
    "free_pages_exact": "(self, /, pfn, nr_bytes, *, cpu=None)",
    "split_page": "(self, /, pfn, order)",
    "get_page": "(self, /, pfn)",
    "put_page": "(self, /, pfn, *, cpu=None)",
    "drain": "(self, /, cpu=None, zone=None)",
    "isolate": "(self, /, start_pfn, end_pfn, migratetype=1, *, cpu=None)",
    "unisolate": "(self, /, start_pfn, end_pfn, migratetype=1, *, cpu=None)",
    "alloc_contig_range": "(self, /, start_pfn, end_pfn, migratetype=1, *, cpu=None)",
    "online_pages": "(self, /, start_pfn, nr_pages, nid=0, *, cpu=None)",
    "offline_pages": "(self, /, start_pfn, nr_pages, *, cpu=None)",
    "take_page_off_buddy": "(self, /, pfn, *, cpu=None)",
    "put_page_back_buddy": "(self, /, pfn, *, cpu=None)",
    "page_frag_cache": "(self, /, *, cpu=None)",
    "register_shrinker": "(self, /, scan, *, count=None)",
    "on_event": "(self, /, callback, *, kinds=None)",
    "buddyinfo": "(self, /)",
    "pagetypeinfo": "(self, /)",
    "zoneinfo": "(self, /)",
    "show_free_areas": "(self, /, nodemask=None, *, cpu=None)",
    "free_area_counts": "(self, /)",
    "page": "(self, /, pfn)",
    "page_map": "(self, /, start=0, end=None)",
    "extfrag_index": "(self, /, order)",
    "unusable_index": "(self, /, order)",
    "validate": "(self, /)",
    "trace": "(self, /, *, clock='mono', max_events=None)",
    "snapshot": "(self, /)",
    "restore": "(state)",
    "fork": "(self, /)",
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str) -> None:
    assert str(inspect.signature(getattr(PageAllocator, name))) == CALLS[name]


def test_what_there_is_to_see() -> None:
    machine = PageAllocator.simple("64M")
    zone, page = machine.zones[0, "DMA32"], machine.page(machine.alloc_pages())
    for name in ("managed", "present", "spanned", "watermarks", "boost", "lowmem_reserve", "counters"):
        assert getattr(zone, name) is not None, name
    assert zone.free_list(10, 1)
    assert zone.pcp(0).count >= 0
    for name in ("state", "order", "migratetype", "refcount", "flags"):
        assert getattr(page, name) is not None, name
    for name in ("compound_head", "owner"):
        assert hasattr(page, name), name
    tunables = {"min_free_kbytes", "watermark_scale_factor", "watermark_boost_factor", "lowmem_reserve_ratio"}
    assert set(machine.sysctl) == tunables | {"percpu_pagelist_high_fraction"}


def test_names_of_the_package() -> None:
    policies = ("default", "preferred", "preferred_many", "bind", "interleave", "local")
    assert all(callable(getattr(pagebuddy.MemPolicy, name)) for name in policies)
    classes = ("GFP", "MigrateType", "Memblock", "Config", "AllocationFailed", "BadPageError", "CorruptionError")
    for name in (*classes, "MemblockDiscardedError", "replay"):
        assert name in pagebuddy.__all__
    assert issubclass(pagebuddy.AllocationFailed, MemoryError)
