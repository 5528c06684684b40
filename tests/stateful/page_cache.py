"""Pages that can be given up: what a shrinker frees, by a rule that depends on nothing but its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = tuple[int, int | None, int, int, int]


class PageCache:
    """Single pages, oldest first; the same on both sides as long as both are called alike."""

    def __init__(self, free: Callable[[int, int], object], node_of: Callable[[int], int]) -> None:
        """`free` gets a cpu and a pfn."""
        self.free = free
        self.node_of = node_of
        self.cpu = 0
        self.pages: list[int] = []
        self.calls: list[Call] = []

    def shrink(self, control: Any) -> int:
        self.calls.append((control.nr_to_scan, control.nid, int(control.gfp), control.order, control.priority))
        # Gentle scans find little.
        limit = min(control.nr_to_scan, 3 if control.priority > 9 else 40)
        here = [pfn for pfn in self.pages if control.nid is None or self.node_of(pfn) == control.nid][:limit]
        for pfn in here:
            self.pages.remove(pfn)
            self.free(self.cpu, pfn)
        return len(here)

    def take_calls(self) -> list[Call]:
        calls, self.calls = self.calls, []
        return calls
