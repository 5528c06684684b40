"""Replay of recordings of the real kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from pagebuddy._pagebuddy import _replay_file
from pagebuddy.errors import ReplayMismatch

__all__ = ["ReplayDifference", "ReplayReport", "replay"]


@dataclass(frozen=True, slots=True)
class ReplayDifference:
    """Where a replay first differed from its recording."""

    #: Line of the recording, counted from 1.
    line: int
    #: Operations performed up to and including this one.
    op_index: int
    #: The operation, or the record that was compared, in words.
    op: str
    #: What was compared: ``result``, a field, a list and the position in it.
    what: str
    #: What the recording says; of a list the surroundings of the first different element.
    expected: str
    #: What the replay produced.
    got: str

    def __str__(self) -> str:
        return (
            f"line {self.line}, operation {self.op_index}: {self.op}: {self.what}:"
            f" expected {self.expected}, got {self.got}"
        )


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay performed and compared."""

    #: The recording.
    file: str
    #: ``boot``, ``early``, ``late``, ``trace`` or ``memblock``.
    mode: str
    #: The scenario that produced the recording.
    scenario: str
    #: The scenario's seed, if it has one.
    seed: int | None
    #: Operations in the recording; of a trace the allocations.
    ops: int
    #: Operations performed before the replay ended.
    replayed: int
    #: Operations whose results were those recorded.
    matched: int
    #: Digests in the recording.
    digests: int
    #: Digests that were equal.
    digests_matched: int
    #: Full states in the recording.
    states: int
    #: Full states that were equal.
    states_matched: int
    #: Pages that a trace shows moving between free lists and per-cpu lists.
    moves: int
    #: Those that were predicted.
    moves_matched: int
    #: Pages that a trace must have left out, inferred from what it shows.
    unseen: int
    #: Allocations of a trace that were not predicted, by where their pages were just before: ``freed_unseen`` (in use;
    #: the trace does not show the free), ``on_another_list`` (of another CPU or type), ``behind_others`` (on the right
    #: list), ``other_block`` (free, but another block was chosen), ``no_memory`` (not memory of the allocator),
    #: ``failed`` (the trace shows a failure).
    misses: dict[str, int]
    #: The tracer lost events: the replay is partial.
    is_partial: bool
    #: Time spent in the allocator's own operations, in nanoseconds; 0 for a trace.
    core_time_ns: int
    #: The first difference, or None.
    first_mismatch: ReplayDifference | None

    @property
    def exact(self) -> bool:
        """Whether everything was replayed and nothing differed."""
        return (
            self.first_mismatch is None
            and self.replayed == self.matched == self.ops
            and not self.is_partial
            and self.digests_matched == self.digests
            and self.moves_matched == self.moves
            and self.states_matched == self.states
        )

    def check(self) -> None:
        """Raises the first difference.

        Raises:
            ReplayMismatch: Something differed (``.path``, ``.op``).
        """
        if not self.exact:
            difference = self.first_mismatch
            op = None if difference is None else difference.op_index
            raise ReplayMismatch(str(self), path=self.file, op=op)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.file}: {self.matched} of {self.ops} operations"
        if self.digests:
            text += f", {self.digests_matched} of {self.digests} digests"
        if self.moves:
            text += f", {self.moves_matched} of {self.moves} moves between lists"
        text += f", {self.states_matched} of {self.states} states match"
        if self.is_partial:
            text += ", but the tracer lost events"
        causes = [f"{n} {cause.replace('_', ' ')}" for cause, n in self.misses.items() if n]
        if causes:
            text += f"\n  not predicted: {', '.join(causes)}"
        if self.first_mismatch is not None:
            text += f"\n  first difference: {self.first_mismatch}"
        return text


def replay(path: str | os.PathLike[str], *, progress: Callable[[float, int], object] | None = None) -> ReplayReport:
    """Replays a recording of the real kernel and compares every result, digest and state in it.

    An operation with another result than the recorded one ends the replay, because everything behind it would follow
    from it; a state or digest that differs does not.

    Of a traced workload every allocation's page is predicted from the state at the start, and the state at the end is
    compared. A wrong prediction is counted and corrected, so that it does not spoil the next ones.

    Args:
        path: The recording (``*.jsonl.gz``, of the page allocator or of the boot memory allocator), or the folder of a
            traced workload (``state.jsonl.gz`` and ``trace.txt.gz``).
        progress: Called now and then with the share of the work that is done (0 to 1) and the number of operations
            performed. What it raises ends the replay.

    Returns:
        What was performed and compared. A difference is in the report, not raised; see :meth:`ReplayReport.check`.

    Raises:
        TypeError: ``path`` is no path, ``progress`` not callable.
        RecordingError: The file is no recording, or a damaged one (``.path``, ``.line``).
        OSError: The file cannot be opened.

    Concurrency:
        Other threads run meanwhile.
    """
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable, not {type(progress).__name__}")
    path = os.fspath(path)  # a number would name an open file, and close it
    if not os.path.isdir(path):  # noqa: PTH112 - takes whatever names a path
        with open(path, "rb"):  # noqa: PTH123 - raises what Python raises for a file that cannot be opened
            pass
    fields = _replay_file(path, progress)
    difference = fields.pop("first_mismatch")
    return ReplayReport(**fields, first_mismatch=None if difference is None else ReplayDifference(**difference))
