"""The long run of the concurrent tests: durations, sums, interrupts and violations."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tools.soak import ROOT, Part, Soak, Totals, read_duration

PART = Part("part", "part", "", 1.0, has_harness=False)


def script(path: Path, text: str) -> Path:
    """A binary that says and does what the text says."""
    path.write_text(f"#!/bin/sh\n[ \"$1\" = --list ] && {{ echo 'one: test'; exit; }}\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("text", "seconds"), [("300", 300), ("90s", 90), ("1.5m", 90), ("8h", 28800)])
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1d", "-3", "m"])
def test_no_durations(text: str) -> None:
    with pytest.raises(SystemExit, match="is no duration"):
        read_duration(text)


def test_the_last_counts_of_every_tally_are_added() -> None:
    totals = Totals()
    assert totals.read("tally one: operations=5 kills=1")
    assert totals.read("test some::test ... tally one: operations=8 kills=1")
    assert totals.read("tally two: schedules=3 zombies=2")
    assert not totals.read("one: operations=5")
    totals.end_part()
    assert totals.read("tally one: operations=1 stops=4")
    assert dict(totals.sum()) == {"operations": 9, "kills": 1, "schedules": 3, "zombies": 2, "stops": 4}
    assert str(totals) == "9 operations; 3 schedules; 7 faults injected (1 kills, 2 zombies, 4 stops)"


def test_a_part_that_fails_is_a_violation(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    soak = Soak(1.0)
    assert soak.run(PART, script(tmp_path / "good", "echo 'tally good: operations=2'"))
    assert not soak.run(PART, script(tmp_path / "bad", "echo 'tally bad: operations=3'; echo broken; exit 101"))
    assert soak.totals.sum()["operations"] == 5
    assert "VIOLATION: part ended with status 101; it said:\nbroken\n" in capfd.readouterr().err


def test_an_interrupt_prints_the_totals(tmp_path: Path) -> None:
    binary = script(tmp_path / "long", "echo 'tally long: operations=7'; echo; sleep 60")
    program = (
        "import tools.soak as soak; from pathlib import Path; import sys;"
        f"soak.PARTS = (soak.Part('part', 'part', '', 1.0, has_harness=False),);"
        f"soak.build = lambda part: Path({str(binary)!r}); sys.argv = ['soak', '60']; soak.main()"
    )
    command = [sys.executable, "-u", "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "part: 60 s for each test\n"
        while "7 operations" not in (line := process.stdout.readline()):
            assert line, "it ended by itself"
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
    assert "interrupted: 7 operations; 0 faults" in said
    assert process.returncode == 130
