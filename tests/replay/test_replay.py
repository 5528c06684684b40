"""`pagebuddy.replay`: recordings are reproduced, falsified ones found out, damaged ones refused."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pagebuddy
from pagebuddy import RecordingError, ReplayMismatch, replay

from ..found import KEPT, Recording

SMALL = KEPT / "late-soak-tiny-16M-s15.jsonl.gz"
LARGE = KEPT / "late-api-64M-s1.jsonl.gz"


def lines_of(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="ascii") as lines:
        return lines.read().splitlines()


def write(path: Path, lines: list[str]) -> Path:
    with gzip.open(path, "wt", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
    return path


def first(lines: list[str], start: str, wanted: Callable[[Any], bool] = lambda _: True) -> int:
    """Index of the first line that starts so and is wanted."""
    return next(i for i, line in enumerate(lines) if line.startswith(start) and wanted(json.loads(line)))


def test_every_recording_is_reproduced(recording: Recording) -> None:
    report = replay(recording.path)
    assert report.exact, str(report)
    report.check()
    assert report.mode == recording.mode
    assert report.scenario == recording.scenario
    assert report.seed == recording.header()["seed"]
    lines = lines_of(recording.path)
    assert report.ops == report.replayed == report.matched == json.loads(lines[-1])["ops"]
    assert report.digests == report.digests_matched == sum(line.startswith('["c"') for line in lines)
    states = sum(line.startswith('{"t":"state"') for line in lines)
    assert report.states == report.states_matched == states
    assert report.first_mismatch is None
    assert (report.core_time_ns > 0) == (report.ops > 0)


def test_memblock_recordings_are_reproduced(memblock_recording: Recording) -> None:
    report = replay(memblock_recording.path)
    assert report.exact, str(report)
    assert report.mode == "memblock"
    assert report.ops > 0


def test_a_wrong_result_is_found(tmp_path: Path) -> None:
    lines = lines_of(SMALL)
    at = first(lines, '["a"', lambda op: op[-1] > 0)
    op = json.loads(lines[at])
    pfn = op[-1]
    op[-1] = pfn ^ 1
    lines[at] = json.dumps(op)
    report = replay(write(tmp_path / "wrong.jsonl.gz", lines))
    assert not report.exact
    assert report.matched == report.replayed - 1
    difference = report.first_mismatch
    assert difference is not None
    assert (difference.line, difference.what) == (at + 1, "result")
    assert (difference.expected, difference.got) == (f"pfn {pfn ^ 1}", f"pfn {pfn}")
    assert str(pfn) in str(report)
    with pytest.raises(ReplayMismatch, match="first difference") as caught:
        report.check()
    assert caught.value.op == difference.op_index
    assert caught.value.path == str(tmp_path / "wrong.jsonl.gz")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("managed", lambda value: value + 1),
        ("wmark", lambda value: [value[0] + 1, *value[1:]]),
        ("boost", lambda value: value + 1),
        ("lowmem_reserve", lambda value: [value[0] + 1, *value[1:]]),
        ("highatomic", lambda value: value + 512),
        ("flags", lambda value: value ^ 1),
        ("contiguous", lambda value: 1 - value),
        ("free", lambda value: value - 1),
        ("drift_mark", lambda value: value + 1),
        ("pageset_high", lambda value: value + 1),
        ("pageset_batch", lambda value: value + 1),
        ("free_cma", lambda value: value + 1),
        ("cpustat", lambda value: [[cpu, delta + 1, threshold, cma] for cpu, delta, threshold, cma in value]),
        ("free_area", lambda value: [[value[0][0] + 1, value[0][1]], *value[1:]]),
        ("pcp", lambda value: [{**value[0], "count": value[0]["count"] + 1}, *value[1:]]),
        ("pcp", lambda value: [{**value[0], "free_factor": value[0]["free_factor"] + 1}, *value[1:]]),
        ("blocks", lambda value: value[:-1] + ("0" if value[-1] == "1" else "1")),
    ],
)
def test_every_field_of_a_state_is_compared(tmp_path: Path, field: str, change: Callable[[Any], Any]) -> None:
    lines = lines_of(SMALL)
    # The last state: nothing follows from it.
    at = max(i for i, line in enumerate(lines) if line.startswith('{"t":"zstate"'))
    record = json.loads(lines[at])
    record[field] = change(record[field])
    lines[at] = json.dumps(record)
    report = replay(write(tmp_path / "wrong.jsonl.gz", lines))
    assert report.matched == report.ops
    assert report.states_matched == report.states - 1
    difference = report.first_mismatch
    assert difference is not None
    assert difference.op == "state `end`"
    assert difference.expected != difference.got


def test_a_wrong_digest_is_found(tmp_path: Path) -> None:
    lines = lines_of(SMALL)
    at = first(lines, '["c"')
    digest = json.loads(lines[at])
    digest[2][0][-1] = f"{int(digest[2][0][-1], 16) ^ 1:016x}"
    lines[at] = json.dumps(digest)
    report = replay(write(tmp_path / "wrong.jsonl.gz", lines))
    assert (report.matched, report.digests_matched) == (report.ops, report.digests - 1)
    assert report.first_mismatch is not None
    assert report.first_mismatch.what.endswith("hash of the per-cpu lists")


def test_a_page_that_was_never_allocated_is_no_crash(tmp_path: Path) -> None:
    lines = lines_of(SMALL)
    at = first(lines, '["f"')
    lines[at] = '["f",0,4294967293,10]'
    report = replay(write(tmp_path / "wrong.jsonl.gz", lines))
    assert report.first_mismatch is not None
    assert report.first_mismatch.line == at + 1
    assert report.first_mismatch.expected == "success"


def test_damaged_files_name_their_line(tmp_path: Path) -> None:
    lines = lines_of(SMALL)
    lines[20] = lines[20][:-1]
    path = write(tmp_path / "damaged.jsonl.gz", lines)
    with pytest.raises(RecordingError) as caught:
        replay(path)
    assert (caught.value.path, caught.value.line) == (str(path), 21)
    assert str(caught.value).startswith(f"{path}:21: ")


@pytest.mark.parametrize("keep", [0, 1, 2, 9, 500, -9, -1])
def test_cut_files_are_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(SMALL.read_bytes()[:keep])
    with pytest.raises(RecordingError):
        replay(path)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"[]", b"{}", b"null", b"\x00" * 100, b"\x1f\x8b", b'{"format":"buddy-golden"}', b"text"]
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(RecordingError):
        replay(path)


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    lines = lines_of(SMALL)
    lines[0] = lines[0].replace('"version":1', '"version":9')
    with pytest.raises(RecordingError, match="version 9"):
        replay(write(tmp_path / "new.jsonl.gz", lines))


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replay(tmp_path / "none")
    with pytest.raises(RecordingError, match=r"state\.jsonl\.gz"):
        replay(tmp_path)
    for wrong in (None, [], 1.5, object()):
        with pytest.raises(TypeError):
            replay(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="null"):
        replay("a\0b")
    with pytest.raises(TypeError, match="progress"):
        replay(SMALL, progress=3)  # type: ignore[arg-type]


def test_boot_parameters_come_from_the_recordings_folder(tmp_path: Path) -> None:
    name = "boot-kc128-256M.jsonl.gz"
    copy = tmp_path / name
    copy.write_bytes((KEPT / name).read_bytes())
    assert not replay(copy).exact
    parameters = tmp_path / "boot-parameters.json"
    parameters.write_text(json.dumps({name: "kernelcore=128M"}))
    assert replay(copy).exact
    for wrong in ("[", "[]", json.dumps({name: 3}), json.dumps({name: "kernelcore=x"}), json.dumps({name: "quiet"})):
        parameters.write_text(wrong)
        with pytest.raises(RecordingError, match=r"boot-parameters\.json"):
            replay(copy)


def test_what_progress_raises_ends_the_replay() -> None:
    class Stop(Exception):
        pass

    def progress(fraction: float, ops: int) -> None:
        raise Stop

    seen: list[tuple[float, int]] = []
    report = replay(LARGE, progress=lambda fraction, ops: seen.append((fraction, ops)))
    assert report.exact
    assert seen
    assert seen == sorted(seen)
    assert all(0 <= fraction <= 1 and 0 <= ops <= report.ops for fraction, ops in seen)
    with pytest.raises(Stop):
        replay(LARGE, progress=progress)


def test_replays_run_side_by_side() -> None:
    reports: list[pagebuddy.ReplayReport] = []
    threads = [threading.Thread(target=lambda: reports.append(replay(SMALL))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 4
    assert all(report.exact for report in reports)
