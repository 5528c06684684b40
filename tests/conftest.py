"""What all tests share: recordings, the long form, and the certainty that the installed wheel is tested.

A test that asks for ``recording`` runs once for every recording of the page allocator, ``memblock_recording`` and
``trace_folder`` likewise. The short form takes a selection; ``--soak`` takes all and runs tests marked ``soak``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import pagebuddy

from . import found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak",
        action="store_true",
        default=os.environ.get("PAGEBUDDY_SOAK", "") not in {"", "0"},
        help="the long forms: every recording, and tests marked soak",
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    form = "long" if config.getoption("--soak") else "short"
    place = Path(pagebuddy.__file__).parent
    return [f"pagebuddy: {pagebuddy.__version__} in {place}, {form} form", *found.describe()]


def pytest_sessionstart() -> None:
    if Path(pagebuddy.__file__).resolve().is_relative_to(found.ROOT / "python"):
        raise pytest.UsageError("pagebuddy is imported from the sources; install the wheel (make test does)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = found.recordings() if metafunc.config.getoption("--soak") else found.short_form()
    for fixture, is_memblock in (("recording", False), ("memblock_recording", True)):
        if fixture in metafunc.fixturenames:
            of_kind = [recording for recording in chosen if (recording.mode == "memblock") is is_memblock]
            metafunc.parametrize(fixture, of_kind, ids=[recording.name for recording in of_kind])
    if "trace_folder" in metafunc.fixturenames:
        metafunc.parametrize("trace_folder", found.traces(), ids=[folder.name for folder in found.traces()])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        return
    skip = pytest.mark.skip(reason="a long form; runs with --soak (make soak)")
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def is_soak(pytestconfig: pytest.Config) -> bool:
    """Whether the long forms run."""
    return bool(pytestconfig.getoption("--soak"))
