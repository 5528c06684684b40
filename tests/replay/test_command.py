"""`pagebuddy replay`: output, exit status, progress."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pagebuddy.cli import main
from pagebuddy.cli.progress import ProgressBar

from ..found import KEPT
from .test_replay import SMALL, lines_of, write

KEYS = {
    "file",
    "mode",
    "scenario",
    "ops",
    "replayed",
    "matched",
    "digests",
    "digests_matched",
    "states",
    "states_matched",
    "first_mismatch",
}
MEMBLOCK = KEPT / "memblock" / "tiny-s9.jsonl.gz"


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    lines = lines_of(SMALL)
    at = next(i for i, line in enumerate(lines) if line.startswith('["a"') and not line.endswith("-1]"))
    lines[at] = lines[at].rpartition(",")[0] + ",-1]"
    return write(tmp_path / "wrong.jsonl.gz", lines)


def test_json_has_one_object_per_file(capsys: pytest.CaptureFixture[str], wrong: Path) -> None:
    assert main(["replay", "--json", str(SMALL), str(MEMBLOCK), str(wrong)]) == 1
    small, memblock, different = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    for report in (small, memblock, different):
        assert report.keys() >= KEYS
    assert (small["file"], small["mode"], small["scenario"]) == (str(SMALL), "late", "soak")
    assert small["matched"] == small["replayed"] == small["ops"] == 6000
    assert small["first_mismatch"] is None
    assert memblock["mode"] == "memblock"
    assert different["first_mismatch"]["expected"] == "failure"
    assert different["matched"] < different["ops"]


def test_exit_status(capsys: pytest.CaptureFixture[str], tmp_path: Path, wrong: Path) -> None:
    assert main(["replay", str(SMALL)]) == 0
    assert main(["replay", str(wrong)]) == 1
    assert main(["replay", str(tmp_path / "none"), str(SMALL)]) == 2
    assert main(["replay", str(wrong), str(tmp_path), str(SMALL)]) == 2
    assert main(["replay", __file__]) == 2
    shown = capsys.readouterr()
    assert "first difference: line 12, operation 2: alloc_pages(" in shown.out
    assert "No such file" in shown.err
    assert f"{__file__}:1: " in shown.err
    with pytest.raises(SystemExit) as caught:
        main(["replay"])
    assert caught.value.code == 2


def test_text_says_what_matched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(SMALL), str(MEMBLOCK)]) == 0
    out = capsys.readouterr().out
    assert f"exact  {SMALL}: 6000 of 6000 operations, 12 of 12 digests, 7 of 7 states match" in out
    assert "2 of 2 recordings exact" in out


def test_nothing_is_drawn_where_no_terminal_is() -> None:
    command = [sys.executable, "-m", "pagebuddy.cli", "replay", str(SMALL)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("with_rich", [True, False])
def test_a_bar_appears_after_a_while(monkeypatch: pytest.MonkeyPatch, with_rich: bool) -> None:
    if with_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr("pagebuddy.cli.progress.DELAY_SECONDS", 0.0)
        with ProgressBar("some.jsonl.gz") as bar:
            bar.update(0.25, 1234)
            bar.update(0.5, 2468)
        terminal.flush()
        shown = os.read(master, 1 << 16).decode()
    os.close(master)
    assert "some.jsonl.gz" in shown
    assert "50%" in shown or "25%" in shown
    assert "1,234 operations" in shown or "2,468 operations" in shown


def test_short_work_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with ProgressBar("some.jsonl.gz") as bar:
            bar.update(0.5, 1)
        terminal.flush()
        with pytest.raises(BlockingIOError):
            os.read(master, 1)
    os.close(master)
