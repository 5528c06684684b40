"""The exceptions that pagebuddy raises.

Each one subclasses the builtin that fits, so that code which knows nothing of pagebuddy handles it well, and carries
what there is to inspect. All of them can be pickled, so that they travel between processes unharmed.

Misuse of an argument itself (a wrong type, a negative order, a number too large) raises the builtin ``TypeError``,
``ValueError`` or ``OverflowError``.
"""

from __future__ import annotations

from collections.abc import Callable

from pagebuddy.gfp import GFP

__all__ = [
    "AllocationFailed",
    "ArenaError",
    "BadPageError",
    "BlockFreedError",
    "ConfigError",
    "CorruptionError",
    "MemblockDiscardedError",
    "MemblockError",
    "MemblockNoMemoryError",
    "MemoryMapError",
    "PagebuddyError",
    "RangeBusyError",
    "RecordingError",
    "ReplayMismatch",
    "SnapshotError",
    "WouldLoopForever",
]


class PagebuddyError(Exception):
    """Base of everything that pagebuddy raises by its own name."""

    def __reduce__(self) -> tuple[object, ...]:
        # Exception.__reduce__ would call the class with the message alone.
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(cls: type[PagebuddyError], args: tuple[object, ...], data: dict[str, object]) -> PagebuddyError:
    """Makes an exception of a pickle, without running its constructor."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(data)
    return error


class AllocationFailed(MemoryError, PagebuddyError):  # noqa: N818 - the name is part of the interface
    """No pages could be had for a request.

    Args:
        order: The request asked for ``2**order`` pages.
        gfp: The request's flags.
        report: The report that the kernel would log, or what makes it when it is first asked for.

    Source: ``warn_alloc`` in mm/page_alloc.c.

    Example:
        >>> error = AllocationFailed(4, 0xCC0)
        >>> error.order, error.gfp
        (4, <GFP 0xcc0 GFP_KERNEL>)
        >>> str(error)
        'page allocation failure: order:4, mode:0xcc0'
        >>> isinstance(error, MemoryError)
        True
    """

    #: The request asked for ``2**order`` pages.
    order: int

    def __init__(self, order: int, gfp: int, report: str | Callable[[], str] = "") -> None:
        super().__init__(f"page allocation failure: order:{order}, mode:{int(gfp):#x}")
        self.order = order
        self._gfp = int(gfp)
        self._report = report

    @property
    def gfp(self) -> GFP:
        """The request's flags."""
        return GFP(self._gfp)

    @property
    def report(self) -> str:
        """The report in the kernel's layout. It shows the machine at the time when it is first read."""
        if not isinstance(self._report, str):
            self._report = self._report()
        return self._report

    def __reduce__(self) -> tuple[object, ...]:
        # What makes the report stays in this process.
        self._report = self.report
        return super().__reduce__()


class WouldLoopForever(AllocationFailed):
    """A request with ``__GFP_NOFAIL`` that nothing can satisfy: the kernel would try for ever.

    Source: ``__alloc_pages_slowpath`` in mm/page_alloc.c.
    """


class BadPageError(PagebuddyError, ValueError):
    """A page was given back, split or referenced that the caller does not hold like that; nothing was changed.

    Args:
        pfn: The page that was named.
        reason: What is wrong with it, such as ``"double free"``.

    Source: ``bad_page`` and ``free_pages_prepare`` in mm/page_alloc.c, which log and leak the page instead.
    """

    #: The page that was named.
    pfn: int
    #: What is wrong with it.
    reason: str

    def __init__(self, pfn: int, reason: str) -> None:
        # A number that is no pfn at all can be of any size.
        number = f"{int(pfn):#x}" if int(pfn).bit_length() <= 64 else f"of {int(pfn).bit_length()} bits"
        super().__init__(f"bad page: pfn {number}: {reason}")
        self.pfn = pfn
        self.reason = reason


class RangeBusyError(PagebuddyError, RuntimeError):
    """A range cannot be isolated or allocated, because a page of it is in use; nothing was changed.

    Args:
        pfn: The page, or the first page of its pageblock.
    """

    #: The page, or the first page of its pageblock.
    pfn: int

    def __init__(self, pfn: int) -> None:
        super().__init__(f"a page of the range is in use or isolated: pfn {pfn:#x}")
        self.pfn = pfn


