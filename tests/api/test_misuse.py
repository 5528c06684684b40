"""Hostile arguments: a precise exception each time, and the machine as it was."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagebuddy import (
    GFP,
    AllocationFailed,
    BadPageError,
    Config,
    ConfigError,
    Memblock,
    MemblockDiscardedError,
    MemPolicy,
    PageAllocator,
    PagebuddyError,
    PageState,
    RangeBusyError,
)


class Index:
    """Whatever `__index__` returns."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value  # type: ignore[return-value]


class Raises:
    """Its methods raise what no code expects."""

    def __index__(self) -> int:
        raise ZeroDivisionError

    def __iter__(self) -> Iterator[int]:
        raise ZeroDivisionError


NOT_INTEGERS: list[Any] = [
    None,
    True,
    False,
    1.0,
    math.nan,
    "1",
    b"1",
    (),
    [],
    {},
    object(),
    1j,
    Decimal(1),
    int,
]


@pytest.fixture(scope="module")
def machine() -> PageAllocator:
    return PageAllocator.simple("128M", nr_cpus=2, nodes=2, config=Config(memory_isolation=True))


@pytest.fixture(autouse=True)
def unchanged(machine: PageAllocator) -> Iterator[None]:
    before = machine.snapshot()
    yield
    assert machine.snapshot() == before
    machine.validate()


