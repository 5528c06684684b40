"""Every public method with values that make no sense: an exception and nothing changed, or an ordinary answer."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import pagebuddy
from pagebuddy import GFP, Config, Memblock, MemPolicy, PageAllocator, PageFragCache

SECTION = 1 << 15
INTEGERS = [0, 1, -1, 2, 10, 11, 63, 64, 255, 1 << 12, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63,
            (1 << 64) - 1, 1 << 64, -(1 << 63), -(1 << 70), 10**30]  # fmt: skip
OTHERS: list[Any] = [
    None, True, False, 0.0, 1.5, float("nan"), float("inf"), "", "0", "x", "4K", "-1", "\0", "\ud800", b"", b"\xff", (),
    [], [None], [-1], {}, {1: 2}, set(), object(), type, print, 1j, Decimal(3), Fraction(1, 3), np.uint8(3),
    np.int64(-5),
    np.float64(2), np.bool_(1), np.array(3), np.zeros(0, np.uint64), np.zeros((2, 2), np.uint64), np.ones(3, np.int32),
    np.full(4, (1 << 64) - 1, np.uint64), range(3), GFP(0), MemPolicy.local(), Memblock(), Config(), slice(None),
    NotImplemented,
]  # fmt: skip
VALUES = INTEGERS + OTHERS
KEYWORDS = ("cpu", "nid", "nodemask", "policy", "out", "gfp", "order", "zone", "migratetype", "align", "pagesets",
            "clock", "max_events", "kinds", "count", "nr_cpus", "unknown")  # fmt: skip

#: Copies are made by the test itself; what is registered would call garbage later.
LEFT_OUT = {"fork", "snapshot", "register_shrinker", "on_event", "simple", "boot", "restore"}


def make() -> PageAllocator:
    memblock = Memblock()
    memblock.add("1M", "127M")
    config = Config(memory_isolation=True, max_possible_pfn=4 * SECTION)
    return PageAllocator.boot(memblock, nr_cpus=2, config=config)


def public(owner: object) -> list[str]:
    return [name for name in dir(owner) if not name.startswith("_") and name not in LEFT_OUT]


def arguments(chance: random.Random, known: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    pool = VALUES + known * 3
    positional = [chance.choice(pool) for _ in range(chance.choice((0, 1, 1, 2, 2, 3)))]
    names = chance.sample(KEYWORDS, chance.choice((0, 0, 1, 1, 2)))
    return positional, {name: chance.choice(pool) for name in names}


def is_too_long(positional: list[Any], named: dict[str, Any]) -> bool:
    """Huge but valid counts make long lists; they are not what is tested."""
    return any(isinstance(value, int) and 1 << 20 < value < 1 << 40 for value in [*positional, *named.values()])


def attack(call: Callable[..., object], positional: list[Any], named: dict[str, Any]) -> Exception | None:
    """What the call raised; a panic is no Exception and goes through."""
    try:
        call(*positional, **named)
    except Exception as error:
        return error
    return None


def may_change(error: Exception | None) -> bool:
    """A call that is refused changes nothing. One that fails for want of memory counts that it looked for it, and one
    for a range drains per-cpu lists before it knows."""
    return error is None or isinstance(error, (pagebuddy.AllocationFailed, pagebuddy.RangeBusyError))


@pytest.mark.parametrize("seed", range(8))
def test_methods_of_an_allocator(seed: int) -> None:
    chance = random.Random(seed)
    machine = make()
    held = [machine.alloc_pages(order, cpu=0) for order in (0, 1, 3, 4, 9)]
    known = [*held, held[2] + 1, 0x1000, 512, 1024, 0, 1, 3, machine.zones[0], machine.end_pfn]
    before = machine.snapshot()
    for _ in range(1500):
        name = chance.choice(public(machine))
        member = getattr(machine, name)
        positional, named = arguments(chance, known)
        if is_too_long(positional, named):
            continue
        if callable(member):
            error = attack(member, positional, named)
        else:
            error = attack(setattr, [machine, name, *positional[:1]], {})
        if may_change(error):
            before = machine.snapshot()
        else:
            assert machine.snapshot() == before, (name, positional, named)
    machine.validate()


@pytest.mark.parametrize("seed", range(4))
def test_methods_of_its_parts(seed: int) -> None:
    chance = random.Random(seed)
    machine = make()
    cache = machine.page_frag_cache(cpu=1)
    trace = machine.trace()
    parts: list[Any] = [machine.zones, machine.nodes, machine.zones[1], machine.nodes[0], machine.page(0x1000), cache,
                        trace, machine.zones[1].pcp(0), MemPolicy.local(), Config()]  # fmt: skip
    for _ in range(2000):
        part = chance.choice(parts)
        positional, named = arguments(chance, [0, 1, (0, "DMA32"), "DMA"])
        if is_too_long(positional, named):
            continue
        name = chance.choice([*public(part), "__getitem__", "__contains__", "__eq__", "__call__", "__setstate__"])
        member = getattr(part, name, None)
        if callable(member):
            attack(member, positional, named)
    machine.validate()


@pytest.mark.parametrize("seed", range(4))
def test_making_things(seed: int) -> None:
    chance = random.Random(seed)
    makers: list[Callable[..., object]] = [
        PageAllocator.simple, PageAllocator.boot, PageAllocator.restore, Memblock, Config, MemPolicy.bind,
        MemPolicy.interleave, MemPolicy.preferred, MemPolicy.preferred_many, PageAllocator, PageFragCache,
        pagebuddy.replay, GFP, pagebuddy.MigrateType, Memblock.from_iomem, Memblock.from_dmesg,
    ]  # fmt: skip
    for _ in range(600):
        positional, named = arguments(chance, ["16M", make().snapshot()[:100], "/dev/null", "/nowhere"])
        if not is_too_long(positional, named):
            attack(chance.choice(makers), positional, named)


@pytest.mark.parametrize("value", [True, 1, np.int64(1), 2.0, None])
def test_paths_are_no_file_descriptors(value: Any) -> None:
    with pytest.raises(TypeError, match="expected str, bytes or"):
        pagebuddy.replay(value)
    os.fstat(1)


def test_what_remains_of_a_copy() -> None:
    """A copy outlives its origin, and parts outlive both."""
    machine = make()
    copy = machine.fork()
    zone, page, cache = copy.zones[1], copy.page(0x1000), copy.page_frag_cache()
    piece = cache.alloc(100)
    del machine, copy
    assert zone.managed > 0
    assert page.pfn == 0x1000
    cache.free(piece)
    cache.drain()
    other = make().page_frag_cache()
    with pytest.raises(pagebuddy.BadPageError):
        other.free(piece)
