"""Checks the layers of the sources against tools/layers.toml.

Usage: python -m tools.check_layers [ROOT]

* A module of the core uses modules of lower layers only (``use`` lines and paths alike; test code is exempt).
* The other crates use no internal module of the core.
* Unsafe code is in the allowed modules only.
* The native module is imported by the allowed files of the Python package only.
* No file is too long.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.rust_source import RustFile, closing_brace, read_crate

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path("tools/layers.toml")
CORE = Path("rust/core/src")

_SUPER = re.compile(r"\b(?:super\s*::\s*)+")
_UNSAFE = re.compile(r"\bunsafe\b")


def used_modules(file: RustFile, crate: str) -> Iterator[tuple[int, str]]:
    """Top modules of a crate that a file names in paths.

    Args:
        file: The file.
        crate: The first segment of the paths, ``crate`` or a crate's name.

    Returns:
        Line and module, one for every path.
    """
    for match in re.finditer(rf"\b{crate}\s*::\s*", file.code):
        yield from _first_segments(file, match.end())
    if crate != "crate":
        return
    for match in _SUPER.finditer(file.code):
        depth = match[0].count("super")
        if depth >= len(file.module_at(match.start())):
            yield from _first_segments(file, match.end())


def _first_segments(file: RustFile, position: int) -> Iterator[tuple[int, str]]:
    """The names at a position of a path: one, or those of a group in braces."""
    code = file.code
    line = file.line_of(position)
    if code[position : position + 1] != "{":
        name = re.compile(r"\w+|\*").match(code, position)
        if name:
            yield line, name[0]
        return
    depth = 0
    start = position + 1
    end = closing_brace(code, position)
    for at in range(start, end + 1):
        if code[at : at + 1] == "{":
            depth += 1
        elif code[at : at + 1] == "}" and at < end:
            depth -= 1
        if at == end or (code[at] == "," and depth == 0):
            name = re.compile(r"\s*(\w+|\*)").match(code, start)
            if name and start < end:
                yield file.line_of(name.start(1)), name[1]
            start = at + 1


def check_core(files: list[RustFile], table: dict[str, Any], root: Path) -> Iterator[str]:
    """Modules of the core use lower layers only."""
    layer = {name: number for number, names in enumerate(table["layers"]) for name in names}
    modules = {file.module[0] for file in files if file.module}
    for name in sorted(modules - layer.keys()):
        yield f"{TABLE}: module {name} has no layer"
    for name in sorted(layer.keys() - modules):
        yield f"{TABLE}: module {name} does not exist"
    for name in sorted(set(table["internal"]) - layer.keys()):
        yield f"{TABLE}: internal module {name} has no layer"
    for file in files:
        if not file.module:
            continue
        own = file.module[0]
        for line, used in used_modules(file, "crate"):
            place = f"{file.path.relative_to(root)}:{line}"
            if used == "*":
                yield f"{place}: imports everything from the crate's root"
            elif used != own and used in layer and own in layer and layer[used] >= layer[own]:
                yield f"{place}: {own} (layer {layer[own]}) uses {used} (layer {layer[used]})"


def check_users(files: list[RustFile], internal: list[str], root: Path) -> Iterator[str]:
    """Other crates use no internal module."""
    for file in files:
        for line, used in used_modules(file, "pagebuddy_core"):
            if used in internal or used == "*":
                yield f"{file.path.relative_to(root)}:{line}: uses the core's internal module {used}"


def check_unsafe(files: list[RustFile], allowed: list[str], root: Path) -> Iterator[str]:
    """Unsafe code is in the allowed modules only."""
    for file in files:
        path = file.path.relative_to(root)
        if any(path.with_suffix("").is_relative_to(folder) for folder in allowed):
            continue
        for match in _UNSAFE.finditer(file.all_code):
            yield f"{path}:{file.line_of(match.start())}: unsafe code outside {', '.join(allowed)}"


def check_python(package: Path, native: str, importers: list[str], root: Path) -> Iterator[str]:
    """The native module is imported by the allowed files only."""
    name = package.name
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        if inside.as_posix() in importers:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported = _imported_from(node, [name, *inside.parts[:-1]])
            else:
                continue
            if any(found == f"{name}.{native}" or found.startswith(f"{name}.{native}.") for found in imported):
                yield f"{path.relative_to(root)}:{node.lineno}: imports the native module"


def _imported_from(node: ast.ImportFrom, package: list[str]) -> set[str]:
    """Full names of what ``from ... import`` may import as a module."""
    base = package[: len(package) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    return {module, *(f"{module}.{alias.name}" for alias in node.names)}


def check_lengths(root: Path, folders: list[str], max_lines: int) -> Iterator[str]:
    """No file is too long."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".rs", ".py", ".pyi"} and "target" not in path.relative_to(root).parts:
                nr_lines = len(path.read_text(encoding="utf-8").splitlines())
                if nr_lines > max_lines:
                    yield f"{path.relative_to(root)}: {nr_lines} lines, more than {max_lines}"


def check(root: Path) -> list[str]:
    """What is wrong in a working copy."""
    table = tomllib.loads((root / TABLE).read_text(encoding="utf-8"))
    core = read_crate(root / CORE)
    problems = list(check_core(core, table["core"], root))
    problems += check_unsafe(core, table["unsafe"]["allowed"], root)
    for folder in table["crates"]["users"]:
        files = read_crate(root / folder)
        problems += check_users(files, table["core"]["internal"], root)
        problems += check_unsafe(files, table["unsafe"]["allowed"], root)
    python = table["python"]
    problems += check_python(root / python["package"], python["native"], python["importers"], root)
    problems += check_lengths(root, table["files"]["folders"], table["files"]["max_lines"])
    return problems


def main() -> None:
    """Prints what is wrong and exits 1 if anything is."""
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    problems = check(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} layer rules are broken")
    print("layers: in order")


if __name__ == "__main__":
    main()
