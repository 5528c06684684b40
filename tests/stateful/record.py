"""Write a recording of a random run on the reference model, in the format of the kernel's recordings.

``python -m tests.stateful.record MACHINE SEED OPERATIONS FILE`` makes one; whatever replays kernel recordings replays
these too, on machine shapes and mixtures of operations that were never recorded. The kernel is named "model".
"""

from __future__ import annotations

import gzip
import json
import sys
from functools import partial
from pathlib import Path
from typing import IO, Any

from tests.model import PageAllocatorModel
from tests.model.boot import memory_pfns
from tests.model.gfp import GFP_BOOT_MASK
from tests.model.isolation import has_unmovable_pages
from tests.model.operations import Operations
from tests.model.sizing import node_zones
from tests.model.state import digest, zone_state

from .machines import MACHINES, Machine
from .workload import Workload

PAGES_PER_SECTION = 32768
DIGEST_EVERY = 1000
STATE_EVERY = 20000


def isolation_possible(model: PageAllocatorModel, start: int, end: int, migratetype: int) -> bool:
    """Whether an attempt on a range of one zone would succeed."""
    if model.zone_of(start) is not model.zone_of(end - 1):
        return False
    size = model.config.pageblock_nr_pages
    isolate = model.config.migrate_isolate
    return all(
        model.memory.pageblock_type(pfn) != isolate and not has_unmovable_pages(model, pfn, migratetype)
        for pfn in range(start, end, size)
    )


