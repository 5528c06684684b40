"""gfp masks and alloc flags (spec 10)."""

from __future__ import annotations

from .config import UNMOVABLE, Config

# spec 10.1
GFP_DMA = 0x1
GFP_HIGHMEM = 0x2
GFP_DMA32 = 0x4
GFP_MOVABLE = 0x8
GFP_RECLAIMABLE = 0x10
GFP_HIGH = 0x20
GFP_ATOMIC_BIT = 0x200
GFP_DIRECT_RECLAIM = 0x400
GFP_KSWAPD_RECLAIM = 0x800
GFP_NOWARN = 0x2000
GFP_RETRY_MAYFAIL = 0x4000
GFP_NOFAIL = 0x8000
GFP_NORETRY = 0x10000
GFP_MEMALLOC = 0x20000
GFP_COMP = 0x40000
GFP_NOMEMALLOC = 0x80000
GFP_HARDWALL = 0x100000
GFP_THISNODE = 0x200000
GFP_ALL = 0x1FFFFFF
GFP_KERNEL = 0xCC0
GFP_BOOT_MASK = GFP_ALL & ~0xCC0

# spec 10.6
WMARK_MIN, WMARK_LOW, WMARK_HIGH = range(3)
WMARK_MASK = 0x3
ALLOC_NO_WATERMARKS = 0x4
ALLOC_OOM = 0x8
ALLOC_HARDER = 0x10
ALLOC_HIGH = 0x20
ALLOC_CPUSET = 0x40
ALLOC_CMA = 0x80
ALLOC_NOFRAGMENT = 0x100
ALLOC_KSWAPD = 0x800


def gfp_zone(config: Config, gfp: int) -> int:
    """Index of the highest zone the request may use (spec 10.3)."""
    names = config.zone_names
    normal = names.index("Normal")
    bits = gfp & 0xF
    if bits in (0, GFP_HIGHMEM, GFP_MOVABLE):
        return normal
    if bits == GFP_HIGHMEM | GFP_MOVABLE:
        return names.index("Movable")
    if bits in (GFP_DMA, GFP_DMA | GFP_MOVABLE):
        return names.index("DMA") if config.zone_dma else normal
    if bits in (GFP_DMA32, GFP_DMA32 | GFP_MOVABLE):
        return names.index("DMA32") if config.zone_dma32 else normal
    return 0  # contradictory selectors


def gfp_migratetype(gfp: int, grouping_disabled: bool) -> int:
    """Request type (spec 10.4); both mobility bits together are a caller error."""
    if grouping_disabled:
        return UNMOVABLE
    migratetype = (gfp >> 3) & 3
    if migratetype == 3:
        raise ValueError("MOVABLE and RECLAIMABLE in one request")
    return migratetype
