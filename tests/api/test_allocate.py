"""Allocating and freeing: what comes back, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

import pagebuddy
from pagebuddy import (
    GFP,
    GFP_ATOMIC,
    GFP_KERNEL,
    AllocationFailed,
    BadPageError,
    MigrateType,
    PageAllocator,
    PageState,
    WouldLoopForever,
)


@pytest.fixture
def machine() -> PageAllocator:
    return PageAllocator.simple("64M", nr_cpus=2)


def test_a_block_is_aligned_and_handed_out_once(machine: PageAllocator) -> None:
    taken: set[int] = set()
    for order in range(11):
        pfn = machine.alloc_pages(order, cpu=0)
        block = set(range(pfn, pfn + (1 << order)))
        assert pfn % (1 << order) == 0
        assert not block & taken
        assert {machine.page(page).state for page in block} == {PageState.ALLOCATED}
        taken |= block
    machine.validate()


def test_everything_comes_back(machine: PageAllocator) -> None:
    before = machine.buddyinfo()
    blocks = [(machine.alloc_pages(order, cpu=1), order) for order in (0, 3, 10, 1, 5, 9) for _ in range(3)]
    for pfn, order in blocks:
        machine.free_pages(pfn, order, cpu=1)
    assert machine.drain()
    machine.validate()
    assert machine.buddyinfo() == before


def test_exhaustion_fails_with_a_report(machine: PageAllocator) -> None:
    while machine.try_alloc_pages(0, GFP_ATOMIC, cpu=0) is not None:
        pass
    with pytest.raises(AllocationFailed) as failure:
        machine.alloc_pages(0, GFP_ATOMIC, cpu=0)
    assert isinstance(failure.value, MemoryError)
    assert (failure.value.order, failure.value.gfp) == (0, GFP_ATOMIC)
    report = failure.value.report.splitlines()
    assert report[0].startswith("python: page allocation failure: order:0, mode:0xa20(GFP_ATOMIC), nodemask=(null)")
    assert any(line.startswith("Node 0 DMA32: ") and line.endswith("kB") for line in report)
    assert failure.value.report is failure.value.report
    machine.validate()


def test_an_order_beyond_the_largest_fails_like_the_kernel(machine: PageAllocator) -> None:
    for order in (11, 12, 64, 2**32 - 1):
        with pytest.raises(AllocationFailed) as failure:
            machine.alloc_pages(order)
        assert failure.value.order == order
        assert machine.try_alloc_pages(order) is None


def test_what_would_never_return_is_told(machine: PageAllocator) -> None:
    gfp = GFP_KERNEL | GFP.NOFAIL
    while machine.try_alloc_pages(0, GFP_KERNEL | GFP.MEMALLOC, cpu=0) is not None:
        pass
    with pytest.raises(WouldLoopForever):
        machine.alloc_pages(0, gfp, cpu=0)
    assert machine.try_alloc_pages(0, gfp, cpu=0) is None


def test_gfp_is_a_mask_a_number_or_text() -> None:
    machines = [PageAllocator.simple("64M") for _ in range(3)]
    masks: list[GFP | int | str] = [GFP.GFP_HIGHUSER_MOVABLE, 0x1100CCA, "GFP_HIGHUSER_MOVABLE"]
    assert len({machine.alloc_pages(0, gfp) for machine, gfp in zip(machines, masks, strict=True)}) == 1


def test_exact_pages(machine: PageAllocator) -> None:
    pfn = machine.alloc_pages_exact(5 * 4096 - 1, cpu=0)
    assert [machine.page(pfn + i).state for i in range(8)] == [PageState.ALLOCATED] * 5 + [PageState.PCP] * 3
    machine.free_pages_exact(pfn, 5 * 4096, cpu=0)
    with pytest.raises(BadPageError) as bad:
        machine.free_pages_exact(pfn, 4096)
    assert bad.value.pfn == pfn
    machine.validate()


def test_references_keep_a_page(machine: PageAllocator) -> None:
    pfn = machine.alloc_pages(0, cpu=0)
    machine.get_page(pfn)
    assert machine.page(pfn).refcount == 2
    machine.free_pages(pfn)
    machine.put_page(pfn)
    with pytest.raises(BadPageError):
        machine.put_page(pfn)
    with pytest.raises(BadPageError):
        machine.get_page(pfn)


def test_a_held_block_frees_all_but_its_first_page(machine: PageAllocator) -> None:
    """The kernel's own example: order 3 with two references."""
    pfn = machine.alloc_pages(3, cpu=0)
    machine.get_page(pfn)
    machine.free_pages(pfn, 3, cpu=0)
    states = [machine.page(pfn + i).state for i in range(8)]
    assert states[0] == PageState.ALLOCATED
    assert PageState.ALLOCATED not in states[1:]
    machine.put_page(pfn, cpu=0)
    machine.drain()
    machine.validate()


