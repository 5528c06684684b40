"""Checks that every atomic ordering in the Rust sources is explained, and that every explanation is in use.

Usage: python -m tools.check_orderings [ROOT]

Each use of an ordering (``Ordering::Acquire``, or an imported ``Acquire``) needs a comment ``ORDERING(id)`` on its
line, inside its statement or within the four lines above the statement; the nearest comment counts. It may name several
ids: ``ORDERING(P1, S2)``. The ids are defined in docs/memory-model.md:

* pairs, in the table with the columns id, writer, reader, what is published and what covers it. Sources must contain a
  writing and a reading side of each;
* ids that begin with R, in the table with the columns id, where and why: for accesses that publish nothing. They
  explain Relaxed only.

Test code and the shim of atomics, ``sync.rs``, are exempt.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tools.rust_source import RustFile, read_crate

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = Path("docs/memory-model.md")
CRATES = ("rust/core/src", "rust/replay/src", "rust/py/src")
EXEMPT = {("sync",)}
LINES_ABOVE = 4

_ORDERING = re.compile(r"\b(?:Ordering\s*::\s*)?(Relaxed|Acquire|Release|AcqRel|SeqCst)\b")
_USE = re.compile(r"\buse\s[^;]*;")
_RENAMED = re.compile(r"\b(?:Relaxed|Acquire|Release|AcqRel|SeqCst)\s+as\s+\w+")
_COMMENT = re.compile(r"ORDERING\(([^)]*)\)")
_ID = re.compile(r"[A-Z]\d+")
_ROW = re.compile(r"^\|(.+)\|\s*$")
_PATH = re.compile(r"`((?:rust|tests)/[\w./-]+)`")
_UNTESTED = "none yet"


@dataclass(frozen=True)
class Use:
    """One ordering in the sources."""

    place: str
    ordering: str
    is_write: bool
    is_read: bool
    ids: tuple[str, ...] | None


@dataclass
class Model:
    """What docs/memory-model.md defines."""

    pairs: dict[str, dict[str, str]] = field(default_factory=dict)
    relaxed: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_model(text: str) -> Model:
    """Reads the two tables."""
    model = Model()
    for number, line in enumerate(text.splitlines(), start=1):
        row = _ROW.match(line)
        cells = [cell.strip() for cell in row[1].replace(r"\|", "\0").split("|")] if row else []
        if not cells or not _ID.fullmatch(cells[0]):
            continue
        place = f"{DOCUMENT}:{number}"
        identifier = cells[0]
        is_relaxed = identifier.startswith("R")
        names = ("id", "where", "why") if is_relaxed else ("id", "writer", "reader", "published", "covered by")
        if len(cells) != len(names):
            model.problems.append(f"{place}: {identifier} needs the columns {', '.join(names)}")
            continue
        table = model.relaxed if is_relaxed else model.pairs
        if identifier in table:
            model.problems.append(f"{place}: {identifier} is defined twice")
        table[identifier] = dict(zip(names, cells, strict=True))
        model.problems += [
            f"{place}: {identifier} says nothing under {name!r}"
            for name, cell in table[identifier].items()
            if not re.search(r"\w", cell)
        ]
    return model


def sides(code: str, start: int, ordering: str) -> tuple[bool, bool]:
    """Whether an ordering stands for a write and whether for a read, seen from the call it is an argument of."""
    function, argument = _call_around(code, start)
    by_name = {
        "Relaxed": (False, False),
        "Acquire": (False, True),
        "Release": (True, False),
        "AcqRel": (True, True),
        "SeqCst": (True, True),
    }[ordering]
    if function == "load":
        return (False, by_name[1])
    if function == "store":
        return (by_name[0], False)
    if function in {"compare_exchange", "compare_exchange_weak"} and argument == 3:
        return (False, by_name[1])
    return by_name


def _call_around(code: str, position: int) -> tuple[str, int]:
    """Name of the innermost call around a position, and which argument (counted from 0) the position is in."""
    depth = 0
    argument = 0
    for at in range(position - 1, -1, -1):
        character = code[at]
        if character in ")]}":
            depth += 1
        elif character in "([{":
            if depth == 0:
                if character != "(":
                    return ("", 0)
                name = re.search(r"(\w+)\s*$", code[:at])
                return (name[1] if name else "", argument)
            depth -= 1
        elif character == "," and depth == 0:
            argument += 1
        elif character == ";" and depth == 0:
            return ("", 0)
    return ("", 0)


def find_uses(file: RustFile, root: Path) -> Iterator[Use | str]:
    """Every ordering in a file; a text for what makes the file unreadable for this check."""
    code = file.code
    imports = [match.span() for match in _USE.finditer(code)]
    comments = {
        number: tuple(part.strip() for found in _COMMENT.finditer(line) for part in found[1].split(","))
        for number, line in enumerate(file.comments.splitlines(), start=1)
        if _COMMENT.search(line)
    }
    shown = file.path.relative_to(root)
    for start, end in imports:
        if _RENAMED.search(code, start, end):
            yield f"{shown}:{file.line_of(start)}: an ordering is imported under another name"
    for match in _ORDERING.finditer(code):
        if any(start <= match.start() < end for start, end in imports):
            continue
        line = file.line_of(match.start())
        begin = max(code.rfind(mark, 0, match.start()) for mark in ";{}") + 1
        begin += len(code[begin:]) - len(code[begin:].lstrip())
        candidates = [line, *range(line - 1, max(file.line_of(begin) - LINES_ABOVE, 1) - 1, -1)]
        ids = next((comments[number] for number in candidates if number in comments), None)
        is_write, is_read = sides(code, match.start(), match[1])
        yield Use(f"{shown}:{line}", match[1], is_write, is_read, ids)


def check(root: Path) -> tuple[list[str], list[str]]:
    """Checks a working copy.

    Returns:
        What is wrong, and what is worth knowing.
    """
    document = root / DOCUMENT
    if not document.exists():
        return [f"{DOCUMENT} is missing"], []
    model = read_model(document.read_text(encoding="utf-8"))
    problems = list(model.problems)
    written: dict[str, bool] = defaultdict(bool)
    read: dict[str, bool] = defaultdict(bool)
    used: set[str] = set()
    nr_uses = 0
    for crate in CRATES:
        for file in read_crate(root / crate) if (root / crate).is_dir() else []:
            if file.module in EXEMPT and crate == "rust/core/src":
                continue
            for use in find_uses(file, root):
                if isinstance(use, str):
                    problems.append(use)
                    continue
                nr_uses += 1
                problems += check_use(use, model)
                for identifier in use.ids or ():
                    used.add(identifier)
                    written[identifier] |= use.is_write
                    read[identifier] |= use.is_read
    for identifier, row in model.pairs.items():
        if identifier not in used:
            problems.append(f"{DOCUMENT}: {identifier} is used nowhere")
        elif not written[identifier]:
            problems.append(f"{DOCUMENT}: {identifier} has no writing side in the sources, only reading ones")
        elif not read[identifier]:
            problems.append(f"{DOCUMENT}: {identifier} has no reading side in the sources, only writing ones")
        problems += [
            f"{DOCUMENT}: {identifier} is covered by {path}, which does not exist"
            for path in _PATH.findall(row["covered by"])
            if not (root / path).exists()
        ]
    problems += [f"{DOCUMENT}: {identifier} is used nowhere" for identifier in model.relaxed if identifier not in used]
    untested = [identifier for identifier, row in model.pairs.items() if row["covered by"] == _UNTESTED]
    notes = [f"{nr_uses} orderings, {len(model.pairs)} pairs, {len(model.relaxed)} relaxed-only ids"]
    if untested:
        notes.append(f"no test covers {', '.join(untested)} yet")
    return problems, notes


def check_use(use: Use, model: Model) -> Iterator[str]:
    """What is wrong with one use."""
    if use.ids is None:
        yield f"{use.place}: {use.ordering} without a comment ORDERING(id)"
        return
    unknown = [
        identifier for identifier in use.ids if identifier not in model.pairs and identifier not in model.relaxed
    ]
    for identifier in unknown:
        yield f"{use.place}: ORDERING({identifier}) is not defined in {DOCUMENT}"
    if not unknown and use.ordering != "Relaxed" and not any(identifier in model.pairs for identifier in use.ids):
        yield f"{use.place}: {use.ordering} is explained by {', '.join(use.ids)}, which explains Relaxed only"


def main() -> None:
    """Prints what is wrong and exits 1 if anything is."""
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    problems, notes = check(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} orderings or ids are not in order")
    print("orderings: " + "; ".join(notes))


if __name__ == "__main__":
    main()
