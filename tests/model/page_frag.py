"""Page fragments (spec 13.8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .config import PAGE_SHIFT
from .gfp import GFP_COMP, GFP_NOMEMALLOC, GFP_NORETRY, GFP_NOWARN

if TYPE_CHECKING:
    from .page_alloc import PageAllocatorModel

MAX_ORDER_OF_CACHE = 3
MAX_SIZE = 1 << PAGE_SHIFT << MAX_ORDER_OF_CACHE
FULL_BIAS = MAX_SIZE + 1


@dataclass
class PageFragCache:
    """The page that pieces are cut from, from its end to its beginning."""

    page: int | None = None
    size: int = 0
    offset: int = 0
    bias: int = 0

    def alloc(self, model: PageAllocatorModel, cpu: int, size: int, gfp: int, align: int) -> tuple[int, int] | None:
        """(first page, offset) of a piece; None if no page is to be had, or only one that is too small for it."""
        if self.page is None and not self.refill(model, cpu, gfp):
            return None
        if size > self.size:
            return None
        if self.offset < size:
            page, self.page = self.page, None
            assert page is not None
            model.refcount[page] -= self.bias
            if model.refcount[page]:
                return self.alloc(model, cpu, size, gfp, align)  # pieces are out; who frees the last one frees it
            if page in model.pfmemalloc:
                self.free_whole(model, cpu, page)
                return self.alloc(model, cpu, size, gfp, align)
            self.start(model, page, self.size)
        self.bias -= 1
        self.offset = (self.offset - size) & -align
        assert self.page is not None
        return self.page, self.offset

    def refill(self, model: PageAllocatorModel, cpu: int, gfp: int) -> bool:
        eager = gfp | GFP_COMP | GFP_NOWARN | GFP_NORETRY | GFP_NOMEMALLOC
        order, nid = MAX_ORDER_OF_CACHE, model.cpu_node[cpu]
        page = model.alloc_pages(cpu, eager, order, nid)
        if page is None:
            order, page = 0, model.alloc_pages(cpu, gfp, 0, nid)
        if page is None:
            return False
        self.start(model, page, 1 << PAGE_SHIFT << order)
        return True

    def start(self, model: PageAllocatorModel, page: int, size: int) -> None:
        self.page, self.size, self.offset, self.bias = page, size, size, FULL_BIAS
        model.refcount[page] = FULL_BIAS

    def drain(self, model: PageAllocatorModel, cpu: int) -> None:
        page, self.page = self.page, None
        if page is not None:
            model.refcount[page] -= self.bias
            if not model.refcount[page]:
                self.free_whole(model, cpu, page)

    @staticmethod
    def free_whole(model: PageAllocatorModel, cpu: int, page: int) -> None:
        model.refcount[page] = 1
        model.put_page(cpu, page)
