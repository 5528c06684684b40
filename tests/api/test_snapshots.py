"""Snapshots, forks and pickles: equal machines, independent ones, and damage of every kind."""

from __future__ import annotations

import copy
import pickle
import random
import struct
import zlib
from collections.abc import Callable

import pytest

from pagebuddy import GFP_ATOMIC, Config, PageAllocator, PagebuddyError, SnapshotError

#: Layout of a snapshot: a header, then records of a page number and a page.
HEADER, RECORD = 32, 8 + 4096

Copier = Callable[[PageAllocator], PageAllocator]
COPIERS: list[Copier] = [
    lambda machine: PageAllocator.restore(machine.snapshot()),
    lambda machine: PageAllocator.restore(bytearray(machine.snapshot())),
    lambda machine: PageAllocator.restore(memoryview(machine.snapshot())),
    PageAllocator.fork,
    copy.copy,
    copy.deepcopy,
    lambda machine: pickle.loads(pickle.dumps(machine)),
]


def used_machine(nodes: int = 1) -> PageAllocator:
    """A machine with blocks of all kinds, and pages on per-cpu lists."""
    machine = PageAllocator.simple("32M" if nodes == 1 else "64M", nr_cpus=2, nodes=nodes)
    held = [(machine.alloc_pages(order, cpu=cpu), order) for order in (0, 1, 2, 3, 4, 9) for cpu in (0, 1)]
    for pfn, order in held[::2]:
        machine.free_pages(pfn, order, cpu=0)
    return machine


def run(machine: PageAllocator, seed: int) -> list[int | None]:
    """The same random calls give the same pages on equal machines."""
    choose = random.Random(seed)
    held: list[tuple[int, int]] = []
    pfns: list[int | None] = []
    for _ in range(400):
        order = choose.choice([0, 0, 0, 1, 2, 3, 5, 9])
        pfn = machine.try_alloc_pages(
            order, choose.choice(["GFP_KERNEL", "GFP_HIGHUSER_MOVABLE"]), cpu=choose.randrange(2)
        )
        pfns.append(pfn)
        if pfn is not None:
            held.append((pfn, order))
        if held and choose.random() < 0.6:
            pfn, order = held.pop(choose.randrange(len(held)))
            machine.free_pages(pfn, order, cpu=choose.randrange(2))
    return pfns


@pytest.mark.parametrize("copier", COPIERS)
def test_copies_decide_alike_and_are_independent(copier: Copier) -> None:
    machine = used_machine()
    before = machine.snapshot()
    twin, other = copier(machine), copier(machine)
    assert twin.snapshot() == before
    assert run(twin, 1) == run(other, 1)
    assert machine.snapshot() == before
    assert run(machine, 1) == run(copier(PageAllocator.restore(before)), 1)
    for each in (machine, twin, other):
        each.validate()


def test_a_copy_outlives_the_original() -> None:
    twin = used_machine().fork()
    zone = twin.fork().zones[0]
    assert zone.managed == twin.zones[0].managed
    twin.validate()


def test_what_is_no_snapshot_is_refused() -> None:
    for bad in (b"", b"x", b"pgbimage", bytes(31), bytes(4096), pickle.dumps(Config())):
        with pytest.raises(SnapshotError):
            PageAllocator.restore(bad)
    for wrong in (None, "text", 7, [1, 2], object()):
        with pytest.raises(TypeError):
            PageAllocator.restore(wrong)  # type: ignore[arg-type]


def test_every_kind_of_damage_is_noticed() -> None:
    image = used_machine().snapshot()
    choose = random.Random(0)
    for at in [*range(HEADER + 16), *(choose.randrange(len(image)) for _ in range(500))]:
        damaged = bytearray(image)
        damaged[at] ^= 1 << choose.randrange(8)
        with pytest.raises(SnapshotError):
            PageAllocator.restore(damaged)
    for length in [*range(64), *(choose.randrange(len(image)) for _ in range(100)), len(image) - 1]:
        with pytest.raises(SnapshotError):
            PageAllocator.restore(image[:length])
    for extra in (b"\0", image):
        with pytest.raises(SnapshotError):
            PageAllocator.restore(image + extra)


def forge(image: bytes, choose: random.Random) -> bytes:
    """A snapshot with other contents and a checksum that fits them."""
    forged = bytearray(image)
    records = (len(image) - HEADER) // RECORD
    for _ in range(choose.choice([1, 1, 1, 2, 5, 20])):
        at = 0
        for _ in range(8):
            # The first pages hold the tables, the others page descriptors; most words are 0.
            record = choose.randrange(records if choose.random() < 0.5 else min(records, 14))
            at = HEADER + record * RECORD + 8 + choose.randrange(512) * 8
            if any(forged[at : at + 8]):
                break
        word = choose.choice(
            [
                choose.getrandbits(64),
                struct.unpack_from("<Q", forged, at)[0] ^ 1 << choose.randrange(64),
                choose.choice([0, 1, (1 << 31) - 1, (1 << 32) - 1, 1 << 63, (1 << 64) - 1]),
                struct.unpack_from("<Q", forged, HEADER + choose.randrange(records) * RECORD + 8)[0],
            ]
        )
        struct.pack_into("<Q", forged, at, word)
    struct.pack_into("<I", forged, 12, zlib.crc32(forged[16:]))
    return bytes(forged)


def use(machine: PageAllocator, choose: random.Random) -> None:
    """Everything that walks what a snapshot said. Only the package's own exceptions may come out."""
    for report in (machine.buddyinfo, machine.zoneinfo, machine.pagetypeinfo, machine.show_free_areas, machine.vmstat):
        assert report()
    machine.page_map(0, min(machine.end_pfn, 1 << 16))
    held = []
    for _ in range(60):
        try:
            order = choose.choice([0, 0, 0, 1, 2, 3, 5, 9, 10])
            pfn = machine.try_alloc_pages(order, choose.choice([0xCC0, GFP_ATOMIC, 0x1100CCA]), cpu=choose.randrange(2))
            if pfn is not None:
                held.append((pfn, order))
            if held and choose.random() < 0.4:
                pfn, order = held.pop(choose.randrange(len(held)))
                machine.free_pages(pfn, order)
        except (PagebuddyError, ValueError):
            pass
    machine.drain()
    try:
        machine.write_sysctl("min_free_kbytes", choose.choice([0, 2048, 2**31 - 1]))
        machine.validate()
    except (PagebuddyError, ValueError):
        pass
    machine.fork()


@pytest.mark.parametrize("seed", range(4))
def test_forged_snapshots_never_crash(seed: int, is_soak: bool) -> None:
    choose = random.Random(seed)
    image = used_machine(nodes=1).snapshot()
    restored = refused = 0
    for _ in range(20_000 if is_soak else 400):
        try:
            machine = PageAllocator.restore(forge(image, choose))
        except (SnapshotError, MemoryError):
            refused += 1
            continue
        restored += 1
        use(machine, choose)
    assert restored > 50
    assert refused > 50
