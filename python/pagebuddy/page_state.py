"""What a page is, as numbers."""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = ["PageFlag", "PageState"]


class PageState(IntEnum):
    """What a page is. The numbers are those of `PageAllocator.page_map`.

    Example:
        >>> PageState.BUDDY
        <PageState.BUDDY: 2>
    """

    #: No memory stands behind the pfn.
    HOLE = 0
    #: Reserved at boot, never handed to the page allocator.
    RESERVED = 1
    #: In a free block of the buddy lists.
    BUDDY = 2
    #: On a per-cpu list.
    PCP = 3
    #: In a block that was handed out.
    ALLOCATED = 4
    #: Taken off the lists for good (hardware poison).
    OFFLINE = 5
    #: In use, but no block that a caller could free: in use already when the machine's state was recorded, or left
    #: behind by `put_page` on a block that is not compound.
    USED = 6


class PageFlag(IntFlag):
    """Flags of a page, as `Page.flags` gives them.

    Example:
        >>> PageFlag.COMPOUND in PageFlag(6)
        True
    """

    NONE = 0
    #: First page of a free or handed-out block.
    HEAD = 1
    #: Part of a compound page (``__GFP_COMP``).
    COMPOUND = 2
    #: First page of a compound page (``PG_head``).
    COMPOUND_HEAD = 4
    #: Handed out from the reserves below the watermarks (``page_is_pfmemalloc``).
    PFMEMALLOC = 8
    #: On an LRU list or otherwise movable: the stealing heuristic counts it.
    MOVABLE = 16
    #: Reserved at boot (``PG_reserved``).
    RESERVED = 32
    #: Taken off the lists for good (``PG_hwpoison``).
    HWPOISON = 64
