"""The model and the product side by side."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

import pagebuddy
from tests.model.isolation import is_reserved
from tests.model.operations import Operations
from tests.model.reclaim import Reclaim
from tests.model.state import free_lists
from tests.model.zone import Zone

from .machines import Machine
from .page_cache import PageCache
from .product import OFFERED, Product, migratetypes
from .record import isolation_possible
from .workload import Workload


class Disagreement(AssertionError):
    """The product and the model differ."""


class Pair:
    """Performs every operation on both and compares what it gives."""

    def __init__(self, machine: Machine, *, with_cache: bool = False) -> None:
        """`with_cache`: a shrinker on each side frees the pages that operations `cache` gave it."""
        self.machine = machine
        self.model, self.tunables = machine.boot_model()
        policy_zone = max(zone.index for zone in self.model.zones if zone.name != "Movable")  # spec 12.3
        self.reference = Operations(self.model, self.tunables, policy_zone=policy_zone)
        self.product = Product(machine)
        self.sections: list[tuple[int, int]] = []
        self.caches: list[PageCache] = []
        if with_cache:
            self.add_caches()
        self.nr_ops = 0
        self.recent: deque[list[Any]] = deque(maxlen=20)
        self.compare_state()

    def add_caches(self) -> None:
        model, product = self.model, self.product
        mine = PageCache(lambda cpu, pfn: model.free_pages(cpu, pfn, 0), lambda pfn: model.zone_of(pfn).node)
        its = PageCache(lambda cpu, pfn: product.allocator.free_pages(pfn, cpu=cpu), mine.node_of)
        self.caches = [mine, its]
        model.reclaim = Reclaim(model, mine.shrink)
        product.shrink = its.shrink
        product.connect()

    @property
    def memory_spans(self) -> list[tuple[int, int]]:
        return [*self.machine.memory_spans, *self.sections]

    @property
    def nr_pages(self) -> int:
        return sum(zone.managed for zone in self.model.zones)

    def workload(self, seed: int, **options: Any) -> Workload:
        """Operations for this pair, of the kinds that the product offers."""
        if self.machine.config.migrate_isolate is not None:
            options["can_isolate"] = partial(isolation_possible, self.model)
            options["with_contig"] = True
        options["with_cache"] = bool(self.caches)
        workload = Workload(self.machine, seed, self.nr_pages, with_hints=False, with_more=True, **options)
        workload.rare = [choose for choose in workload.rare if choose.__name__ != "bulk_array"]
        return workload

    def apply(self, op: list[Any]) -> list[Any]:
        self.recent.append(op)
        self.nr_ops += 1
        for cache in self.caches:
            cache.cpu = op[1]
            if op[0] == "cache":
                cache.pages += op[2]
        if op[0] == "cache":
            return []
        results = self.apply_to_both(op)
        if self.caches:
            mine, its = self.caches
            self.same("calls of the shrinker", its.take_calls(), mine.take_calls())
            self.same("pages of the shrinker", its.pages, mine.pages)
        if op[0] == "online":
            self.sections.append((op[2], op[3]))
        elif op[0] == "offline" and results[0]:
            self.sections.remove((op[2], op[3]))
        return results

    def apply_to_both(self, op: list[Any]) -> list[Any]:
        assert op[0] in OFFERED, op
        expected = self.reference.apply(op)
        if op[0] == "p" and expected[0] != 0:
            return expected  # the kernel refuses such a policy; here it need not even be possible to make
        got = self.product.apply(op)
        if op[0] in {"m", "p"}:  # the interleave position and the resolved policy are not shown
            expected = expected[: len(got)]
        if got != expected:
            self.disagree(f"{op} gave {got}, the model gives {expected}")
        return expected

    def disagree(self, what: str) -> None:
        recent = "\n  ".join(map(str, self.recent))
        raise Disagreement(f"{self.machine.name}, operation {self.nr_ops}: {what}\nlast operations:\n  {recent}")

    # -- whole states ----------------------------------------------------------------------------------------------

    def compare_state(self) -> None:
        """Every list, counter and watermark of every zone."""
        zones = list(self.product.allocator.zones)
        populated = [zone for zone in zones if zone.present]
        expected = [(zone.node, zone.index) for zone in self.model.zones]
        self.same("zones", [(zone.nid, zone.index) for zone in populated], expected)
        for mine, its in zip(self.model.zones, populated, strict=True):
            self.compare_zone(mine, its)
        self.compare_pageblocks()

    def same(self, what: str, got: object, expected: object) -> None:
        if got != expected:
            self.disagree(f"{what}: {got}, the model has {expected}")

    def compare_zone(self, mine: Zone, its: pagebuddy.Zone) -> None:
        numbers = migratetypes(mine.config)
        for order, lists in enumerate(free_lists(mine)):
            for number, pfns in zip(numbers, lists, strict=True):
                self.same(f"{mine}: free list {order}, {number}", its.free_list(order, number), pfns)
        counts = its.free_area_counts()
        nr_free = [mine.nr_free(order) for order in range(mine.config.max_order)]
        self.same(f"{mine}: nr_free", counts.sum(axis=1).tolist(), nr_free)
        for cpu, expected in enumerate(mine.pcp):
            pcp = its.pcp(cpu)
            where = f"{mine}: cpu {cpu}"
            self.same(f"{where}: lists", pcp.lists, [[pfn for pfn, _ in entries] for entries in expected.lists])
            for name in ("count", "high", "batch", "free_factor"):
                self.same(f"{where}: {name}", getattr(pcp, name), getattr(expected, name))
        marks = its.watermarks
        self.same(f"{mine}: watermarks", [marks.min, marks.low, marks.high], mine.wmark)
        self.same(f"{mine}: boost", its.boost, mine.boost)
        self.same(f"{mine}: lowmem_reserve", list(its.lowmem_reserve), mine.lowmem_reserve)
        self.same(f"{mine}: highatomic", its.nr_reserved_highatomic, mine.nr_reserved_highatomic)
        self.same(f"{mine}: isolated", its.nr_isolate_pageblock, mine.nr_isolate_pageblock)
        sizes_of_zone = (its.start_pfn, its.end_pfn, its.present, its.managed)
        self.same(f"{mine}: sizes", sizes_of_zone, (mine.start_pfn, mine.end_pfn, mine.present, mine.managed))
        counters = its.counters
        self.same(f"{mine}: free counter", counters["nr_free_pages"], mine.counters.free_pages())
        self.same(f"{mine}: free snapshot", counters["nr_free_pages_snapshot"], mine.counters.free_pages_snapshot())
        if mine.config.numa:
            numa = {name: counters[f"numa_{name}"] for name in mine.counters.numa}
            self.same(f"{mine}: NUMA events", numa, mine.counters.numa)

    def compare_pageblocks(self) -> None:
        memory, size = self.model.memory, self.machine.config.pageblock_nr_pages
        numbers = migratetypes(self.machine.config)
        for start, end in self.memory_spans:
            for pfn in range(start - start % size, end, size):
                if pfn >= start:
                    its = self.product.allocator.page(pfn).pageblock_migratetype
                    self.same(f"pageblock of {pfn}", its, numbers[memory.pageblock_type(pfn)])

    def compare_pages(self) -> None:
        """Every page's state, as the model knows it."""
        states = self.product.allocator.page_map()
        free: set[int] = set()
        cached: set[int] = set()
        for zone in self.model.zones:
            for first, free_list in zone.list_of.items():
                free.update(range(first, first + (1 << free_list.order)))
            for lists in zone.pcp:
                for index, entries in enumerate(lists.lists):
                    order = index // 3 if index < 12 else zone.config.pageblock_order
                    for first, _ in entries:
                        cached.update(range(first, first + (1 << order)))
        state = pagebuddy.PageState
        for start, end in self.memory_spans:
            for pfn in range(start, end):
                if pfn in free:
                    expected = state.BUDDY
                elif pfn in cached:
                    expected = state.PCP
                elif pfn in self.model.poisoned:
                    expected = state.OFFLINE
                elif is_reserved(self.model, pfn):
                    expected = state.RESERVED
                else:
                    expected = state.ALLOCATED
                if states[pfn] != expected:
                    self.disagree(f"page {pfn} is {state(states[pfn])!r}, the model has {expected!r}")
