"""Every kind of wrong free: told by its reason, and nothing happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagebuddy import GFP, GFP_KERNEL, BadPageError, Config, Memblock, PageAllocator, PageState

#: What is freed, with which order, and what is wrong with it.
Case = Callable[[PageAllocator], tuple[int, int]]


def order_2_block(machine: PageAllocator) -> int:
    return machine.alloc_pages(2, cpu=0)


def left_by_put_page(machine: PageAllocator) -> int:
    """The second page of a block of which only the first one was given back."""
    pfn = order_2_block(machine)
    machine.put_page(pfn)
    return pfn + 1


def freed(machine: PageAllocator, order: int, *, drained: bool) -> int:
    pfn = machine.alloc_pages(order, cpu=0)
    machine.free_pages(pfn, order, cpu=0)
    if drained:
        machine.drain()
    return pfn


CASES: dict[str, tuple[Case, str]] = {
    "double free, on a per-cpu list": (lambda m: (freed(m, 0, drained=False), 0), "already free"),
    "double free, in the buddy lists": (lambda m: (freed(m, 0, drained=True), 0), "already free"),
    "double free of a large block": (lambda m: (freed(m, 6, drained=False), 6), "already free"),
    "never allocated": (lambda m: (m.zones[0, "DMA32"].free_list(10, 1)[0], 10), "already free"),
    "inside a free block": (lambda m: (m.zones[0, "DMA32"].free_list(10, 1)[0] + 3, 0), "already free"),
    "smaller order": (lambda m: (order_2_block(m), 1), "another order"),
    "larger order": (lambda m: (m.alloc_pages(3, cpu=0), 4), "another order"),
    "order 0 of a block": (lambda m: (order_2_block(m), 0), "another order"),
    "interior page": (lambda m: (order_2_block(m) + 1, 0), "inside an allocated block"),
    "interior half": (lambda m: (order_2_block(m) + 2, 1), "inside an allocated block"),
    "unaligned": (lambda m: (order_2_block(m) + 1, 2), "not aligned"),
    "interior of a compound page": (lambda m: (m.alloc_pages(5, GFP_KERNEL | GFP.COMP) + 17, 0), "inside an allocated"),
    "poisoned": (
        lambda m: ((pfn := m.zones[0, "DMA32"].free_list(10, 1)[0]), m.take_page_off_buddy(pfn), (pfn, 0))[2],
        "off the lists",
    ),
    "reserved": (lambda _: (0x1000, 0), "reserved"),
    "reserved, larger": (lambda _: (0x1000, 3), "reserved"),
    "hole": (lambda _: (0, 0), "no page descriptor|reserved"),
    "device hole": (lambda _: (0xC0000, 0), "no page descriptor"),
    "beyond memory": (lambda _: (1 << 30, 0), "no page descriptor"),
    "order too large": (lambda m: (order_2_block(m), 11), "not below MAX_ORDER"),
    "left by put_page": (lambda m: (left_by_put_page(m), 0), "in use"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_free_changes_nothing(name: str) -> None:
    prepare, reason = CASES[name]
    machine = PageAllocator.simple("64M", nr_cpus=2)
    pfn, order = prepare(machine)
    before = machine.snapshot()
    for cpu in (None, 0, 1):
        with pytest.raises(BadPageError, match=reason) as bad:
            machine.free_pages(pfn, order, cpu=cpu)
        assert bad.value.pfn == pfn
        assert isinstance(bad.value, ValueError)
        assert machine.snapshot() == before
    machine.validate()


def test_bulk_and_exact_frees_are_checked_alike() -> None:
    machine = PageAllocator.simple("64M")
    block = machine.alloc_pages(2, cpu=0)
    before = machine.snapshot()
    for wrong in (block, block + 1, 0x1000, 0):
        with pytest.raises(BadPageError):
            machine.free_pages_bulk([wrong])
        with pytest.raises(BadPageError):
            machine.free_pages_exact(wrong, 4096)
    assert machine.snapshot() == before


def test_what_is_wrong_in_a_bulk_is_said() -> None:
    machine = PageAllocator.simple("64M")
    pfns = machine.alloc_pages_bulk(4, cpu=0).tolist()
    with pytest.raises(BadPageError, match="already free") as bad:
        machine.free_pages_bulk([*pfns, pfns[1]])
    assert bad.value.pfn == pfns[1]
    machine.get_page(pfns[2])
    with pytest.raises(BadPageError, match="other references") as bad:
        machine.free_pages_bulk(pfns)
    assert bad.value.pfn == pfns[2]
    machine.put_page(pfns[2])
    machine.free_pages_bulk(pfns)


def test_references_have_a_limit() -> None:
    machine = PageAllocator.simple("64M")
    pfn = machine.alloc_pages()
    for _ in range((1 << 20) - 2):
        machine.get_page(pfn)
    with pytest.raises(BadPageError, match="as many references"):
        machine.get_page(pfn)
    assert machine.page(pfn).refcount == (1 << 20) - 1
    head = machine.alloc_pages(4, GFP_KERNEL | GFP.COMP)
    for i in range((1 << 20) - 2):
        machine.get_page(head + i % 16)
    for i in range(16):
        with pytest.raises(BadPageError, match="as many references") as bad:
            machine.get_page(head + i)
        assert bad.value.pfn == head + i
    assert machine.page(head).refcount == (1 << 20) - 1


def test_compound_blocks_are_not_split() -> None:
    machine = PageAllocator.simple("64M")
    pfn = machine.alloc_pages(2, GFP_KERNEL | GFP.COMP)
    with pytest.raises(BadPageError, match="compound"):
        machine.split_page(pfn, 2)
    machine.free_pages(pfn, 2)


def test_a_failed_exact_free_frees_no_page() -> None:
    machine = PageAllocator.simple("64M")
    pfn = machine.alloc_pages_exact(3 * 4096, cpu=0)
    with pytest.raises(BadPageError):
        machine.free_pages_exact(pfn, 5 * 4096)
    assert [machine.page(pfn + i).state for i in range(3)] == [PageState.ALLOCATED] * 3
    machine.free_pages_exact(pfn, 3 * 4096)


def test_pages_of_other_page_sizes() -> None:
    memblock = Memblock(page_size="16K")
    memblock.add("16M", "64M")
    machine = PageAllocator.boot(memblock, config=Config(page_shift=14, section_size_bits=28))
    pfn = machine.alloc_pages(1, cpu=0)
    assert (16 << 20) >> 14 <= pfn < (80 << 20) >> 14
    with pytest.raises(BadPageError):
        machine.free_pages(pfn)
    machine.free_pages(pfn, 1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_frees_among_random_allocations(data: st.DataObject) -> None:
    """Whatever is freed, only blocks that are held are accepted."""
    machine = PageAllocator.simple("32M", nr_cpus=2)
    held: dict[int, int] = {}
    for _ in range(data.draw(st.integers(1, 60))):
        order = data.draw(st.integers(0, 10))
        if data.draw(st.booleans()):
            pfn = machine.try_alloc_pages(order, cpu=data.draw(st.integers(0, 1)))
            if pfn is not None:
                held[pfn] = order
            continue
        known = st.sampled_from(sorted(held)) if held else st.nothing()
        pfn = data.draw(known | st.integers(0, 9000))
        if data.draw(st.booleans()) and pfn in held:
            order = held[pfn]
        if held.get(pfn) == order:
            machine.free_pages(pfn, order)
            del held[pfn]
        else:
            before = machine.snapshot()
            with pytest.raises(BadPageError):
                machine.free_pages(pfn, order)
            assert machine.snapshot() == before
    machine.validate()
    for pfn, order in held.items():
        machine.free_pages(pfn, order)
    machine.drain()
    machine.validate()
