"""What is missing on a machine is said before anything is built."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.found import ROOT

GOOD = {
    "cargo": "cargo 1.95.0 (f2d3ce0bd 2026-03-21)",
    "rustc": "rustc 1.85.0 (4d91de4e4 2025-02-17)",
    "cc": "cc (GCC) 12.2.0",
}


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder to be the whole PATH: basic tools and a good Rust."""
    for name in ("sh", "awk", "cat", "printf", "dirname"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    for name, version in GOOD.items():
        fake(tmp_path, name, version)
    return tmp_path


def fake(folder: Path, name: str, version: str, status: int = 0) -> None:
    """A program that prints a version."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{version}'\nexit {status}\n")
    program.chmod(0o755)


def check(programs: Path, *arguments: str, script: str = "check_toolchain.sh") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / "tools" / script), *arguments],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_good_machine(programs: Path) -> None:
    done = check(programs, sys.executable, "rust", "rustfmt", "clippy")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("rustc", "rustc 1.84.1 (x)", "rustc 1.85 or newer (found: rustc 1.84.1 (x))"),
        ("cargo", "cargo 1.9.0 (x)", "cargo 1.85 or newer (found: cargo 1.9.0 (x))"),
        ("rustc", "rustc 0.99.0-nightly", "rustc 1.85 or newer (found"),
        ("cargo", "", "cargo (Rust 1.85 or newer)"),
        ("rustc", "", "rustc (Rust 1.85 or newer)"),
        ("cc", "", "a C compiler named cc"),
    ],
)
def test_old_or_missing_rust(programs: Path, name: str, version: str, message: str) -> None:
    if version:
        fake(programs, name, version)
    else:
        (programs / name).unlink()
    done = check(programs, sys.executable, "rust")
    assert done.returncode == 1
    assert f"MISSING: {message}" in done.stderr
    assert done.stderr.count("MISSING") == 1


def test_newer_rust_is_fine(programs: Path) -> None:
    fake(programs, "rustc", "rustc 2.0.0-beta.1 (x)")
    assert check(programs, sys.executable, "rust").returncode == 0


def test_missing_components(programs: Path) -> None:
    fake(programs, "cargo", "cargo 1.95.0 (x)", status=1)
    done = check(programs, sys.executable, "rustfmt", "clippy")
    assert done.returncode == 1
    assert "rustup component add rustfmt" in done.stderr
    assert "rustup component add clippy" in done.stderr


def test_missing_python(programs: Path) -> None:
    assert check(programs, script="find_python.sh").stdout == ""
    done = check(programs, "")
    assert done.returncode == 1
    assert "MISSING: CPython 3.11 or newer (found: " in done.stderr


def test_old_python(programs: Path) -> None:
    fake(programs, "python3", "Python 3.9.2", status=1)
    assert check(programs, script="find_python.sh").stdout == ""
    assert "(found: Python 3.9.2)" in check(programs, "").stderr or "no python3" in check(programs, "").stderr
    done = check(programs, "python3")
    assert "(PYTHON=python3 is Python 3.9.2)" in done.stderr


def test_a_shim_without_an_interpreter_is_passed_over(programs: Path) -> None:
    fake(programs, "python3", "no such version", status=127)
    (programs / "python3.12").symlink_to(sys.executable)
    found = check(programs, script="find_python.sh").stdout.strip()
    assert Path(found).resolve() == Path(sys.executable).resolve()


def test_everything_is_told_at_once(programs: Path) -> None:
    for name in GOOD:
        (programs / name).unlink()
    done = check(programs, "", "rust", "rustfmt", "clippy")
    assert done.stderr.count("MISSING") == 6
