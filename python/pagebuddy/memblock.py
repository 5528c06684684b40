"""Constants of the boot memory allocator."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["MemblockFlag"]


class MemblockFlag(IntFlag):
    """Flags of a memory region.

    Source: ``enum memblock_flags`` in include/linux/memblock.h.

    Example:
        >>> MemblockFlag(5)
        <MemblockFlag.HOTPLUG|NOMAP: 5>
    """

    NONE = 0
    #: The memory can be taken away while the machine runs.
    HOTPLUG = 1
    #: The memory is mirrored by the hardware.
    MIRROR = 2
    #: The kernel has no direct mapping of the memory.
    NOMAP = 4
    #: A driver brought the memory.
    DRIVER_MANAGED = 8