def test_any_page_of_a_compound_block_stands_for_its_head(machine: PageAllocator) -> None:
    for order in (1, 3, 10):
        head = machine.alloc_pages(order, GFP_KERNEL | GFP.COMP, cpu=0)
        tails = [head + 1, head + (1 << order) // 2, head + (1 << order) - 1]
        for tail in tails:
            machine.get_page(tail)
        assert machine.page(head).refcount == 4
        with pytest.raises(BadPageError):
            machine.free_pages(tails[0])
        for pfn in (head, *tails[:2]):
            machine.put_page(pfn, cpu=0)
        assert machine.page(head).state == PageState.ALLOCATED
        machine.put_page(tails[2], cpu=0)
        for pfn in (head, *tails):
            assert machine.page(pfn).state in (PageState.PCP, PageState.BUDDY)
            for use in (machine.get_page, machine.put_page):
                with pytest.raises(BadPageError, match="already free"):
                    use(pfn)
    machine.drain()
    machine.validate()


def test_pages_inside_other_blocks_have_no_references(machine: PageAllocator) -> None:
    pfn = machine.alloc_pages(3, cpu=0)
    for inside in (pfn + 1, pfn + 4, pfn + 7):
        for use in (machine.get_page, machine.put_page):
            with pytest.raises(BadPageError, match="inside an allocated block"):
                use(inside)
    assert machine.page(pfn).refcount == 1
    machine.free_pages(pfn, 3)


def test_split_pages_are_freed_one_by_one(machine: PageAllocator) -> None:
    pfn = machine.alloc_pages(2, cpu=0)
    machine.split_page(pfn, 2)
    for page in range(pfn, pfn + 4):
        machine.free_pages(page, cpu=0)
    compound = machine.alloc_pages(2, GFP_KERNEL | GFP.COMP)
    with pytest.raises(BadPageError):
        machine.split_page(compound, 2)
    machine.validate()


def test_nodes() -> None:
    machine = PageAllocator.simple("256M", nodes=2, nr_cpus=2)
    assert [machine.page(machine.alloc_pages(nid=nid)).nid for nid in (1, 0)] == [1, 0]
    assert [machine.page(machine.alloc_pages(cpu=cpu)).nid for cpu in (1, 0)] == [1, 0]
    assert machine.page(machine.alloc_pages(nid=0, nodemask=[1])).nid == 1
    assert machine.page(machine.alloc_pages(nid=-1, nodemask=0b10)).nid == 1


def test_migratetypes_have_lists_of_their_own(machine: PageAllocator) -> None:
    machine.free_pages(machine.alloc_pages(0, "GFP_HIGHUSER_MOVABLE", cpu=0), cpu=0)
    movable = machine.zones[0, "DMA32"].pcp(0).list(0, MigrateType.MOVABLE)
    assert len(movable) == 1
    assert machine.page(movable[0]).migratetype is MigrateType.MOVABLE


class TestBulk:
    def test_new_array(self, machine: PageAllocator) -> None:
        pfns = machine.alloc_pages_bulk(100, cpu=0)
        assert pfns.dtype == np.uint64
        assert len(set(pfns.tolist())) == 100
        machine.free_pages_bulk(pfns, cpu=0)
        machine.validate()

    def test_given_buffer(self, machine: PageAllocator) -> None:
        out = np.zeros(50, dtype=np.uint64)
        pfns = machine.alloc_pages_bulk(30, cpu=0, out=out)
        assert len(pfns) == 30
        assert np.shares_memory(pfns, out)
        assert (out[30:] == 0).all()
        assert np.count_nonzero(out) == 30

    def test_it_equals_the_calls_of_the_kernel(self) -> None:
        bulk, single = PageAllocator.simple("64M"), PageAllocator.simple("64M")
        assert bulk.alloc_pages_bulk(20, cpu=0).tolist() == [single.alloc_pages(cpu=0) for _ in range(20)]

    def test_shortage_gives_fewer(self, machine: PageAllocator) -> None:
        total = 0
        while len(pfns := machine.alloc_pages_bulk(1000, cpu=0)) > 0:
            total += len(pfns)
        assert 10000 < total < 16384
        machine.validate()

    def test_more_than_there_is(self, machine: PageAllocator) -> None:
        assert len(machine.alloc_pages_bulk(2**64 - 1)) == 1

    def test_none_at_all(self, machine: PageAllocator) -> None:
        assert machine.alloc_pages_bulk(0).shape == (0,)
        assert machine.alloc_pages_bulk(0, out=np.zeros(0, dtype=np.uint64)).shape == (0,)
        machine.free_pages_bulk([])
        machine.free_pages_bulk(np.zeros(0, dtype=np.uint64))

    @pytest.mark.parametrize("kind", [list, tuple, iter, np.array, lambda pfns: np.array(pfns)[::-1]])
    def test_pfns_come_in_many_forms(self, machine: PageAllocator, kind: type) -> None:
        pfns = machine.alloc_pages_bulk(10, cpu=0)
        machine.free_pages_bulk(kind(pfns), cpu=0)
        machine.validate()

    def test_a_wrong_page_frees_none(self, machine: PageAllocator) -> None:
        pfns = machine.alloc_pages_bulk(10, cpu=0)
        for wrong in (int(pfns[3]), 0, 2**63):
            with pytest.raises(BadPageError) as bad:
                machine.free_pages_bulk([*pfns, wrong])
            assert bad.value.pfn == wrong
        assert {machine.page(int(pfn)).state for pfn in pfns} == {PageState.ALLOCATED}
        machine.free_pages_bulk(pfns)


def test_version_is_that_of_the_package() -> None:
    assert pagebuddy.__version__.count(".") == 2
