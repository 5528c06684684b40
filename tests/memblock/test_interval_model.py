"""Memblock against a byte-by-byte model, driven by hypothesis.

The model knows nothing of regions: it holds node and flags of every byte, and whether it is taken.
What the kernel's lists must look like, and where an allocation must land, follows from that.
"""

from __future__ import annotations

import dataclasses
from itertools import groupby

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pagebuddy import Memblock, MemblockFlag, MemblockNoMemoryError, MemblockRegion

# The first page is never handed out, so the interesting part begins there.
BASE = 4096
SPAN = 200

addresses = st.integers(BASE - 20, BASE + SPAN - 1)
sizes = st.integers(0, 60)
nids = st.sampled_from([None, 0, 1])
add_flags = st.sampled_from([MemblockFlag.NONE, MemblockFlag.DRIVER_MANAGED])
aligns = st.sampled_from([1, 2, 8, 16])


@dataclasses.dataclass
class Byte:
    """A byte of memory."""

    nid: int | None
    flags: int


class MemblockModel(RuleBasedStateMachine):
    """Performs the same calls on a Memblock and on the model."""

    @initialize()
    def start(self) -> None:
        self.m = Memblock()
        self.memory: dict[int, Byte] = {}
        self.taken: dict[int, int | None] = {}
        self.bottom_up = False
        self.limit = 2**64 - 1

    @rule(base=addresses, size=sizes, nid=nids, flags=add_flags)
    def add(self, base: int, size: int, nid: int | None, flags: int) -> None:
        self.m.add(base, size, nid, flags)
        for at in range(base, base + size):
            self.memory.setdefault(at, Byte(nid, flags))

    @rule(base=addresses, size=sizes)
    def remove(self, base: int, size: int) -> None:
        self.m.remove(base, size)
        for at in range(base, base + size):
            self.memory.pop(at, None)

    @rule(base=addresses, size=sizes, nid=nids)
    def reserve(self, base: int, size: int, nid: int | None) -> None:
        self.m.reserve(base, size, nid)
        for at in range(base, base + size):
            self.taken.setdefault(at, nid)

    @rule(base=addresses, size=sizes)
    def free(self, base: int, size: int) -> None:
        self.m.free(base, size)
        for at in range(base, base + size):
            self.taken.pop(at, None)

    @rule(base=addresses, size=sizes, nid=nids)
    def set_node(self, base: int, size: int, nid: int | None) -> None:
        self.m.set_node(base, size, nid)
        for at in range(base, base + size):
            if at in self.memory:
                self.memory[at].nid = nid

    @rule(base=addresses, size=sizes, flag=st.sampled_from(["hotplug", "nomap"]), on=st.booleans())
    def mark(self, base: int, size: int, flag: str, on: bool) -> None:
        getattr(self.m, f"{'mark' if on else 'clear'}_{flag}")(base, size)
        bit = int(MemblockFlag[flag.upper()])
        for at in range(base, base + size):
            if at in self.memory:
                byte = self.memory[at]
                byte.flags = byte.flags | bit if on else byte.flags & ~bit

    @rule(bottom_up=st.booleans(), limit=st.one_of(st.just(2**64 - 1), st.integers(BASE, BASE + SPAN)))
    def set_limits(self, bottom_up: bool, limit: int) -> None:
        self.m.bottom_up = bottom_up
        self.m.current_limit = limit
        self.bottom_up = bottom_up
        self.limit = limit

    @precondition(lambda self: self.memory)
    @rule(size=st.integers(1, 50), align=aligns, nid=nids, exact=st.booleans(), low=addresses)
    def alloc(self, size: int, align: int, nid: int | None, exact: bool, low: int) -> None:
        tries = [(nid, low)] if exact or nid is None else [(nid, low), (None, low)]
        tries += [(nid, 0) for nid, _ in tries]
        places = (self.place(size, align, nid, low) for nid, low in tries)
        expected = next((place for place in places if place is not None), None)
        if expected is None:
            with pytest.raises(MemblockNoMemoryError) as info:
                self.m.alloc(size, align, nid, min_addr=low, exact_nid=exact)
            assert (info.value.size, info.value.align, info.value.nid) == (size, align, nid)
        else:
            assert self.m.alloc(size, align, nid, min_addr=low, exact_nid=exact) == expected
            self.taken.update(dict.fromkeys(range(expected, expected + size), None))

    def place(self, size: int, align: int, nid: int | None, low: int) -> int | None:
        """The lowest or highest aligned place inside one free part of one region."""
        low = max(low, BASE)
        fits = []
        for region in self.free_regions():
            if nid is not None and region.nid != nid:
                continue
            first = max(region.base, low)
            last = min(region.end, self.limit) - size
            fits += [at for at in range(first, last + 1) if at % align == 0]
        if not fits:
            return None
        return min(fits) if self.bottom_up else max(fits)

    def memory_regions(self) -> list[MemblockRegion]:
        return runs({at: (byte.nid, byte.flags) for at, byte in self.memory.items()})

    def free_regions(self) -> list[MemblockRegion]:
        hidden = MemblockFlag.NOMAP | MemblockFlag.DRIVER_MANAGED
        free = []
        for region in self.memory_regions():
            if region.flags & hidden:
                continue
            inside = {at: (region.nid, region.flags) for at in range(region.base, region.end) if at not in self.taken}
            free += runs(inside)
        return free

    @invariant()
    def lists_are_the_same(self) -> None:
        assert list(self.m.memory) == self.memory_regions()
        assert list(self.m.reserved) == runs({at: (nid, 0) for at, nid in self.taken.items()})
        assert self.m.free_ranges() == self.free_regions()
        for nid in (0, 1):
            assert self.m.free_ranges(nid) == [r for r in self.free_regions() if r.nid == nid]
        assert self.m.phys_mem_size == len(self.memory)
        assert self.m.reserved_size == len(self.taken)

    @invariant()
    def copies_are_equal(self) -> None:
        assert self.m.copy() == self.m


def runs(values: dict[int, tuple[int | None, int]]) -> list[MemblockRegion]:
    """Regions of neighbouring addresses with the same node and flags."""
    found = []
    ordered = sorted(values)
    for _, group in groupby(enumerate(ordered), key=lambda item: (item[1] - item[0], values[item[1]])):
        members = [at for _, at in group]
        nid, flags = values[members[0]]
        found.append(MemblockRegion(members[0], len(members), nid, flags))
    return found


TestMemblockModel = MemblockModel.TestCase
TestMemblockModel.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
