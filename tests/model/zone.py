"""One zone: free lists, merging, splitting, smallest fit (spec 04)."""

from __future__ import annotations

from collections import OrderedDict

from .config import Config, Memory
from .counters import ZoneCounters
from .pcp import PerCpuPages


class FreeList:
    """L(z, order, migratetype): first pfns of free blocks, head first."""

    __slots__ = ("order", "migratetype", "blocks")

    def __init__(self, order: int, migratetype: int) -> None:
        self.order = order
        self.migratetype = migratetype
        self.blocks: OrderedDict[int, None] = OrderedDict()


class Zone:
    """Everything the allocator keeps per zone. The methods here are the buddy core."""

    def __init__(
        self,
        memory: Memory,
        node: int,
        index: int,
        *,
        start_pfn: int,
        spanned: int,
        present: int,
        managed: int = 0,
        nr_cpus: int = 1,
    ) -> None:
        self.memory = memory
        self.config: Config = memory.config
        self.node = node
        self.index = index
        self.name = self.config.zone_names[index]
        self.start_pfn = start_pfn
        self.end_pfn = start_pfn + spanned
        self.present = present
        self.managed = managed
        self.free_area = [
            [FreeList(order, mt) for mt in range(self.config.nr_migratetypes)] for order in range(self.config.max_order)
        ]
        self.list_of: dict[int, FreeList] = {}  # first pfn of a free block -> the list it is on
        self.movable_pages: set[int] = set()  # in use, but counted as movable by the stealing heuristic (spec 05.5)
        self.counters = ZoneCounters(nr_cpus)
        self.pcp = [PerCpuPages(self.config.nr_pcp_lists) for _ in range(nr_cpus)]
        self.pageset_high = 0
        self.pageset_batch = 1
        self.wmark = [0, 0, 0]  # min, low, high without boost
        self.boost = 0
        self.boosted_flag = False  # spec 05.6
        self.reclaim_active = False  # spec 07.4
        self.lowmem_reserve = [0] * len(self.config.zone_names)
        self.nr_reserved_highatomic = 0
        self.nr_isolate_pageblock = 0
        self.drift_mark = 0

    def __repr__(self) -> str:
        return f"<Zone node={self.node} {self.name} [{self.start_pfn}, {self.end_pfn})>"

    # -- lists (spec 04.1) -----------------------------------------------------------------------------------------

    def nr_free(self, order: int) -> int:
        return sum(len(free_list.blocks) for free_list in self.free_area[order])

    def add_to_head(self, pfn: int, order: int, migratetype: int) -> None:
        free_list = self.free_area[order][migratetype]
        free_list.blocks[pfn] = None
        free_list.blocks.move_to_end(pfn, last=False)
        self.list_of[pfn] = free_list

    def add_to_tail(self, pfn: int, order: int, migratetype: int) -> None:
        free_list = self.free_area[order][migratetype]
        free_list.blocks[pfn] = None
        self.list_of[pfn] = free_list

    def remove(self, pfn: int) -> None:
        del self.list_of.pop(pfn).blocks[pfn]

    def move_to_tail(self, pfn: int, migratetype: int) -> None:
        """move_to_free_list: the same order's list of another (or the same) migratetype, at its tail."""
        order = self.list_of[pfn].order
        self.remove(pfn)
        self.add_to_tail(pfn, order, migratetype)

    def is_free(self, pfn: int, order: int) -> bool:
        """page_is_buddy: a free block of exactly this order in this zone, whatever its migratetype (spec 04.2)."""
        free_list = self.list_of.get(pfn)
        return free_list is not None and free_list.order == order

    # -- freeing one block (spec 04.3) -----------------------------------------------------------------------------

    def account_freepage(self, cpu: int, delta: int, migratetype: int) -> None:
        """__mod_zone_freepage_state."""
        self.counters.mod_free(cpu, delta)
        if migratetype == self.config.migrate_cma:
            self.counters.mod_free_cma(cpu, delta)

    def free_one_page(self, cpu: int, pfn: int, order: int, migratetype: int, to_tail: bool = False) -> None:
        config = self.config
        isolate = config.migrate_isolate
        if migratetype != isolate:
            self.account_freepage(cpu, 1 << order, migratetype)
        limit = min(config.max_order - 1, config.pageblock_order)
        while True:
            while order < limit and self.is_free(pfn ^ (1 << order), order):
                buddy = pfn ^ (1 << order)
                self.remove(buddy)
                pfn &= buddy
                order += 1
            if order < limit or order >= config.max_order - 1:
                break
            # spec 04.3 step 4: from pageblock_order upwards isolated and other blocks must not merge
            if self.nr_isolate_pageblock:
                buddy_type = self.memory.pageblock_type(pfn ^ (1 << order))
                if migratetype != buddy_type and isolate in (migratetype, buddy_type):
                    break
            limit = order + 1
        if to_tail or self.merge_likely(pfn, order):
            self.add_to_tail(pfn, order, migratetype)
        else:
            self.add_to_head(pfn, order, migratetype)

    def merge_likely(self, pfn: int, order: int) -> bool:
        """buddy_merge_likely: the buddy of the parent block is free, so that this block may soon merge twice."""
        if order >= self.config.max_order - 2:
            return False
        parent = pfn & (pfn ^ (1 << order))
        return self.is_free(parent ^ (1 << (order + 1)), order + 1)

    # -- taking a block (spec 04.6, 04.7) --------------------------------------------------------------------------

    def expand(self, pfn: int, low: int, high: int, migratetype: int) -> None:
        """Keep the lowest piece, put the upper halves at list heads, from large to small."""
        for order in range(high - 1, low - 1, -1):
            self.add_to_head(pfn + (1 << order), order, migratetype)

    def rmqueue_smallest(self, order: int, migratetype: int) -> int | None:
        for current in range(order, self.config.max_order):
            blocks = self.free_area[current][migratetype].blocks
            if blocks:
                pfn = next(iter(blocks))
                self.remove(pfn)
                self.expand(pfn, order, current, migratetype)
                return pfn
        return None
