"""Flags of an allocation request and the kinds of mobility, by the kernel's names and values.

Source: include/linux/gfp.h, include/trace/events/mmflags.h and ``enum migratetype`` in include/linux/mmzone.h of
Linux 5.17 on x86-64.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

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
    "MigrateType",
]


class GFP(IntFlag):
    """Flags of an allocation request ("get free pages").

    Single bits carry the kernel's names without the leading underscores (``__GFP_ZERO`` is ``GFP.ZERO``); composites
    keep theirs (``GFP.GFP_KERNEL``) and are also names of this module. ``str()`` prints a mask as the kernel does in
    its reports, `GFP.parse` reads it back.

    Example:
        >>> GFP_KERNEL | GFP.ZERO
        <GFP 0xdc0 GFP_KERNEL|__GFP_ZERO>
        >>> str(GFP(0x8C0))
        'GFP_NOWAIT|__GFP_IO|__GFP_FS'
        >>> GFP_KERNEL & ~GFP.FS == GFP_NOFS
        True
    """

    DMA = 0x1
    HIGHMEM = 0x2
    DMA32 = 0x4
    MOVABLE = 0x8
    RECLAIMABLE = 0x10
    HIGH = 0x20
    IO = 0x40
    FS = 0x80
    ZERO = 0x100
    ATOMIC = 0x200
    DIRECT_RECLAIM = 0x400
    KSWAPD_RECLAIM = 0x800
    WRITE = 0x1000
    NOWARN = 0x2000
    RETRY_MAYFAIL = 0x4000
    NOFAIL = 0x8000
    NORETRY = 0x10000
    MEMALLOC = 0x20000
    COMP = 0x40000
    NOMEMALLOC = 0x80000
    HARDWALL = 0x100000
    THISNODE = 0x200000
    ACCOUNT = 0x400000
    ZEROTAGS = 0x800000
    SKIP_KASAN_POISON = 0x1000000

    RECLAIM = DIRECT_RECLAIM | KSWAPD_RECLAIM
    ZONEMASK = DMA | HIGHMEM | DMA32 | MOVABLE

    GFP_ATOMIC = HIGH | ATOMIC | KSWAPD_RECLAIM
    GFP_KERNEL = RECLAIM | IO | FS
    GFP_KERNEL_ACCOUNT = GFP_KERNEL | ACCOUNT
    GFP_NOWAIT = KSWAPD_RECLAIM
    GFP_NOIO = RECLAIM
    GFP_NOFS = RECLAIM | IO
    GFP_USER = RECLAIM | IO | FS | HARDWALL
    GFP_DMA = DMA
    GFP_DMA32 = DMA32
    GFP_HIGHUSER = GFP_USER | HIGHMEM
    GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER | MOVABLE | SKIP_KASAN_POISON
    GFP_TRANSHUGE_LIGHT = (GFP_HIGHUSER_MOVABLE | COMP | NOMEMALLOC | NOWARN) & ~RECLAIM
    GFP_TRANSHUGE = GFP_TRANSHUGE_LIGHT | DIRECT_RECLAIM

    def __str__(self) -> str:
        """The mask as the kernel's reports print it; an empty mask is the empty string."""
        rest = int(self)
        parts = []
        for name, bits in _PRINTED:
            if rest & bits == bits:
                parts.append(name)
                rest &= ~bits
        if rest:
            parts.append(f"{rest:#x}")
        return "|".join(parts)

    def __repr__(self) -> str:
        return f"<GFP {int(self):#x} {str(self) or 'none'}>"

    def __invert__(self) -> GFP:
        """Every bit that the kernel defines and this mask lacks."""
        return GFP(_ALL & ~int(self))

    @classmethod
    def parse(cls, text: str) -> GFP:
        """Reads a mask as the kernel prints it.

        Args:
            text: Names joined by ``|``, with or without hexadecimal parts; ``none`` or nothing is the empty mask.
                Single bits are known with and without ``__GFP_``.

        Returns:
            The mask.

        Raises:
            ValueError: A part is neither a name nor a hexadecimal number of at most 32 bits.

        Example:
            >>> GFP.parse("GFP_KERNEL|__GFP_ZERO")
            <GFP 0xdc0 GFP_KERNEL|__GFP_ZERO>
            >>> GFP.parse("GFP_KERNAL")
            Traceback (most recent call last):
            ...
            ValueError: 'GFP_KERNAL' is no gfp flag
        """
        mask = 0
        if text.strip() in {"", "none", "(none)"}:
            return cls(0)
        for part in (part.strip() for part in text.split("|")):
            if part.lower().startswith("0x"):
                mask |= _hexadecimal(part)
                continue
            member = cls.__members__.get(part.removeprefix("__GFP_"))
            if member is None:
                message = f"{part!r} is no gfp flag"
                raise ValueError(message)
            mask |= member
        return cls(mask)


