"""Random but reproducible operations: what to do next, given what is allocated.

Operations are those of the recordings (one list per operation, the code first). `next_op` chooses one, `done` learns
what came of it; who performs it, and on how many allocators, is not known here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .machines import SECTION, Machine

Op = list[Any]

# No request may reclaim: what reclaim does is not the allocator's business.
NOWAIT = 0x800
ATOMIC = 0xA20
MOVABLE_USER = 0x11008CA  # HIGHUSER_MOVABLE without direct reclaim
MOVABLE_KERNEL = 0x808
RECLAIMABLE = 0x8D0
COMP = 0x40000
THISNODE = 0x200000
MEMALLOC = 0x20000
NOMEMALLOC = 0x80000
HIGH = 0x20
DMA, DMA32 = 0x1, 0x4

ORDINARY = (NOWAIT, NOWAIT, MOVABLE_USER, MOVABLE_USER, RECLAIMABLE)
PHASE_GFPS = (
    ORDINARY,
    (NOWAIT, MOVABLE_USER),
    (MOVABLE_USER,),
    (RECLAIMABLE, NOWAIT),
    (*ORDINARY, ATOMIC, ATOMIC | NOMEMALLOC, NOWAIT | HIGH, MOVABLE_USER | ATOMIC),
    (NOWAIT, ATOMIC, NOWAIT | MEMALLOC, NOWAIT | MEMALLOC | NOMEMALLOC, RECLAIMABLE | ATOMIC),
    (*ORDINARY, NOWAIT | DMA, NOWAIT | DMA32, MOVABLE_KERNEL, MOVABLE_KERNEL | DMA32, ATOMIC | DMA),
    (0, MOVABLE_USER & ~0x800, RECLAIMABLE & ~0x800, 0x200),
)

# Requests that may reclaim, where nothing can be reclaimed: the slow path runs to its end.
KERNEL = 0xCC0
NORETRY, RETRY_MAYFAIL = 0x10000, 0x4000
RECLAIM_GFPS = (
    (KERNEL, KERNEL, MOVABLE_USER | 0x400, KERNEL | NORETRY, KERNEL | RETRY_MAYFAIL, RECLAIMABLE | 0x400),
    (KERNEL, KERNEL | ATOMIC, KERNEL | MEMALLOC, KERNEL | HIGH, KERNEL | NOMEMALLOC, NOWAIT, ATOMIC),
    (KERNEL, KERNEL | DMA, KERNEL | DMA32 | RETRY_MAYFAIL, KERNEL | THISNODE, MOVABLE_KERNEL | 0x400),
)


class Block(NamedTuple):
    """An outstanding allocation: a block of an order, or `nr_pages` pages of an exact allocation."""

    pfn: int
    order: int
    compound: bool = False
    nr_pages: int = 0

    @property
    def size(self) -> int:
        return self.nr_pages or 1 << self.order


@dataclass
class Phase:
    """A stretch of the run with its own habits."""

    occupancy: float
    max_order: int
    gfps: tuple[int, ...]
    victims: str
    compound: float  # share of compound blocks
    rare: float  # share of operations other than plain allocating and freeing
    left: int  # operations until the next phase


class Workload:
    """Chooses operations for one machine.

    `can_isolate(start, end, migratetype)` tells whether pageblocks could be isolated; without it none are.
    """

    def __init__(
        self,
        machine: Machine,
        seed: int,
        nr_pages: int,
        *,
        can_isolate: Callable[[int, int, int], bool] | None = None,
        isolation_size: int = 1024,
        with_policy: bool = False,
        with_sysctl: bool = False,
        with_hints: bool = True,
        with_reclaim: bool = False,
        with_contig: bool = False,
        with_more: bool = False,
        with_cache: bool = False,
    ) -> None:
        """`isolation_size`: isolated ranges are multiples of so many pages.
        `with_hints`: also what reclaim would do, giving back reserves and marking zones.
        `with_more`: operations that recordings do not know. `with_cache`: pages are given to shrinkers."""
        self.random = random.Random(seed)
        self.machine = machine
        self.nr_cpus = len(machine.cpu_node)
        self.nr_pages = nr_pages
        self.can_isolate = can_isolate
        self.blocks: list[Block] = []
        self.nr_allocated = 0
        self.isolated: list[tuple[int, int]] = []
        self.frags: list[int] = []
        self.poisoned: list[int] = []
        self.sections: list[tuple[int, int]] = []
        self.active_zones: set[tuple[int, int]] = set()
        self.isolation_size = max(isolation_size, machine.config.pageblock_nr_pages)
        self.gfp_mixes = PHASE_GFPS + RECLAIM_GFPS if with_reclaim else PHASE_GFPS
        self.with_policy = with_policy
        self.rare: list[Callable[[], Op | None]] = [
            self.bulk, self.bulk_array, self.bulk_list, self.exact, self.split, self.free_referenced,
            self.free_list, self.drain,
        ]  # fmt: skip
        if with_hints:
            self.rare += [self.unreserve, self.reclaim_active]
        if can_isolate is not None:
            self.rare.append(self.isolation)
        if with_contig:
            self.rare.append(self.contig)
        if with_more:
            self.rare += [self.free_by_tail, self.frag, self.frag, self.free_frag, self.drain_frag, self.poison,
                          self.unpoison]  # fmt: skip
            if machine.max_possible_pfn:
                self.rare += [self.online, self.offline]
        if with_cache:
            self.rare += [self.cache] * 4
        if with_policy:
            self.rare.append(self.set_policy)
        if with_sysctl:
            self.rare.append(self.sysctl)
        self.phase = self.next_phase()

    def next_phase(self) -> Phase:
        choose = self.random.choice
        return Phase(
            occupancy=choose((0.3, 0.6, 0.8, 0.9, 0.97, 1.1)),
            max_order=choose((0, 1, 3, 3, 5, 9, 10)),
            gfps=choose(self.gfp_mixes),
            victims=choose(("random", "newest", "clustered")),
            compound=choose((0.1, 0.1, 0.9)),
            rare=choose((0.0, 0.02, 0.1)),
            left=self.random.randrange(500, 8000),
        )

    # -- the two calls of a run ------------------------------------------------------------------------------------

    def next_op(self) -> Op:
        phase = self.phase
        phase.left -= 1
        if phase.left == 0:
            self.phase = phase = self.next_phase()
        if self.random.random() < phase.rare:
            op = self.random.choice(self.rare)()
            if op is not None:
                return op
        target = phase.occupancy * self.nr_pages
        eager = 0.9 if self.nr_allocated < 0.7 * target else 0.56 if self.nr_allocated < target else 0.4
        if not self.blocks or self.random.random() < eager:
            return self.alloc()
        return self.free(self.take_victim())

    def done(self, op: Op, results: list[Any]) -> None:
        """Remember what an operation handed out."""
        code = op[0]
        if code in ("a", "m"):
            gfp, order, pfn = op[2], op[3], results[0]
            if pfn >= 0:
                self.keep(Block(pfn, order, compound=bool(order and gfp & COMP)))
        elif code in ("b", "bl", "ba"):
            for pfn in results[0]:
                if pfn >= 0:
                    self.keep(Block(pfn, 0))
        elif code == "e":
            if results[0] >= 0:
                self.keep(Block(results[0], 0, nr_pages=op[3]))
        elif code == "s":
            for pfn in range(op[2], op[2] + (1 << op[3])):
                self.keep(Block(pfn, 0))
        elif code == "contig":
            if results[0]:
                self.keep(Block(op[2], 0, nr_pages=op[3] - op[2]))
        elif code == "g":
            self.keep(Block(op[2], 0))
        elif code == "frag":
            if results[0]:
                self.frags.append(results[0][0])
        elif code == "poison":
            if results[0]:
                self.poisoned.append(op[2])
        elif code == "online":
            self.sections.append((op[2], op[3]))
        elif code == "offline":
            if results[0]:
                self.sections.remove((op[2], op[3]))
                self.poisoned = [pfn for pfn in self.poisoned if not op[2] <= pfn < op[3]]

    def rest(self) -> list[Op]:
        """Operations that free everything and undo all isolation."""
        ops = [self.free(block) for block in self.blocks]
        self.blocks.clear()
        self.nr_allocated = 0
        ops += [["j", 0, start, end, 1] for start, end in self.isolated]
        self.isolated.clear()
        ops += [["free_frag", self.cpu(), page] for page in self.frags]
        ops += [["drain_frag", cpu] for cpu in range(self.nr_cpus)]
        ops += [["unpoison", self.cpu(), page] for page in self.poisoned]
        self.frags.clear()
        self.poisoned.clear()
        return ops

    # -- common operations -----------------------------------------------------------------------------------------

    def cpu(self) -> int:
        return int(self.random.random() * self.nr_cpus)

    def alloc(self) -> Op:
        cpu = self.cpu()
        gfp = self.random.choice(self.phase.gfps)
        if self.random.random() < self.phase.compound:
            gfp |= COMP
        order = 0 if self.random.random() < 0.5 else int(self.random.random() * (self.phase.max_order + 1))
        if self.with_policy and self.random.random() < 0.7:
            return ["m", cpu, gfp, order]
        nid, nodemask, extra = self.place(cpu)
        return ["a", cpu, gfp | extra, order, nid, nodemask]

    def place(self, cpu: int) -> tuple[int, int | None, int]:
        """Preferred node, nodemask and extra gfp bits."""
        nid = self.machine.cpu_node[cpu]
        nr_nodes = len(self.machine.nodes)
        if nr_nodes == 1:
            return nid, None, 0
        if self.random.random() < 0.2:
            nid = self.random.randrange(nr_nodes)
        if self.random.random() < 0.1:
            return nid, self.random.randrange(1, 1 << nr_nodes), 0
        return nid, None, THISNODE if self.random.random() < 0.1 else 0

    def free(self, block: Block) -> Op:
        if block.nr_pages:
            return ["x", self.cpu(), block.pfn, block.nr_pages]
        return ["f", self.cpu(), block.pfn, block.order]

    def keep(self, block: Block) -> None:
        self.blocks.append(block)
        self.nr_allocated += block.size

    def take_victim(self) -> Block:
        blocks = self.blocks
        if self.phase.victims == "newest":
            index = max(0, len(blocks) - 1 - int(self.random.expovariate(0.05)))
        elif self.phase.victims == "clustered":
            index = (self.phase.left // 50 * 7919 + int(self.random.random() * 16)) % len(blocks)
        else:
            index = int(self.random.random() * len(blocks))
        block, last = blocks[index], blocks.pop()
        if index < len(blocks):
            blocks[index] = last
        self.nr_allocated -= block.size
        return block

    def take(self, wanted: int, fits: Callable[[Block], bool]) -> list[Block]:
        """Up to `wanted` outstanding blocks that fit; looks at a few only."""
        taken: list[Block] = []
        for _ in range(min(wanted * 3, len(self.blocks))):
            block = self.take_victim()
            if fits(block) and len(taken) < wanted:
                taken.append(block)
            else:
                self.keep(block)
        return taken

    # -- rare operations -------------------------------------------------------------------------------------------

    def bulk_request(self) -> Op:
        cpu = self.cpu()
        nid, nodemask, extra = self.place(cpu)
        gfp = self.random.choice(self.phase.gfps) | extra
        return [cpu, gfp, nid, nodemask, self.random.choice((1, 2, 3, 17, 64, 300))]

    def bulk(self) -> Op:
        return ["b", *self.bulk_request()]

    def bulk_array(self) -> Op:
        op = self.bulk_request()
        op[3] = None
        return ["ba", *op, [-2 if self.random.random() < 0.3 else -1 for _ in range(op[4])]]

    def bulk_list(self) -> Op:
        op = self.bulk_request()
        op[3] = None
        return ["bl", *op]

    def exact(self) -> Op:
        cpu = self.cpu()
        nr_pages = self.random.choice((1, 2, 3, 5, 9, 31, 33, 100, 600))
        return ["e", cpu, self.random.choice(self.phase.gfps), nr_pages, self.machine.cpu_node[cpu]]

    def plain_block(self) -> Block | None:
        blocks = self.take(1, lambda block: block.order > 0 and not block.compound)
        return blocks[0] if blocks else None

    def split(self) -> Op | None:
        block = self.plain_block()
        return block and ["s", self.cpu(), block.pfn, block.order]

    def free_referenced(self) -> Op | None:
        block = self.plain_block()
        return block and ["g", self.cpu(), block.pfn, block.order]

    def free_list(self) -> Op | None:
        blocks = self.take(self.random.choice((1, 2, 15, 60)), lambda block: block.size == 1 and not block.nr_pages)
        return ["l", self.cpu(), [block.pfn for block in blocks]] if blocks else None

    def drain(self) -> Op:
        return ["d", self.cpu()]

    def unreserve(self) -> Op:
        cpu = self.cpu()
        gfp = self.random.choice(self.phase.gfps)
        return ["u", cpu, gfp, self.machine.cpu_node[cpu], self.random.randrange(2)]

    def reclaim_active(self) -> Op:
        zone = self.random.choice(self.machine.populated_zones)
        if zone in self.active_zones:
            self.active_zones.remove(zone)
            return ["r", *zone, 0]
        self.active_zones.add(zone)
        return ["r", *zone, 1]

    def isolation(self) -> Op | None:
        if self.isolated and self.random.random() < 0.6:
            start, end = self.isolated.pop(self.random.randrange(len(self.isolated)))
            return ["j", self.cpu(), start, end, self.isolation_type()]
        assert self.can_isolate is not None
        start, end = self.random.choice(self.machine.zone_spans)
        size = self.isolation_size
        first, last = (start + size - 1) // size, end // size
        if first >= last:
            return None
        position = self.random.randrange(first, last)
        count = self.random.randrange(1, min(4, last - position) + 1)
        chosen = position * size, (position + count) * size
        migratetype = self.isolation_type()
        if not self.can_isolate(*chosen, migratetype) or any(self.cuts(pfn) for pfn in chosen):
            return None
        self.isolated.append(chosen)
        return ["i", self.cpu(), *chosen, migratetype, 0]

    def cuts(self, pfn: int) -> bool:
        """Whether an outstanding block lies on both sides; pages behind the first have no reference of their own, so
        that the kernel's scan does not see them."""
        return any(block.pfn < pfn < block.pfn + block.size for block in self.blocks)

    def isolation_type(self) -> int:
        """Movable, and where there can be CMA pageblocks half of the time CMA: undoing with it makes such blocks."""
        return 4 if self.machine.config.cma and self.random.random() < 0.5 else 1

    def contig(self) -> Op:
        """A range of any length anywhere in memory; mostly it will be in use."""
        start, end = self.random.choice(self.machine.zone_spans)
        first = self.random.randrange(start, end - 1)
        length = self.random.choice((1, 5, 32, 77, 512, 1000, 3000))
        return ["contig", self.cpu(), first, min(first + length, end)]

    # -- operations that recordings do not know --------------------------------------------------------------------

    def free_by_tail(self) -> Op | None:
        blocks = self.take(1, lambda block: block.compound)
        if not blocks:
            return None
        head, order = blocks[0].pfn, blocks[0].order
        pages = [head + self.random.randrange(1 << order) for _ in range(2)]
        return ["tail", self.cpu(), head, order, *pages]

    def frag(self) -> Op:
        size = self.random.choice((1, 64, 700, 2048, 4096, 9000, 32768))
        return ["frag", self.cpu(), size, self.random.choice(self.phase.gfps), self.random.choice((1, 8, 64, 4096))]

    def free_frag(self) -> Op | None:
        if not self.frags:
            return None
        return ["free_frag", self.cpu(), self.frags.pop(self.random.randrange(len(self.frags)))]

    def drain_frag(self) -> Op:
        return ["drain_frag", self.cpu()]

    def poison(self) -> Op:
        start, end = self.random.choice([*self.machine.zone_spans, *self.sections])
        return ["poison", self.cpu(), self.random.randrange(start, end)]

    def unpoison(self) -> Op | None:
        if not self.poisoned:
            return None
        return ["unpoison", self.cpu(), self.poisoned.pop(self.random.randrange(len(self.poisoned)))]

    def online(self) -> Op | None:
        first, behind = -(-self.machine.memory_spans[-1][1] // SECTION), self.machine.max_possible_pfn // SECTION
        absent = [
            (n * SECTION, (n + 1) * SECTION)
            for n in range(first, behind)
            if (n * SECTION, (n + 1) * SECTION) not in self.sections
        ]
        return ["online", self.cpu(), *self.random.choice(absent), 0] if absent else None

    def offline(self) -> Op | None:
        return ["offline", self.cpu(), *self.random.choice(self.sections)] if self.sections else None

    def cache(self) -> Op | None:
        blocks = self.take(self.random.choice((5, 50, 200)), lambda block: block.size == 1 and not block.nr_pages)
        return ["cache", self.cpu(), [block.pfn for block in blocks]] if blocks else None

    def set_policy(self) -> Op:
        mode = self.random.randrange(6)
        flags = self.random.choice((0, 0, 0, 32768, 16384)) if mode in (1, 2, 3, 5) else 0
        nodes = self.random.randrange(1 << len(self.machine.nodes))
        return ["p", self.cpu(), mode, flags, nodes if mode in (1, 2, 3, 5) or self.random.random() < 0.1 else 0]

    def sysctl(self) -> Op:
        choose, between = self.random.choice, self.random.randrange
        name, values = choose(
            (
                ("min_free_kbytes", [choose((0, between(4000), between(self.nr_pages * 4)))]),
                ("watermark_scale_factor", [choose((10, between(3002)))]),
                ("watermark_boost_factor", [choose((0, 15000, between(40000)))]),
                ("lowmem_reserve_ratio", [choose((0, 1, 32, 256)) for _ in self.machine.config.zone_names]),
                ("percpu_pagelist_high_fraction", [choose((0, between(10), between(200)))]),
            )
        )
        return ["y", self.cpu(), name, values]
