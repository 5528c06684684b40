"""The model against recordings of the real kernel: this is what makes it the judge of the product."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import found

from . import boot, sizing
from .recordings import Mismatch, Replay, core_size, replay
from .sysctl import Tunables


def test_recording(recording: found.Recording) -> None:
    """Every result, digest and state."""
    report = replay(recording.path)
    assert report.states > 0
    if recording.mode != "boot":
        assert report.results > 1000 and report.digests > 0


def test_watermarks_and_sizes_follow_from_managed_pages(recording: found.Recording) -> None:
    """Watermarks, reserves, thresholds and per-cpu sizes of a started machine, computed from its boot state."""
    if recording.mode != "late":
        return
    states = []
    path = recording.path
    run = Replay(path)
    for record in run.lines:
        if record["t"] == "state":
            states.append((record, [next(run.lines) for _ in range(record["zones"])]))
            if len(states) == 2:
                break
        else:
            run.handle_object(record)
    started, zones = states[1]
    model = sizing.sized_model(
        run.config,
        run.memblock["memory"],
        run.memblock["reserved"],
        nodes=run.header["nodes"],
        cpu_node=run.cpu_node,
        distance=run.header["node_distance"],
        core=core_size(path),
    )
    boot.hand_over(model, boot.free_ranges(run.memblock["memory"], run.memblock["reserved"]))
    for zone, now in zip(model.zones, zones, strict=True):
        if run.config.smp and zone.index == 0:
            zone.managed += 3  # the kernel gives back its uniprocessor code patches (12 KiB) before it sets watermarks
        if now["free_cma"]:
            zone.managed = now["managed"]  # the CMA area joins before too
    tunables = Tunables(model)
    tunables.start_up()
    assert tunables.min_free_kbytes == started["min_free_kbytes"]
    for zone, record in zip(model.zones, zones, strict=True):
        assert zone.wmark == record["wmark"]
        assert zone.lowmem_reserve == record["lowmem_reserve"]
        assert (zone.pageset_high, zone.pageset_batch) == (record["pageset_high"], record["pageset_batch"])
        assert zone.drift_mark == record["drift_mark"]
        assert zone.counters.threshold == [threshold for _, _, threshold, _ in record["cpustat"]]


def test_a_wrong_result_is_noticed(tmp_path: Path) -> None:
    """The replay must be able to fail: change one result, one list, one digest."""
    path = next(each.path for each in found.recordings() if each.name.startswith("early-nonpcp"))
    with gzip.open(path, "rt", encoding="ascii") as lines:
        text = lines.readlines()
    alloc = next(number for number, line in enumerate(text) if number > 40 and line.startswith('["a"'))
    digest = next(number for number, line in enumerate(text) if line.startswith('["c"'))
    zstate = max(number for number, line in enumerate(text) if line.startswith('{"t":"zstate"'))

    def wrong_pfn(op: list[Any]) -> object:
        return [*op[:-1], op[-1] + 1]

    def wrong_hash(op: list[Any]) -> object:
        first = op[2][0]
        return [*op[:2], [[*first[:-2], "0" * 16, first[-1]], *op[2][1:]]]

    def wrong_counter(record: dict[str, Any]) -> object:
        return record | {"free": record["free"] + 1}

    changes: list[tuple[int, Callable[[Any], object]]]
    changes = [(alloc, wrong_pfn), (digest, wrong_hash), (zstate, wrong_counter)]
    for number, change in changes:
        changed = list(text)
        changed[number] = json.dumps(change(json.loads(text[number]))) + "\n"
        copy = tmp_path / "changed.jsonl.gz"
        with gzip.open(copy, "wt", encoding="ascii", compresslevel=1) as out:
            out.writelines(changed)
        with pytest.raises(Mismatch):
            replay(copy)
