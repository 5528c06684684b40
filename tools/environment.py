"""Makes the working copy's virtual environment: requirements, the wheel, and the wheel installed.

Usage: environment.py [--wheel] EXTRA...

Creates ``.venv`` when it is missing or broken, installs what the named extras of ``pyproject.toml`` ask for, and with
``--wheel`` builds the release wheel and installs it. Nothing is done twice: what was installed, and of which sources
the wheel was built, is remembered by content, so that a checkout that only touches files rebuilds nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
DIST = ROOT / "dist"
MEMORY = VENV / "pagebuddy-environment.json"

#: What the wheel is made of.
WHEEL_SOURCES = (
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "pyproject.toml",
    "python",
    "rust",
)
#: Below the folders: what never enters a wheel.
NOT_SOURCES = {"__pycache__", "target", "tests", "benches", ".mypy_cache", ".ruff_cache"}


def say(text: str) -> None:
    """Tells what happens, before it happens."""
    print(f"-- {text}", flush=True)


def run(*command: str | Path) -> None:
    """Runs a command; ends this program when it fails."""
    environment = os.environ | {"VIRTUAL_ENV": str(VENV), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONHOME", None)
    environment.pop("PYTHONPATH", None)
    status = subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, check=False).returncode
    if status:
        sys.exit(f"failed with status {status}: {' '.join(str(part) for part in command)}")


def interpreter_of(python: str | Path) -> str | None:
    """Version and place of an interpreter that has pip, or None if it does not run."""
    code = "import pip, sys; print(sys.version, sys.base_prefix)"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def make_venv(memory: dict[str, Any]) -> None:
    """Creates the virtual environment, unless a working one of this interpreter is there."""
    wanted = f"{sys.version} {sys.base_prefix}"
    if interpreter_of(PYTHON) == wanted:
        return
    say(f"creating {VENV.relative_to(ROOT)} with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    memory.clear()
    run(sys.executable, "-m", "venv", VENV)


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """Requirements of the package and of some of its extras, extras of the package itself resolved."""
    table = project["project"]
    found = set(table["dependencies"]) | set(project["build-system"]["requires"])
    queue = list(extras)
    seen: set[str] = set()
    while queue:
        extra = queue.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in table["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{re.escape(table['name'])}\[([\w, -]+)\]", requirement)
            if own:
                queue.extend(name.strip() for name in own[1].split(","))
            else:
                found.add(requirement)
    return sorted(found)


def install_requirements(memory: dict[str, Any], wanted: list[str]) -> None:
    """Installs what is not installed yet."""
    installed = set(memory.get("requirements", []))
    if installed.issuperset(wanted):
        return
    say(f"installing {', '.join(sorted(set(wanted) - installed))}")
    run(PYTHON, "-m", "pip", "install", "--quiet", *wanted)
    memory["requirements"] = sorted(installed.union(wanted))


def fingerprint(names: tuple[str, ...] = WHEEL_SOURCES, root: Path = ROOT) -> str:
    """Digest of the names and contents of all sources."""
    digest = hashlib.sha256()
    for name in names:
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and not NOT_SOURCES.intersection(inside.parts) and path.suffix not in {".so", ".pyc"}:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{inside}\0{content}\n".encode())
    return digest.hexdigest()


def build_wheel(memory: dict[str, Any]) -> None:
    """Builds and installs the release wheel, unless the installed one is of these very sources."""
    sources = fingerprint()
    wheels = list(DIST.glob("pagebuddy-*.whl"))
    if memory.get("wheel") == sources and [wheel.name for wheel in wheels] == memory.get("wheels"):
        return
    for wheel in wheels:
        wheel.unlink()
    memory.pop("wheel", None)
    say("building the release wheel")
    run(VENV / "bin" / "maturin", "build", "--release", "--locked", "--out", DIST, "--interpreter", PYTHON)
    wheels = list(DIST.glob("pagebuddy-*.whl"))
    if len(wheels) != 1:
        sys.exit(f"expected one wheel in {DIST}, found {[wheel.name for wheel in wheels]}")
    say(f"installing {wheels[0].relative_to(ROOT)}")
    run(PYTHON, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", wheels[0])
    memory["wheel"] = sources
    memory["wheels"] = [wheels[0].name]


def main() -> None:
    """Brings the environment up to date."""
    parser = argparse.ArgumentParser(description="Brings the virtual environment of this working copy up to date.")
    parser.add_argument("--wheel", action="store_true", help="build the release wheel and install it")
    parser.add_argument("extras", nargs="*", help="extras of pyproject.toml whose requirements are installed")
    arguments = parser.parse_args()

    memory: dict[str, Any] = json.loads(MEMORY.read_text()) if MEMORY.exists() else {}
    try:
        make_venv(memory)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        install_requirements(memory, requirements(project, arguments.extras))
        if arguments.wheel:
            build_wheel(memory)
    finally:
        if VENV.is_dir():
            MEMORY.write_text(json.dumps(memory, indent=1))


if __name__ == "__main__":
    main()
