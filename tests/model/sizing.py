"""From a memory map to sized, empty zones and their zonelists (spec 02)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .boot import Region, free_ranges, memory_pfns, set_initial_pageblock_types
from .config import Config, Memory
from .page_alloc import PageAllocatorModel
from .zone import Zone

PfnRange = tuple[int, int, int]  # start, end, node


class CoreSize(NamedTuple):
    """The boot parameter that shapes zone Movable: pages, or with `percent` that share of all memory."""

    name: str = ""  # "kernelcore" or "movablecore"
    amount: int = 0
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> CoreSize:
        name, _, value = text.partition("=")
        if value.endswith("%"):
            return cls(name, int(value[:-1]), True)
        shift = {"K": 10, "M": 20, "G": 30}[value[-1]]
        return cls(name, (int(value[:-1]) << shift) >> 12)


NO_MOVABLE = CoreSize()


def zone_limits(config: Config, ranges: Sequence[PfnRange]) -> dict[str, tuple[int, int]]:
    """Name -> [low, high) for every zone but Movable (spec 02.1)."""
    end = max(end for _, end, _ in ranges)
    bounds = {"DMA": min(4096, end), "DMA32": min(1 << 20, end), "Normal": end}
    low = min(start for start, _, _ in ranges)
    limits = {}
    for name in config.zone_names:
        if name in bounds:
            high = max(bounds[name], low)
            limits[name] = (low, high)
            low = high
    return limits


def movable_pfns(
    limits: dict[str, tuple[int, int]], ranges: Sequence[PfnRange], core: CoreSize
) -> tuple[str, dict[int, int]]:
    """The zone that Movable is cut from, and where Movable begins on each node that has it (spec 02.2 case 3)."""
    movable_zone = [name for name, (low, high) in limits.items() if high > low][-1]
    total = sum(end - start for start, end, _ in ranges)
    amount = total * 100 * core.amount // 10000 if core.percent else core.amount
    kernelcore = amount if core.name == "kernelcore" else 0
    if core.name == "movablecore":
        movablecore = min(total, (amount + 1023) // 1024 * 1024)
        kernelcore = max(kernelcore, total - movablecore)
    if kernelcore == 0 or kernelcore >= total:
        return movable_zone, {}
    usable_start = limits[movable_zone][0]
    nodes = sorted({node for _, _, node in ranges})
    movable = dict.fromkeys(nodes, 0)
    usable_nodes = len(nodes)
    while True:
        per_node = kernelcore // usable_nodes
        for node in nodes:
            if kernelcore < per_node:
                per_node = kernelcore // usable_nodes
            remaining = per_node
            for start, end, owner in ranges:
                if owner != node:
                    continue
                start = max(start, movable[node])
                if start >= end:
                    continue
                if start < usable_start:
                    below = min(end, usable_start) - start
                    remaining -= min(below, remaining)
                    kernelcore -= min(below, kernelcore)
                    if end <= usable_start:
                        movable[node] = end
                        continue
                    start = usable_start
                size = min(end - start, remaining)
                movable[node] = start + size
                kernelcore -= min(kernelcore, size)
                remaining -= size
                if remaining == 0:
                    break
        usable_nodes -= 1
        if not (usable_nodes and kernelcore > usable_nodes):
            break
    return movable_zone, {node: (pfn + 1023) // 1024 * 1024 for node, pfn in movable.items() if pfn}


def node_zones(config: Config, ranges: Sequence[PfnRange], node: int, core: CoreSize) -> list[tuple[int, int, int]]:
    """(start_pfn, spanned, present) per zone index (spec 02.3)."""
    limits = zone_limits(config, ranges)
    movable_zone, movable = movable_pfns(limits, ranges, core)
    own = [(start, end) for start, end, owner in ranges if owner == node]
    if not own:
        return [(0, 0, 0)] * len(config.zone_names)
    node_start, node_end = min(start for start, _ in own), max(end for _, end in own)
    cut = movable.get(node, 0)
    sizes = []
    for name in config.zone_names:
        low, high = limits.get(name, (0, 0))
        start, end = (min(max(pfn, low), high) for pfn in (node_start, node_end))
        if cut and name == "Movable":
            start, end = cut, min(node_end, limits[movable_zone][1])
        elif cut and start < cut < end:
            end = cut
        elif cut and start >= cut:
            start = end
        if end < node_start or start > node_end:
            sizes.append((0, 0, 0))
            continue
        start, end = max(start, node_start), min(end, node_end)
        present = sum(max(0, min(e, end) - max(s, start)) for s, e in own)
        sizes.append((start, end - start, present) if end > start else (0, 0, 0))
    return sizes


# -- zonelists (spec 02.6) ---------------------------------------------------------------------------------------------


def node_orders(
    nodes: Sequence[int], with_memory: set[int], distance: Sequence[Sequence[int]], config: Config
) -> dict[int, list[int]]:
    """Order in which each node visits the others, at boot, when no node counts as having cpus."""
    orders: dict[int, list[int]] = {}
    if not config.numa:
        return {node: [n for n in nodes if n >= node] + [n for n in nodes if n < node] for node in nodes}
    node_load = dict.fromkeys(nodes, 0)
    for local in nodes:
        order = [local]
        load, previous = len(nodes) - 1, local  # the first pick is the node itself
        while True:
            left = [n for n in nodes if n in with_memory and n not in order]
            if not left:
                break

            def cost(n: int, local: int = local) -> int:
                near = distance[local][n] + (n < local)
                return near * len(nodes) * config.max_numnodes + node_load[n]

            best = min(left, key=cost)
            if distance[local][best] != distance[local][previous]:
                node_load[best] += load
            order.append(best)
            previous = best
            load -= 1
        orders[local] = order
    return orders


def zonelists(
    zones: Iterable[Zone], nodes: Sequence[int], distance: Sequence[Sequence[int]], config: Config
) -> dict[tuple[int, bool], list[Zone]]:
    """Every populated zone is in the lists, also one without a managed page."""
    populated = [zone for zone in zones if zone.present]
    own = {node: sorted((z for z in populated if z.node == node), key=lambda z: -z.index) for node in nodes}
    orders = node_orders(nodes, {zone.node for zone in populated}, distance, config)
    lists: dict[tuple[int, bool], list[Zone]] = {}
    for node in nodes:
        lists[node, False] = [zone for each in orders[node] for zone in own[each]]
        if config.numa:
            lists[node, True] = own[node]
    return lists


# -- mobility grouping (spec 02.4, 02.7) -------------------------------------------------------------------------------


def provisional_managed(zone: Zone, dma_reserve: int) -> int:
    """The estimate of managed pages before any page is freed."""
    spanned = zone.end_pfn - zone.start_pfn
    described = zone.present if spanned > zone.present + zone.present // 16 else spanned
    memmap_pages = (described * 64 + 4095) // 4096
    managed = zone.present
    if managed >= memmap_pages:
        managed -= memmap_pages
    if zone.index == 0 and managed > dma_reserve:
        managed -= dma_reserve
    return managed


def grouping_disabled(model: PageAllocatorModel, memory: Sequence[Region], reserved: Sequence[Region]) -> bool:
    below = [(start, min(end, 4096)) for start, end, _ in memory_pfns(memory) if start < 4096]
    free_below = [(start, min(end, 4096)) for start, end in free_ranges(memory, reserved) if start < 4096]
    dma_reserve = sum(end - start for start, end in below) - sum(end - start for start, end in free_below)
    zones = model.zonelists[model.nodes[0], False]
    total = sum(provisional_managed(zone, dma_reserve) for zone in zones)
    return total < model.config.pageblock_nr_pages * model.config.nr_migratetypes


def sized_model(
    config: Config,
    memory_regions: Sequence[Region],
    reserved: Sequence[Region],
    *,
    nodes: Sequence[int],
    cpu_node: Sequence[int],
    distance: Sequence[Sequence[int]],
    core: CoreSize = NO_MOVABLE,
) -> PageAllocatorModel:
    """Empty zones and zonelists of a machine, ready for the hand-over (spec 02.8 steps 1 and 2)."""
    memory = Memory(config)
    ranges = memory_pfns(memory_regions)
    zones = [
        Zone(memory, node, index, start_pfn=start, spanned=spanned, present=present, nr_cpus=len(cpu_node))
        for node in nodes
        for index, (start, spanned, present) in enumerate(node_zones(config, ranges, node, core))
        if present
    ]
    extents = [
        (max(start, zone.start_pfn), min(end, zone.end_pfn), zone)
        for start, end, node in ranges
        for zone in zones
        if zone.node == node and max(start, zone.start_pfn) < min(end, zone.end_pfn)
    ]
    lists = zonelists(zones, nodes, distance, config)
    model = PageAllocatorModel(memory, zones, lists, nodes=nodes, cpu_node=cpu_node, extents=extents)
    set_initial_pageblock_types(model, memory_regions)
    memory.grouping_disabled = grouping_disabled(model, memory_regions, reserved)
    return model
