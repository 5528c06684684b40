"""The product and the model driven together by hypothesis, which looks for a short sequence where they differ."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import pagebuddy

from .machines import MACHINES, SECTION
from .pair import Pair
from .record import isolation_possible
from .workload import COMP, PHASE_GFPS, RECLAIM_GFPS, THISNODE, Block

GFPS = sorted({gfp for mix in PHASE_GFPS + RECLAIM_GFPS for gfp in mix})
ORDERS = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 8, 9, 10])
COUNTS = st.sampled_from([1, 2, 3, 5, 31, 64, 300])


class Allocators(RuleBasedStateMachine):
    """Rules are operations; every one must give the same on both sides."""

    machine_name = "64M"

    @initialize()
    def boot(self) -> None:
        self.pair = Pair(MACHINES[self.machine_name], with_cache=True)
        self.machine = self.pair.machine
        self.blocks: list[Block] = []
        self.isolated: list[tuple[int, int]] = []
        self.frags: list[int] = []
        self.poisoned: list[int] = []

    # -- helpers ---------------------------------------------------------------------------------------------------

    def cpu(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.machine.cpu_node) - 1), "cpu")

    def place(self, data: st.DataObject, cpu: int) -> tuple[int, int | None, int]:
        nodes = len(self.machine.nodes)
        if nodes == 1:
            return 0, None, 0
        nid = data.draw(st.integers(0, nodes - 1), "nid")
        nodemask = data.draw(st.one_of(st.none(), st.integers(1, (1 << nodes) - 1)), "nodemask")
        return nid, nodemask, data.draw(st.sampled_from([0, 0, THISNODE]), "thisnode")

    def apply(self, *op: Any) -> list[Any]:
        return self.pair.apply(list(op))

    def take(self, data: st.DataObject, fits: list[Block]) -> Block:
        block = data.draw(st.sampled_from(fits), "block")
        self.blocks.remove(block)
        return block

    # -- allocating ------------------------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        order=ORDERS,
        gfp=st.sampled_from(GFPS),
        comp=st.booleans(),
        times=st.sampled_from([1, 1, 4, 40]),
    )
    def alloc(self, data: st.DataObject, order: int, gfp: int, comp: bool, times: int) -> None:
        cpu = self.cpu(data)
        nid, nodemask, extra = self.place(data, cpu)
        gfp |= extra | (COMP if comp else 0)
        for _ in range(times):
            (pfn,) = self.apply("a", cpu, gfp, order, nid, nodemask)
            if pfn < 0:
                break
            self.blocks.append(Block(pfn, order, compound=comp and order > 0))

    @rule(data=st.data(), n=COUNTS, gfp=st.sampled_from(GFPS), into_buffer=st.booleans())
    def bulk(self, data: st.DataObject, n: int, gfp: int, into_buffer: bool) -> None:
        cpu = self.cpu(data)
        nid, nodemask, extra = self.place(data, cpu)
        (pfns,) = self.apply("bl" if into_buffer else "b", cpu, gfp | extra, nid, nodemask, n)
        self.blocks += [Block(pfn, 0) for pfn in pfns]

    @rule(data=st.data(), nr_pages=COUNTS, gfp=st.sampled_from(GFPS))
    def exact(self, data: st.DataObject, nr_pages: int, gfp: int) -> None:
        cpu = self.cpu(data)
        (pfn,) = self.apply("e", cpu, gfp, nr_pages, self.machine.cpu_node[cpu])
        if pfn >= 0:
            self.blocks.append(Block(pfn, 0, nr_pages=nr_pages))

    # -- freeing ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.blocks)
    @rule(data=st.data(), times=st.sampled_from([1, 1, 5, 60]))
    def free(self, data: st.DataObject, times: int) -> None:
        cpu = self.cpu(data)
        for _ in range(min(times, len(self.blocks))):
            index = data.draw(st.integers(0, len(self.blocks) - 1), "index") if times == 1 else len(self.blocks) // 2
            block = self.blocks.pop(index)
            if block.nr_pages:
                self.apply("x", cpu, block.pfn, block.nr_pages)
            else:
                self.apply("f", cpu, block.pfn, block.order)

    @precondition(lambda self: any(block.size == 1 and not block.nr_pages for block in self.blocks))
    @rule(data=st.data(), n=COUNTS)
    def free_list(self, data: st.DataObject, n: int) -> None:
        pages = [block for block in self.blocks if block.size == 1 and not block.nr_pages][:n]
        self.blocks = [block for block in self.blocks if block not in set(pages)]
        self.apply("l", self.cpu(data), [block.pfn for block in pages])

    @precondition(lambda self: self.plain_blocks())
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        block = self.take(data, self.plain_blocks())
        self.apply("s", self.cpu(data), block.pfn, block.order)
        self.blocks += [Block(pfn, 0) for pfn in range(block.pfn, block.pfn + block.size)]

    @precondition(lambda self: self.plain_blocks())
    @rule(data=st.data())
    def free_referenced(self, data: st.DataObject) -> None:
        block = self.take(data, self.plain_blocks())
        self.apply("g", self.cpu(data), block.pfn, block.order)
        self.blocks.append(Block(block.pfn, 0))

    def plain_blocks(self) -> list[Block]:
        return [block for block in self.blocks if block.order and not block.compound]

    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        self.apply("d", self.cpu(data))

    # -- mistakes --------------------------------------------------------------------------------------------------

    @rule(data=st.data(), order=ORDERS)
    def wrong_free(self, data: st.DataObject, order: int) -> None:
        """Freeing what is not allocated like this raises and changes nothing (compared by the invariant below)."""
        pfn = data.draw(st.integers(0, self.machine.memory_spans[-1][1] + 2000), "pfn")
        if any(block.pfn == pfn and block.order == order for block in self.blocks) or any(
            block.nr_pages and block.pfn <= pfn < block.pfn + block.nr_pages for block in self.blocks
        ):
            return
        if pfn in self.frags or pfn in self.pair.caches[0].pages:
            return
        if any(cache.page == pfn for cache in self.pair.reference.frag_caches):
            return
        with pytest.raises(pagebuddy.BadPageError) as caught:
            self.pair.product.allocator.free_pages(pfn, order, cpu=self.cpu(data))
        assert caught.value.pfn == pfn

    # -- tunables and policies -------------------------------------------------------------------------------------

    @precondition(lambda self: not self.machine.early and len(self.machine.nodes) == 1)
    @rule(
        data=st.data(),
        tunable=st.sampled_from(
            [
                ("min_free_kbytes", (0, 128, 700, 5000, 40_000)),
                ("watermark_scale_factor", (0, 1, 10, 500, 3000, 3001)),
                ("watermark_boost_factor", (0, 1, 15_000, 40_000)),
                ("percpu_pagelist_high_fraction", (0, 7, 8, 100)),
            ]
        ),
    )
    def tune(self, data: st.DataObject, tunable: tuple[str, tuple[int, ...]]) -> None:
        name, values = tunable
        self.apply("y", self.cpu(data), name, [data.draw(st.sampled_from(values), "value")])

    @precondition(lambda self: not self.machine.early and len(self.machine.nodes) == 1)
    @rule(data=st.data())
    def tune_reserves(self, data: st.DataObject) -> None:
        ratios = [data.draw(st.sampled_from((0, 1, 32, 256)), "ratio") for _ in self.machine.config.zone_names]
        self.apply("y", self.cpu(data), "lowmem_reserve_ratio", ratios)

    @precondition(lambda self: len(self.machine.nodes) > 1)
    @rule(data=st.data(), mode=st.sampled_from([0, 1, 2, 3, 4, 5]), flags=st.sampled_from([0, 0, 16384, 32768]))
    def set_policy(self, data: st.DataObject, mode: int, flags: int) -> None:
        has_nodes = mode in (1, 2, 3, 5)
        nodes = data.draw(st.integers(0, (1 << len(self.machine.nodes)) - 1), "nodes") if has_nodes else 0
        self.apply("p", self.cpu(data), mode, flags if has_nodes else 0, nodes)

    @precondition(lambda self: len(self.machine.nodes) > 1)
    @rule(data=st.data(), order=ORDERS, gfp=st.sampled_from(GFPS))
    def alloc_by_policy(self, data: st.DataObject, order: int, gfp: int) -> None:
        pfn = self.apply("m", self.cpu(data), gfp, order)[0]
        if pfn >= 0:
            self.blocks.append(Block(pfn, order, compound=bool(gfp & COMP and order)))

    # -- references, fragments, poison, shrinkers, sections --------------------------------------------------------

    @precondition(lambda self: any(block.compound for block in self.blocks))
    @rule(data=st.data())
    def free_by_tail(self, data: st.DataObject) -> None:
        head, order, *_ = self.take(data, [block for block in self.blocks if block.compound])
        first, last = (head + data.draw(st.integers(0, (1 << order) - 1), "page") for _ in range(2))
        self.apply("tail", self.cpu(data), head, order, first, last)

    @rule(
        data=st.data(),
        size=st.sampled_from([1, 500, 4096, 4097, 20_000, 32_768]),
        gfp=st.sampled_from(GFPS),
        align=st.sampled_from([1, 64, 8192]),
        times=st.sampled_from([1, 1, 10]),
    )
    def frag(self, data: st.DataObject, size: int, gfp: int, align: int, times: int) -> None:
        cpu = self.cpu(data)
        for _ in range(times):
            (piece,) = self.apply("frag", cpu, size, gfp, align)
            if piece is not None:
                self.frags.append(piece[0])

    @precondition(lambda self: self.frags)
    @rule(data=st.data(), times=st.sampled_from([1, 1, 10]))
    def free_frags(self, data: st.DataObject, times: int) -> None:
        for _ in range(min(times, len(self.frags))):
            page = self.frags.pop(data.draw(st.integers(0, len(self.frags) - 1), "piece"))
            self.apply("free_frag", self.cpu(data), page)

    def drain_frags(self) -> None:
        for cpu in range(len(self.machine.cpu_node)):
            self.apply("drain_frag", cpu)

    @rule(data=st.data())
    def poison(self, data: st.DataObject) -> None:
        first, last = data.draw(st.sampled_from(self.machine.zone_spans), "span")
        pfn = data.draw(st.integers(first, last - 1), "pfn")
        if self.apply("poison", self.cpu(data), pfn)[0]:
            self.poisoned.append(pfn)

    @precondition(lambda self: self.poisoned)
    @rule(data=st.data())
    def unpoison(self, data: st.DataObject) -> None:
        pfn = self.poisoned.pop(data.draw(st.integers(0, len(self.poisoned) - 1), "page"))
        assert self.apply("unpoison", self.cpu(data), pfn)[0]

    @precondition(lambda self: any(block.size == 1 and not block.nr_pages for block in self.blocks))
    @rule(data=st.data(), n=COUNTS)
    def give_to_shrinkers(self, data: st.DataObject, n: int) -> None:
        pages = [block for block in self.blocks if block.size == 1 and not block.nr_pages][:n]
        self.blocks = [block for block in self.blocks if block not in set(pages)]
        self.apply("cache", self.cpu(data), [block.pfn for block in pages])

    @precondition(lambda self: self.machine.max_possible_pfn)
    @rule(data=st.data(), number=st.integers(2, 4))
    def section(self, data: st.DataObject, number: int) -> None:
        section = number * SECTION, (number + 1) * SECTION
        if section in self.pair.sections:
            self.apply("offline", self.cpu(data), *section)
        else:
            self.apply("online", self.cpu(data), *section, 0)

    # -- isolation, copies -----------------------------------------------------------------------------------------

    @precondition(lambda self: self.machine.config.migrate_isolate is not None)
    @rule(data=st.data(), count=st.integers(1, 3))
    def isolate(self, data: st.DataObject, count: int) -> None:
        start = data.draw(st.integers(1, self.machine.memory_spans[-1][1] // 1024 - count), "start") * 1024
        end = start + count * 1024
        overlaps = any(start < other_end and other_start < end for other_start, other_end in self.isolated)
        inside = any(first <= start and end <= last for first, last in self.machine.memory_spans)
        if inside and not overlaps and isolation_possible(self.pair.model, start, end, 1):
            self.apply("i", self.cpu(data), start, end, 1, 0)
            self.isolated.append((start, end))

    @precondition(lambda self: self.isolated)
    @rule(data=st.data())
    def undo_isolation(self, data: st.DataObject) -> None:
        start, end = self.isolated.pop(data.draw(st.integers(0, len(self.isolated) - 1), "range"))
        self.apply("j", self.cpu(data), start, end, 1)

    @precondition(lambda self: self.machine.config.migrate_isolate is not None)
    @rule(data=st.data(), length=st.sampled_from([1, 7, 512, 1024, 2500]))
    def contiguous_range(self, data: st.DataObject, length: int) -> None:
        first, last = data.draw(st.sampled_from(self.machine.zone_spans), "span")
        start = data.draw(st.integers(first, last - 1), "start")
        end = min(start + length, last)
        if self.apply("contig", self.cpu(data), start, end)[0]:
            self.blocks.append(Block(start, 0, nr_pages=end - start))

    @rule(by_snapshot=st.booleans())
    def go_on_with_a_copy(self, by_snapshot: bool) -> None:
        self.drain_frags()  # caches belong to the allocator that they were made for
        if by_snapshot:
            self.pair.product.replace_by_snapshot()
        else:
            self.pair.product.replace_by_copy()

    @invariant()
    def same_lists(self) -> None:
        if hasattr(self, "pair"):
            self.pair.compare_state()

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.product.allocator.validate()
            self.pair.compare_pages()


SHAPES = ["early-64M", "64M", "normal-192M-2cpu", "numa-4x64M-normal", "up-48M-order10", "isolation-128M-2cpu",
          "hotplug-256M-2cpu"]  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_short_sequences(name: str, is_soak: bool) -> None:
    state_machine = type("AllocatorsOf", (Allocators,), {"machine_name": name})
    run_state_machine_as_test(
        state_machine,
        settings=settings(
            max_examples=200 if is_soak else 12,
            stateful_step_count=60 if is_soak else 40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
