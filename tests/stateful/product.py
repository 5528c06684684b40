"""The product under the same operations as the model, through its public Python interface only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pagebuddy
from tests.model.config import Config

from .machines import Machine

PAGE_SIZE = 4096
# Operations that the interface offers. Arrays with holes and the hints of reclaim are not among them.
OFFERED = frozenset(
    {
        "a",
        "f",
        "d",
        "b",
        "bl",
        "e",
        "x",
        "s",
        "g",
        "l",
        "y",
        "p",
        "m",
        "i",
        "j",
        "contig",
        "tail",
        "poison",
        "unpoison",
        "frag",
        "free_frag",
        "drain_frag",
        "online",
        "offline",
    }
)


def product_config(machine: Machine) -> pagebuddy.Config:
    config = machine.config
    product = pagebuddy.Config(
        MAX_ORDER=config.max_order,
        pageblock_order=config.pageblock_order,
        smp=config.smp,
        numa=config.numa,
        thp=config.thp,
        cma=config.cma,
        memory_isolation=config.memory_isolation or config.cma,
        zone_dma=config.zone_dma,
        zone_dma32=config.zone_dma32,
        max_possible_pfn=machine.max_possible_pfn,
        max_numnodes=config.max_numnodes,
    )
    core = machine.core
    return product.replace(**{core.name: core.amount * PAGE_SIZE}) if core.name else product


def boot(machine: Machine) -> pagebuddy.PageAllocator:
    memblock = pagebuddy.Memblock()
    for base, size, nid, flags in machine.memory:
        memblock.add(base, size, nid, flags)
    for base, size, _, _ in machine.reserved:
        memblock.reserve(base, size)
    return pagebuddy.PageAllocator.boot(
        memblock,
        cpu_node=machine.cpu_node,
        node_distance=machine.distance,
        config=product_config(machine),
        stage="early" if machine.early else "late",
    )


class Product:
    """A machine that performs operations in the vocabulary of the recordings."""

    def __init__(self, machine: Machine) -> None:
        self.allocator = boot(machine)
        self.config = machine.config
        self.policies = [pagebuddy.MemPolicy.default() for _ in machine.cpu_node]
        self.by_policy = False
        self.shrink: Callable[[Any], int] | None = None
        self.frag_caches: list[pagebuddy.PageFragCache] = []
        self.frags: dict[int, list[pagebuddy.PageFrag]] = {}
        self.connect()

    def connect(self) -> None:
        """What belongs to the allocator that is driven now."""
        self.frag_caches = [self.allocator.page_frag_cache(cpu=cpu) for cpu in range(self.allocator.nr_online_cpus)]
        if self.shrink is not None:
            self.allocator.register_shrinker(self.shrink)

    def apply(self, op: list[Any]) -> list[Any]:
        """What the model's `apply` gives; where the interface shows less, as much as it shows."""
        result: list[Any] = getattr(self, f"op_{op[0]}")(*op[1:])
        return result

    def op_a(self, cpu: int, gfp: int, order: int, nid: int, nodemask: int | None) -> list[Any]:
        pfn = self.allocator.try_alloc_pages(order, gfp, nid=nid, nodemask=nodemask, cpu=cpu)
        return [-1 if pfn is None else pfn]

    def op_m(self, cpu: int, gfp: int, order: int) -> list[Any]:
        pfn = self.allocator.try_alloc_pages(order, gfp, policy=self.policies[cpu], cpu=cpu)
        return [-1 if pfn is None else pfn]

    def op_f(self, cpu: int, pfn: int, order: int) -> list[Any]:
        self.allocator.free_pages(pfn, order, cpu=cpu)
        return []

    def op_d(self, cpu: int) -> list[Any]:
        assert self.allocator.drain(cpu)
        return []

    def op_b(self, cpu: int, gfp: int, nid: int, nodemask: int | None, n: int) -> list[Any]:
        return [self.allocator.alloc_pages_bulk(n, gfp, nid=nid, nodemask=nodemask, cpu=cpu).tolist()]

    def op_bl(self, cpu: int, gfp: int, nid: int, nodemask: int | None, n: int) -> list[Any]:
        """Into a caller's buffer; the kernel's list form gives the same pages in reverse order."""
        buffer = np.zeros(n + 3, dtype=np.uint64)
        pfns = self.allocator.alloc_pages_bulk(n, gfp, nid=nid, nodemask=nodemask, cpu=cpu, out=buffer)
        assert pfns.base is buffer or np.shares_memory(pfns, buffer)
        assert not buffer[len(pfns) :].any()
        return [pfns.tolist()[::-1]]

    def op_e(self, cpu: int, gfp: int, nr_pages: int, nid: int) -> list[Any]:
        try:
            # one byte into the last page is enough for it
            return [self.allocator.alloc_pages_exact((nr_pages - 1) * PAGE_SIZE + 1, gfp, nid=nid, cpu=cpu)]
        except pagebuddy.AllocationFailed:
            return [-1]

    def op_x(self, cpu: int, pfn: int, nr_pages: int) -> list[Any]:
        self.allocator.free_pages_exact(pfn, nr_pages * PAGE_SIZE, cpu=cpu)
        return []

    def op_s(self, cpu: int, pfn: int, order: int) -> list[Any]:
        self.allocator.split_page(pfn, order)
        return []

    def op_g(self, cpu: int, pfn: int, order: int) -> list[Any]:
        self.allocator.get_page(pfn)
        self.allocator.free_pages(pfn, order, cpu=cpu)
        return []

    def op_l(self, cpu: int, pfns: list[int]) -> list[Any]:
        self.allocator.free_pages_bulk(np.array(pfns, dtype=np.uint64), cpu=cpu)
        return []

    def op_y(self, cpu: int, name: str, values: list[int]) -> list[Any]:
        try:
            self.allocator.write_sysctl(name, values[0] if len(values) == 1 else values)
        except ValueError:
            return [-22]
        return [0]

    def op_p(self, cpu: int, mode: int, flags: int, nodes: int) -> list[Any]:
        kinds = pagebuddy.MemPolicy
        options = {"static_nodes": bool(flags & 32768), "relative_nodes": bool(flags & 16384)}
        make = {1: kinds.preferred, 2: kinds.bind, 3: kinds.interleave, 5: kinds.preferred_many}
        plain = kinds.default if mode == 0 else kinds.local
        # The kernel takes "preferred" without a node for "local"; here a policy names its nodes.
        self.policies[cpu] = make[mode](nodes, **options) if nodes else plain()
        return []

    def op_i(self, cpu: int, start: int, end: int, migratetype: int, flags: int) -> list[Any]:
        self.allocator.isolate(start, end, migratetype, cpu=cpu)
        return []

    def op_j(self, cpu: int, start: int, end: int, migratetype: int) -> list[Any]:
        self.allocator.unisolate(start, end, migratetype, cpu=cpu)
        return []

    def op_contig(self, cpu: int, start: int, end: int) -> list[Any]:
        try:
            self.allocator.alloc_contig_range(start, end, cpu=cpu)
        except pagebuddy.RangeBusyError:
            return [False]
        return [True]

    def op_tail(self, cpu: int, head: int, order: int, first: int, last: int) -> list[Any]:
        self.allocator.get_page(first)
        self.allocator.free_pages(head, order, cpu=cpu)
        self.allocator.put_page(last, cpu=cpu)
        return []

    def op_poison(self, cpu: int, pfn: int) -> list[Any]:
        return [self.allocator.take_page_off_buddy(pfn, cpu=cpu)]

    def op_unpoison(self, cpu: int, pfn: int) -> list[Any]:
        return [self.allocator.put_page_back_buddy(pfn, cpu=cpu)]

    def op_frag(self, cpu: int, size: int, gfp: int, align: int) -> list[Any]:
        try:
            piece = self.frag_caches[cpu].alloc(size, gfp, align=align)
        except (pagebuddy.AllocationFailed, ValueError):
            return [None]
        assert piece.nbytes == size
        self.frags.setdefault(piece.pfn, []).append(piece)
        return [(piece.pfn, piece.offset)]

    def op_free_frag(self, cpu: int, page: int) -> list[Any]:
        self.frag_caches[cpu].free(self.frags[page].pop())
        return []

    def op_drain_frag(self, cpu: int) -> list[Any]:
        self.frag_caches[cpu].drain()
        return []

    def op_online(self, cpu: int, start: int, end: int, node: int) -> list[Any]:
        self.allocator.online_pages(start, end - start, node, cpu=cpu)
        return []

    def op_offline(self, cpu: int, start: int, end: int) -> list[Any]:
        try:
            self.allocator.offline_pages(start, end - start, cpu=cpu)
        except pagebuddy.RangeBusyError:
            return [False]
        return [True]

    # -- looking ---------------------------------------------------------------------------------------------------

    def replace_by_copy(self) -> None:
        self.allocator = self.allocator.fork()
        self.connect()

    def replace_by_snapshot(self) -> None:
        self.allocator = pagebuddy.PageAllocator.restore(self.allocator.snapshot())
        self.connect()


def migratetypes(config: Config) -> list[int]:
    """The product's number of each of the model's migratetypes: it keeps 5 for Isolate in every configuration."""
    return [5 if mt == config.migrate_isolate else mt for mt in range(config.nr_migratetypes)]
