"""Looking inside: zones, nodes, pages, lists and reports agree with each other."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from pagebuddy import (
    GFP,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    Config,
    MemPolicy,
    MigrateType,
    PageAllocator,
    PageFlag,
    PageState,
    Watermarks,
)


@pytest.fixture
def machine() -> PageAllocator:
    machine = PageAllocator.simple("6G", nr_cpus=4, nodes=2)
    for order in (0, 1, 3, 5, 9):
        for gfp in (GFP_KERNEL, GFP_HIGHUSER_MOVABLE):
            machine.alloc_pages(order, gfp, cpu=order % 4)
    machine.free_pages_bulk(machine.alloc_pages_bulk(100, cpu=1), cpu=1)
    return machine


def test_zones(machine: PageAllocator) -> None:
    zones = machine.zones
    assert [(zone.nid, zone.name, zone.index) for zone in zones] == [
        (0, "DMA", 0),
        (0, "DMA32", 1),
        (1, "Normal", 2),
    ]
    assert len(zones) == 3
    assert zones[-1] == zones[1, "Normal"] == zones["Normal"]
    assert len({zones[0], zones[0], zones[1]}) == 2
    for zone in zones:
        assert zone.managed <= zone.present <= zone.spanned == zone.end_pfn - zone.start_pfn
        assert isinstance(zone.watermarks, Watermarks)
        assert 0 < zone.watermarks.min < zone.watermarks.low < zone.watermarks.high < zone.managed
        assert (zone.boost, zone.nr_reserved_highatomic, zone.nr_isolate_pageblock) == (0, 0, 0)
        assert len(zone.lowmem_reserve) == 4
    assert zones[0].lowmem_reserve[0] == 0 < zones[0].lowmem_reserve[1] <= zones[0].lowmem_reserve[2]


def test_counters_are_what_the_lists_hold(machine: PageAllocator) -> None:
    for zone in machine.zones:
        on_lists = sum(
            len(zone.free_list(order, migratetype)) << order for order in range(11) for migratetype in MigrateType
        )
        counts = zone.free_area_counts()
        assert counts.shape == (11, 6)
        assert (counts.sum(axis=1) << np.arange(11, dtype=np.uint64)).sum() == on_lists
        assert zone.counters["nr_free_pages_snapshot"] == on_lists
        assert zone.nr_free_pages == zone.counters["nr_free_pages"]
        on_cpus = sum(zone.pcp(cpu).count for cpu in range(4))
        pages = machine.page_map(zone.start_pfn, zone.end_pfn)
        assert np.count_nonzero(pages == PageState.BUDDY) == on_lists
        assert np.count_nonzero(pages == PageState.PCP) == on_cpus
    every = machine.free_area_counts()
    assert (every == np.stack([zone.free_area_counts() for zone in machine.zones])).all()


def test_per_cpu_lists(machine: PageAllocator) -> None:
    zone = machine.zones[1, "Normal"]
    pcp = zone.pcp(1)
    assert pcp.cpu == 1
    assert pcp.count == sum(len(pages) << (index // 3 if index < 12 else 9) for index, pages in enumerate(pcp.lists))
    assert pcp.list(0, MigrateType.UNMOVABLE) == pcp.lists[0]
    assert pcp.list(9, MigrateType.MOVABLE) == pcp.lists[13]
    assert 0 < pcp.batch <= pcp.high
    first = pcp.list(0, 0)[0]
    assert machine.page(first).state is PageState.PCP
    assert machine.alloc_pages(cpu=1) == first


def test_pages(machine: PageAllocator) -> None:
    compound = machine.alloc_pages(3, GFP_KERNEL | GFP.COMP, cpu=0)
    page, tail = machine.page(compound), machine.page(compound + 5)
    assert (page.pfn, page.state, page.order, page.refcount, page.owner) == (compound, PageState.ALLOCATED, 3, 1, None)
    assert page.flags == PageFlag.HEAD | PageFlag.COMPOUND | PageFlag.COMPOUND_HEAD
    assert (tail.head, tail.compound_head, tail.refcount, tail.flags) == (compound, compound, 0, PageFlag.COMPOUND)
    assert page.nid is not None
    assert page.zone == machine.zones[page.nid, "DMA32"]
    assert page.pageblock_migratetype is MigrateType.UNMOVABLE
    plain = machine.page(machine.alloc_pages(3, cpu=0) + 5)
    assert (plain.compound_head, plain.head) == (plain.pfn, plain.pfn - 5)
    hole = machine.page(0)
    assert (hole.state, hole.order, hole.head, hole.zone, hole.migratetype) == (PageState.HOLE, None, None, None, None)
    assert machine.page(0x1000).flags == PageFlag.RESERVED
    free = machine.zones[0, "DMA"].free_list(10, MigrateType.MOVABLE)[0]
    assert repr(machine.page(free)) == f"<Page pfn={free:#x} order=10 state=BUDDY>"
    assert machine.page(free).migratetype is MigrateType.MOVABLE
    assert machine.page(free) == machine.page(free) != machine.page(free + 1)


def test_pages_below_the_watermarks_are_marked() -> None:
    machine = PageAllocator.simple("64M")
    while machine.try_alloc_pages(cpu=0) is not None:
        pass
    reserve = machine.alloc_pages(0, GFP_KERNEL | GFP.MEMALLOC, cpu=0)
    assert PageFlag.PFMEMALLOC in machine.page(reserve).flags


def test_page_map_and_orders_agree_with_page(machine: PageAllocator) -> None:
    for start in (0, 0x9C, 0xFFF, 0x100000 - 3):
        states, orders = machine.page_map(start, start + 300), machine.page_orders(start, start + 300)
        for i, (state, order) in enumerate(zip(states.tolist(), orders.tolist(), strict=True)):
            page = machine.page(start + i)
            assert (page.state, 255 if page.order is None else page.order) == (state, order)
    assert machine.page_map(5, 5).shape == (0,)
    assert len(machine.page_map()) == len(machine.page_orders()) == machine.end_pfn
    beyond = machine.page_map(machine.end_pfn + 10, machine.end_pfn + 20)
    assert beyond.tolist() == [PageState.HOLE] * 10


def test_nodes(machine: PageAllocator) -> None:
    nodes = machine.nodes
    assert ([node.nid for node in nodes], len(nodes), 1 in nodes, 2 in nodes) == ([0, 1], 2, True, False)
    assert nodes[1].cpus == [1, 3]
    assert nodes[0].distances == {0: 10, 1: 20}
    assert [zone.name for zone in nodes[0].zones] == ["DMA", "DMA32"]
    assert [(zone.nid, zone.name) for zone in nodes[1].zonelist] == [(1, "Normal"), (0, "DMA32"), (0, "DMA")]
    assert [(zone.nid, zone.name) for zone in nodes[1].thisnode_zonelist] == [(1, "Normal")]
    assert nodes[0].present + nodes[1].present == sum(zone.present for zone in machine.zones)
    assert nodes[0] == machine.nodes[0] != nodes[1]


def test_reports(machine: PageAllocator) -> None:
    for line, zone in zip(machine.buddyinfo().splitlines(), machine.zones, strict=True):
        assert line.startswith(f"Node {zone.nid}, zone {zone.name:>8} ")
        assert [int(number) for number in line.split()[4:]] == zone.free_area_counts().sum(axis=1).tolist()
    assert machine.pagetypeinfo().startswith("Page block order: 9\n")
    assert f"        managed  {machine.zones[1].managed}\n" in machine.zoneinfo()
    assert machine.show_free_areas().startswith("Mem-Info:\n")
    assert "Node 1 Normal:" not in machine.show_free_areas([0])
    assert machine.vmstat()["nr_free_pages"] == sum(zone.nr_free_pages for zone in machine.zones)


def test_fragmentation() -> None:
    machine = PageAllocator.simple("64M")
    assert set(machine.extfrag_index(10).values()) == {-1000}
    assert set(machine.unusable_index(0).values()) == {0}
    while machine.try_alloc_pages(3, cpu=0) is not None:
        pass
    key = (0, "DMA32")
    assert machine.unusable_index(10)[key] == machine.zones[key].unusable_index(10) > 500
    assert machine.extfrag_index(10)[key] == machine.zones[key].extfrag_index(10) > -1000


def test_boost_and_highatomic_show() -> None:
    machine = PageAllocator.simple("128M")
    zone = machine.zones[0, "DMA32"]
    while machine.try_alloc_pages(0, cpu=0) is not None and zone.boost == 0:
        machine.try_alloc_pages(0, GFP_HIGHUSER_MOVABLE, cpu=0)
    assert zone.boost >= 0
    machine.try_alloc_pages(1, "GFP_ATOMIC", cpu=0)
    assert zone.nr_reserved_highatomic in {0, 512}


def test_views_keep_the_machine_alive() -> None:
    machine = PageAllocator.simple("64M")
    zone, node, page, reference = machine.zones[1], machine.nodes[0], machine.page(0x2000), weakref.ref(machine)
    del machine
    gc.collect()
    assert reference() is None
    assert zone.managed > 0
    assert node.present > 0
    assert page.zone == zone
    assert len(zone.free_list(10, 1)) == 11


def test_sysctl(machine: PageAllocator) -> None:
    before = machine.sysctl
    assert set(before) == {
        "min_free_kbytes",
        "watermark_scale_factor",
        "watermark_boost_factor",
        "lowmem_reserve_ratio",
        "percpu_pagelist_high_fraction",
    }
    low = machine.zones[1].watermarks.low
    machine.write_sysctl("watermark_scale_factor", 200)
    assert machine.zones[1].watermarks.low > low
    machine.write_sysctl("lowmem_reserve_ratio", (0, 0, 0, 0))
    assert set(machine.zones[0].lowmem_reserve) == {0}
    machine.write_sysctl("percpu_pagelist_high_fraction", 8)
    assert machine.sysctl["percpu_pagelist_high_fraction"] == 8


def test_config_is_a_value() -> None:
    config = Config(MAX_ORDER=10, kernelcore="512M", movablecore="10%", max_numnodes=4)
    assert config == Config(MAX_ORDER=10, kernelcore=512 << 20, movablecore="10%", max_numnodes=4)
    assert (hash(config), config != Config()) == (hash(config.replace()), True)
    assert repr(config) == "Config(MAX_ORDER=10, max_numnodes=4, kernelcore=536870912, movablecore='10%')"
    assert eval(repr(config), {"Config": Config}) == config
    assert config.replace(kernelcore="mirror").kernelcore == "mirror"
    assert Config(numa=False).max_numnodes == 1
    assert Config(zone_dma=False).zone_names == ("DMA32", "Normal", "Movable")
    assert (Config().page_size, Config().kernelcore) == (4096, None)


def test_configs_make_other_machines() -> None:
    machine = PageAllocator.simple("1G", config=Config(MAX_ORDER=9, pageblock_order=7, zone_dma=False, thp=False))
    assert [zone.name for zone in machine.zones] == ["DMA32"]
    assert machine.free_area_counts().shape == (1, 9, 6)
    assert len(machine.zones[0].pcp(0).lists) == 12
    assert machine.config.MAX_ORDER == 9
    machine.validate()


class TestPolicies:
    def nids(self, machine: PageAllocator, policy: MemPolicy, n: int = 4, cpu: int = 0) -> list[int | None]:
        return [machine.page(machine.alloc_pages(policy=policy, cpu=cpu)).nid for _ in range(n)]

    def test_modes(self) -> None:
        machine = PageAllocator.simple("512M", nodes=4, nr_cpus=4)
        assert self.nids(machine, MemPolicy.bind([2])) == [2] * 4
        assert self.nids(machine, MemPolicy.preferred(3)) != [3] * 4  # a mask: nodes 0 and 1
        assert self.nids(machine, MemPolicy.preferred([3])) == [3] * 4
        nearest = next(zone.nid for zone in machine.nodes[3].zonelist if zone.nid in {1, 2})
        assert self.nids(machine, MemPolicy.preferred_many([1, 2]), cpu=3) == [nearest] * 4
        assert self.nids(machine, MemPolicy.bind([1, 3], home_node=3)) == [3] * 4
        assert self.nids(machine, MemPolicy.interleave([0, 2, 3]), 6) == [0, 2, 3, 0, 2, 3]
        assert self.nids(machine, MemPolicy.local(), cpu=1) == self.nids(machine, MemPolicy.default(), cpu=1) == [1] * 4

    def test_interleaving_in_bulk(self) -> None:
        machine = PageAllocator.simple("512M", nodes=4)
        pfns = machine.alloc_pages_bulk(40, policy=MemPolicy.interleave(0b1111), cpu=0)
        counts = np.bincount([machine.page(pfn).nid or 0 for pfn in pfns.tolist()])
        assert counts.tolist() == [10] * 4

    def test_relative_nodes(self) -> None:
        machine = PageAllocator.simple("128M", nodes=2)
        assert self.nids(machine, MemPolicy.bind([3], relative_nodes=True)) == [1] * 4
        with pytest.raises(ValueError, match="none of the policy's nodes"):
            self.nids(machine, MemPolicy.bind([3], static_nodes=True))

    def test_they_say_what_they_are(self) -> None:
        policy = MemPolicy.bind([0, 2], home_node=2)
        assert (repr(policy), policy.mode, policy.nodes, policy.home_node) == (
            "<MemPolicy bind nodes=0,2 home_node=2>",
            "bind",
            5,
            2,
        )


class TestIsolation:
    @pytest.fixture
    def isolating(self) -> PageAllocator:
        return PageAllocator.simple("128M", config=Config(memory_isolation=True))

    def test_nothing_is_taken_from_isolated_blocks(self, isolating: PageAllocator) -> None:
        zone = isolating.zones[0, "DMA32"]
        isolating.isolate(0x4000, 0x4400)
        assert zone.nr_isolate_pageblock == 2
        assert isolating.page(0x4000).migratetype is MigrateType.ISOLATE
        while (pfn := isolating.try_alloc_pages(0, GFP_HIGHUSER_MOVABLE)) is not None:
            assert not 0x4000 <= pfn < 0x4400
        isolating.unisolate(0x4000, 0x4400)
        assert zone.nr_isolate_pageblock == 0
        taken = isolating.alloc_pages_bulk(512, GFP_HIGHUSER_MOVABLE)
        assert ((taken >= 0x4000) & (taken < 0x4400)).any()
        isolating.validate()

    def test_contiguous_ranges(self, isolating: PageAllocator) -> None:
        isolating.alloc_contig_range(0x4123, 0x4567)
        states = isolating.page_map(0x4000, 0x4800)
        assert (states[0x123:0x567] == PageState.ALLOCATED).all()
        assert not (states[:0x123] == PageState.ALLOCATED).any()
        assert not (states[0x567:] == PageState.ALLOCATED).any()
        isolating.free_pages_exact(0x4123, (0x567 - 0x123) * 4096)
        isolating.validate()
