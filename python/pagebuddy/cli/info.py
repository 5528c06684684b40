"""Tells what is installed and what it can do on this machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version

from pagebuddy import __version__, build_info

NAME = "info"
SUMMARY = "versions, limits and the machine"
EXAMPLES = """\
examples:
  pagebuddy info
  pagebuddy info --json | python -m json.tool
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def gather() -> dict[str, dict[str, object]]:
    """What there is to tell, by topic."""
    info = build_info()
    return {
        "pagebuddy": {"version": __version__, **info["build"]},
        "limits": info["limits"],
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
            "numpy": version("numpy"),
        },
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "architecture": platform.machine(),
            "cpus_present": os.cpu_count(),
            "cpus_usable": len(os.sched_getaffinity(0)),
            "page_size": os.sysconf("SC_PAGE_SIZE"),
        },
    }


def run(arguments: argparse.Namespace) -> int:
    """Prints it."""
    topics = gather()
    if arguments.json:
        print(json.dumps(topics, indent=2))
        return 0
    width = max(len(name) for facts in topics.values() for name in facts)
    for topic, facts in topics.items():
        print(f"{topic}:")
        for name, value in facts.items():
            print(f"  {name.replace('_', ' '):<{width}}  {value}")
    return 0
