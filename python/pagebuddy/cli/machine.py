"""The machine that a command works on: arguments that describe it, and the machine of them."""

from __future__ import annotations

import argparse
import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

from pagebuddy import Config, ConfigError, Memblock, MemblockRegion, PageAllocator, RecordingError

__all__ = ["add_arguments", "machine_of"]

#: No header or memory map is longer.
LONGEST_LINE = 1 << 24
#: A range of memory: two sizes and maybe a node.
RANGE = re.compile(r"([^-@]+)-([^-@]+)(?:@(\d+))?")

#: Options of the kernel that a recording's header holds as 0 or 1.
SWITCHES = ("smp", "numa", "thp", "compaction", "cma", "memory_isolation", "zone_dma", "zone_dma32")
#: Options of the kernel that a recording's header holds as numbers: its name and ours.
NUMBERS = {
    "page_shift": "page_shift",
    "MAX_ORDER": "MAX_ORDER",
    "pageblock_order": "pageblock_order",
    "SECTION_SIZE_BITS": "section_size_bits",
    "MAX_NUMNODES": "max_numnodes",
}


def size(text: str) -> int:
    """A number of bytes such as ``512M``."""
    try:
        return MemblockRegion(text, 0).base
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def core_size(text: str) -> str:
    """A ``kernelcore=`` or ``movablecore=`` parameter."""
    try:
        Config(kernelcore=text)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def count(text: str) -> int:
    """A positive number."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"not a positive number: {text[:40]!r}")
    return int(text)


def memory_range(text: str) -> tuple[int, int, int]:
    """Base, size and node of ``BASE-END[@NID]``."""
    parts = RANGE.fullmatch(text.strip())
    if parts is None:
        raise argparse.ArgumentTypeError(f"not a range BASE-END[@NID]: {text[:60]!r}")
    base, end = size(parts[1]), size(parts[2])
    if base >= end:
        raise argparse.ArgumentTypeError(f"the range is empty: {text[:60]!r}")
    nid = parts[3] or "0"
    if len(nid) > 3:
        raise argparse.ArgumentTypeError(f"not a node id: {nid[:40]}")
    return base, end - base, int(nid)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that describe a machine."""
    source = parser.add_argument_group("memory (one of these; by default --size 4G)")
    source.add_argument("--size", type=size, metavar="SIZE", help="a plain x86-64 machine with this much memory")
    source.add_argument(
        "--range",
        type=memory_range,
        action="append",
        metavar="BASE-END[@NID]",
        dest="ranges",
        help="a range of memory, END excluded, of a node (0); may be given several times",
    )
    source.add_argument("--recording", metavar="FILE", help="the machine of a recording (*.jsonl.gz)")
    source.add_argument("--iomem", metavar="FILE", help="a copy of /proc/iomem, taken by root")
    source.add_argument("--dmesg", metavar="FILE", help="a boot log")
    rest = parser.add_argument_group("the rest of the machine")
    rest.add_argument(
        "--reserve",
        type=memory_range,
        action="append",
        metavar="BASE-END",
        dest="reserved",
        default=[],
        help="memory that is never handed over; may be given several times",
    )
    rest.add_argument("--nodes", type=count, metavar="N", help="spread the memory of --size over N nodes")
    rest.add_argument("--cpus", type=count, metavar="N", help="number of cpus (1); they go round the nodes")
    rest.add_argument("--kernelcore", type=core_size, metavar="SIZE", help="the boot parameter: 512M, 30%% or mirror")
    rest.add_argument("--movablecore", type=core_size, metavar="SIZE", help="the boot parameter: 512M or 30%%")
    rest.add_argument("--movable-node", action="store_true", help="the boot parameter: hotpluggable memory is movable")
    rest.add_argument(
        "--stage",
        choices=("early", "late"),
        default="late",
        help="early stops right after the hand-over of memory",
    )


