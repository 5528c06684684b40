"""A long random run on the product and the model: ``python -m tests.stateful.long_run [OPERATIONS] [SEED]``.

The operations are spread over all machine shapes. Every result is compared as it comes, all lists, counters and
watermarks of every zone every few thousand operations, and at the end, when everything was freed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from .machines import MACHINES, Machine
from .pair import Pair

COMPARE_EVERY = 10_000
REPORT_EVERY = 100_000


def options_of(machine: Machine, round_number: int) -> dict[str, Any]:
    """Every other run of a machine with rarer kinds of operations."""
    odd = round_number % 2 == 1
    return {
        "with_policy": odd and len(machine.nodes) > 1,
        "with_sysctl": odd and not machine.early and len(machine.nodes) == 1,
        "with_reclaim": round_number % 3 == 2 and not machine.early,
    }


def run_machine(
    machine: Machine,
    seed: int,
    nr_ops: int,
    round_number: int = 0,
    report: Callable[[str], None] = lambda text: None,
) -> Pair:
    """One run on a fresh machine; raises `Disagreement` where product and model differ."""
    pair = Pair(machine, with_cache=round_number % 3 == 2)
    workload = pair.workload(seed, **options_of(machine, round_number))
    began = time.perf_counter()
    while pair.nr_ops < nr_ops:
        op = workload.next_op()
        workload.done(op, pair.apply(op))
        if pair.nr_ops % COMPARE_EVERY == 0:
            pair.compare_state()
        if pair.nr_ops % REPORT_EVERY == 0:
            rate = pair.nr_ops / (time.perf_counter() - began)
            report(f"{machine.name}, seed {seed}: {pair.nr_ops} of {nr_ops} operations agree, {rate:.0f} per second")
    pair.compare_state()
    pair.compare_pages()
    for op in workload.rest():
        pair.apply(op)
    if pair.caches:
        for pfn in list(pair.caches[0].pages):
            pair.apply(["f", 0, pfn, 0])
        for cache in pair.caches:
            cache.pages.clear()
    pair.compare_state()
    pair.product.allocator.validate()
    rate = pair.nr_ops / (time.perf_counter() - began)
    report(f"{machine.name}, seed {seed}: all {pair.nr_ops} operations agree, {rate:.0f} per second")
    return pair


def run(nr_ops: int, seed: int = 1, report: Callable[[str], None] = lambda text: None) -> int:
    """At least `nr_ops` operations over all machines; returns how many were compared."""
    per_run = min(250_000, -(-nr_ops // len(MACHINES)))
    done = round_number = 0
    while done < nr_ops:
        for machine in MACHINES.values():
            if done < nr_ops:
                done += run_machine(machine, seed + round_number, per_run, round_number, report).nr_ops
        round_number += 1
        report(f"round {round_number}: {done} of {nr_ops} operations agree in all")
    return done


def main(arguments: list[str]) -> int:
    nr_ops = int(arguments[0]) if arguments else 200_000
    seed = int(arguments[1]) if len(arguments) > 1 else 1
    began = time.perf_counter()
    done = run(nr_ops, seed, lambda text: print(text, flush=True))
    print(f"{done} operations on {len(MACHINES)} machines, no difference, {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