class Recorder:
    """Runs a workload on the model and writes what happens."""

    def __init__(self, machine: Machine, seed: int, out: IO[str], *, scenario: str = "soak") -> None:
        self.machine = machine
        self.out = out
        self.seed = seed
        self.scenario = scenario
        self.model, self.tunables = machine.boot_model(started=False)
        self.policy_zone = max(zone.index for zone in self.model.zones if zone.name != "Movable")  # spec 12.3
        self.operations = Operations(
            self.model, self.tunables, policy_zone=self.policy_zone, policy=scenario == "policy"
        )
        self.nr_ops = 0

    def write(self, record: Any) -> None:
        self.out.write(json.dumps(record, separators=(",", ":")) + "\n")

    # -- records ---------------------------------------------------------------------------------------------------

    def write_header(self, nr_ops: int) -> None:
        machine, config = self.machine, self.machine.config
        self.write(
            {
                "format": "buddy-golden",
                "version": 1,
                "kernel": "model",
                "arch": "x86_64",
                "mode": "early" if machine.early else "late",
                "scenario": self.scenario,
                "seed": self.seed,
                "ops": nr_ops,
                "ckpt": STATE_EVERY,
                "digest": DIGEST_EVERY,
                "drained": 1,
                "rt_task": 0,
                "config": {
                    "page_shift": 12,
                    "MAX_ORDER": config.max_order,
                    "pageblock_order": config.pageblock_order,
                    "MIGRATE_TYPES": config.nr_migratetypes,
                    "MIGRATE_PCPTYPES": 3,
                    "NR_PCP_LISTS": config.nr_pcp_lists,
                    "MAX_NR_ZONES": len(config.zone_names),
                    "MAX_NUMNODES": config.max_numnodes,
                    "SECTION_SIZE_BITS": 27,
                    "smp": int(config.smp),
                    "numa": int(config.numa),
                    "thp": int(config.thp),
                    "compaction": 1,
                    "cma": int(config.cma),
                    "memory_isolation": int(config.memory_isolation or config.cma),
                    "zone_dma": int(config.zone_dma),
                    "zone_dma32": int(config.zone_dma32),
                },
                "online_cpus": 1,
                "present_cpus": len(machine.cpu_node),
                "cpu_node": list(machine.cpu_node),
                "nodes": machine.nodes,
                "node_distance": [list(row) for row in machine.distance],
            }
        )

    def write_map(self) -> None:
        machine = self.machine
        self.write({"t": "memblock", "memory": list(machine.memory), "reserved": list(machine.reserved)})
        ranges = memory_pfns(machine.memory)
        for node in machine.nodes:
            sizes = node_zones(machine.config, ranges, node, machine.core)
            own = [start for start, _, owner in ranges if owner == node]
            self.write(
                {
                    "t": "node",
                    "node": node,
                    "start_pfn": min(own, default=0),
                    "spanned": sum(spanned for _, spanned, _ in sizes),
                    "present": sum(present for _, _, present in sizes),
                    "zones": [list(size) for size in sizes],
                }
            )
        self.write_zonelists()

    def write_zonelists(self) -> None:
        for (node, thisnode), zones in sorted(self.model.zonelists.items(), key=lambda item: item[0]):
            kind = "thisnode" if thisnode else "fallback"
            entries = [[zone.node, zone.index] for zone in zones]
            self.write({"t": "zonelist", "node": node, "kind": kind, "zones": entries})

    def write_state(self, label: str) -> None:
        memory = self.model.memory
        self.write(
            {
                "t": "state",
                "label": label,
                "op": self.nr_ops,
                "zones": len(self.model.zones),
                "page_group_by_mobility_disabled": int(memory.grouping_disabled),
                "min_free_kbytes": self.tunables.min_free_kbytes,
                "watermark_scale_factor": self.tunables.watermark_scale_factor,
                "watermark_boost_factor": memory.watermark_boost_factor,
                "totalram_pages": sum(zone.managed for zone in self.model.zones),
                "gfp_allowed_mask": GFP_BOOT_MASK if label == "boot" else self.model.gfp_allowed_mask,
            }
        )
        for zone in self.model.zones:
            record = {"t": "zstate", **zone_state(zone), "contiguous": 0}
            record["blocks"] = self.mapped_blocks(record["blocks_start"], record["blocks"])
            if not self.scenario.startswith("isolate"):
                del record["nr_isolate_pageblock"]
            if label == "start" and not self.machine.early:
                record["lru"] = []
            if label == "boot":  # only the boot cpu is online
                record["cpustat"], record["pcp"] = record["cpustat"][:1], record["pcp"][:1]
            self.write(record)
        if self.scenario == "policy" and label != "boot":
            self.write_numastat()

    def mapped_blocks(self, start: int, blocks: str) -> str:
        """Pageblocks of sections without any memory have no memory map."""
        sections = {
            section
            for first, end in self.machine.memory_spans
            for section in range(first // PAGES_PER_SECTION, (end - 1) // PAGES_PER_SECTION + 1)
        }
        size = self.machine.config.pageblock_nr_pages
        return "".join(
            block if (start + number * size) // PAGES_PER_SECTION in sections else "."
            for number, block in enumerate(blocks)
        )

    def write_numastat(self) -> None:
        zones = [[zone.node, zone.index, *zone.counters.numa.values()] for zone in self.model.zones]
        self.write({"t": "numastat", "op": self.nr_ops, "zones": zones})

    def write_policy_info(self) -> None:
        nodes = {zone.node for zone in self.model.zones}
        below_movable = {zone.node for zone in self.model.zones if zone.name != "Movable"}
        self.write(
            {
                "t": "policy-info",
                "policy_zone": self.policy_zone,
                "n_memory": sum(1 << node for node in nodes),
                "n_normal_memory": sum(1 << node for node in below_movable),
            }
        )

    def write_tunables(self) -> None:
        names = (
            "min_free_kbytes",
            "user_min_free_kbytes",
            "watermark_scale_factor",
            "watermark_boost_factor",
            "lowmem_reserve_ratio",
            "percpu_pagelist_high_fraction",
            "totalreserve_pages",
            "node_totalreserve",
        )
        record = {name: getattr(self.tunables, name) for name in names}
        self.write({"t": "tunables", "op": self.nr_ops, **record})

    # -- the run ---------------------------------------------------------------------------------------------------

    def perform(self, op: list[Any]) -> list[Any]:
        results = self.operations.apply(op)
        self.write(self.operations.line(op, results))
        self.nr_ops += 1
        if op[0] == "y":
            self.write_tunables()
            self.write_state("sysctl")
        return results

    def run(self, nr_ops: int) -> None:
        self.write_header(nr_ops)
        self.write_map()
        self.write_state("boot")
        if not self.machine.early:
            self.tunables.start_up()
            cpus = list(self.machine.cpu_node)
            self.write({"t": "late", "online_cpus": len(cpus), "cpu_node": cpus})
            self.write_zonelists()
            if self.scenario == "sysctl":
                self.write_tunables()
            if self.scenario == "policy":
                self.write_policy_info()
        self.write_state("start")
        model = self.model
        workload = Workload(
            self.machine,
            self.seed,
            sum(zone.managed for zone in model.zones),
            can_isolate=partial(isolation_possible, model) if self.scenario.startswith("isolate") else None,
            isolation_size=512 if self.scenario == "isolate-any" else 1024,
            with_policy=self.scenario == "policy",
            with_sysctl=self.scenario == "sysctl",
            with_reclaim=self.scenario == "reclaim",
        )
        for _ in range(nr_ops):
            op = workload.next_op()
            workload.done(op, self.perform(op))
            if self.nr_ops % STATE_EVERY == 0:
                self.write_state("ckpt")
            elif self.nr_ops % DIGEST_EVERY == 0:
                self.write(["c", self.nr_ops, [digest(zone) for zone in model.zones]])
        self.write_state("final-live")
        for op in workload.rest():
            self.perform(op)
        self.write_state("end")
        self.write({"t": "eof", "ops": self.nr_ops})


def record(machine: Machine, seed: int, nr_ops: int, path: Path, *, scenario: str = "soak") -> None:
    """Write one recording; a file beside it names the boot parameter that shaped zone Movable, if any."""
    with gzip.open(path, "wt", encoding="ascii", compresslevel=3) as out:
        Recorder(machine, seed, out, scenario=scenario).run(nr_ops)
    if machine.core.name:
        parameters = path.with_name("boot-parameters.json")
        known = json.loads(parameters.read_text(encoding="ascii")) if parameters.exists() else {}
        known[path.name] = f"{machine.core.name}={machine.core.amount * 4}K"
        parameters.write_text(json.dumps(known, indent=1), encoding="ascii")


def main(arguments: list[str]) -> int:
    if len(arguments) not in (4, 5) or arguments[0] not in MACHINES:
        print("usage: python -m tests.stateful.record MACHINE SEED OPERATIONS FILE [SCENARIO]")
        print("machines:", ", ".join(MACHINES))
        return 2
    name, seed, nr_ops, path = arguments[:4]
    scenario = arguments[4] if len(arguments) == 5 else "soak"
    record(MACHINES[name], int(seed), int(nr_ops), Path(path), scenario=scenario)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
