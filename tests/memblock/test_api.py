"""What each call of Memblock does."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pagebuddy import (
    Memblock,
    MemblockDiscardedError,
    MemblockFlag,
    MemblockNoMemoryError,
    MemblockRegion,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20


@pytest.fixture
def m() -> Memblock:
    """64 MiB on node 0 and 64 MiB on node 1, the first MiB taken."""
    memblock = Memblock()
    memblock.add(0, "64M")
    memblock.add("64M", "64M", nid=1)
    memblock.reserve(0, "1M")
    return memblock


def test_regions(m: Memblock) -> None:
    assert m.memory == (MemblockRegion(0, 64 * MIB, 0), MemblockRegion(64 * MIB, 64 * MIB, 1))
    assert m.reserved == (MemblockRegion(0, MIB),)
    region = m.memory[1]
    assert (region.base, region.size, region.end, region.nid, region.flags) == (64 * MIB, 64 * MIB, 128 * MIB, 1, 0)
    assert repr(region) == "<MemblockRegion [0x4000000-0x7ffffff] nid=1>"
    flags = MemblockFlag.HOTPLUG | MemblockFlag.NOMAP
    assert repr(MemblockRegion(0, 1, flags=flags)) == "<MemblockRegion [0x0-0x0] nid=None flags=HOTPLUG|NOMAP>"
    assert repr(MemblockRegion(4096, 0)) == "<MemblockRegion [0x1000, empty] nid=None>"
    assert len({region, MemblockRegion(64 * MIB, 64 * MIB, 1), m.memory[0]}) == 2
    assert pickle.loads(pickle.dumps(region)) == region
    with pytest.raises(AttributeError):
        region.base = 1  # type: ignore[misc]


def test_sizes_are_integers_or_text() -> None:
    m = Memblock()
    m.add(np.uint64(1 << 20), "0x100000")
    m.add("2M", np.int32(4096))
    m.add("2052k", "4KiB")
    assert m.memory == (MemblockRegion(MIB, MIB + 8192, 0),)


def test_allocation(m: Memblock) -> None:
    assert m.alloc("1M", align="2M") == 126 * MIB
    assert m.alloc(4096, 4096, nid=0) == 64 * MIB - 4096
    assert m.alloc(100) == 128 * MIB - 128
    assert m.alloc(4096, 4096, max_addr="32M") == 32 * MIB - 4096
    assert m.alloc(4096, 4096, nid=0, min_addr="100M") == 127 * MIB + MIB - 8192
    assert m.alloc_range(4096, 4096, "1M", "2M") == 2 * MIB - 4096
    with pytest.raises(MemoryError) as info:
        m.alloc("65M", "4K", nid=1, exact_nid=True)
    assert isinstance(info.value, MemblockNoMemoryError)
    assert (info.value.size, info.value.align, info.value.nid) == (65 * MIB, 4096, 1)
    assert "for node 1" in str(info.value)
    assert pickle.loads(pickle.dumps(info.value)).size == 65 * MIB
    with pytest.raises(MemblockNoMemoryError):
        m.alloc_range("2M", 0, "1M", "2M")
    m.bottom_up = True
    assert m.alloc(4096, 4096) == MIB
    m.current_limit = "2M"
    assert m.current_limit == 2 * MIB
    with pytest.raises(MemblockNoMemoryError):
        m.alloc("1M", 4096)


def test_flags_nodes_and_queries(m: Memblock) -> None:
    m.mark_nomap("2M", "1M")
    assert m.memory[1] == MemblockRegion(2 * MIB, MIB, 0, MemblockFlag.NOMAP)
    assert m.is_memory("2M")
    assert not m.is_map_memory("2M")
    assert [r.base for r in m.free_ranges(0)] == [MIB, 3 * MIB]
    assert [r.flags for r in m.free_ranges(0, MemblockFlag.NOMAP)] == [0, MemblockFlag.NOMAP, 0]
    m.clear_nomap(0, "128M")
    m.mark_hotplug("64M", "64M")
    assert len(m.free_ranges()) == 2
    m.movable_node = True
    assert m.movable_node
    assert len(m.free_ranges()) == 1
    m.clear_hotplug("64M", "64M")
    before = m.some_mirror
    m.mark_mirror("4M", "4K")
    assert (before, m.some_mirror) == (False, True)
    assert m.alloc(4096) == 4 * MIB
    m.set_node("1M", "1M", 5)
    m.set_node(0, "4K", 5, "reserved")
    assert m.reserved[0] == MemblockRegion(0, 4096, 5)
    assert m.pfn_ranges(5) == [(256, 512, 5)]
    assert m.is_reserved(0)
    assert m.is_region_reserved(MIB - 1, 2)
    assert m.is_region_memory("64M", "64M")
    assert not m.is_region_memory("63M", "2M")
    assert (m.start_of_dram, m.end_of_dram, m.page_size) == (0, 128 * MIB, 4096)


def test_limits(m: Memblock) -> None:
    m.enforce_memory_limit("100M")
    assert m.end_of_dram == 100 * MIB
    m.mark_nomap("80M", "4M")
    m.mem_limit_remove_map("50M")
    assert [r.base for r in m.memory] == [0, 80 * MIB]
    m.cap_memory_range("10M", "10M")
    assert m.memory[0] == MemblockRegion(10 * MIB, 10 * MIB, 0)
    m.add("200M", 4097)
    m.trim_memory(4096)
    assert m.memory[-1].size == 4096


def test_lists_grow(m: Memblock) -> None:
    for index in range(5000):
        m.reserve(MIB + index * 4096, 64)
    assert len(m.reserved) == 5000
    for index in range(3000):
        m.free(MIB + index * 4096, 64)
    assert len(m.reserved) == 2001

    fixed = Memblock(resize="refused")
    fixed.add(0, "64M")
    for index in range(128):
        fixed.reserve(index * 4096, 64)
    before = fixed.copy()
    with pytest.raises(MemblockNoMemoryError, match="cannot grow"):
        fixed.reserve("1M", 64)
    assert fixed == before
    fixed.allow_resize()
    assert fixed.resize == "in_memory"
    fixed.reserve("1M", 64)
    assert fixed.reserved[-1] == MemblockRegion(64 * MIB - 8192, 8192)
    assert fixed.discard() == [16382, 16383]


def test_dump_and_repr(m: Memblock) -> None:
    assert repr(m) == "<Memblock memory=131072K in 2 regions, reserved=1024K in 1 region>"
    assert str(m).splitlines() == [
        "MEMBLOCK configuration:",
        " memory size = 0x0000000008000000 reserved size = 0x0000000000100000",
        " memory.cnt  = 0x2",
        " memory[0x0]\t[0x0000000000000000-0x0000000003ffffff], 0x0000000004000000 bytes on node 0 flags: 0x0",
        " memory[0x1]\t[0x0000000004000000-0x0000000007ffffff], 0x0000000004000000 bytes on node 1 flags: 0x0",
        " reserved.cnt  = 0x1",
        " reserved[0x0]\t[0x0000000000000000-0x00000000000fffff], 0x0000000000100000 bytes flags: 0x0",
    ]
    assert str(Memblock.from_dmesg(str(m))) == str(m)


def test_copies_are_independent_and_equal(m: Memblock) -> None:
    m.allow_resize()
    for other in (m.copy(), copy.copy(m), copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert other == m
        assert (other != m) is False
        other.reserve("100M", 1)
        assert other != m
    assert m != 1
    assert m.__eq__(1) is NotImplemented
    with pytest.raises(TypeError):
        hash(m)


def test_sealed_after_hand_over(m: Memblock) -> None:
    assert m.discard() == []
    assert m.discarded
    assert "discarded" in repr(m)
    before = (m.memory, m.reserved)
    calls: list[Callable[[], object]] = [
        lambda: m.add(0, 1),
        lambda: m.add(0, 0),
        lambda: m.remove(0, 1),
        lambda: m.reserve(0, 1),
        lambda: m.free(0, 1),
        lambda: m.alloc(1),
        lambda: m.alloc_range(1),
        lambda: m.mark_hotplug(0, 1),
        lambda: m.clear_hotplug(0, 1),
        lambda: m.mark_mirror(0, 1),
        lambda: m.mark_nomap(0, 1),
        lambda: m.clear_nomap(0, 1),
        lambda: m.set_node(0, 1, 0),
        lambda: m.trim_memory(4096),
        lambda: m.enforce_memory_limit(1),
        lambda: m.cap_memory_range(0, 1),
        lambda: m.mem_limit_remove_map(1),
        m.allow_resize,
        m.discard,
        lambda: setattr(m, "current_limit", 1),
        lambda: setattr(m, "bottom_up", True),
        lambda: setattr(m, "movable_node", True),
        lambda: m.copy().add(0, 1),
        lambda: pickle.loads(pickle.dumps(m)).add(0, 1),
    ]
    for call in calls:
        with pytest.raises(MemblockDiscardedError):
            call()
    assert (m.memory, m.reserved) == before
    assert m.free_ranges()


def test_threads_share_one_memblock() -> None:
    m = Memblock()
    m.add("1M", "64M")
    nr_threads, nr_calls = 4, 200
    found: list[list[int]] = [[] for _ in range(nr_threads)]
    start = threading.Barrier(nr_threads)

    def work(mine: list[int]) -> None:
        start.wait()
        for _ in range(nr_calls):
            mine.append(m.alloc(4096, 4096))
            assert len(m.free_ranges()) >= 1

    threads = [threading.Thread(target=work, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    addresses = [address for mine in found for address in mine]
    assert len(set(addresses)) == nr_threads * nr_calls
    assert m.reserved_size == nr_threads * nr_calls * 4096
