"""The worked examples of the specification, on the model: they were computed by hand from the rules, not recorded."""

from __future__ import annotations

import pytest

from . import pcp, watermark
from .boot import blocks_of
from .config import MOVABLE, RECLAIMABLE, UNMOVABLE, Config
from .counters import ZoneCounters, normal_threshold
from .gfp import (
    ALLOC_HARDER,
    ALLOC_HIGH,
    ALLOC_OOM,
    GFP_COMP,
    GFP_KSWAPD_RECLAIM,
    GFP_MEMALLOC,
    GFP_MOVABLE,
    GFP_RECLAIMABLE,
    gfp_zone,
)
from .page_alloc import PageAllocatorModel, exact_order
from .shapes import ZoneShape, machine
from .state import free_lists
from .zone import Zone

U, M = 0, GFP_MOVABLE


def one_zone(start: int, nr_pages: int, config: Config | None = None) -> tuple[PageAllocatorModel, Zone]:
    model, _ = machine([ZoneShape(0, "DMA32", start, nr_pages)], config=config)
    model.memory.events = []
    return model, model.zones[0]


def nr_free(zone: Zone) -> list[int]:
    return [zone.nr_free(order) for order in range(11)]


def take_events(model: PageAllocatorModel, name: str) -> list[tuple[object, ...]]:
    assert model.memory.events is not None
    picked = [event[1:] for event in model.memory.events if event[0] == name]
    model.memory.events.clear()
    return picked