def machine_of(arguments: argparse.Namespace) -> PageAllocator:
    """Boots the machine that the arguments describe.

    Raises:
        ConfigError: The arguments contradict each other, or there is no such machine.
        MemoryMapError: A file is no memory map.
        RecordingError: A file is no recording.
        OSError: A file cannot be read.
    """
    given = [name for name in ("size", "ranges", "recording", "iomem", "dmesg") if getattr(arguments, name) is not None]
    if len(given) > 1:
        names = " and ".join("--" + name.removesuffix("s") for name in given)
        raise ConfigError(f"{names} exclude each other")
    if arguments.nodes is not None and given not in ([], ["size"]):
        raise ConfigError("--nodes goes with --size; other memory says itself on which node it is")
    memblock: Memblock | None
    options: dict[str, Any] = {}
    boot: dict[str, Any] = {}
    if arguments.recording is not None:
        memblock, options, boot = recorded_machine(Path(arguments.recording))
    else:
        memblock = memory_of(arguments)
    for name in ("kernelcore", "movablecore"):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    if arguments.movable_node:
        options["movable_node"] = True
    for base, nr_bytes, _ in arguments.reserved:
        if memblock is None:
            raise ConfigError("--reserve goes with memory from --range, --iomem, --dmesg or --recording")
        memblock.reserve(base, nr_bytes)
    try:
        config = Config(**options)
    except (ValueError, OverflowError) as error:
        raise ConfigError(str(error)) from error
    if arguments.cpus is not None:
        boot = {"nr_cpus": arguments.cpus, "node_distance": boot.get("node_distance")}
    if memblock is None:
        return PageAllocator.simple(
            arguments.size if arguments.size is not None else "4G",
            nodes=arguments.nodes or 1,
            nr_cpus=arguments.cpus or 1,
            config=config,
            stage=arguments.stage,
        )
    memblock.movable_node = arguments.movable_node
    return PageAllocator.boot(memblock, config=config, stage=arguments.stage, **boot)


def memory_of(arguments: argparse.Namespace) -> Memblock | None:
    """The memory of a machine that is not recorded; None for a plain machine."""
    if arguments.iomem is not None:
        return Memblock.from_iomem(Path(arguments.iomem))
    if arguments.dmesg is not None:
        return Memblock.from_dmesg(Path(arguments.dmesg))
    if arguments.ranges is None:
        return None
    memblock = Memblock()
    for base, nr_bytes, nid in arguments.ranges:
        memblock.add(base, nr_bytes, nid)
    return memblock


def recorded_machine(path: Path) -> tuple[Memblock, dict[str, Any], dict[str, Any]]:
    """Memory, kernel options and cpus of a recording, as they were just before the hand-over."""
    header, record = first_records(path)
    try:
        options: dict[str, Any] = {name: bool(header["config"][name]) for name in SWITCHES}
        options.update((ours, header["config"][theirs]) for theirs, ours in NUMBERS.items())
        boot = {"cpu_node": header["cpu_node"], "node_distance": header["node_distance"]}
        memblock = Memblock(page_size=1 << options["page_shift"])
        for base, nr_bytes, nid, flags in record["memory"]:
            memblock.add(base, nr_bytes, None if nid < 0 else nid, flags)
        for base, nr_bytes, nid, _ in record["reserved"]:
            memblock.reserve(base, nr_bytes, None if nid < 0 else nid)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordingError(f"the recording does not describe a machine: {error}", path=str(path)) from error
    return memblock, options | recorded_parameters(path), boot


def first_records(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and memory map of a recording of the page allocator."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as lines:
            records = [json.loads(lines.readline(LONGEST_LINE)) for _ in range(2)]
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise RecordingError(f"not a recording, or a damaged one: {error}", path=str(path)) from error
    header, record = records
    if not isinstance(header, dict) or header.get("format") != "buddy-golden":
        raise RecordingError("not a recording of the page allocator", path=str(path), line=1)
    if not isinstance(record, dict) or record.get("t") != "memblock":
        raise RecordingError("the recording has no memory map", path=str(path), line=2)
    return header, record


def recorded_parameters(path: Path) -> dict[str, str]:
    """The boot parameter that shaped zone Movable of a recording, from the file beside it."""
    try:
        parameters = json.loads(path.with_name("boot-parameters.json").read_text(encoding="ascii"))
        name, _, value = parameters.get(path.name, "").partition("=")
    except FileNotFoundError:
        return {}
    except (AttributeError, ValueError) as error:
        raise RecordingError(f"unreadable: {error}", path=str(path.with_name("boot-parameters.json"))) from error
    return {name: value} if name in {"kernelcore", "movablecore"} else {}
