"""Replay of kernel recordings (``*.jsonl.gz``) on the model: every result, digest and full state is compared.

Run as a module: ``python -m tests.model.recordings FILE...``; exits 1 when anything differs.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import boot, sizing
from .config import Config, Memory
from .operations import Operations
from .page_alloc import PageAllocatorModel
from .state import digest, zone_state
from .sysctl import Tunables
from .zone import Zone

Record = dict[str, Any]


class Mismatch(AssertionError):
    """The model and the recording differ."""


@dataclass
class Report:
    """What a replay compared."""

    name: str
    ops: int = 0
    results: int = 0
    states: int = 0
    digests: int = 0
    seconds: float = 0.0


def read(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt", encoding="ascii") as lines:
        for line in lines:
            yield json.loads(line)


def config_of(header: Record) -> Config:
    options = header["config"]
    config = Config(
        max_order=options["MAX_ORDER"],
        pageblock_order=options["pageblock_order"],
        smp=bool(options["smp"]),
        thp=bool(options["thp"]),
        numa=bool(options["numa"]),
        cma=bool(options["cma"]),
        memory_isolation=bool(options["memory_isolation"]),
        zone_dma=bool(options["zone_dma"]),
        zone_dma32=bool(options["zone_dma32"]),
        max_numnodes=options["MAX_NUMNODES"],
    )
    if (config.nr_migratetypes, config.nr_pcp_lists) != (options["MIGRATE_TYPES"], options["NR_PCP_LISTS"]):
        raise Mismatch("MIGRATE_TYPES or NR_PCP_LISTS do not follow from the options")
    if len(config.zone_names) != options["MAX_NR_ZONES"]:
        raise Mismatch("MAX_NR_ZONES does not follow from the options")
    return config


# -- model from records ------------------------------------------------------------------------------------------------


def load_zone(memory: Memory, record: Record, nr_cpus: int) -> Zone:
    """A zone exactly as a zstate record shows it."""
    zone = Zone(
        memory,
        record["node"],
        record["zone"],
        start_pfn=record["start_pfn"],
        spanned=record["spanned"],
        present=record["present"],
        managed=record["managed"],
        nr_cpus=nr_cpus,
    )
    for order, (_, lists) in enumerate(record["free_area"]):
        for migratetype, pfns in enumerate(lists):
            for pfn in pfns:
                zone.add_to_tail(pfn, order, migratetype)
    for number, block in enumerate(record["blocks"]):
        if block != ".":
            start = record["blocks_start"] + number * memory.config.pageblock_nr_pages
            memory.pageblock_types[start >> memory.config.pageblock_order] = int(block)
    zone.movable_pages.update(record.get("lru", ()))
    zone.counters.free = record["free"]
    zone.counters.free_cma = record["free_cma"]
    for cpu, delta, threshold, cma_delta in record["cpustat"]:
        zone.counters.free_diff[cpu] = delta
        zone.counters.threshold[cpu] = threshold
        zone.counters.cma_diff[cpu] = cma_delta
    for entry in record["pcp"]:
        lists = zone.pcp[entry["cpu"]]
        lists.count, lists.high, lists.batch = entry["count"], entry["high"], entry["batch"]
        lists.free_factor = entry["free_factor"]
        remembered = dict(entry["mt"])
        for index, pfns in enumerate(entry["lists"]):
            lists.lists[index].extend((pfn, remembered.get(pfn, index % 3)) for pfn in pfns)
    zone.pageset_high, zone.pageset_batch = record["pageset_high"], record["pageset_batch"]
    zone.wmark, zone.boost = list(record["wmark"]), record["boost"]
    zone.lowmem_reserve = list(record["lowmem_reserve"])
    zone.nr_reserved_highatomic = record["highatomic"]
    zone.boosted_flag, zone.reclaim_active = bool(record["flags"] & 1), bool(record["flags"] & 2)
    zone.nr_isolate_pageblock = record.get("nr_isolate_pageblock", 0)
    zone.drift_mark = record["drift_mark"]
    return zone


def core_size(path: Path) -> sizing.CoreSize:
    """The boot parameter that shaped zone Movable: no record carries it, a file beside the recordings names it."""
    parameters = path.with_name("boot-parameters.json")
    known = json.loads(parameters.read_text(encoding="ascii")) if parameters.exists() else {}
    return sizing.CoreSize.parse(known[path.name]) if path.name in known else sizing.CoreSize()


def zonelists_of(records: list[Record], zones: list[Zone]) -> dict[tuple[int, bool], list[Zone]]:
    by_id = {(zone.node, zone.index): zone for zone in zones}
    return {
        (record["node"], record["kind"] == "thisnode"): [by_id[node, index] for node, index in record["zones"]]
        for record in records
    }


class Replay:
    """One recording being replayed."""

    def __init__(self, path: Path, *, digests: bool = True, max_ops: int | None = None) -> None:
        self.path = path
        self.lines = read(path)
        self.with_digests = digests
        self.max_ops = max_ops
        self.report = Report(path.name)
        self.header: Record = next(self.lines)
        self.config = config_of(self.header)
        self.cpu_node: list[int] = self.header["cpu_node"][: self.header["online_cpus"]]
        self.records: dict[str, list[Record]] = {"node": [], "zonelist": []}
        self.memblock: Record = {}
        self.policy_zone = 0
        self.tunables_record: Record | None = None
        self.model: PageAllocatorModel | None = None
        self.tunables: Tunables | None = None
        self.machine: Operations | None = None
        self.numa_before: dict[tuple[int, int], list[int]] = {}

    def run(self) -> Report:
        began = time.perf_counter()
        for record in self.lines:
            if isinstance(record, dict):
                self.handle_object(record)
            elif record[0] == "c":
                if self.with_digests:
                    self.compare_digest(record)
            else:
                if self.max_ops is not None and self.report.ops >= self.max_ops:
                    break
                self.perform(record)
        self.report.seconds = time.perf_counter() - began
        return self.report

    def fail(self, what: str, expected: object, got: object) -> None:
        where = f"{self.path.name}, after {self.report.ops} operations"
        raise Mismatch(f"{where}: {what}: recorded {expected}, model {got}")

    def check(self, what: str, expected: object, got: object) -> None:
        if expected != got:
            self.fail(what, expected, got)

    # -- objects -------------------------------------------------------------------------------------------------------

    def handle_object(self, record: Record) -> None:
        kind = record["t"]
        if kind == "memblock":
            self.memblock = record
        elif kind == "late":
            self.cpu_node = record["cpu_node"]
            self.records["zonelist"] = []
        elif kind in self.records:
            self.records[kind].append(record)
        elif kind == "policy-info":
            self.policy_zone = record["policy_zone"]
        elif kind == "tunables":
            self.compare_tunables(record)
        elif kind == "numastat":
            self.compare_numastat(record)
        elif kind == "state":
            self.handle_state(record, [next(self.lines) for _ in range(record["zones"])])
        elif kind == "eof":
            self.check("number of operations", record["ops"], self.report.ops)
        else:
            raise Mismatch(f"unknown record {kind}")

    def handle_state(self, state: Record, zones: list[Record]) -> None:
        self.check("operations before a state", state["op"], self.report.ops)
        if state["label"] == "boot":
            self.model = self.boot_model(state)
        elif state["label"] == "start" and self.header["mode"] != "early":
            self.model = self.start_model(state, zones)
        self.compare_state(state, zones)

    def adopt(self, model: PageAllocatorModel, state: Record) -> PageAllocatorModel:
        """Settings of a state record, and the machine around the model."""
        model.memory.watermark_boost_factor = state["watermark_boost_factor"]
        model.gfp_allowed_mask = state["gfp_allowed_mask"]
        model.rt_task = bool(self.header["rt_task"])
        self.tunables = Tunables(model)
        self.tunables.min_free_kbytes = state["min_free_kbytes"]
        self.tunables.watermark_scale_factor = state["watermark_scale_factor"]
        policy = self.header["scenario"] == "policy"
        self.machine = Operations(model, self.tunables, policy_zone=self.policy_zone, policy=policy)
        return model

    def boot_model(self, state: Record) -> PageAllocatorModel:
        """Zones, zonelists and free lists from the memblock record; sizes and lists must be the recorded ones."""
        memory, reserved = self.memblock["memory"], self.memblock["reserved"]
        core = core_size(self.path)
        model = sizing.sized_model(
            self.config,
            memory,
            reserved,
            nodes=self.header["nodes"],
            cpu_node=self.cpu_node,
            distance=self.header["node_distance"],
            core=core,
        )
        ranges = boot.memory_pfns(memory)
        for record in self.records["node"]:
            sizes = sizing.node_zones(self.config, ranges, record["node"], core)
            self.check(f"zones of node {record['node']}", [tuple(size) for size in record["zones"]], sizes)
        recorded = zonelists_of(self.records["zonelist"], model.zones)
        self.check("zonelists", recorded, model.zonelists)
        disabled = bool(state["page_group_by_mobility_disabled"])
        self.check("mobility grouping disabled", disabled, model.memory.grouping_disabled)
        boot.hand_over(model, boot.free_ranges(memory, reserved))
        return self.adopt(model, state)

    def start_model(self, state: Record, zones: list[Record]) -> PageAllocatorModel:
        memory = Memory(self.config, grouping_disabled=bool(state["page_group_by_mobility_disabled"]))
        loaded = [load_zone(memory, record, len(self.cpu_node)) for record in zones]
        model = PageAllocatorModel(
            memory,
            loaded,
            zonelists_of(self.records["zonelist"], loaded),
            nodes=self.header["nodes"],
            cpu_node=self.cpu_node,
        )
        self.adopt(model, state)
        if self.tunables_record is not None and self.tunables is not None:
            for name in ("user_min_free_kbytes", "lowmem_reserve_ratio", "percpu_pagelist_high_fraction"):
                setattr(self.tunables, name, self.tunables_record[name])
            self.tunables.update_totalreserve()
            self.compare_tunables(self.tunables_record)
        return model

    # -- comparisons -----------------------------------------------------------------------------------------------

    def compare_state(self, state: Record, zones: list[Record]) -> None:
        assert self.model is not None and self.tunables is not None
        label = f"state {state['label']}"
        recorded_zones = [(record["node"], record["zone"]) for record in zones]
        self.check(f"{label}: zones", recorded_zones, [(zone.node, zone.index) for zone in self.model.zones])
        for name in ("min_free_kbytes", "watermark_scale_factor", "watermark_boost_factor"):
            self.check(f"{label}: {name}", state[name], getattr(self.tunables, name))
        for record, zone in zip(zones, self.model.zones, strict=True):
            mine = zone_state(zone)
            for name, value in mine.items():
                if name in record:
                    expected = record[name]
                    if name == "blocks":
                        value = "".join("." if old == "." else new for old, new in zip(expected, value, strict=True))
                    if expected != value:
                        self.fail(f"{label}: zone {zone.node}/{zone.name}: {name}", expected, value)
        self.report.states += 1

    def compare_digest(self, record: list[Any]) -> None:
        assert self.model is not None
        self.check("operations before a digest", record[1], self.report.ops)
        for expected, zone in zip(record[2], self.model.zones, strict=True):
            self.check(f"digest of {zone}", expected, digest(zone))
        self.report.digests += 1

    def compare_tunables(self, record: Record) -> None:
        if record["op"] == 0 and self.tunables_record is None:
            self.tunables_record = record  # stands before the start state; compared when the model exists
            return
        for name, expected in record.items():
            if name not in ("t", "op"):
                self.check(f"tunable {name}", expected, getattr(self.tunables, name))

    def compare_numastat(self, record: Record) -> None:
        """Differences since the first record: the counters began before the recording."""
        assert self.model is not None
        for (node, index, hit, miss, foreign, interleave, local, other), zone in zip(
            record["zones"], self.model.zones, strict=True
        ):
            now = [hit, miss, foreign, interleave, local, other]
            before = self.numa_before.setdefault((node, index), now)
            counted = [zone.counters.numa[item] for item in zone.counters.NUMA_ITEMS]
            self.check(f"NUMA events of {zone}", [a - b for a, b in zip(now, before, strict=True)], counted)

    def perform(self, line: list[Any]) -> None:
        """One operation; what it gives must be what was recorded."""
        assert self.machine is not None
        self.report.ops += 1
        expected, results = self.machine.recorded_results(line), self.machine.apply(line)
        self.report.results += len(results)
        if expected != results:
            self.fail(f"operation {line[:6]}", expected, results)


def replay(path: Path, *, digests: bool = True, max_ops: int | None = None) -> Report:
    return Replay(path, digests=digests, max_ops=max_ops).run()


def main(arguments: list[str]) -> int:
    digests = "--no-digests" not in arguments
    failed = 0
    for name in arguments:
        if name.startswith("--"):
            continue
        try:
            report = replay(Path(name), digests=digests)
            rate = report.ops / report.seconds
            print(
                f"ok   {report.name}: {report.ops} operations, {report.results} results, {report.states} states, "
                f"{report.digests} digests, {report.seconds:.1f} s, {rate:.0f}/s",
                flush=True,
            )
        except Mismatch as mismatch:
            failed += 1
            print(f"FAIL {str(mismatch)[:3000]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
