"""The operations of recordings, performed on the model: `apply` takes an operation's inputs, gives its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import hotplug, hwpoison, isolation, mempolicy
from .page_alloc import PageAllocatorModel
from .page_frag import PageFragCache
from .sysctl import Tunables

Op = list[Any]


class Operations:
    """A machine that performs operations in the vocabulary of the recordings."""

    def __init__(
        self, model: PageAllocatorModel, tunables: Tunables, *, policy_zone: int = 0, policy: bool = False
    ) -> None:
        """`policy`: exact allocations go through the policy of the cpu's task, too."""
        self.model = model
        self.tunables = tunables
        self.exact_by_policy = policy
        self.tasks = [mempolicy.Task(model, cpu, policy_zone) for cpu in range(model.nr_cpus)]
        self.frag_caches = [PageFragCache() for _ in range(model.nr_cpus)]
        self.zones = {(zone.node, zone.index): zone for zone in model.zones}
        # code -> (what performs it, number of input elements, position of the results in a recorded line)
        self.table: dict[str, tuple[Callable[..., list[Any]], int, int]] = {
            "a": (self.alloc, 6, 6),
            "f": (self.free, 4, 4),
            "d": (self.drain, 2, 2),
            "b": (self.bulk, 6, 6),
            "ba": (self.bulk_array, 7, 6),
            "bl": (self.bulk_list, 6, 6),
            "e": (self.exact, 5, 5),
            "x": (self.free_exact, 4, 4),
            "s": (self.split, 4, 4),
            "g": (self.free_referenced, 4, 4),
            "l": (self.free_list, 3, 3),
            "u": (self.unreserve, 5, 5),
            "r": (self.reclaim_active, 4, 4),
            "y": (self.sysctl, 4, 4),
            "p": (self.set_policy, 5, 5),
            "m": (self.policy_alloc, 4, 4),
            "i": (self.isolate, 6, 6),
            "j": (self.undo_isolate, 5, 5),
            # not in recordings
            "contig": (self.contig, 4, 4),
            "tail": (self.free_by_tail, 6, 6),
            "poison": (self.poison, 3, 3),
            "unpoison": (self.unpoison, 3, 3),
            "frag": (self.frag, 5, 5),
            "free_frag": (self.free_frag, 3, 3),
            "drain_frag": (self.drain_frag, 2, 2),
            "online": (self.online, 5, 5),
            "offline": (self.offline, 4, 4),
        }

    def apply(self, op: Op) -> list[Any]:
        """Perform an operation; elements beyond its inputs are ignored."""
        perform, nr_inputs, _ = self.table[op[0]]
        return perform(*op[1:nr_inputs])

    def recorded_results(self, line: Op) -> list[Any]:
        return line[self.table[line[0]][2] :]

    def line(self, op: Op, results: list[Any]) -> Op:
        """The operation as a recording shows it."""
        return op[: self.table[op[0]][2]] + results

    # -- one method per operation ----------------------------------------------------------------------------------

    def alloc(self, cpu: int, gfp: int, order: int, nid: int, nodemask: int | None) -> list[Any]:
        return [none_as(self.model.alloc_pages(cpu, gfp, order, nid, nodemask))]

    def free(self, cpu: int, pfn: int, order: int) -> list[Any]:
        self.model.free_pages(cpu, pfn, order)
        return []

    def drain(self, cpu: int) -> list[Any]:
        self.model.drain(cpu)
        return []

    def bulk(self, cpu: int, gfp: int, nid: int, nodemask: int | None, n: int) -> list[Any]:
        array: list[int | None] = [None] * n
        filled = self.model.alloc_pages_bulk_array(cpu, gfp, nid, nodemask, array)
        return [array[:filled]]

    def bulk_array(self, cpu: int, gfp: int, nid: int, nodemask: int | None, n: int, slots: list[int]) -> list[Any]:
        """Slots of -2 hold a page before the call."""
        array = [-2 if slot == -2 else None for slot in slots]
        filled = self.model.alloc_pages_bulk_array(cpu, gfp, nid, nodemask, array)
        return [[none_as(slot) for slot in array], filled]

    def bulk_list(self, cpu: int, gfp: int, nid: int, nodemask: int | None, n: int) -> list[Any]:
        return [self.model.alloc_pages_bulk_list(cpu, gfp, nid, nodemask, n)]

    def exact(self, cpu: int, gfp: int, nr_pages: int, nid: int) -> list[Any]:
        if self.exact_by_policy:
            return [none_as(self.tasks[cpu].alloc_pages_exact(gfp, nr_pages))]
        return [none_as(self.model.alloc_pages_exact(cpu, gfp, nr_pages, nid))]

    def free_exact(self, cpu: int, pfn: int, nr_pages: int) -> list[Any]:
        self.model.free_pages_exact(cpu, pfn, nr_pages)
        return []

    def split(self, cpu: int, pfn: int, order: int) -> list[Any]:
        self.model.split_page(pfn, order)
        return []

    def free_referenced(self, cpu: int, pfn: int, order: int) -> list[Any]:
        self.model.get_page(pfn)  # by somebody else, who drops it later
        self.model.free_pages(cpu, pfn, order)
        return []

    def free_list(self, cpu: int, pfns: list[int]) -> list[Any]:
        self.model.free_list(cpu, pfns)
        return []

    def unreserve(self, cpu: int, gfp: int, nid: int, force: int) -> list[Any]:
        return [int(self.model.unreserve_highatomic(gfp, nid, bool(force)))]

    def reclaim_active(self, node: int, index: int, value: int) -> list[Any]:
        self.zones[node, index].reclaim_active = bool(value)
        return []

    def sysctl(self, cpu: int, name: str, values: list[int]) -> list[Any]:
        return [self.tunables.write(name, values)]

    def set_policy(self, cpu: int, mode: int, flags: int, nodes: int) -> list[Any]:
        task = self.tasks[cpu]
        return [task.set_policy(mode, flags, nodes), task.mode, task.nodes]

    def policy_alloc(self, cpu: int, gfp: int, order: int) -> list[Any]:
        pfn = self.tasks[cpu].alloc_pages(gfp, order)
        return [none_as(pfn), self.tasks[cpu].il_prev]

    def isolate(self, cpu: int, start: int, end: int, migratetype: int, flags: int) -> list[Any]:
        """Only attempts that succeed are operations."""
        for pfn in range(start, end, self.model.config.pageblock_nr_pages):
            isolation.isolate_pageblock(self.model, cpu, pfn)
        return []

    def undo_isolate(self, cpu: int, start: int, end: int, migratetype: int) -> list[Any]:
        isolation.undo_isolate_page_range(self.model, cpu, start, end, migratetype)
        return []

    def contig(self, cpu: int, start: int, end: int) -> list[Any]:
        return [isolation.alloc_contig_range(self.model, cpu, start, end)]

    def free_by_tail(self, cpu: int, head: int, order: int, first: int, last: int) -> list[Any]:
        """Somebody else holds the block through one of its pages and lets go of it through another."""
        self.model.get_page(first)
        self.model.free_pages(cpu, head, order)
        self.model.put_page(cpu, last)
        return []

    def poison(self, cpu: int, pfn: int) -> list[Any]:
        return [hwpoison.take_page_off_buddy(self.model, cpu, pfn)]

    def unpoison(self, cpu: int, pfn: int) -> list[Any]:
        return [hwpoison.put_page_back_buddy(self.model, cpu, pfn)]

    def frag(self, cpu: int, size: int, gfp: int, align: int) -> list[Any]:
        return [self.frag_caches[cpu].alloc(self.model, cpu, size, gfp, align)]

    def free_frag(self, cpu: int, page: int) -> list[Any]:
        self.model.put_page(cpu, page)
        return []

    def drain_frag(self, cpu: int) -> list[Any]:
        self.frag_caches[cpu].drain(self.model, cpu)
        return []

    def online(self, cpu: int, start: int, end: int, node: int) -> list[Any]:
        hotplug.online_pages(self.model, self.tunables, cpu, start, end, node)
        return []

    def offline(self, cpu: int, start: int, end: int) -> list[Any]:
        return [hotplug.offline_pages(self.model, self.tunables, cpu, start, end)]


def none_as(pfn: int | None) -> int:
    return -1 if pfn is None else pfn
