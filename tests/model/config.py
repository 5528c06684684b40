"""Build options of the kernel that the model imitates, and what all zones of one machine share."""

from __future__ import annotations

from dataclasses import dataclass, field

UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC = range(4)
MIGRATE_PCPTYPES = 3
PAGE_SHIFT = 12


@dataclass(frozen=True)
class Config:
    """Kernel options that change what the allocator does (spec README, "Assumed configuration")."""

    max_order: int = 11
    pageblock_order: int = 9
    smp: bool = True
    thp: bool = True
    numa: bool = True
    cma: bool = False
    memory_isolation: bool = False
    zone_dma: bool = True
    zone_dma32: bool = True
    zone_device: bool = False
    max_numnodes: int = 8

    @property
    def pageblock_nr_pages(self) -> int:
        return 1 << self.pageblock_order

    @property
    def migrate_cma(self) -> int | None:
        return 4 if self.cma else None

    @property
    def migrate_isolate(self) -> int | None:
        if self.cma:
            return 5
        return 4 if self.memory_isolation else None

    @property
    def nr_migratetypes(self) -> int:
        return 4 + self.cma + (self.cma or self.memory_isolation)

    @property
    def zone_names(self) -> list[str]:
        """Zone names by index; without DMA or DMA32 the following zones move down."""
        names = ["DMA"] * self.zone_dma + ["DMA32"] * self.zone_dma32 + ["Normal", "Movable"]
        return names + ["Device"] * self.zone_device

    @property
    def nr_pcp_lists(self) -> int:
        return 15 if self.thp else 12  # spec 07.1


@dataclass
class Memory:
    """Pageblock types, the mobility-grouping switch and the event trace: one per machine, used by every zone.

    Pageblocks are aligned by pfn, not by zone start, so that one block can belong to two zones (spec 02.5).
    """

    config: Config
    grouping_disabled: bool = False
    pageblock_types: dict[int, int] = field(default_factory=dict)
    watermark_boost_factor: int = 15000
    events: list[tuple[object, ...]] | None = None

    def pageblock_type(self, pfn: int) -> int:
        return self.pageblock_types.get(pfn >> self.config.pageblock_order, UNMOVABLE)

    def set_pageblock_type(self, pfn: int, migratetype: int) -> None:
        if self.grouping_disabled and migratetype < MIGRATE_PCPTYPES:
            migratetype = UNMOVABLE  # spec 02.5, last point but one
        self.pageblock_types[pfn >> self.config.pageblock_order] = migratetype