class CorruptionError(PagebuddyError, RuntimeError):
    """The allocator's own state contradicts itself.

    Args:
        violation: The first invariant that does not hold, with the numbers that show it.
        pfn: The page where it shows, if it is one page's.
        zone: The zone's name, if it is one zone's.
    """

    #: The first invariant that does not hold.
    violation: str
    #: The page where it shows, or None.
    pfn: int | None
    #: The zone's name, or None.
    zone: str | None

    def __init__(self, violation: str, *, pfn: int | None = None, zone: str | None = None) -> None:
        super().__init__(violation)
        self.violation = violation
        self.pfn = pfn
        self.zone = zone


class ConfigError(PagebuddyError, ValueError):
    """A machine or an option that cannot exist.

    Args:
        message: What is wrong.
        option: The option's name, if one option alone is to blame.
    """

    #: The option's name, or None.
    option: str | None

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class MemblockError(PagebuddyError, ValueError):
    """The boot memory allocator refused an operation; nothing was changed."""


class MemblockNoMemoryError(MemblockError, MemoryError):
    """The boot memory allocator has no room: for an allocation, or for one more region in a list that may not grow.

    Args:
        message: What is wrong.
        size: Bytes that were asked for, if it was an allocation.
        align: The alignment that was asked for, if it was an allocation.
        nid: The node that was asked for, if any.
    """

    #: Bytes that were asked for, or None.
    size: int | None
    #: The alignment that was asked for, or None.
    align: int | None
    #: The node that was asked for, or None.
    nid: int | None

    def __init__(self, message: str, size: int | None = None, align: int | None = None, nid: int | None = None) -> None:
        super().__init__(message)
        self.size = size
        self.align = align
        self.nid = nid


class MemblockDiscardedError(PagebuddyError, RuntimeError):
    """The boot memory allocator was used after it had handed its memory to the page allocator.

    Source: ``memblock_discard`` in mm/memblock.c.
    """

    def __init__(self, message: str = "memblock has handed its memory to the page allocator") -> None:
        super().__init__(message)


class MemoryMapError(PagebuddyError, ValueError):
    """A text does not describe the memory of a machine.

    Args:
        message: What is wrong, with the line.
        line: The number of the line, counted from 1, if it is one line's.
        reason: ``"unprivileged"``, ``"no-memory"``, ``"bad-line"`` or ``"geometry"``.
    """

    #: The number of the line, counted from 1, or None.
    line: int | None
    #: The kind of fault, for programs.
    reason: str | None

    def __init__(self, message: str, line: int | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.reason = reason


class RecordingError(PagebuddyError, ValueError):
    """A recording or a trace cannot be read.

    Args:
        message: What is wrong.
        path: The file, if there is one.
        line: The number of the line, counted from 1, if it is one line's.
    """

    #: The file, or None.
    path: str | None
    #: The number of the line, counted from 1, or None.
    line: int | None

    def __init__(self, message: str, *, path: str | None = None, line: int | None = None) -> None:
        place = ":".join(str(part) for part in (path, line) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)
        self.path = path
        self.line = line


class ReplayMismatch(PagebuddyError, AssertionError):  # noqa: N818 - it is a finding more than an error
    """A replay came to another result than the recording.

    Args:
        message: What differs.
        path: The recording, if there is one.
        op: The number of the operation, if it is one operation's.
    """

    #: The recording, or None.
    path: str | None
    #: The number of the operation, or None.
    op: int | None

    def __init__(self, message: str, *, path: str | None = None, op: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.op = op


class SnapshotError(PagebuddyError, ValueError):
    """A snapshot is damaged, of another layout, or not a snapshot at all."""


class ArenaError(PagebuddyError, OSError):
    """An arena cannot be created, attached to or used."""


class BlockFreedError(PagebuddyError, ValueError):
    """A block of real memory was used after it had been freed.

    Args:
        pfn: The block's first page.
    """

    #: The block's first page.
    pfn: int

    def __init__(self, pfn: int) -> None:
        super().__init__(f"the block of pfn {int(pfn):#x} has been freed")
        self.pfn = pfn