class TestNumbers:
    @pytest.mark.parametrize("value", NOT_INTEGERS)
    def test_wrong_types(self, machine: PageAllocator, value: Any) -> None:
        for call in (
            machine.alloc_pages,
            machine.free_pages,
            machine.page,
            machine.get_page,
            machine.alloc_pages_exact,
        ):
            with pytest.raises(TypeError):
                call(value)
        if value is not None:
            for name in ("nid", "cpu"):
                with pytest.raises(TypeError):
                    machine.alloc_pages(**{name: value})

    def test_integers_by_another_name(self) -> None:
        machine = PageAllocator.simple("64M")
        for value in (np.uint8(0), np.int64(0), Index(0), GFP(0)):
            pfn = machine.alloc_pages(value, cpu=value)
            machine.free_pages(np.uint64(pfn), value, cpu=value)

    def test_bad_integers(self, machine: PageAllocator) -> None:
        with pytest.raises(ZeroDivisionError):
            machine.alloc_pages(Raises())
        for wrong in (Index("x"), Index(None), Index(1.0)):
            with pytest.raises(TypeError):
                machine.alloc_pages(wrong)

    def test_orders(self, machine: PageAllocator) -> None:
        with pytest.raises(ValueError, match="an order must not be negative"):
            machine.alloc_pages(-1)
        for order in (1 << 32, 1 << 64, 1 << 10_000):
            with pytest.raises(OverflowError, match="an order must be at most 4294967295"):
                machine.alloc_pages(order)
        for order in (11, 63, 64, (1 << 32) - 1):
            with pytest.raises(AllocationFailed):
                machine.alloc_pages(order)
            with pytest.raises(BadPageError, match="MAX_ORDER"):
                machine.free_pages(0x1000, order)

    @pytest.mark.parametrize("pfn", [-1, -(1 << 70), 1 << 40, (1 << 64) - 1, 1 << 64, 1 << 10_000])
    def test_pfns_beyond_memory(self, machine: PageAllocator, pfn: int) -> None:
        calls: list[Callable[[], object]] = [
            lambda: machine.free_pages(pfn),
            lambda: machine.get_page(pfn),
            lambda: machine.put_page(pfn),
            lambda: machine.split_page(pfn, 1),
            lambda: machine.free_pages_exact(pfn, 4096),
            lambda: machine.free_pages_bulk([pfn]),
        ]
        for call in calls:
            with pytest.raises(BadPageError) as bad:
                call()
            assert bad.value.pfn == pfn
            assert bad.value.reason == "no page descriptor exists for this pfn"
            assert len(str(bad.value)) < 100

    def test_looking_beyond_memory(self, machine: PageAllocator) -> None:
        for pfn in (1 << 40, (1 << 64) - 1):
            assert machine.page(pfn).state is PageState.HOLE
        with pytest.raises(ValueError, match="negative"):
            machine.page(-1)
        with pytest.raises(OverflowError):
            machine.page(1 << 64)

    def test_cpus(self, machine: PageAllocator) -> None:
        for cpu in (2, 4096, (1 << 64) - 1):
            with pytest.raises(ValueError, match="online cpus are 0 to 1"):
                machine.alloc_pages(cpu=cpu)
            with pytest.raises(ValueError, match="online cpus are 0 to 1"):
                machine.drain(cpu)
        with pytest.raises(ValueError, match="negative"):
            machine.alloc_pages(cpu=-1)
        early = PageAllocator.simple("64M", nr_cpus=2, stage="early")
        with pytest.raises(ValueError, match="come online in the late stage"):
            early.alloc_pages(cpu=1)

    def test_nodes(self, machine: PageAllocator) -> None:
        for nid in (2, 63, 64, (1 << 64) - 1):
            with pytest.raises(ValueError, match="not online"):
                machine.alloc_pages(nid=nid)
        for nid in (-2, -(1 << 70)):
            with pytest.raises(ValueError, match="negative"):
                machine.alloc_pages(nid=nid)
        with pytest.raises(OverflowError):
            machine.alloc_pages(nid=1 << 64)

    @pytest.mark.parametrize(
        ("nodemask", "error"),
        [
            (0, ValueError),
            ([], ValueError),
            (0b100, ValueError),
            ([0, 5], ValueError),
            ([64], OverflowError),
            ([-1], ValueError),
            (-1, ValueError),
            (1 << 64, OverflowError),
            ("0", TypeError),
            (True, TypeError),
            (1.0, TypeError),
            ([0, None], TypeError),
            (Raises(), ZeroDivisionError),
        ],
    )
    def test_node_masks(self, machine: PageAllocator, nodemask: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            machine.alloc_pages(nodemask=nodemask)


class TestGfp:
    @pytest.mark.parametrize(
        ("gfp", "error"),
        [
            (0x3, ValueError),
            (GFP.DMA | GFP.DMA32, ValueError),
            (GFP.MOVABLE | GFP.RECLAIMABLE, ValueError),
            (1 << 25, ValueError),
            (1 << 32, ValueError),
            (-1, ValueError),
            ("GFP_KERNAL", ValueError),
            ("GFP_KERNEL|", ValueError),
            ("\ud800", (ValueError, TypeError)),
            (True, TypeError),
            (None, TypeError),
            (3.0, TypeError),
            (b"GFP_KERNEL", TypeError),
        ],
    )
    def test_masks_that_mean_nothing(self, machine: PageAllocator, gfp: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            machine.alloc_pages(0, gfp)
        with pytest.raises(error):
            machine.alloc_pages_bulk(3, gfp)
        with pytest.raises(error):
            machine.try_alloc_pages(0, gfp)


class TestBuffers:
    def test_outputs(self, machine: PageAllocator) -> None:
        read_only = np.zeros(8, dtype=np.uint64)
        read_only.flags.writeable = False
        wrong: list[tuple[Any, type[Exception]]] = [
            (np.zeros(8, dtype=np.int64), BufferError),
            (np.zeros(8, dtype=np.float64), BufferError),
            (np.zeros(8, dtype=np.uint32), BufferError),
            (np.zeros(8, dtype=">u8"), BufferError),
            (np.zeros((2, 4), dtype=np.uint64), BufferError),
            (np.zeros(16, dtype=np.uint64)[::2], BufferError),
            (read_only, BufferError),
            (bytes(64), BufferError),
            (bytearray(64), BufferError),
            (np.zeros(7, dtype=np.uint64), ValueError),
            ([0] * 8, TypeError),
            (7, TypeError),
        ]
        for out, error in wrong:
            with pytest.raises(error):
                machine.alloc_pages_bulk(8, out=out)

    def test_inputs(self, machine: PageAllocator) -> None:
        wrong: list[tuple[Any, type[Exception]]] = [
            (np.zeros(8, dtype=np.int64), BufferError),
            (np.zeros((2, 4), dtype=np.uint64), BufferError),
            (np.zeros(8, dtype=">u8"), BufferError),
            (bytes(8), BufferError),
            ("text", TypeError),
            ([None], TypeError),
            ([1.5], TypeError),
            (7, TypeError),
            (None, TypeError),
            (Raises(), ZeroDivisionError),
            ([0], BadPageError),
        ]
        for pfns, error in wrong:
            with pytest.raises(error):
                machine.free_pages_bulk(pfns)

    def test_sizes(self, machine: PageAllocator) -> None:
        for nr_bytes in (0, -1):
            with pytest.raises(ValueError):  # noqa: PT011 - two messages
                machine.alloc_pages_exact(nr_bytes)
        for nr_bytes in (1 << 40, (1 << 64) - 1):
            with pytest.raises(AllocationFailed):
                machine.alloc_pages_exact(nr_bytes)
        with pytest.raises(OverflowError):
            machine.alloc_pages_exact(1 << 64)
        with pytest.raises(BadPageError):
            machine.free_pages_exact((1 << 64) - 1, (1 << 64) - 1)
        for start, end in ((5, 4), (-1, 4), (0, -1)):
            with pytest.raises(ValueError):  # noqa: PT011 - two messages
                machine.page_map(start, end)
        with pytest.raises((ValueError, MemoryError)):
            machine.page_map(0, (1 << 64) - 1)
        with pytest.raises(ValueError, match="ends at pfn"):
            machine.page_orders(0, 1 << 60)


class TestRanges:
    def test_bad_ranges(self, machine: PageAllocator) -> None:
        ranges = [(0x4000, 0x4000), (0x4200, 0x4000), (0x4001, 0x4201), (0, 1 << 40), (1 << 40, (1 << 40) + 512)]
        for start, end in [*ranges, (0, (1 << 64) - 512), (0x0C00, 0x1400)]:
            for call in (machine.isolate, machine.unisolate):
                with pytest.raises(ValueError, match="range"):
                    call(start, end)
        for start, end in [(0x4000, 0x4000), (0x4200, 0x4000), (0xC00, 0x1400)]:
            with pytest.raises(ValueError, match="range"):
                machine.alloc_contig_range(start, end)
        with pytest.raises(OverflowError):
            machine.alloc_contig_range(0, (1 << 64) - 1)

    def test_busy_ranges(self, machine: PageAllocator) -> None:
        with pytest.raises(RangeBusyError) as busy:
            machine.isolate(0x1000, 0x1200)
        assert busy.value.pfn == 0x1000

    def test_kernels_without_isolation(self) -> None:
        plain = PageAllocator.simple("64M")
        for call in (plain.isolate, plain.unisolate, plain.alloc_contig_range):
            with pytest.raises(ConfigError, match="memory_isolation"):
                call(0x2000, 0x2200)


class TestBoot:
    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"nr_cpus": 0}, ConfigError),
            ({"nr_cpus": 4097}, ConfigError),
            ({"nr_cpus": 1 << 63}, ConfigError),
            ({"nr_cpus": -1}, ValueError),
            ({"nr_cpus": 2, "cpu_node": [0]}, ConfigError),
            ({"cpu_node": [9]}, ConfigError),
            ({"cpu_node": [1 << 20]}, ValueError),
            ({"cpu_node": []}, ConfigError),
            ({"cpu_node": 0}, TypeError),
            ({"node_distance": [[9]]}, ConfigError),
            ({"node_distance": [[10, 20]]}, ConfigError),
            ({"node_distance": [[1 << 40]]}, ConfigError),
            ({"node_distance": [[-1]]}, ValueError),
            ({"node_distance": [10]}, TypeError),
            ({"config": {}}, TypeError),
            ({"config": Config(page_shift=13)}, ConfigError),
            ({"stage": "middle"}, ValueError),
            ({"stage": None}, TypeError),
            ({"sysctl": {"min_free_kbyte": 1}}, ValueError),
            ({"sysctl": {"min_free_kbytes": -1}}, ValueError),
            ({"sysctl": {"min_free_kbytes": "1"}}, TypeError),
            ({"sysctl": {"watermark_scale_factor": 3001}}, ValueError),
            ({"sysctl": {"lowmem_reserve_ratio": [1]}}, ValueError),
            ({"sysctl": {"min_free_kbytes": 1}, "stage": "early"}, ValueError),
            ({"sysctl": [1]}, TypeError),
        ],
    )
    def test_a_failed_boot_keeps_the_memblock(self, arguments: dict[str, Any], error: type[Exception]) -> None:
        memblock = Memblock()
        memblock.add("1M", "63M")
        before = memblock.copy()
        with pytest.raises(error):
            PageAllocator.boot(memblock, **arguments)
        assert memblock == before
        PageAllocator.boot(memblock)
        with pytest.raises(MemblockDiscardedError):
            PageAllocator.boot(memblock)

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"size": "31M"}, ConfigError),
            ({"size": "65T"}, ConfigError),
            ({"size": (1 << 64) - 1}, ConfigError),
            ({"size": 1 << 64}, ValueError),
            ({"size": "x"}, ValueError),
            ({"size": -1}, ValueError),
            ({"size": None}, TypeError),
            ({"size": "1G", "nodes": 0}, ConfigError),
            ({"size": "1G", "nodes": 33}, ConfigError),
            ({"size": "1G", "nodes": 9}, ConfigError),
            ({"size": "1G", "nodes": 1 << 40}, ConfigError),
            ({"size": "1G", "nr_cpus": 0}, ConfigError),
        ],
    )
    def test_plain_machines(self, arguments: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            PageAllocator.simple(**arguments)

    def test_memory_without_a_map(self) -> None:
        with pytest.raises(ConfigError):
            PageAllocator.boot(Memblock())
        with pytest.raises(TypeError):
            PageAllocator.boot(None)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            PageAllocator()


class TestConfig:
    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"page_shift": 11}, ConfigError),
            ({"page_shift": 17}, ConfigError),
            ({"page_shift": 12.0}, TypeError),
            ({"page_shift": True}, TypeError),
            ({"MAX_ORDER": 1}, ConfigError),
            ({"MAX_ORDER": 12}, ConfigError),
            ({"MAX_ORDER": 1 << 32}, OverflowError),
            ({"MAX_ORDER": -1}, ValueError),
            ({"pageblock_order": 11}, ConfigError),
            ({"section_size_bits": 20}, ConfigError),
            ({"max_numnodes": 0}, ConfigError),
            ({"max_numnodes": 65}, ConfigError),
            ({"numa": False, "max_numnodes": 2}, ConfigError),
            ({"cma": True, "memory_isolation": False}, ConfigError),
            ({"smp": 1}, TypeError),
            ({"kernelcore": "101%"}, ValueError),
            ({"kernelcore": "-1%"}, ValueError),
            ({"kernelcore": "1.5%"}, ValueError),
            ({"kernelcore": "x"}, ValueError),
            ({"kernelcore": True}, TypeError),
            ({"kernelcore": 1 << 64}, ValueError),
            ({"movablecore": "mirror"}, ValueError),
            ({"max_possible_pfn": 1 << 50}, ConfigError),
            ({"nonsense": 1}, TypeError),
        ],
    )
    def test_impossible_options(self, options: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            Config(**options)
        with pytest.raises(error):
            Config().replace(**options)


class TestPolicy:
    def test_impossible_policies(self, machine: PageAllocator) -> None:
        for nodes in (0, [], [64], -1, "0", None):
            with pytest.raises((ValueError, TypeError, OverflowError)):
                MemPolicy.bind(nodes)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="exclude"):
            MemPolicy.bind([0], static_nodes=True, relative_nodes=True)
        with pytest.raises(ValueError, match="home node"):
            MemPolicy.bind([0], home_node=1)
        with pytest.raises(ValueError, match="none of the policy's nodes"):
            machine.alloc_pages(policy=MemPolicy.bind([7]))
        with pytest.raises(ValueError, match="exclude it"):
            machine.alloc_pages(policy=MemPolicy.bind([0]), nid=0)
        with pytest.raises(ValueError, match="exclude it"):
            machine.alloc_pages_bulk(1, policy=MemPolicy.bind([0]), nodemask=1)
        with pytest.raises(TypeError):
            machine.alloc_pages(policy=0)  # type: ignore[arg-type]


