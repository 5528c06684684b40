"""The command line, run as its users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pagebuddy

COMMAND = Path(sys.executable).with_name("pagebuddy")


def run(*arguments: str, command: tuple[str | Path, ...] = (COMMAND,)) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_info() -> None:
    done = run("info")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"version         {pagebuddy.__version__}" in " ".join(done.stdout.split(" "))


def test_info_for_programs() -> None:
    done = run("info", "--json")
    facts = json.loads(done.stdout)
    assert facts["pagebuddy"]["version"] == pagebuddy.__version__
    assert facts["machine"]["cpus_usable"] == len(os.sched_getaffinity(0))
    assert facts["pagebuddy"]["kernel"] == "5.17.9"
    assert facts["pagebuddy"]["profile"] == "release"
    assert facts["limits"] == pagebuddy.build_info()["limits"]
    assert facts["limits"]["orders"] == pagebuddy.Config().MAX_ORDER
    assert facts["python"]["version"] == ".".join(str(part) for part in sys.version_info[:3])


def test_as_a_module() -> None:
    done = run("info", "--json", command=(sys.executable, "-m", "pagebuddy.cli"))
    assert done.stdout == run("info", "--json").stdout


def test_version() -> None:
    assert run("--version").stdout == f"pagebuddy {pagebuddy.__version__}\n"


@pytest.mark.parametrize("arguments", [("--help",), ("info", "--help")])
def test_help_teaches_with_examples(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 0
    assert "examples:\n  pagebuddy " in done.stdout


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("info", "--jsn"), ("info", "extra")])
def test_misuse_is_explained(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: pagebuddy" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"'{COMMAND}' info; echo status $? >&2"
    done = subprocess.run(["sh", "-c", f"{{ {script}; }} | true"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "status 0" in done.stderr or "status 141" in done.stderr
