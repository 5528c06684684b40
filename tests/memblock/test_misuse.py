"""Wrong arguments raise, and nothing changes."""

from __future__ import annotations

import contextlib
import pickle
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagebuddy import Memblock, MemblockError, MemblockRegion, PagebuddyError

if TYPE_CHECKING:
    from collections.abc import Callable

LAST = 2**64 - 1
NR_ONE_RANGE = ["add", "remove", "reserve", "free", "mark_hotplug", "mark_nomap", "mark_mirror", "cap_memory_range"]


def small() -> Memblock:
    m = Memblock()
    m.add(0, "1M")
    m.reserve(0, 4096)
    return m


@pytest.mark.parametrize("method", NR_ONE_RANGE)
@pytest.mark.parametrize(
    "bad", [-1, 2**64, -(2**200), 10**300, "", "-1", "1.5G", "M", "16E", "0x", "many", "\x00", "٣"]
)
def test_bad_numbers(method: str, bad: int | str) -> None:
    m = small()
    before = m.copy()
    for args in ((bad, 1), (0, bad)):
        with pytest.raises(ValueError, match=r"must be 0 to|not a number of bytes") as info:
            getattr(m, method)(*args)
        assert len(str(info.value)) < 300
    assert m == before


@pytest.mark.parametrize("method", NR_ONE_RANGE)
@pytest.mark.parametrize("bad", [None, 1.0, b"1", [], object(), float("nan"), 1j])
def test_wrong_types(method: str, bad: object) -> None:
    m = small()
    before = m.copy()
    for args in ((bad, 1), (0, bad), ()):
        with pytest.raises(TypeError):
            getattr(m, method)(*args)
    assert m == before


def test_an_index_that_misbehaves() -> None:
    class Raises:
        def __index__(self) -> int:
            raise RuntimeError("no")

    class Text:
        def __index__(self) -> str:
            return "1"  # noqa: PLE0305 - that is the point

    m = small()
    with pytest.raises(RuntimeError):
        m.add(Raises(), 1)
    with pytest.raises(TypeError):
        m.add(Text(), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.add(0, 1, nid=-1),
        lambda m: m.add(0, 1, nid=1024),
        lambda m: m.add(0, 1, flags=16),
        lambda m: m.add(0, 1, flags=-1),
        lambda m: m.reserve(0, 1, nid=2**40),
        lambda m: m.set_node(0, 1, 0, "free"),
        lambda m: m.free_ranges(-1),
        lambda m: m.free_ranges(None, 99),
        lambda m: m.pfn_ranges(5000),
        lambda m: m.alloc(0),
        lambda m: m.alloc(-1),
        lambda m: m.alloc(1, 3),
        lambda m: m.alloc(1, 1 << 64),
        lambda m: m.alloc(1, nid=-2),
        lambda m: m.alloc_range(1, 12),
        lambda m: m.trim_memory(0),
        lambda m: m.trim_memory(4095),
        lambda _: Memblock(page_size=0),
        lambda _: Memblock(page_size=2048),
        lambda _: Memblock(page_size=5000),
        lambda _: Memblock(page_size="1M"),
        lambda _: Memblock(resize="sometimes"),  # type: ignore[arg-type]
        lambda _: MemblockRegion(LAST, 1),
        lambda _: MemblockRegion(-1, 1),
        lambda _: MemblockRegion(0, 1, flags=64),
        lambda _: Memblock._from_image(b""),
        lambda _: Memblock._from_image(b"\xff" * 400),
    ],
)
def test_bad_values(call: Callable[[Memblock], object]) -> None:
    m = small()
    before = m.copy()
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        call(m)
    assert m == before


def test_overlaps_and_empties_follow_the_kernel() -> None:
    m = small()
    before = m.copy()
    m.add(0, 0)
    m.add(0, "1M", nid=7)
    m.reserve(0, 10)
    m.reserve(5, 0)
    m.free("2M", "1M")
    m.remove("2M", "1M")
    assert m == before
    m.add(LAST, 10)
    assert m == before, "the last address is never part of a range"
    m.add(LAST - 5, LAST)
    assert m.memory[-1] == MemblockRegion(LAST - 5, 5, 0)
    m.reserve(LAST - 100, "8E")
    assert m.reserved[-1].end == LAST
    m.remove(0, LAST)
    m.free(0, LAST)
    assert m.memory == m.reserved == ()


def test_unaligned_ranges_keep_every_byte() -> None:
    m = Memblock()
    m.add(3, 10)
    m.reserve(5, 1)
    assert [(r.base, r.end) for r in m.free_ranges()] == [(3, 5), (6, 13)]
    assert m.pfn_ranges() == []


def test_impossible_alignments_fail_cleanly() -> None:
    m = small()
    for bottom_up in (False, True):
        m.bottom_up = bottom_up
        for shift in range(21, 64):
            with pytest.raises(MemoryError):
                m.alloc(1, 1 << shift)
    with pytest.raises(MemoryError):
        m.alloc(LAST)


number = st.one_of(st.integers(0, LAST), st.integers(0, 300), st.integers(LAST - 300, LAST))
ranged = st.tuples(st.sampled_from(NR_ONE_RANGE), number, number)
others = st.one_of(
    st.tuples(st.just("alloc"), number, st.integers(0, 63).map(lambda shift: 1 << shift)),
    st.tuples(st.just("trim_memory"), st.integers(0, 63).map(lambda shift: 1 << shift)),
    st.tuples(st.sampled_from(["enforce_memory_limit", "mem_limit_remove_map"]), number),
    st.tuples(st.just("discard")),
)


@settings(deadline=None)
@given(st.lists(st.one_of(ranged, ranged, others), max_size=60), st.sampled_from(["elsewhere", "in_memory", "refused"]))
def test_any_calls_keep_the_lists_sound(
    calls: list[tuple[object, ...]], resize: Literal["elsewhere", "in_memory", "refused"]
) -> None:
    m = Memblock(resize=resize)
    for name, *args in calls:
        with contextlib.suppress(PagebuddyError):
            getattr(m, str(name))(*args)
        for regions in (m.memory, m.reserved):
            assert all(r.size > 0 and r.base + r.size <= LAST for r in regions)
            assert all(a.end <= b.base for a, b in pairwise(regions))
        assert pickle.loads(pickle.dumps(m)) == m


@settings(deadline=None)
@given(st.binary(max_size=600), st.integers(0, 5000), st.integers(0, 255))
def test_damaged_pickles_raise(junk: bytes, position: int, value: int) -> None:
    m = small()
    m.allow_resize()
    for index in range(130):
        m.reserve(8192 + index * 16, 8)
    reduced = m.__reduce__()
    assert isinstance(reduced, tuple)
    restore, (image,) = reduced
    assert restore(image) == m
    damaged = bytearray(image)
    damaged[position % len(damaged)] = value
    for candidate in (junk, bytes(damaged), image[: position % len(image)], image + junk):
        try:
            restored = Memblock._from_image(candidate)
        except MemblockError:
            continue
        # Whatever is accepted works.
        restored.memory, restored.reserved, str(restored), repr(restored)
        with contextlib.suppress(PagebuddyError):
            restored.alloc(64)
            restored.reserve(1, 1)
