"""The recordings kept with the sources: complete, readable, small."""

from __future__ import annotations

import json

from .found import KEPT, recordings, traces

MAX_BYTES = 12 << 20

SCENARIOS = {
    "api", "boot", "exhaust", "frag", "frag-n", "highatomic", "isolate", "isolate-any", "nonpcp", "nonpcp-mov", "numa",
    "pcp-reclaim", "pcp1", "pcp1-order0", "pcpn", "pcpn-order0", "policy", "pressure", "soak", "sysctl", "zones",
}  # fmt: skip
MEMBLOCK_SCENARIOS = {"e820", "grow", "growr", "mixed", "numa", "overflow", "pages", "tiny", "unaligned"}


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in KEPT.rglob("*") if path.is_file()) <= MAX_BYTES


def test_every_scenario_is_there() -> None:
    kept = [recording for recording in recordings() if recording.path.is_relative_to(KEPT)]
    assert {recording.scenario for recording in kept if recording.mode != "memblock"} == SCENARIOS
    assert {recording.scenario for recording in kept if recording.mode == "memblock"} == MEMBLOCK_SCENARIOS
    assert {recording.mode for recording in kept} == {"boot", "early", "late", "memblock"}
    assert any(trace.is_relative_to(KEPT) for trace in traces())


def test_headers_say_what_the_names_say() -> None:
    for recording in recordings():
        header = recording.header()
        assert header["scenario"] == recording.scenario, recording.path
        if recording.mode == "memblock":
            assert header["format"] == "memblock-golden"
        else:
            assert (header["format"], header["mode"]) == ("buddy-golden", recording.mode)


def test_boot_parameters_belong_to_recordings() -> None:
    parameters = json.loads((KEPT / "boot-parameters.json").read_text())
    assert parameters
    for value in parameters.values():
        assert value.startswith(("kernelcore=", "movablecore="))
    names = {path.name for path in KEPT.glob("*.jsonl.gz")}
    assert parameters.keys() <= names
