"""Replays recordings of the real kernel and compares every result, digest and state in them.

A traced workload is named by its folder (state.jsonl.gz and trace.txt.gz): every allocation in the trace is predicted.

The exit status is 0 if everything matched, 1 if something differed, 2 if an input cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys

from pagebuddy import RecordingError, ReplayReport, replay
from pagebuddy.cli.progress import ProgressBar

NAME = "replay"
SUMMARY = "replay recordings of the real kernel and compare"
EXAMPLES = """\
examples:
  pagebuddy replay late-soak-64M-s1.jsonl.gz
  pagebuddy replay trace-sort-256M-2cpu
  pagebuddy replay --json recordings/*.jsonl.gz | jq .matched
"""

#: Exit status.
MATCHED, DIFFERED, UNREADABLE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a recording (*.jsonl.gz), or a folder with a traced workload"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per file")


def run(arguments: argparse.Namespace) -> int:
    """Replays every file, also after one that differed or could not be read."""
    status = MATCHED
    reports: list[ReplayReport] = []
    for file in arguments.files:
        try:
            with ProgressBar(file) as bar:
                report = replay(file, progress=bar.update)
        except (RecordingError, OSError) as error:
            status = UNREADABLE
            print(f"pagebuddy: {error}", file=sys.stderr)
            if arguments.json:
                print(json.dumps({"file": file, "error": str(error)}), flush=True)
            continue
        reports.append(report)
        if not report.exact:
            status = max(status, DIFFERED)
        print(json.dumps(report.as_dict()) if arguments.json else describe(report), flush=True)
    if len(arguments.files) > 1 and not arguments.json:
        print(summary(reports, len(arguments.files)))
    return status


def describe(report: ReplayReport) -> str:
    """The report with the pace of the allocator."""
    verdict = "exact" if report.exact else "DIFFERS"
    text = f"{verdict}  {report}"
    if report.core_time_ns:
        head, newline, rest = text.partition("\n")
        pace = report.core_time_ns / report.replayed
        text = f"{head} ({pace:.0f} ns per operation){newline}{rest}"
    return text


def summary(reports: list[ReplayReport], nr_files: int) -> str:
    """One line about all files."""
    nr_exact = sum(report.exact for report in reports)
    matched = sum(report.matched for report in reports)
    ops = sum(report.ops for report in reports)
    return f"{nr_exact} of {nr_files} recordings exact, {matched:,} of {ops:,} operations match"
