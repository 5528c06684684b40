"""Runs the concurrent tests for as long as asked and adds up what they did.

Usage: python -m tools.soak DURATION, for example 300, 90s, 15m or 8h

Each part is a test binary of the core, which gets a share of the time and tells in lines ``tally NAME: key=n ...`` how
far it is. The sums are printed at regular intervals and at the end, also if the run is interrupted. The exit status
is 0 if no part found anything, 1 if one did, and 130 after an interrupt.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rust/core"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")
_TALLY = re.compile(r"(?:test \S+ \.\.\. )?tally (\S+):((?: \w+=\d+)+)\s*")


@dataclass(frozen=True)
class Part:
    """One test binary with some of its tests."""

    name: str
    test: str
    features: str
    share: float
    """Part of the whole time."""
    filters: tuple[str, ...] = ()
    has_harness: bool = True


PARTS = (
    Part("exhaustive", "schedules", "schedules", 0.2, ("every_schedule_with", "schedules_with_")),
    Part("random", "schedules", "schedules", 0.2, ("random_schedules", "machine_schedules", "histories_are")),
    Part("loom", "loom", "loom", 0.2),
    Part("threads", "stress", "", 0.12),
    Part("delayed threads", "stress", "schedules", 0.08, ("on_a_zone",)),
    Part("histories", "linear", "", 0.04, ("thread",)),
    Part("delayed histories", "linear", "schedules", 0.04, ("thread",)),
    Part("processes", "processes", "", 0.12, has_harness=False),
)


def read_duration(text: str) -> float:
    """Seconds of a duration such as ``90``, ``90s``, ``15m`` or ``8h``."""
    match = _DURATION.fullmatch(text)
    if not match:
        sys.exit(f"{text!r} is no duration; examples: 300, 90s, 15m, 8h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


@dataclass
class Totals:
    """What all parts did: the last counts of every tally, and those of earlier parts."""

    before: Counter[str] = field(default_factory=Counter)
    current: dict[str, Counter[str]] = field(default_factory=dict)

    def read(self, line: str) -> bool:
        """Takes note of a line; false if it is no tally."""
        match = _TALLY.fullmatch(line)
        if not match:
            return False
        pairs = (pair.split("=") for pair in match[2].split())
        self.current[match[1]] = Counter({key: int(n) for key, n in pairs})
        return True

    def end_part(self) -> None:
        """The names of the next part are others, even if they are the same."""
        self.before = self.sum()
        self.current = {}

    def sum(self) -> Counter[str]:
        """All counts by key."""
        return sum(self.current.values(), Counter(self.before))

    def __str__(self) -> str:
        counts = self.sum()
        faults = counts["kills"] + counts["zombies"] + counts["stops"]
        first = ("operations", "schedules", "executions", "histories")
        names = [*first, *sorted(set(counts) - {*first, "kills", "zombies", "stops"})]
        shown = [f"{counts[name]:,} {name}" for name in names if counts[name]]
        kinds = ", ".join(f"{counts[name]:,} {name}" for name in ("kills", "zombies", "stops"))
        return "; ".join([*shown, f"{faults:,} faults injected ({kinds})"])


def build(part: Part) -> Path:
    """Builds a part's binary."""
    command = ["cargo", "test", "--locked", "--profile", "checked", "-p", "pagebuddy-core", "--test", part.test]
    command += ["--no-run", "--message-format", "json-render-diagnostics"]
    if part.features:
        command += ["--features", part.features]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{part.name}: the build failed")
    messages = (json.loads(line) for line in result.stdout.splitlines())
    artifacts = [m for m in messages if m["reason"] == "compiler-artifact" and m["target"]["name"] == part.test]
    return Path(artifacts[-1]["executable"])


def nr_tests(binary: Path, part: Part) -> int:
    """How many tests of a binary the part runs."""
    command = [str(binary), *part.filters, "--list"]
    listed = subprocess.run(command, cwd=PACKAGE, stdout=subprocess.PIPE, text=True, check=True).stdout
    return sum(line.endswith(": test") for line in listed.splitlines())


class Soak:
    """A run of all parts."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.totals = Totals()
        self.began = time.monotonic()
        self.interval = min(60.0, max(5.0, seconds / 20))
        self.printed = self.began

    def print(self, what: str) -> None:
        """Prints the totals."""
        elapsed = time.monotonic() - self.began
        print(f"soak, {elapsed:.0f} of {self.seconds:.0f} s, {what}: {self.totals}", flush=True)
        self.printed = time.monotonic()

    def run(self, part: Part, binary: Path) -> bool:
        """Runs one part; false if it found something."""
        nr_threads = min(os.cpu_count() or 1, 8) if part.has_harness else 1
        share = self.seconds * part.share
        each = max(1.0, share * nr_threads / max(nr_tests(binary, part), nr_threads))
        command = [str(binary), *part.filters]
        command += ["--nocapture", "--test-threads", str(nr_threads)] if part.has_harness else []
        environment = os.environ | {"PAGEBUDDY_SOAK_SECONDS": f"{each:.1f}"}
        print(f"{part.name}: {each:.0f} s for each test", flush=True)
        # A session of its own: an interrupt reaches this process alone, which then ends the part.
        with subprocess.Popen(
            command,
            cwd=PACKAGE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                said = self.follow(process, part)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        self.totals.end_part()
        if process.returncode != 0:
            print(f"\nVIOLATION: {part.name} ended with status {process.returncode}; it said:", file=sys.stderr)
            print("\n".join(said), file=sys.stderr, flush=True)
        return process.returncode == 0

    def follow(self, process: subprocess.Popen[str], part: Part) -> deque[str]:
        """Reads what a part says to its end; its last lines but for the tallies."""
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            for line in process.stdout or ():
                lines.put(line.rstrip("\n"))
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        said: deque[str] = deque(maxlen=200)
        while True:
            try:
                line = lines.get(timeout=1.0)
            except queue.Empty:
                line = ""
            if line is None:
                process.wait()
                return said
            if line and not self.totals.read(line):
                said.append(line)
            if time.monotonic() - self.printed >= self.interval:
                self.print(part.name)


def main() -> None:
    """Builds everything, then runs part after part."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    seconds = read_duration(sys.argv[1])
    binaries = [build(part) for part in PARTS]
    soak = Soak(seconds)
    failed = []
    try:
        failed = [part.name for part, binary in zip(PARTS, binaries, strict=True) if not soak.run(part, binary)]
    except KeyboardInterrupt:
        soak.print("interrupted")
        sys.exit(130)
    soak.print("the end")
    if failed:
        sys.exit(f"violations in: {', '.join(failed)}")
    print("no violation")


if __name__ == "__main__":
    # A plain kill prints the totals, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
