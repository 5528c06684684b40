"""Synthetic machines for tests: zones of any size without a boot memory allocator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .boot import hand_over
from .config import MOVABLE, Config, Memory
from .page_alloc import PageAllocatorModel
from .sysctl import Tunables
from .zone import Zone


class ZoneShape(NamedTuple):
    """One zone that is memory throughout; all of it is free at first unless `free` names ranges."""

    node: int
    name: str
    start_pfn: int
    nr_pages: int
    free: Sequence[tuple[int, int]] | None = None


def machine(
    shapes: Sequence[ZoneShape],
    *,
    config: Config | None = None,
    cpu_node: Sequence[int] = (0,),
    late: bool = False,
) -> tuple[PageAllocatorModel, Tunables]:
    """A machine right after the hand-over (boot pagesets, no watermarks), or with `late` after start-up.

    Zonelists are the plain ones of equal distances: the own node first, then the following nodes, wrapping around.
    """
    config = config or Config()
    memory = Memory(config)
    zones = [
        Zone(
            memory,
            shape.node,
            config.zone_names.index(shape.name),
            start_pfn=shape.start_pfn,
            spanned=shape.nr_pages,
            present=shape.nr_pages,
            nr_cpus=len(cpu_node),
        )
        for shape in shapes
    ]
    nodes = sorted({zone.node for zone in zones} | set(cpu_node))
    own = {node: sorted((z for z in zones if z.node == node), key=lambda z: -z.index) for node in nodes}
    zonelists: dict[tuple[int, bool], list[Zone]] = {}
    for position, node in enumerate(nodes):
        zonelists[node, True] = own[node]
        zonelists[node, False] = [zone for n in nodes[position:] + nodes[:position] for zone in own[n]]
    model = PageAllocatorModel(memory, zones, zonelists, nodes=nodes, cpu_node=cpu_node)
    tunables = Tunables(model)
    for shape in shapes:
        for pfn in range(shape.start_pfn, shape.start_pfn + shape.nr_pages, config.pageblock_nr_pages):
            memory.pageblock_types[pfn >> config.pageblock_order] = MOVABLE
    ranges = [
        extent
        for shape in sorted(shapes, key=lambda shape: shape.start_pfn)
        for extent in (shape.free or [(shape.start_pfn, shape.start_pfn + shape.nr_pages)])
    ]
    hand_over(model, ranges)
    if late:
        tunables.start_up()
    return model, tunables
