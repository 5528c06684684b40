"""Machines of different shapes, described by what firmware would report; both sides boot from the same description."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from tests.model import Config, PageAllocatorModel, Tunables, sized_model
from tests.model.boot import free_ranges, hand_over, memory_pfns
from tests.model.gfp import GFP_BOOT_MASK
from tests.model.sizing import NO_MOVABLE, CoreSize, node_zones

MIB = 1 << 20
GIB = 1 << 30
SECTION = 128 * MIB >> 12  # pages
Region = tuple[int, int, int, int]  # base, size in bytes, node, flags


@dataclass(frozen=True)
class Machine:
    """Memory map, cpus, nodes and kernel options of one machine."""

    name: str
    memory: tuple[Region, ...]
    reserved: tuple[Region, ...] = ((0, MIB, 0, 0), (2 * MIB, 10 * MIB, 0, 0))
    cpu_node: tuple[int, ...] = (0,)
    distance: tuple[tuple[int, ...], ...] = ((10,),)
    core: CoreSize = NO_MOVABLE
    early: bool = False
    config: Config = field(default_factory=Config)
    max_possible_pfn: int = 0  # room for sections that come later

    @property
    def nodes(self) -> list[int]:
        return list(range(len(self.distance)))

    @property
    def memory_spans(self) -> list[tuple[int, int]]:
        return [(start, end) for start, end, _ in memory_pfns(self.memory)]

    @cached_property
    def zone_spans(self) -> list[tuple[int, int]]:
        """Memory cut at the borders of zones."""
        ranges = memory_pfns(self.memory)
        return [
            (max(first, start), min(last, start + spanned))
            for first, last, owner in ranges
            for start, spanned, _ in node_zones(self.config, ranges, owner, self.core)
            if max(first, start) < min(last, start + spanned)
        ]

    @cached_property
    def populated_zones(self) -> list[tuple[int, int]]:
        """(node, zone index)"""
        ranges = memory_pfns(self.memory)
        return [
            (node, index)
            for node in self.nodes
            for index, (_, _, present) in enumerate(node_zones(self.config, ranges, node, self.core))
            if present
        ]

    def boot_model(self, *, started: bool = True) -> tuple[PageAllocatorModel, Tunables]:
        """The model after the hand-over, and (unless `early`) after the start-up."""
        model = sized_model(
            self.config,
            self.memory,
            self.reserved,
            nodes=self.nodes,
            cpu_node=self.cpu_node,
            distance=self.distance,
            core=self.core,
        )
        hand_over(model, free_ranges(self.memory, self.reserved))
        tunables = Tunables(model)
        if self.early:
            model.gfp_allowed_mask = GFP_BOOT_MASK
        elif started:
            tunables.start_up()
        return model, tunables


def low(end: int, node: int = 0) -> tuple[Region, ...]:
    """Memory of a PC below 4 GiB: the first page and 0xa0000 to 1 MiB are not memory."""
    return ((4096, 0x9E000, node, 0), (MIB, end - MIB, node, 0))


HIGH = 4 * GIB

MACHINES = {
    machine.name: machine
    for machine in (
        Machine("early-64M", low(64 * MIB), early=True),
        Machine("64M", low(64 * MIB)),
        Machine("128M-4cpu", low(128 * MIB), cpu_node=(0, 0, 0, 0)),
        # DMA, DMA32 and Normal: NOFRAGMENT and lowmem reserves take part
        Machine("normal-192M-2cpu", (*low(64 * MIB), (HIGH, 128 * MIB, 0, 0)), cpu_node=(0, 0)),
        Machine(
            "movable-256M-2cpu",
            (*low(64 * MIB), (HIGH, 192 * MIB, 0, 0)),
            cpu_node=(0, 0),
            core=CoreSize("kernelcore", 150 * MIB >> 12),
        ),
        # memory ends in mid-block and has holes that are not aligned to pageblocks
        Machine(
            "holes-100M",
            ((4096, 0x9E000, 0, 0), (MIB, 40 * MIB + 0x7000, 0, 0), (48 * MIB + 0x3000, 52 * MIB + 0x1D000, 0, 0)),
            cpu_node=(0, 0),
        ),
        Machine(
            "numa-2x64M",
            (*low(64 * MIB), (64 * MIB, 64 * MIB, 1, 0)),
            cpu_node=(0, 1),
            distance=((10, 20), (20, 10)),
        ),
        Machine(
            "numa-4x64M-normal",
            (*low(64 * MIB), *((HIGH + (n - 1) * 64 * MIB, 64 * MIB, n, 0) for n in (1, 2, 3))),
            cpu_node=(0, 1, 2, 3),
            distance=((10, 12, 20, 22), (12, 10, 22, 24), (20, 22, 10, 12), (22, 24, 12, 10)),
        ),
        Machine(
            "up-48M-order10",
            low(48 * MIB),
            config=Config(smp=False, thp=False, numa=False, pageblock_order=10, max_numnodes=1),
        ),
        Machine("thp-order10-128M", low(128 * MIB), cpu_node=(0, 0), config=Config(pageblock_order=10)),
        Machine("1G-2cpu", low(1 * GIB), cpu_node=(0, 0)),
        Machine("isolation-128M", low(128 * MIB), config=Config(memory_isolation=True)),
        Machine("isolation-128M-2cpu", low(128 * MIB), cpu_node=(0, 0), config=Config(memory_isolation=True)),
        Machine(
            "hotplug-256M-2cpu",
            low(256 * MIB),
            cpu_node=(0, 0),
            config=Config(memory_isolation=True),
            max_possible_pfn=5 * SECTION,
        ),
        Machine("isolation-cma-128M", low(128 * MIB), config=Config(cma=True, memory_isolation=True)),
    )
}
