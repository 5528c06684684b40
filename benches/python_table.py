"""Puts the results of ``test_bench_python.py`` into docs/benchmarks.md, before the summary.

Usage: python_table.py RESULTS.json DOCUMENT.md
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

HEADING = "## From Python"
NEXT_HEADING = "## Summary"

#: Goals, in nanoseconds or as a factor.
EMPTY_FACTOR = 1.5
BULK = "bulk of 1024 into an array, per page"
BULK_NS = 12

ONE_THREAD = """\
Nanoseconds of processor time per pair of an allocation and a free, the loop included; *fastest* is the best round.
The floor is a pair of calls of a method of a C type that does nothing (`threading.Lock.locked`, twice, in the same
loop); its rounds alternate with those of the work.
"""
THREADS = """\
Nanoseconds that pass per pair while several threads of one interpreter work. They take turns; long bulk calls let the
others go on. Beside it, in turns, a list behind a `threading.Lock`, with as many threads.
"""


def goals(rows: list[dict[str, Any]]) -> str:
    """What was to be reached, and what was."""
    pair = next(row for row in rows if "core" in row)
    bulk = next(row for row in rows if row["name"] == BULK)
    bound = EMPTY_FACTOR * pair["empty"] + pair["core"]
    verdict = {True: "reached", False: "missed"}
    return (
        f"Goal of the pair: {EMPTY_FACTOR} times the floor ({pair['empty']:.1f}) plus what the core takes for such a\n"
        f"pair in a loop in Rust ({pair['core']:.1f}), {bound:.1f} ns: **{verdict[pair['work'] <= bound]}** with "
        f"{pair['work']:.1f}.\n"
        f"Methods of a C type that make and take an integer as a page number is (`array.pop`, `array.append`) take\n"
        f"{pair['integer']:.1f}, and {pair['integer'] + pair['core']:.1f} with the core's pair "
        f"([design note 6](design/0006-python-calls.md)).\n\n"
        f"Goal of bulk of 1024: {BULK_NS} ns: **{verdict[bulk['work'] <= BULK_NS]}** with {bulk['work']:.1f}.\n"
    )


def section(results: dict[str, Any]) -> str:
    """The section as Markdown."""
    rows = [bench["extra_info"] for bench in results["benchmarks"]]
    single = [row for row in rows if "threads" not in row]
    several = [row for row in rows if "threads" in row]
    lines = [HEADING, "", f"CPython {platform.python_version()}.", ONE_THREAD]
    lines += ["| work | ns | fastest | floor, ns | **ratio** |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {row['name']} | {row['work']:.1f} | {row['fastest']:.1f} | {row['empty']:.1f} "
        f"| **{row['work'] / row['empty']:.2f}** |"
        for row in single
    ]
    lines += ["", goals(single), THREADS]
    lines += ["| work | threads | ns | fastest | list and lock, ns | **ratio** |", "|---|--:|--:|--:|--:|--:|"]
    lines += [
        f"| {row['name']} | {row['threads']} | {row['work']:.1f} | {row['fastest']:.1f} | {row['pool']:.1f} "
        f"| **{row['work'] / row['pool']:.2f}** |"
        for row in several
    ]
    return "\n".join(lines) + "\n"


def insert(document: str, text: str) -> str:
    """The document with the section, in place of an older one."""
    before, found, after = document.partition(f"{NEXT_HEADING}\n")
    before = before.partition(f"{HEADING}\n")[0].rstrip()
    return f"{before}\n\n{text}" + (f"\n{found}{after}" if found else "")


def main() -> None:
    """Reads the results, prints the section and puts it into the document."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    text = section(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    document = Path(sys.argv[2])
    document.write_text(insert(document.read_text(encoding="utf-8"), text), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
