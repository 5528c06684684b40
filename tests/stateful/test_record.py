"""Recordings of random runs on the model can be replayed like those of the kernel, and repeat bit by bit."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.model.recordings import replay

from .machines import MACHINES
from .record import record

CASES = [(name, "soak") for name in MACHINES] + [
    ("isolation-128M-2cpu", "isolate"),
    ("isolation-cma-128M", "isolate"),
    ("isolation-cma-128M", "isolate-any"),
    ("numa-4x64M-normal", "policy"),
    ("normal-192M-2cpu", "sysctl"),
    ("64M", "reclaim"),
]


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_recorded_run_replays(name: str, scenario: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    record(MACHINES[name], 3, 5000, path, scenario=scenario)
    report = replay(path)
    assert report.ops >= 5000 and report.results > 1000 and report.states >= 4


def test_a_seed_gives_one_run(tmp_path: Path) -> None:
    texts = []
    for number in range(2):
        path = tmp_path / f"{number}.jsonl.gz"
        record(MACHINES["numa-2x64M"], 5, 3000, path)
        texts.append(gzip.decompress(path.read_bytes()))
    assert texts[0] == texts[1]
