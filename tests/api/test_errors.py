"""Exceptions carry their data, fit a builtin and survive pickling."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import pagebuddy
from pagebuddy import errors

EXAMPLES: list[tuple[errors.PagebuddyError, type[Exception], dict[str, object]]] = [
    (errors.AllocationFailed(4, 0xCC0, "report"), MemoryError, {"order": 4, "gfp": 0xCC0, "report": "report"}),
    (errors.WouldLoopForever(1, 0x8CC0, "r"), MemoryError, {"order": 1, "gfp": 0x8CC0, "report": "r"}),
    (errors.RangeBusyError(5), RuntimeError, {"pfn": 5}),
    (errors.BadPageError(0x1A40, "double free"), ValueError, {"pfn": 0x1A40, "reason": "double free"}),
    (errors.CorruptionError("bad", pfn=3, zone="DMA"), RuntimeError, {"violation": "bad", "pfn": 3, "zone": "DMA"}),
    (errors.ConfigError("bad", option="thp"), ValueError, {"option": "thp"}),
    (errors.MemblockError("bad"), ValueError, {}),
    (errors.MemblockNoMemoryError("full", 1, 2, 3), MemoryError, {"size": 1, "align": 2, "nid": 3}),
    (errors.MemblockDiscardedError(), RuntimeError, {}),
    (errors.MemoryMapError("bad", 7, "bad-line"), ValueError, {"line": 7, "reason": "bad-line"}),
    (errors.RecordingError("bad", path="f", line=7), ValueError, {"path": "f", "line": 7}),
    (errors.ReplayMismatch("differs", path="f", op=9), AssertionError, {"path": "f", "op": 9}),
    (errors.SnapshotError("damaged"), ValueError, {}),
    (errors.ArenaError(2, "no such arena"), OSError, {"errno": 2}),
    (errors.BlockFreedError(12), ValueError, {"pfn": 12}),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example[0]).__name__)
def test_data_builtin_and_pickle(example: tuple[errors.PagebuddyError, type[Exception], dict[str, object]]) -> None:
    error, builtin, data = example
    assert isinstance(error, builtin)
    vars(error)["note"] = "kept"
    for twin in (error, pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert {name: getattr(twin, name) for name in data} == data
        assert vars(twin)["note"] == "kept"


def test_every_class_is_tested_and_public() -> None:
    classes = {cls for cls in vars(errors).values() if inspect.isclass(cls) and cls.__module__ == errors.__name__}
    assert {type(error) for error, _, _ in EXAMPLES} == classes - {errors.PagebuddyError}
    assert {cls.__name__ for cls in classes} == set(errors.__all__)
    assert all(getattr(pagebuddy, cls.__name__) is cls for cls in classes)


def test_messages() -> None:
    assert str(errors.AllocationFailed(4, 0xCC0)) == "page allocation failure: order:4, mode:0xcc0"
    assert str(errors.BadPageError(0x1A40, "double free")) == "bad page: pfn 0x1a40: double free"
    assert str(errors.RecordingError("cut off", path="f.gz", line=7)) == "f.gz:7: cut off"
    assert str(errors.RecordingError("cut off")) == "cut off"
    assert str(errors.BadPageError(-1, "no page")) == "bad page: pfn -0x1: no page"
    assert len(str(errors.BadPageError(1 << 100_000, "no page"))) < 60


def test_a_report_is_made_once_and_travels() -> None:
    calls: list[str] = []

    def report() -> str:
        calls.append("made")
        return "report"

    error = errors.AllocationFailed(4, 0xCC0, report)
    assert calls == []
    assert pickle.loads(pickle.dumps(error)).report == "report"
    assert (error.report, error.report, len(calls)) == ("report", "report", 1)
