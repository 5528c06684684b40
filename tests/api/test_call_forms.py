"""The commonest methods read plain arguments by a short cut: every way to write a call must mean the same."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from pagebuddy import GFP, GFP_ATOMIC, AllocationFailed, BadPageError, MemPolicy, PageAllocator

Form = Callable[[PageAllocator], "int | None"]

#: A keyword that reads like the one in source code and is another string.
ORDER = "".join(["or", "der"])

ALLOCATIONS: dict[str, list[Form]] = {
    "order 0": [
        lambda m: m.alloc_pages(),
        lambda m: m.try_alloc_pages(),
        lambda m: m.alloc_pages(0),
        lambda m: m.alloc_pages(order=0),
        lambda m: m.alloc_pages(cpu=None),
        lambda m: m.alloc_pages(nid=0),
        lambda m: m.alloc_pages(nid=-1),
        lambda m: m.alloc_pages(nodemask=1),
        lambda m: m.alloc_pages(nodemask=[0]),
        lambda m: m.alloc_pages(policy=MemPolicy.local()),
    ],
    "order 3, atomic": [
        lambda m: m.alloc_pages(3, 0xA20),
        lambda m: m.try_alloc_pages(3, 0xA20),
        lambda m: m.alloc_pages(3, GFP_ATOMIC),
        lambda m: m.alloc_pages(3, GFP(0xA20)),
        lambda m: m.alloc_pages(3, "GFP_ATOMIC"),
        lambda m: m.alloc_pages(3, gfp=0xA20),
        lambda m: m.alloc_pages(gfp=0xA20, order=3),
        lambda m: m.alloc_pages(np.int64(3), np.uint32(0xA20)),
        lambda m: m.alloc_pages(**{ORDER: 3}, gfp=GFP_ATOMIC),  # type: ignore[arg-type]
        lambda m: m.alloc_pages(3, 0xA20, cpu=0),
        lambda m: m.alloc_pages(3, 0xA20, cpu=0, nid=0),
        lambda m: PageAllocator.alloc_pages(m, 3, 0xA20),
    ],
}


@pytest.fixture
def machine() -> PageAllocator:
    return PageAllocator.simple("64M")


@pytest.mark.parametrize("what", ALLOCATIONS)
def test_every_form_allocates_the_same(machine: PageAllocator, what: str) -> None:
    after = set()
    for form in ALLOCATIONS[what]:
        twin = machine.fork()
        assert form(twin) is not None
        after.add(twin.snapshot())
    assert len(after) == 1


def test_every_form_frees_the_same(machine: PageAllocator) -> None:
    pfn = machine.alloc_pages(2)
    forms: list[Callable[[PageAllocator], None]] = [
        lambda m: m.free_pages(pfn, 2),
        lambda m: m.free_pages(pfn, order=2),
        lambda m: m.free_pages(pfn=pfn, order=2),
        lambda m: m.free_pages(pfn, **{ORDER: 2}),
        lambda m: m.free_pages(np.uint64(pfn), 2),
        lambda m: m.free_pages(pfn, 2, cpu=0),
        lambda m: PageAllocator.free_pages(m, pfn, 2, cpu=None),
    ]
    after = set()
    for form in forms:
        twin = machine.fork()
        form(twin)
        assert twin.page(pfn).state.name != "ALLOCATED"
        after.add(twin.snapshot())
    assert len(after) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.alloc_pages(0, 0xCC0, 0), TypeError, "takes from 0 to 2 positional arguments but 3 were given"),
        (lambda m: m.alloc_pages(0, order=0), TypeError, "got multiple values for argument 'order'"),
        (lambda m: m.alloc_pages(ordre=0), TypeError, "got an unexpected keyword argument 'ordre'"),
        (lambda m: m.alloc_pages(True), TypeError, "an order must be an integer, not bool"),
        (lambda m: m.alloc_pages(gfp=False), TypeError, "a gfp mask must be an integer, not bool"),
        (lambda m: m.alloc_pages(-1), ValueError, "an order must not be negative"),
        (lambda m: m.alloc_pages(1 << 32), OverflowError, "an order must be at most 4294967295"),
        (lambda m: m.alloc_pages((1 << 64) - 1), OverflowError, "an order must be at most 4294967295"),
        (lambda m: m.alloc_pages(1 << 64), OverflowError, "an order must be at most 4294967295"),
        (lambda m: m.alloc_pages(gfp=0x18), ValueError, "__GFP_MOVABLE and __GFP_RECLAIMABLE exclude each other"),
        (lambda m: m.alloc_pages(cpu=1), ValueError, "online cpus are 0 to 0"),
        (lambda m: m.alloc_pages(nid=1), ValueError, "node 1 is not online"),
        (lambda m: m.free_pages(), TypeError, "missing 1 required positional argument: 'pfn'"),
        (lambda m: m.free_pages(0, 0, 0), TypeError, "takes from 1 to 2 positional arguments but 3 were given"),
        (lambda m: m.free_pages(0, pfn=0), TypeError, "got multiple values for argument 'pfn'"),
        (lambda m: m.free_pages("0"), TypeError, "a pfn must be an integer, not str"),
        (lambda m: m.free_pages(-1), BadPageError, "-0x1"),
        (lambda m: m.free_pages((1 << 64) - 1), BadPageError, "0xffffffffffffffff"),
        (lambda m: getattr(PageAllocator, m.free_pages.__name__)(None, 0), TypeError, "PageAllocator"),
    ],
)
def test_wrong_calls_are_refused(machine: PageAllocator, call: Form, error: type[Exception], message: str) -> None:
    before = machine.snapshot()
    with pytest.raises(error, match=message):
        call(machine)
    assert machine.snapshot() == before


def test_nothing_is_leaked(machine: PageAllocator) -> None:
    pfn = machine.alloc_pages(4)
    count = sys.getrefcount(machine)
    for _ in range(1000):
        machine.free_pages(machine.alloc_pages(nodemask=1), cpu=0)
        with pytest.raises(BadPageError):
            machine.free_pages(pfn)
        with pytest.raises(AllocationFailed):
            machine.alloc_pages(11)
    assert sys.getrefcount(machine) == count


def test_the_methods_are_documented() -> None:
    for name in ("alloc_pages", "try_alloc_pages", "free_pages"):
        method = getattr(PageAllocator, name)
        assert (method.__name__, method.__objclass__) == (name, PageAllocator)
        assert "$self, order=0" in (method.__text_signature__ or "") or name == "free_pages"
        assert "Raises:" in (method.__doc__ or "")
