"""Where recordings of the real kernel are found.

The working copy keeps a selection in ``tests/data/recordings``. A larger collection is used as well when there is one:
the folder that ``PAGEBUDDY_RECORDINGS`` names, else ``../shared/goldens`` beside the working copy.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "tests" / "data" / "recordings"
VARIABLE = "PAGEBUDDY_RECORDINGS"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording of the page allocator or of the boot memory allocator."""

    path: Path
    #: ``boot``, ``early`` or ``late``; ``memblock`` for the boot memory allocator.
    mode: str
    scenario: str

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(".jsonl.gz")

    def header(self) -> dict[str, Any]:
        """The first line."""
        with gzip.open(self.path, "rt", encoding="ascii") as lines:
            header = json.loads(lines.readline())
        assert isinstance(header, dict)
        return header


def folders() -> list[Path]:
    """Folders with recordings, the kept selection first."""
    found = [KEPT]
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise pytest.UsageError(f"{VARIABLE} names no folder: {named}")
        found.append(folder)
    else:
        beside = ROOT.parent / "shared" / "goldens"
        if beside.is_dir():
            found.append(beside)
    return found


def _recording(path: Path) -> Recording:
    name = path.name.removesuffix(".jsonl.gz")
    if path.parent.name == "memblock":
        return Recording(path, "memblock", name.partition("-")[0])
    mode, _, rest = name.partition("-")
    if mode == "boot":
        return Recording(path, mode, "boot")
    header = Recording(path, mode, rest).header()
    return Recording(path, mode, str(header["scenario"]))


@cache
def recordings() -> tuple[Recording, ...]:
    """Every recording, each name once, ordered by name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in [*folder.glob("*.jsonl.gz"), *folder.glob("memblock/*.jsonl.gz")]:
            found.setdefault(str(path.relative_to(folder)), path)
    return tuple(_recording(found[name]) for name in sorted(found))


@cache
def traces() -> tuple[Path, ...]:
    """Every folder with a workload traced by the kernel, each name once, ordered by name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in folder.glob("trace-*/"):
            found.setdefault(path.name, path)
    return tuple(found[name] for name in sorted(found))


def describe() -> list[str]:
    """Lines for the head of a test run."""
    lines = []
    for folder in folders():
        nr_page = len(list(folder.glob("*.jsonl.gz")))
        nr_memblock = len(list(folder.glob("memblock/*.jsonl.gz")))
        nr_traces = len(list(folder.glob("trace-*/")))
        place = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
        lines.append(f"recordings: {nr_page} page allocator, {nr_memblock} memblock, {nr_traces} traces in {place}")
    lines.append(f"recordings: {len(recordings())} different ones and {len(traces())} traces in all")
    return lines


def short_form() -> tuple[Recording, ...]:
    """A selection that runs quickly: boot states, and the smallest of each mode, scenario and kind of kernel."""
    chosen: dict[object, Recording] = {}
    for recording in sorted(recordings(), key=lambda recording: recording.path.stat().st_size):
        if recording.mode == "boot":
            chosen[recording.name] = recording
            continue
        kind = next((kind for kind in ("tiny", "cma", "numa", "2x64M", "4x64M") if kind in recording.name), "")
        chosen.setdefault((recording.mode, recording.scenario, kind), recording)
    return tuple(sorted(chosen.values(), key=lambda recording: (recording.mode, recording.name)))
