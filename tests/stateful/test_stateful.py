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

from .machines import MACHINES
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
        self.pair = Pair(MACHINES[self.machine_name])
        self.machine = self.pair.machine
        self.blocks: list[Block] = []
        self.isolated: list[tuple[int, int]] = []

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
        with pytest.raises(pagebuddy.BadPageError) as caught:
            self.pair.product.allocator.free_pages(pfn, order, cpu=self.cpu(data))
        assert caught.value.pfn == pfn

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


SHAPES = ["early-64M", "64M", "normal-192M-2cpu", "numa-4x64M-normal", "up-48M-order10", "isolation-128M-2cpu"]


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
