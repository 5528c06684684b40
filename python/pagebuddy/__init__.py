"""The page (buddy) allocator of Linux 5.17.9, from Python.

Driven by one caller it takes the decisions of the kernel, page for page; driven by many threads or processes no
operation waits for another.
"""

from pagebuddy._pagebuddy import Memblock, MemblockRegion, __version__
from pagebuddy.errors import (
    AllocationFailed,
    ArenaError,
    BadPageError,
    BlockFreedError,
    ConfigError,
    CorruptionError,
    MemblockDiscardedError,
    MemblockError,
    MemblockNoMemoryError,
    MemoryMapError,
    PagebuddyError,
    RecordingError,
    ReplayMismatch,
    SnapshotError,
)
from pagebuddy.gfp import (
    GFP,
    GFP_ATOMIC,
    GFP_BOOT_MASK,
    GFP_DMA,
    GFP_DMA32,
    GFP_HIGHUSER,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_KERNEL_ACCOUNT,
    GFP_NOFS,
    GFP_NOIO,
    GFP_NOWAIT,
    GFP_TRANSHUGE,
    GFP_TRANSHUGE_LIGHT,
    GFP_USER,
    MigrateType,
)
from pagebuddy.memblock import MemblockFlag

__all__ = [
    "GFP",
    "GFP_ATOMIC",
    "GFP_BOOT_MASK",
    "GFP_DMA",
    "GFP_DMA32",
    "GFP_HIGHUSER",
    "GFP_HIGHUSER_MOVABLE",
    "GFP_KERNEL",
    "GFP_KERNEL_ACCOUNT",
    "GFP_NOFS",
    "GFP_NOIO",
    "GFP_NOWAIT",
    "GFP_TRANSHUGE",
    "GFP_TRANSHUGE_LIGHT",
    "GFP_USER",
    "AllocationFailed",
    "ArenaError",
    "BadPageError",
    "BlockFreedError",
    "ConfigError",
    "CorruptionError",
    "Memblock",
    "MemblockDiscardedError",
    "MemblockError",
    "MemblockFlag",
    "MemblockNoMemoryError",
    "MemblockRegion",
    "MemoryMapError",
    "MigrateType",
    "PagebuddyError",
    "RecordingError",
    "ReplayMismatch",
    "SnapshotError",
    "__version__",
]