class TestLooking:
    def test_zones_and_nodes(self, machine: PageAllocator) -> None:
        zones, nodes = machine.zones, machine.nodes
        unknown: tuple[tuple[int, str] | str, ...] = ((0, "Nonsense"), (9, "DMA"), (-1, "DMA"), "Nonsense", "DMA32x")
        for key in unknown:
            with pytest.raises(KeyError):
                zones[key]
        with pytest.raises(KeyError, match="several nodes"):
            PageAllocator.simple("8G", nodes=2).zones["Normal"]
        for number in (99, -99):
            with pytest.raises(IndexError):
                zones[number]
        wrong: tuple[Any, ...] = (1.5, None, [0], (1,), (None, "DMA"), ("DMA", 0))
        for object_ in wrong:
            with pytest.raises(TypeError):
                zones[object_]
        for nid in (2, -1, 1 << 70, None, "0"):
            with pytest.raises(KeyError):
                nodes[nid]  # type: ignore[index]
            assert nid not in nodes
        assert (0, "DMA") in zones
        assert zones[0] in zones
        assert PageAllocator.simple("64M").zones[0] not in zones
        others: tuple[Any, ...] = ((0, "x"), 7, None, 1.5)
        for other in others:
            assert other not in zones

    def test_lists(self, machine: PageAllocator) -> None:
        zone = machine.zones[0]
        for order, migratetype in ((11, 0), (-1, 0), (0, 6), (0, -1), (0, 1 << 70), (1 << 40, 0)):
            with pytest.raises((ValueError, OverflowError)):
                zone.free_list(order, migratetype)
        for order, migratetype in ((4, 0), (0, 3), (10, 0)):
            with pytest.raises(ValueError, match="no per-cpu list"):
                zone.pcp(0).list(order, migratetype)
        for cpu in (2, 1 << 63):
            with pytest.raises(ValueError, match="cpus are 0 to 1"):
                zone.pcp(cpu)
        for call in (machine.extfrag_index, machine.unusable_index, zone.extfrag_index, zone.unusable_index):
            with pytest.raises(ValueError, match="MAX_ORDER"):
                call(11)

    def test_zones_of_other_machines(self, machine: PageAllocator) -> None:
        with pytest.raises(ValueError, match="another machine"):
            machine.drain(zone=PageAllocator.simple("64M").zones[0])

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("nonsense", 1, ValueError),
            ("min_free_kbytes", -1, ValueError),
            ("min_free_kbytes", 1 << 31, ValueError),
            ("min_free_kbytes", 1 << 63, OverflowError),
            ("min_free_kbytes", [], ValueError),
            ("min_free_kbytes", [1, 2], ValueError),
            ("min_free_kbytes", True, TypeError),
            ("min_free_kbytes", "1", TypeError),
            ("watermark_scale_factor", 0, ValueError),
            ("percpu_pagelist_high_fraction", 7, ValueError),
            ("lowmem_reserve_ratio", 1, ValueError),
            ("lowmem_reserve_ratio", [1, 2, 3, "4"], TypeError),
            (b"min_free_kbytes", 1, TypeError),
        ],
    )
    def test_sysctl(self, machine: PageAllocator, name: Any, value: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            machine.write_sysctl(name, value)


#: What no call should choke on.
HOSTILE = st.one_of(
    st.sampled_from([*NOT_INTEGERS, Index(5), Index("x"), Raises(), np.zeros(3, np.uint64), np.zeros(3), GFP(0xCC0)]),
    st.integers(min_value=-(1 << 70), max_value=1 << 70),
    st.integers(min_value=-2, max_value=70_000),
    st.sampled_from([0, 1, 9, 10, 11, 512, 4096, 0xCC0, 0x1000, 0x8000, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1]),
    st.text(max_size=5),
    st.binary(max_size=9),
    st.lists(st.integers(-5, 40_000), max_size=4),
    st.sampled_from(["GFP_KERNEL", "1G", "50%", "DMA", "early", "late", "min_free_kbytes"]),
)
KEYWORDS = [
    "order",
    "gfp",
    "nid",
    "nodemask",
    "policy",
    "cpu",
    "out",
    "zone",
    "migratetype",
    "start",
    "end",
    "n",
    "kinds",
]
#: Python's own exceptions that an argument may earn.
EXPECTED = (PagebuddyError, TypeError, ValueError, OverflowError, MemoryError, BufferError, ZeroDivisionError, KeyError)
METHODS = sorted(
    name
    for name in vars(PageAllocator)
    if not name.startswith("_") and callable(getattr(PageAllocator, name)) and name not in {"boot", "simple", "fork"}
)


def max_integer(values: list[Any]) -> int:
    """The largest integer among the values, at least 0."""
    return max([0, *(value for value in values if isinstance(value, int))])


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(METHODS),
    arguments=st.lists(HOSTILE, max_size=4),
    keywords=st.dictionaries(st.sampled_from(KEYWORDS), HOSTILE, max_size=2),
)
def test_no_argument_does_harm(name: str, arguments: list[Any], keywords: dict[str, Any]) -> None:
    machine = HARMED
    if name in {"page_map", "page_orders"} and max_integer([*arguments, *keywords.values()]) > 1 << 24:
        return  # an array of several terabytes is no error of the callee
    with contextlib.suppress(*EXPECTED):
        getattr(machine, name)(*arguments, **keywords)
    machine.validate()
    assert machine.config == HARMED_CONFIG


HARMED_CONFIG = Config(memory_isolation=True, cma=True, max_possible_pfn=1 << 20)
HARMED = PageAllocator.simple("64M", nr_cpus=2, config=HARMED_CONFIG)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    options=st.dictionaries(
        st.sampled_from(
            [name for name in dir(Config()) if not name.startswith("_") and name not in {"replace", "zone_names"}]
        ),
        st.one_of(HOSTILE, st.integers(0, 64), st.booleans()),
        max_size=5,
    ),
    size=st.sampled_from(["32M", "100M", "1G", "5G"]),
    stage=st.sampled_from(["early", "late"]),
)
def test_no_option_does_harm(options: dict[str, Any], size: str, stage: Any) -> None:
    try:
        config = Config(**options)
        machine = PageAllocator.simple(size, config=config, stage=stage)
    except EXPECTED:
        return
    machine.validate()
    for order in (0, 1, config.MAX_ORDER - 1):
        pfn = machine.try_alloc_pages(order)
        if pfn is not None:
            machine.free_pages(pfn, order)
    machine.validate()
    assert PageAllocator.restore(machine.snapshot()).config == config