def test_hand_over_cuts_ranges_by_alignment() -> None:  # spec 03.2
    blocks = list(blocks_of(1, 0x9F, 11))
    assert blocks == [
        (1, 0), (2, 1), (4, 2), (8, 3), (16, 4), (32, 5), (64, 6), (128, 4), (144, 3), (152, 2), (156, 1), (158, 0),
    ]  # fmt: skip
    assert [order for _, order in blocks_of(0x5003, 0x5400, 11)] == [0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_head_or_tail() -> None:  # spec 04.3, worked example
    _, zone = one_zone(0, 1024)
    zone.rmqueue_smallest(10, MOVABLE)

    def free(pfn: int) -> None:
        zone.free_one_page(0, pfn, 0, MOVABLE)

    def lists(order: int) -> list[int]:
        return list(zone.free_area[order][MOVABLE].blocks)

    free(4)
    assert lists(0) == [4]
    free(5)
    assert (lists(0), lists(1)) == ([], [4])
    free(0)
    assert lists(0) == [0]
    free(6)
    assert lists(0) == [0, 6]
    free(7)
    assert (lists(0), lists(1), lists(2)) == ([0], [], [4])


def test_split_keeps_the_lowest_piece() -> None:  # spec 04.6
    _, zone = one_zone(1024, 1024)
    assert zone.rmqueue_smallest(0, MOVABLE) == 1024
    assert [list(zone.free_area[order][MOVABLE].blocks) for order in range(11)] == [
        [1025], [1026], [1028], [1032], [1040], [1056], [1088], [1152], [1280], [1536], [],
    ]  # fmt: skip
    assert [zone.rmqueue_smallest(0, MOVABLE) for _ in range(4)] == [1025, 1026, 1027, 1028]


def filled_pcp(lists: dict[int, list[int]]) -> Zone:
    _, zone = one_zone(0, 1024)
    zone.rmqueue_smallest(10, MOVABLE)
    for index, pfns in lists.items():
        zone.pcp[0].lists[index].extend((pfn, index % 3) for pfn in pfns)
        zone.pcp[0].count += len(pfns) << pcp.list_order(zone.config, index)
    return zone


@pytest.mark.parametrize(
    ("lists", "nr_pages", "drained"),
    [
        ({0: [1, 2, 3], 1: [11, 12, 13, 14, 15], 4: [20, 22]}, 8, [15, 22, 20, 3, 2, 1]),
        ({1: list(range(1, 11))}, 4, [10, 9, 8, 7]),
        ({0: [21, 22, 23, 24], 1: list(range(1, 11))}, 12, [10, 24, 23, 22, 21, 9, 8, 7, 6, 5, 4, 3]),
    ],
)
def test_drain_order(lists: dict[int, list[int]], nr_pages: int, drained: list[int]) -> None:  # spec 07.5
    zone = filled_pcp(lists)
    zone.memory.events = []
    pcp.drain(zone, 0, nr_pages)
    assert [event[1] for event in zone.memory.events] == drained


def test_drain_sizes_grow() -> None:  # spec 07.4
    lists = pcp.PerCpuPages(15)
    lists.batch = 63
    assert [pcp.nr_pcp_free(lists, 2500) for _ in range(8)] == [63, 126, 252, 504, 1008, 2016, 2437, 2437]
    assert lists.free_factor == 6
    assert pcp.nr_pcp_free(lists, 10) == 1


def test_batch_sizes() -> None:  # spec 07.2
    bounds = [(1, 1), (12287, 1), (12288, 3), (24575, 3), (24576, 7), (45055, 7), (45056, 15), (90111, 15)]
    bounds += [(90112, 31), (176127, 31), (176128, 63), (10**9, 63)]
    assert [(managed, pcp.zone_batchsize(managed)) for managed, _ in bounds] == bounds


def test_counter_folds_beyond_the_threshold() -> None:  # spec 08.1, 08.4
    counters = ZoneCounters(1)
    counters.free, counters.threshold = 1000, [24]
    for _ in range(24):
        counters.mod_free(0, -1)
    assert counters.free_pages() == 1000
    counters.mod_free(0, -1)
    assert (counters.free_pages(), counters.free_diff) == (975, [0])
    counters.mod_free(0, -63)
    assert counters.free_pages() == 912
    thresholds = [normal_threshold(m, cpus) for m in (3840, 250000, 765000) for cpus in (1, 2, 4, 8)]
    assert thresholds == [2, 4, 6, 8, 8, 16, 24, 32, 12, 24, 36, 48]


def test_watermarks_of_a_4g_machine() -> None:  # spec 09.6
    shapes = [
        ZoneShape(0, "DMA", 0, 4096),
        ZoneShape(0, "DMA32", 4096, 765440),
        ZoneShape(0, "Normal", 1 << 20, 250112),
    ]
    model, tunables = machine(shapes, cpu_node=(0, 0, 0, 0))
    for zone, managed in zip(model.zones, (3840, 765000, 250000), strict=True):
        zone.managed = managed
    tunables.init_per_zone_wmark_min()
    assert [zone.wmark for zone in model.zones] == [[7, 10, 13], [1515, 2280, 3045], [495, 745, 995]]
    tunables.thp_start()
    assert tunables.min_free_kbytes == 67584
    assert [zone.wmark for zone in model.zones] == [[63, 78, 93], [12686, 15857, 19028], [4145, 5181, 6217]]
    assert model.zones[0].lowmem_reserve == [0, 2988, 3964, 3964]
    assert model.zones[1].lowmem_reserve == [0, 0, 976, 976]
    assert tunables.totalreserve_pages == 30061
    assert [zone.pageset_high for zone in model.zones] == [19, 3964, 1295]


def test_watermark_rights() -> None:  # spec 09.8
    _, zone = one_zone(0, 4096)
    for flags, least in [(0, 1000), (ALLOC_HIGH, 500), (ALLOC_HIGH | ALLOC_HARDER, 375), (ALLOC_HARDER, 750)]:
        assert not watermark.zone_watermark_ok(zone, 0, 1000, 2, flags, least)
        assert watermark.zone_watermark_ok(zone, 0, 1000, 2, flags, least + 1)
    assert watermark.zone_watermark_ok(zone, 0, 1000, 2, ALLOC_HIGH | ALLOC_OOM, 251)


def test_negative_free_pages_pass_the_fast_test() -> None:  # spec 09.9
    _, zone = one_zone(0, 4096)
    zone.counters.free = 500
    zone.nr_reserved_highatomic = 512
    assert watermark.zone_watermark_fast(zone, 0, 1000, 2, 1, 0)
    zone.nr_reserved_highatomic = 400
    assert not watermark.zone_watermark_fast(zone, 0, 1000, 2, 1, 0)


def test_zone_selectors() -> None:  # spec 10.3
    config = Config()
    assert [gfp_zone(config, bits) for bits in (0, 1, 2, 4, 8, 9, 0xA, 0xC, 3, 0xF)] == [2, 0, 2, 1, 2, 0, 3, 1, 0, 0]


def test_exact_order() -> None:  # spec 13.6
    assert [exact_order(n) for n in (1, 2, 3, 4, 5, 1024)] == [0, 1, 2, 2, 3, 10]


def test_worked_replay_large_zone() -> None:  # spec 17.1
    model, zone = one_zone(0x1000, 262144)
    pcp.set_high_and_batch(zone, 300, 63)

    def allocate(gfp: int, order: int, count: int = 1) -> list[int]:
        pfns = [model.alloc_pages(0, gfp, order, 0) for _ in range(count)]
        assert None not in pfns
        return [pfn for pfn in pfns if pfn is not None]

    def after() -> tuple[list[int], int, int]:
        return nr_free(zone), zone.pcp[0].count, zone.counters.free

    assert model.memory.events is not None
    assert allocate(U, 0) == [0x1000]
    assert model.memory.events[0] == ("mm_page_alloc_extfrag", 0x1000, 0, 10, 0, 1, True)
    locked = take_events(model, "mm_page_alloc_zone_locked")
    assert [event[0] for event in locked] == list(range(0x1000, 0x103F))
    assert after() == ([1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 255], 62, 262081)

    assert allocate(M, 0) == [0x1400]
    assert after() == ([2, 0, 0, 0, 0, 0, 2, 2, 2, 2, 254], 124, 262018)
    take_events(model, "")
    assert allocate(M, 2) == [0x1440]
    assert [event[0] for event in take_events(model, "mm_page_alloc_zone_locked")] == list(range(0x1440, 0x147C, 4))
    assert after() == ([2, 0, 1, 0, 0, 0, 1, 2, 2, 2, 254], 180, 261958)
    assert allocate(U, 4) == [0x1040]
    assert after() == ([2, 0, 1, 0, 1, 1, 0, 2, 2, 2, 254], 180, 261942)
    assert allocate(U, 0) == [0x1001]
    assert after() == ([2, 0, 1, 0, 1, 1, 0, 2, 2, 2, 254], 179, 261942)
    assert allocate(M, 9) == [0x1600]
    assert after() == ([2, 0, 1, 0, 1, 1, 0, 2, 2, 2, 253], 691, 260918)

    take_events(model, "")
    model.free_pages(0, 0x1400, 0)
    drained = take_events(model, "mm_page_pcpu_drain")
    assert drained[0] == (0x143E, 0, 1) and drained[-1] == (0x1800, 9, 1)
    assert [order for _, order, _ in drained] == [0, 2, 2, 2, 2, 2, 2, 9]
    assert zone.pcp[0].free_factor == 1
    assert after() == ([1, 1, 1, 1, 2, 1, 0, 2, 2, 1, 254], 155, 261455)

    assert allocate(M, 0) == [0x1400]
    assert (zone.pcp[0].free_factor, zone.pcp[0].count) == (0, 154)
    model.free_pages(0, 0x1040, 4)
    assert after() == ([1, 1, 1, 1, 1, 0, 1, 2, 2, 1, 254], 154, 261471)

    take_events(model, "")
    taken = allocate(M, 0, 200)
    assert taken == [*range(0x1401, 0x1440), *range(0x1464, 0x14ED)]
    locked = take_events(model, "mm_page_alloc_zone_locked")
    assert (len(locked), locked[-1][0]) == (189, 0x151E)
    assert after() == ([2, 0, 0, 0, 0, 1, 2, 2, 1, 1, 254], 143, 261282)

    for number, pfn in enumerate(taken, 1):
        model.free_pages(0, pfn, 0)
        assert model.memory.events is not None
        assert any(event[0] == "mm_page_pcpu_drain" for event in model.memory.events) == (number >= 157)
    drained = take_events(model, "mm_page_pcpu_drain")
    assert (len(drained), drained[0][0], drained[-1][0]) == (39, 0x151E, 0x1023)
    assert after() == ([1, 0, 4, 2, 2, 1, 2, 2, 1, 1, 254], 280, 261345)
    assert (len(zone.pcp[0].lists[0]), len(zone.pcp[0].lists[1])) == (33, 247)
    lists = free_lists(zone)
    assert [lists[order][UNMOVABLE] for order in range(11)] == [
        [0x1023], [], [0x1024], [0x1028], [0x1030], [], [0x1040], [0x1080], [0x1100], [0x1200], [],
    ]  # fmt: skip
    assert [lists[order][MOVABLE] for order in range(10)] == [
        [], [], [0x151C, 0x1460, 0x1444], [0x1448], [0x1450], [0x1520], [0x1540], [0x1580], [], [],
    ]  # fmt: skip
    assert lists[10][MOVABLE][:3] == [0x1800, 0x1C00, 0x2000]


def small_zone() -> tuple[PageAllocatorModel, Zone]:
    """The zone of spec 17.2 up to the branch: one order-8 block is left, its pageblock's other half is on the LRU.

    The example assumes that watermark tests pass, so requests after the boost carry MEMALLOC.
    """
    model, zone = one_zone(0x1000, 4096)
    pcp.set_high_and_batch(zone, 4, 1)
    zone.wmark = [0, 0, 100]
    for order, pfn in [(10, 0x1000), (10, 0x1400), (10, 0x1800), (9, 0x1C00), (8, 0x1E00)]:
        assert model.alloc_pages(0, M, order, 0) == pfn
    zone.movable_pages.update(range(0x1E00, 0x1F00))
    return model, zone


def test_worked_replay_claimed_pageblock() -> None:  # spec 17.2 variant A
    model, zone = small_zone()
    assert model.alloc_pages(0, U | GFP_MEMALLOC, 0, 0) == 0x1F00
    assert take_events(model, "mm_page_alloc_extfrag")[-1] == (0x1F00, 0, 8, 0, 1, True)
    assert (zone.boost, model.memory.pageblock_type(0x1F00)) == (512, UNMOVABLE)
    assert model.alloc_pages(0, M | GFP_MEMALLOC, 1, 0) == 0x1F02
    assert take_events(model, "mm_page_alloc_extfrag")[-1] == (0x1F80, 1, 7, 1, 0, True)
    assert (zone.boost, model.memory.pageblock_type(0x1F00)) == (512, MOVABLE)
    model.free_pages(0, 0x1F00, 0)
    model.drain(0)
    assert take_events(model, "mm_page_pcpu_drain") == [(0x1F00, 0, 1)]
    assert 0x1F00 in zone.free_area[1][MOVABLE].blocks


def test_worked_replay_pageblock_not_claimed() -> None:  # spec 17.2 variant B
    model, zone = small_zone()
    assert model.alloc_pages(0, M, 0, 0) == 0x1F00
    zone.movable_pages.add(0x1F00)
    assert model.alloc_pages(0, U | GFP_MEMALLOC, 0, 0) == 0x1F01
    assert take_events(model, "mm_page_alloc_extfrag")[-1] == (0x1F80, 0, 7, 0, 1, False)
    assert model.memory.pageblock_type(0x1F00) == MOVABLE
    assert model.alloc_pages(0, M | GFP_MEMALLOC, 1, 0) == 0x1F02
    assert take_events(model, "mm_page_alloc_extfrag")[-1] == (0x1F80, 1, 7, 1, 0, True)
    model.free_pages(0, 0x1F01, 0)
    model.drain(0)
    assert take_events(model, "mm_page_pcpu_drain") == [(0x1F01, 0, 1)]


def test_bulk_array_examples() -> None:  # spec 13.7
    model, _ = one_zone(0, 4096)
    array: list[int | None] = [-2, None, -2, None]
    assert model.alloc_pages_bulk_array(0, M, 0, None, array) == 4
    assert None not in array
    array = [-2, None]
    take_events(model, "")
    assert model.alloc_pages_bulk_array(0, M, 0, None, array) == 2
    assert len(take_events(model, "mm_page_alloc")) == 1  # one page only: the ordinary way


def test_extra_reference() -> None:  # spec 13.5
    model, _ = one_zone(0, 4096)
    block = model.alloc_pages(0, U, 3, 0)
    assert block is not None
    take_events(model, "")
    model.get_page(block)
    model.free_pages(0, block, 3)
    assert take_events(model, "mm_page_free") == [(block + 4, 2), (block + 2, 1), (block + 1, 0)]
    model.put_page(0, block)
    assert take_events(model, "mm_page_free") == [(block, 0)]
    head = model.alloc_pages(0, GFP_COMP, 3, 0)
    assert head is not None
    model.get_page(head)
    take_events(model, "")
    model.free_pages(0, head, 3)
    assert take_events(model, "mm_page_free") == []
    model.put_page(0, head)
    assert take_events(model, "mm_page_free") == [(head, 3)]
    pair = model.alloc_pages(0, GFP_COMP, 1, 0)
    assert pair is not None
    model.get_page(pair + 1)  # acts on the head
    assert model.refcount[pair] == 2
    model.put_page(0, pair)
    model.put_page(0, pair + 1)
    assert take_events(model, "mm_page_free") == [(pair, 1)]


def test_second_page_of_a_compound_pair_counts_as_movable() -> None:  # spec 05.5
    model, zone = one_zone(0, 4096)
    pair = model.alloc_pages(0, GFP_COMP | GFP_KSWAPD_RECLAIM, 1, 0)
    assert pair is not None and zone.movable_pages == {pair + 1}
    model.free_pages(0, pair, 1)
    assert not zone.movable_pages


def test_requests_of_other_types_fall_back_in_order() -> None:  # spec 05.3
    model, zone = one_zone(0, 2048)
    assert model.alloc_pages(0, GFP_RECLAIMABLE, 4, 0) == 0  # claims both pageblocks of the first order-10 block
    assert [model.memory.pageblock_type(pfn) for pfn in (0, 512, 1024)] == [RECLAIMABLE, RECLAIMABLE, MOVABLE]
    assert model.alloc_pages(0, U, 4, 0) == 1024  # the largest block decides, not the first type in the order
    assert model.alloc_pages(0, U, 9, 0) == 1536
    take_events(model, "")
    assert model.alloc_pages(0, M, 9, 0) == 512  # equally large: Reclaimable before Unmovable
    assert take_events(model, "mm_page_alloc_extfrag") == [(512, 9, 9, 1, 2, True)]
    assert zone.nr_free(10) == 0
