"""A progress bar for work that takes longer than two seconds."""

from __future__ import annotations

import importlib.util
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ProgressBar"]

#: Work that ends sooner shows no bar.
DELAY_SECONDS = 2.0
#: Cells of the plain bar.
WIDTH = 30


class ProgressBar:
    """A bar on the terminal that standard error is; nothing if it is none.

    With the package ``rich`` it is colourful and tells the time left, without it is a line of text.

    Args:
        label: What is being worked on.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._start = time.monotonic()
        self._is_wanted = sys.stderr.isatty()
        self._rich: tuple[Progress, TaskID] | None = None
        self._plain = ""

    def __enter__(self) -> Self:
        return self

    def update(self, fraction: float, ops: int) -> None:
        """Shows that a share (0 to 1) of the work is done, and how many operations that was."""
        if not self._is_wanted or time.monotonic() - self._start < DELAY_SECONDS:
            return
        if self._rich is None and not self._plain and importlib.util.find_spec("rich"):
            self._open_rich()
        detail = f"{ops:,} operations"
        if self._rich is not None:
            bar, task = self._rich
            bar.update(task, completed=fraction, detail=detail, refresh=True)
            return
        filled = int(fraction * WIDTH)
        line = f"{self._label}  [{'#' * filled}{'.' * (WIDTH - filled)}] {fraction:4.0%}  {detail}"
        print(f"\r{line:<{len(self._plain)}}", end="", file=sys.stderr, flush=True)
        self._plain = line

    def _open_rich(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - optional, and only needed for long work
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._rich = bar, bar.add_task(self._label, total=1.0, detail="")
        bar.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich[0].stop()
        elif self._plain:
            print(f"\r{' ' * len(self._plain)}\r", end="", file=sys.stderr, flush=True)
