"""Hotplug, hardware poison, the periodic counter work and page fragments."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pagebuddy import (
    AllocationFailed,
    BadPageError,
    Config,
    ConfigError,
    MigrateType,
    PageAllocator,
    PageState,
    RangeBusyError,
)

SECTION = 1 << 15


@pytest.fixture
def machine() -> PageAllocator:
    config = Config(memory_isolation=True, max_possible_pfn=8 * SECTION)
    return PageAllocator.simple("256M", config=config)


def test_a_section_comes_and_goes(machine: PageAllocator) -> None:
    before = machine.buddyinfo()
    managed = machine.zones[0, "DMA32"].managed
    machine.online_pages(3 * SECTION, SECTION)
    zone = machine.zones[0, "DMA32"]
    assert zone.managed == managed + SECTION
    assert int(zone.free_list(10, 1)[-1]) == 4 * SECTION - 1024
    machine.validate()
    machine.offline_pages(3 * SECTION, SECTION)
    assert machine.buddyinfo() == before
    machine.validate()


def test_pages_of_sections_are_shown(machine: PageAllocator) -> None:
    first, last = 3 * SECTION, 4 * SECTION - 1
    allocated = machine.alloc_pages(2, cpu=0)
    for comes in (False, True, False):
        if comes:
            machine.online_pages(first, SECTION)
        elif machine.page(first).state is not PageState.HOLE:
            machine.offline_pages(first, SECTION)
        expected = PageState.BUDDY if comes else PageState.HOLE
        assert [machine.page(pfn).state for pfn in (first, last, last + 1)] == [expected, expected, PageState.HOLE]
        assert set(machine.page_map(first, last + 1).tolist()) == {expected}
        assert machine.page(allocated).state is PageState.ALLOCATED
        assert machine.page(allocated).pageblock_migratetype == MigrateType.UNMOVABLE
        assert machine.page_map()[allocated] == PageState.ALLOCATED
    machine.validate()


@pytest.mark.parametrize(
    ("start", "pages", "nid"),
    [(1, SECTION, 0), (3 * SECTION, 1, 0), (3 * SECTION, 0, 0), (0, SECTION, 0), (8 * SECTION, SECTION, 0),
     (3 * SECTION, SECTION, 1), (2**64 - SECTION, SECTION, 0)],
)  # fmt: skip
def test_wrong_sections(machine: PageAllocator, start: int, pages: int, nid: int) -> None:
    before = machine.snapshot()
    with pytest.raises(ValueError, match=r"range|section|node|memory"):
        machine.online_pages(start, pages, nid)
    assert machine.snapshot() == before


def test_used_sections_stay(machine: PageAllocator) -> None:
    pages = [machine.alloc_pages(10)]
    while pages[-1] < SECTION:
        pages.append(machine.alloc_pages(10))
    with pytest.raises(RangeBusyError):
        machine.offline_pages(SECTION, SECTION)
    with pytest.raises(ConfigError):
        PageAllocator.simple("256M").offline_pages(SECTION, SECTION)
    for pfn in pages:
        machine.free_pages(pfn, 10)
    machine.validate()


def test_poisoned_pages_go_with_their_section(machine: PageAllocator) -> None:
    before = machine.buddyinfo()
    for _ in range(2):
        machine.online_pages(3 * SECTION, SECTION)
        for offset in (0, 77, SECTION - 1):
            assert machine.take_page_off_buddy(3 * SECTION + offset)
        machine.offline_pages(3 * SECTION, SECTION)
        assert machine.buddyinfo() == before
        machine.validate()
    assert not machine.put_page_back_buddy(3 * SECTION)


def test_poisoned_pages(machine: PageAllocator) -> None:
    before = machine.buddyinfo()
    assert machine.take_page_off_buddy(0x3005)
    assert not machine.take_page_off_buddy(0x3005)
    assert not machine.take_page_off_buddy(2**40)
    with pytest.raises(BadPageError):
        machine.free_pages(0x3005)
    machine.validate()
    assert machine.put_page_back_buddy(0x3005)
    assert not machine.put_page_back_buddy(0x3005)
    assert machine.buddyinfo() == before


CHANGES: list[tuple[str, tuple[int, ...]]] = [
    ("isolate", (0x4000, 0x4400)),
    ("unisolate", (0x4000, 0x4400)),
    ("alloc_contig_range", (0x4400, 0x4405)),
    ("online_pages", (3 * SECTION, SECTION)),
    ("offline_pages", (3 * SECTION, SECTION)),
    ("take_page_off_buddy", (0x3005,)),
    ("put_page_back_buddy", (0x3005,)),
    ("take_page_off_buddy", (0x3006,)),
]


def test_the_cpu_that_changes_memory_is_chosen() -> None:
    """Its part of the counters changes, nobody else's."""
    config = Config(memory_isolation=True, max_possible_pfn=8 * SECTION)
    machine = PageAllocator.simple("256M", nr_cpus=2, config=config)
    for name, arguments in CHANGES:
        before = machine.snapshot()
        for cpu in (2, -1, 1 << 70):
            with pytest.raises((ValueError, OverflowError)):
                getattr(machine, name)(*arguments, cpu=cpu)
        assert machine.snapshot() == before
        getattr(machine, name)(*arguments, cpu=1)
    zone = machine.zones[0, "DMA32"]
    shown = zone.counters["nr_free_pages"]
    machine.refresh_vm_stats(0)
    assert zone.counters["nr_free_pages"] == shown
    machine.refresh_vm_stats(1)
    assert zone.counters["nr_free_pages"] == zone.counters["nr_free_pages_snapshot"] != shown
    machine.validate()


def free_in_zoneinfo(machine: PageAllocator) -> int:
    text = machine.zoneinfo().split("Node 0, zone    DMA32")[1]
    return int(text.split("pages free")[1].split()[0])


def test_the_periodic_work_makes_counters_exact(machine: PageAllocator) -> None:
    machine.take_page_off_buddy(0x3005)
    counted = free_in_zoneinfo(machine)
    on_lists = sum(int(count) << order for order, count in enumerate(machine.free_area_counts()[-1].sum(-1)))
    assert counted != on_lists, "a differential is pending"
    machine.refresh_vm_stats()
    assert free_in_zoneinfo(machine) == on_lists
    with pytest.raises(ValueError, match="online cpus"):
        machine.refresh_vm_stats(5)


def test_fragments(machine: PageAllocator) -> None:
    cache = machine.page_frag_cache()
    frags = [cache.alloc(100 + i) for i in range(2000)]
    for a, b in pairwise(frags):
        assert a.pfn != b.pfn or b.offset + b.nbytes <= a.offset
    assert frags[0].nbytes == 100
    assert frags[0] == frags[0] != frags[1]
    for frag in frags:
        cache.free(frag)
    cache.drain()
    with pytest.raises(BadPageError):
        cache.free(frags[0])
    for wrong in (0, 32769, 2**64 - 1):
        with pytest.raises(ValueError, match="32768"):
            cache.alloc(wrong)
    with pytest.raises(ValueError, match="power of two"):
        cache.alloc(8, align=3)
    machine.drain()
    machine.validate()


def test_fragments_without_memory() -> None:
    machine = PageAllocator.simple("64M")
    while machine.try_alloc_pages(0, "GFP_KERNEL|__GFP_MEMALLOC") is not None:
        pass
    with pytest.raises(AllocationFailed):
        machine.page_frag_cache().alloc(64)
