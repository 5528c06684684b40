"""Memory policies of tasks (spec 12.3 to 12.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .gfp import GFP_COMP, GFP_DIRECT_RECLAIM, GFP_HIGHMEM, GFP_NOFAIL, GFP_NOWARN, GFP_THISNODE, gfp_zone
from .page_alloc import exact_order

if TYPE_CHECKING:
    from .page_alloc import PageAllocatorModel

DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL, PREFERRED_MANY = range(6)


class Task:
    """The current task of one cpu: its policy in force and its interleave position."""

    def __init__(self, model: PageAllocatorModel, cpu: int, policy_zone: int) -> None:
        self.model = model
        self.cpu = cpu
        self.policy_zone = policy_zone
        self.mode = DEFAULT
        self.nodes = 0
        self.il_prev = 0

    def set_policy(self, mode: int, nodes: int) -> None:
        """`mode` and `nodes` as they are after the intersection with the nodes that have memory."""
        self.mode, self.nodes = mode, nodes
        if mode == INTERLEAVE:
            self.il_prev = self.model.config.max_numnodes - 1

    def next_interleave_node(self) -> int:
        members = [node for node in range(self.model.config.max_numnodes) if self.nodes >> node & 1]
        self.il_prev = next((node for node in members if node > self.il_prev), members[0])
        return self.il_prev

    def alloc_pages(self, gfp: int, order: int) -> int | None:
        """spec 12.4"""
        model, cpu = self.model, self.cpu
        local = model.cpu_node[cpu]
        mode = LOCAL if gfp & GFP_THISNODE else self.mode
        if mode == INTERLEAVE:
            nid = self.next_interleave_node()
            pfn = model.alloc_pages(cpu, gfp, order, nid)
            if pfn is not None and model.zone_of(pfn).node == nid:
                model.zone_of(pfn).counters.numa["interleave"] += 1
            return pfn
        if mode == PREFERRED_MANY:
            first = (gfp | GFP_NOWARN) & ~(GFP_DIRECT_RECLAIM | GFP_NOFAIL)
            pfn = model.alloc_pages(cpu, first, order, local, self.nodes)
            return model.alloc_pages(cpu, gfp, order, local) if pfn is None else pfn
        if mode == PREFERRED:
            return model.alloc_pages(cpu, gfp, order, (self.nodes & -self.nodes).bit_length() - 1)
        if mode == BIND and gfp_zone(model.config, gfp) >= self.policy_zone:
            return model.alloc_pages(cpu, gfp, order, local, self.nodes)
        return model.alloc_pages(cpu, gfp, order, local)

    def alloc_pages_exact(self, gfp: int, nr_pages: int) -> int | None:
        order = exact_order(nr_pages)
        pfn = self.alloc_pages(gfp & ~(GFP_COMP | GFP_HIGHMEM), order)
        return self.model.trim_exact(self.cpu, pfn, order, nr_pages)
