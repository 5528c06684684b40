"""Traced workloads: every allocation is predicted; what is wrong or missing is told."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pagebuddy import RecordingError, replay
from pagebuddy.cli import main

from ..found import KEPT

WORKLOAD = KEPT / "trace-nobulk-dd-low64-256M-2cpu"


def trace_lines(folder: Path) -> list[str]:
    with gzip.open(folder / "trace.txt.gz", "rt", encoding="ascii") as lines:
        return lines.read().splitlines()


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[list[str]], list[str]]], Path]:
    def change(change_lines: Callable[[list[str]], list[str]]) -> Path:
        folder = tmp_path / "workload"
        folder.mkdir(exist_ok=True)
        shutil.copy(WORKLOAD / "state.jsonl.gz", folder)
        with gzip.open(folder / "trace.txt.gz", "wt", encoding="ascii") as file:
            file.write("\n".join(change_lines(trace_lines(WORKLOAD))) + "\n")
        return folder

    return change


def test_every_allocation_is_predicted(trace_folder: Path) -> None:
    report = replay(trace_folder)
    assert report.exact, str(report)
    lines = trace_lines(trace_folder)
    assert report.mode == "trace"
    assert report.ops == report.matched == sum(" mm_page_alloc: " in line for line in lines)
    moves = re.compile(r" mm_page_(alloc_zone_locked|pcpu_drain): ")
    assert report.moves == report.moves_matched == sum(bool(moves.search(line)) for line in lines)
    assert report.states == report.states_matched == 2
    assert (report.unseen == 0) == ("nobulk" in trace_folder.name)


@pytest.mark.parametrize("name", ["", "state.jsonl.gz", "trace.txt.gz"])
def test_a_workload_is_named_by_its_folder_or_its_files(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(WORKLOAD / name)]) == 0
    assert "1357 of 1357 operations, 616 of 616 moves" in capsys.readouterr().out


def test_a_wrong_page_is_found_and_does_not_spoil_the_rest(changed: Callable[..., Path]) -> None:
    def exchange_pages(lines: list[str]) -> list[str]:
        # Two pages that one allocation after the other takes from the same list.
        for at in range(300, len(lines) - 1):
            line, after = lines[at : at + 2]
            pages = [re.search(r"mm_page_alloc: .*pfn=(0x\w+) order=0 migratetype=1", text) for text in (line, after)]
            if pages[0] and pages[1]:
                first, second = pages[0][1], pages[1][1]
                lines[at] = line.replace(first, second)
                lines[at + 1] = after.replace(second, first)
                return lines
        raise AssertionError("no such allocations")

    folder = changed(exchange_pages)
    report = replay(folder)
    assert not report.exact
    assert report.ops - 2 <= report.matched < report.ops
    difference = report.first_mismatch
    assert difference is not None
    assert difference.op.startswith("mm_page_alloc order=0 on cpu ")
    assert main(["replay", str(folder)]) == 1


def test_lost_events_make_the_replay_partial(changed: Callable[..., Path]) -> None:
    report = replay(changed(lambda lines: [*lines, "CPU:1 [LOST 12 EVENTS]"]))
    assert report.is_partial
    assert not report.exact
    assert report.matched == report.ops
    assert not any(report.misses.values())
    assert "the tracer lost events" in str(report)


@pytest.mark.parametrize(("first", "nr_lines", "share"), [(100, 1, 1), (1000, 50, 1), (2000, 1000, 0.86)])
def test_missing_events_are_survived(changed: Callable[..., Path], first: int, nr_lines: int, share: float) -> None:
    report = replay(changed(lambda lines: lines[:first] + lines[first + nr_lines :]))
    assert report.ops * share <= report.matched <= report.ops
    assert sum(report.misses.values()) == report.ops - report.matched


def test_scattered_missing_events_are_survived(changed: Callable[..., Path]) -> None:
    report = replay(changed(lambda lines: [line for i, line in enumerate(lines) if i % 100 != 50]))
    assert report.ops * 0.99 <= report.matched < report.ops
    causes = {cause: n for cause, n in report.misses.items() if n}
    assert sum(causes.values()) == report.ops - report.matched
    for cause, n in causes.items():
        assert f"{n} {cause.replace('_', ' ')}" in str(report)
    assert report.as_dict()["misses"] == report.misses


def test_the_order_of_cpus_within_a_tick_does_not_matter(changed: Callable[..., Path]) -> None:
    def coarse(lines: list[str]) -> list[str]:
        events = [line for line in lines if not line.startswith("#")]
        # A clock of two milliseconds; within a tick CPU 1 comes first.
        ticked = [re.sub(r"(\.\d\d)(\d)\d{3}: mm", lambda m: f"{m[1]}{int(m[2]) & ~1}000: mm", line) for line in events]
        place = re.compile(r"\[(\d+)\] \S+ +([\d.]+): mm")
        found = [place.search(line) for line in ticked]
        keys = [(float(match[2]), -int(match[1])) for match in found if match]
        assert len(keys) == len(ticked)
        order = sorted(range(len(ticked)), key=keys.__getitem__)
        assert order != list(range(len(ticked)))
        return [ticked[at] for at in order]

    report = replay(changed(coarse))
    assert report.matched >= report.ops * 0.997


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x-1 [001] ..... 9.7: mm_page_free: page=1 pfn=0xg order=0", "pfn `0xg` is no number"),
        ("x-1 [001] ..... 9.7: mm_page_free: page=1 pfn=0x1 order=11", "order 11 is not below MAX_ORDER"),
        ("x-1 [001] ..... 9.7: mm_page_free: page=1 pfn=0x1 order=-1", "order `-1` is no number"),
        ("x-1 [009] ..... 9.7: mm_page_free: page=1 pfn=0x1 order=0", "cpu 9 was not online"),
        ("x-1 [001] ..... 9.7: mm_page_alloc: page=1 pfn=0x1 order=0 migratetype=9 gfp_flags=none", "migratetype 9"),
        ("x-1 [001] ..... 9.7: mm_page_alloc: page=1 pfn=0x1 order=0 migratetype=0 gfp_flags=GFP_X", "GFP_X"),
    ],
)
def test_damaged_lines_are_refused(changed: Callable[..., Path], text: str, message: str) -> None:
    folder = changed(lambda lines: [*lines[:50], text, *lines[50:]])
    with pytest.raises(RecordingError, match=re.escape(message)) as caught:
        replay(folder)
    assert (caught.value.path, caught.value.line) == (str(folder / "trace.txt.gz"), 51)


@pytest.mark.parametrize(
    "text",
    [
        "x-1 [001] ..... 9.7: mm_page_free: page=1 pfn=0xffffffffffffffff order=0",
        "x-1 [001] ..... 9.7: mm_page_free: page=1 pfn=0x7ff order=10",
        "x-1 [001] ..... 9.7: mm_page_pcpu_drain: page=1 pfn=0xfffffffffff order=3 migratetype=1",
        "x-1 [001] ..... 9.7: mm_page_alloc_zone_locked: page=1 pfn=0x0 order=10 migratetype=3 percpu_refill=0",
        "x-1 [001] ..... 9.7: mm_page_alloc: page=1 pfn=0xfffffffff order=9 migratetype=3 gfp_flags=0xffffffff",
        "x-1 [001] ..... 9.7: mm_page_alloc: page=0 pfn=0x0 order=0 migratetype=0 gfp_flags=GFP_KERNEL",
        "x-1 [001] ..... 9.7: mm_page_free_batched: page=1 pfn=0x100 order=0",
    ],
)
def test_impossible_events_are_survived(changed: Callable[..., Path], text: str) -> None:
    report = replay(changed(lambda lines: [*lines[:50], text, *lines[50:]]))
    assert report.matched > report.ops * 0.9