def _hexadecimal(part: str) -> int:
    """Value of a part such as ``0x2000000``."""
    try:
        value = int(part, 16)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 32 or "_" in part:
        message = f"{part!r} is no mask of 32 bits"
        raise ValueError(message)
    return value


#: Every bit that the kernel defines.
_ALL: Final = 0x1FFFFFF

#: Names in the order in which the kernel matches them.
_PRINTED: Final = (
    *((name, int(GFP[name])) for name in (
        "GFP_TRANSHUGE", "GFP_TRANSHUGE_LIGHT", "GFP_HIGHUSER_MOVABLE", "GFP_HIGHUSER", "GFP_USER",
        "GFP_KERNEL_ACCOUNT", "GFP_KERNEL", "GFP_NOFS", "GFP_ATOMIC", "GFP_NOIO", "GFP_NOWAIT", "GFP_DMA",
    )),
    ("__GFP_HIGHMEM", int(GFP.HIGHMEM)),
    ("GFP_DMA32", int(GFP.DMA32)),
    *((f"__GFP_{name}", int(GFP[name])) for name in (
        "HIGH", "ATOMIC", "IO", "FS", "NOWARN", "RETRY_MAYFAIL", "NOFAIL", "NORETRY", "COMP", "ZERO", "NOMEMALLOC",
        "MEMALLOC", "HARDWALL", "THISNODE", "RECLAIMABLE", "MOVABLE", "ACCOUNT", "WRITE", "RECLAIM", "DIRECT_RECLAIM",
        "KSWAPD_RECLAIM", "ZEROTAGS", "SKIP_KASAN_POISON",
    )),
)  # fmt: skip

GFP_ATOMIC: Final = GFP.GFP_ATOMIC
GFP_KERNEL: Final = GFP.GFP_KERNEL
GFP_KERNEL_ACCOUNT: Final = GFP.GFP_KERNEL_ACCOUNT
GFP_NOWAIT: Final = GFP.GFP_NOWAIT
GFP_NOIO: Final = GFP.GFP_NOIO
GFP_NOFS: Final = GFP.GFP_NOFS
GFP_USER: Final = GFP.GFP_USER
GFP_DMA: Final = GFP.GFP_DMA
GFP_DMA32: Final = GFP.GFP_DMA32
GFP_HIGHUSER: Final = GFP.GFP_HIGHUSER
GFP_HIGHUSER_MOVABLE: Final = GFP.GFP_HIGHUSER_MOVABLE
GFP_TRANSHUGE_LIGHT: Final = GFP.GFP_TRANSHUGE_LIGHT
GFP_TRANSHUGE: Final = GFP.GFP_TRANSHUGE
#: What the kernel lets through until its first thread runs: everything but reclaim, I/O and file systems.
GFP_BOOT_MASK: Final = ~(GFP.RECLAIM | GFP.IO | GFP.FS)


class MigrateType(IntEnum):
    """The kind of pages a free list, a pageblock or a request is for.

    ``str()`` gives the name that /proc/pagetypeinfo prints. `CMA` and `ISOLATE` exist only in kernels built with them.

    Example:
        >>> str(MigrateType.HIGHATOMIC), MigrateType.HIGHATOMIC.letter, int(MigrateType.HIGHATOMIC)
        ('HighAtomic', 'H', 3)
        >>> MigrateType.of(GFP_HIGHUSER_MOVABLE)
        <MigrateType.MOVABLE: 1>
    """

    UNMOVABLE = 0
    MOVABLE = 1
    RECLAIMABLE = 2
    HIGHATOMIC = 3
    CMA = 4
    ISOLATE = 5

    def __str__(self) -> str:
        return ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate")[self]

    @property
    def letter(self) -> str:
        """The letter that failure reports print, source ``show_migration_types`` in mm/page_alloc.c."""
        return "UMEHCI"[self]

    @classmethod
    def of(cls, gfp: int) -> MigrateType:
        """The migratetype that a request asks for.

        Args:
            gfp: The request's flags.

        Returns:
            The migratetype, while grouping by mobility is on.

        Raises:
            ValueError: Both MOVABLE and RECLAIMABLE are set, which no caller may do.

        Source: ``gfp_migratetype`` in include/linux/gfp.h.
        """
        bits = (int(gfp) & (GFP.MOVABLE | GFP.RECLAIMABLE)) >> 3
        if bits == 3:
            message = f"{GFP(gfp)!r} is both movable and reclaimable"
            raise ValueError(message)
        return cls(bits)
