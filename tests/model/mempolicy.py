"""Memory policies of tasks (spec 12.3 to 12.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .gfp import GFP_COMP, GFP_DIRECT_RECLAIM, GFP_HIGHMEM, GFP_NOFAIL, GFP_NOWARN, GFP_THISNODE, gfp_zone
from .page_alloc import exact_order

if TYPE_CHECKING:
    from .page_alloc import PageAllocatorModel

DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL, PREFERRED_MANY = range(6)

STATIC_NODES, RELATIVE_NODES = 32768, 16384
EINVAL = -22


def members(mask: int) -> list[int]:
    return [node for node in range(mask.bit_length()) if mask >> node & 1]


def resolve_policy(mode: int, flags: int, nodes: int, with_memory: int) -> tuple[int, int] | None:
    """Mode and nodes in force after set_mempolicy, None if it is refused. What the recordings show; spec 12.3."""
    if flags == STATIC_NODES | RELATIVE_NODES:
        return None
    if mode in (DEFAULT, LOCAL):
        return None if nodes or flags else (mode, 0)
    if nodes == 0:
        return (LOCAL, 0) if mode == PREFERRED and not flags else None
    if flags & RELATIVE_NODES:  # numbers count the nodes with memory, wrapping around
        usable = members(with_memory)
        allowed = {usable[node % len(usable)] for node in members(nodes)}
    else:
        allowed = set(members(nodes & with_memory))
    if not allowed:
        return None
    if mode == PREFERRED:
        allowed = {min(allowed)}
    return mode, sum(1 << node for node in allowed)


class Task:
    """The current task of one cpu: its policy in force and its interleave position."""

    def __init__(self, model: PageAllocatorModel, cpu: int, policy_zone: int) -> None:
        self.model = model
        self.cpu = cpu
        self.policy_zone = policy_zone
        self.mode = DEFAULT
        self.nodes = 0
        self.il_prev = 0

    def set_policy(self, mode: int, flags: int, nodes: int) -> int:
        """set_mempolicy: 0, or -22 and the old policy stays."""
        with_memory = sum({1 << zone.node for zone in self.model.zones if zone.present})
        resolved = resolve_policy(mode, flags, nodes, with_memory)
        if resolved is None:
            return EINVAL
        self.mode, self.nodes = resolved
        if self.mode == INTERLEAVE:
            self.il_prev = self.model.config.max_numnodes - 1
        return 0

    def next_interleave_node(self) -> int:
        nodes = members(self.nodes)
        self.il_prev = next((node for node in nodes if node > self.il_prev), nodes[0])
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
