"""Boots a machine and shows what the page allocator makes of its memory: zones, watermarks and free blocks."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pagebuddy import PageAllocator
from pagebuddy.cli import machine

NAME = "boot"
SUMMARY = "boot a machine from a memory map and show its zones"
EXAMPLES = """\
examples:
  pagebuddy boot --size 8G --nodes 2 --cpus 4
  pagebuddy boot --size 16G --kernelcore 30%
  pagebuddy boot --range 1M-3G --range 4G-9G@1 --reserve 16M-48M
  sudo cat /proc/iomem > iomem; pagebuddy boot --iomem iomem
  dmesg > log; pagebuddy boot --dmesg log --json
  pagebuddy boot --recording boot-numa1G_3G.jsonl.gz --stage early
"""

#: Columns of the table of zones.
COLUMNS = ("node", "zone", "start_pfn", "spanned", "present", "managed", "min", "low", "high")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    machine.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Prints it."""
    allocator = machine.machine_of(arguments)
    facts = gather(allocator)
    print(json.dumps(facts, indent=2) if arguments.json else describe(allocator, facts))
    return 0


def gather(allocator: PageAllocator) -> dict[str, Any]:
    """What there is to tell, ready for JSON."""
    config = allocator.config
    return {
        "stage": allocator.stage,
        "page_size": config.page_size,
        "MAX_ORDER": config.MAX_ORDER,
        "pageblock_order": config.pageblock_order,
        "cpus": allocator.nr_cpus,
        "online_cpus": allocator.nr_online_cpus,
        "sysctl": allocator.sysctl,
        "nodes": [
            {
                "node": node.nid,
                "start_pfn": node.start_pfn,
                "spanned": node.spanned,
                "present": node.present,
                "cpus": node.cpus,
                "distances": node.distances,
                "zonelist": [[zone.nid, zone.name] for zone in node.zonelist],
            }
            for node in allocator.nodes
        ],
        "zones": [
            {
                "node": zone.nid,
                "zone": zone.name,
                "start_pfn": zone.start_pfn,
                "spanned": zone.spanned,
                "present": zone.present,
                "managed": zone.managed,
                **zone.watermarks._asdict(),
                "lowmem_reserve": zone.lowmem_reserve,
                "pcp_high": zone.pcp(0).high,
                "pcp_batch": zone.pcp(0).batch,
                "free_blocks": zone.free_area_counts().sum(axis=1).tolist(),
            }
            for zone in allocator.zones
        ],
    }


def describe(allocator: PageAllocator, facts: dict[str, Any]) -> str:
    """The same for people: nodes, a table of zones, and buddyinfo."""
    managed = sum(zone["managed"] for zone in facts["zones"])
    present = sum(zone["present"] for zone in facts["zones"])
    kib = allocator.config.page_size // 1024
    lines = [f"{managed * kib}K of {present * kib}K memory are managed, {facts['cpus']} cpus, {facts['stage']} stage"]
    if len(facts["nodes"]) > 1:
        lines += [
            f"node {node['node']}: cpus {' '.join(map(str, node['cpus'])) or 'none'},"
            f" distances {' '.join(map(str, node['distances'].values()))}"
            for node in facts["nodes"]
        ]
    rows = [COLUMNS, *(tuple(str(zone[column]) for column in COLUMNS) for zone in facts["zones"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", *("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows)]
    return "\n".join([*lines, "", allocator.buddyinfo().rstrip("\n")])
