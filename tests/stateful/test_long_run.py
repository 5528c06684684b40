"""Long random runs; the longest has ten million operations."""

from __future__ import annotations

import pytest

from .long_run import run, run_machine
from .machines import MACHINES


def show(text: str) -> None:
    print(text, flush=True)


@pytest.mark.parametrize("name", MACHINES)
def test_every_shape(name: str) -> None:
    """About 200 000 operations in all; odd rounds add policies and tunables, every third requests that may reclaim."""
    number = list(MACHINES).index(name)
    run_machine(MACHINES[name], seed=number, nr_ops=16_000, round_number=number % 3)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_ten_million_operations(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        assert run(10_000_000, seed=1000, report=show) >= 10_000_000
