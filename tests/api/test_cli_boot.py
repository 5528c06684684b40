"""`pagebuddy boot`: every source of a machine, and what is wrong with one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pagebuddy.cli import build_parser
from pagebuddy.cli.boot import gather
from pagebuddy.cli.machine import machine_of
from tests.found import KEPT

from .test_cli import run

IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-0fffffff : System RAM
  01000000-01ffffff : Kernel code
"""
DMESG = """\
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000000fffffff] usable
"""


def boot(*arguments: str) -> dict[str, Any]:
    done = run("boot", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert isinstance(facts, dict)
    return facts


def managed(facts: dict[str, Any]) -> int:
    return sum(zone["managed"] for zone in facts["zones"])


def test_a_plain_machine_for_people() -> None:
    done = run("boot", "--size", "8G", "--nodes", "2", "--cpus", "4")
    assert (done.returncode, done.stderr) == (0, "")
    assert "node 1: cpus 1 3, distances 20 10" in done.stdout
    assert "Node 1, zone   Normal      0      0" in done.stdout


def test_the_default_is_a_plain_machine() -> None:
    assert boot() == boot("--size", "4G")


def test_ranges() -> None:
    facts = boot("--range", "1M-3G", "--range", "4G-5G@1", "--reserve", "16M-32M", "--stage", "early")
    assert managed(facts) == ((3 << 30) - (1 << 20) - (16 << 20) + (1 << 30)) >> 12
    assert [node["node"] for node in facts["nodes"]] == [0, 1]
    assert {zone["low"] for zone in facts["zones"]} == {0}


def test_movable_memory() -> None:
    assert [zone["zone"] for zone in boot("--size", "1G", "--kernelcore", "50%")["zones"]] == [
        "DMA",
        "DMA32",
        "Movable",
    ]
    assert boot("--size", "1G", "--movablecore", "512M") == boot("--size", "1G", "--movablecore", str(512 << 20))


def test_memory_maps_from_files(tmp_path: Path) -> None:
    (tmp_path / "iomem").write_text(IOMEM)
    (tmp_path / "dmesg").write_text(DMESG)
    from_iomem, from_dmesg = (boot(f"--{kind}", str(tmp_path / kind)) for kind in ("iomem", "dmesg"))
    assert managed(from_dmesg) - managed(from_iomem) >= 4096


def test_recordings_boot_to_their_own_state() -> None:
    for path in sorted(KEPT.glob("boot-*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            records = [json.loads(line) for line in lines]
        arguments = build_parser().parse_args(["boot", "--recording", str(path), "--stage", "early"])
        facts = gather(machine_of(arguments))
        states = [record for record in records if isinstance(record, dict) and record.get("t") == "zstate"]
        assert len(states) == len(facts["zones"])
        for state, zone in zip(states, facts["zones"], strict=True):
            assert (zone["node"], zone["zone"]) == (state["node"], state["name"])
            assert [zone[name] for name in ("start_pfn", "spanned", "present", "managed")] == [
                state[name] for name in ("start_pfn", "spanned", "present", "managed")
            ]
            assert zone["free_blocks"] == [nr_free for nr_free, _ in state["free_area"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--size", "1M"),
        ("--size", "nonsense"),
        ("--size", "-4G"),
        ("--size", "99999999999999999999"),
        ("--size", "1G", "--range", "1M-2M"),
        ("--size", "1G", "--reserve", "1M-2M"),
        ("--range", "1M"),
        ("--range", "2M-1M"),
        ("--range", "1M-2M@x"),
        ("--range", "1M-2M@9"),
        ("--range", "1M-2M@99999999999999999999999"),
        ("--range", "0-16E"),
        ("--range", "1M-2M", "--nodes", "2"),
        ("--size", "1G", "--nodes", "0"),
        ("--size", "1G", "--nodes", "64"),
        ("--size", "1G", "--cpus", "999999"),
        ("--size", "1G", "--kernelcore", "101%"),
        ("--size", "1G", "--movablecore", "mirror"),
        ("--iomem", "/nonexistent"),
        ("--recording", "/nonexistent"),
        ("--recording", __file__),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...]) -> None:
    done = run("boot", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()[-1]) > 20


def test_damaged_recordings_are_told(tmp_path: Path) -> None:
    whole = gzip.decompress((KEPT / "boot-m64M.jsonl.gz").read_bytes()).splitlines(keepends=True)
    header, memblock = (json.loads(line) for line in whole[:2])
    damaged = {
        "empty": b"",
        "text": b"{}",
        "cut": gzip.compress(whole[0] + whole[1])[:100],
        "header": gzip.compress(whole[0]),
        "no-map": gzip.compress(whole[0] + whole[2]),
        "list": gzip.compress(b"[]\n[]\n"),
        "config": gzip.compress(json.dumps(header | {"config": {}}).encode() + b"\n" + whole[1]),
        "shift": gzip.compress(
            json.dumps(header | {"config": header["config"] | {"page_shift": -1}}).encode() + b"\n" + whole[1]
        ),
        "cpus": gzip.compress(json.dumps(header | {"cpu_node": [99]}).encode() + b"\n" + whole[1]),
        "region": gzip.compress(whole[0] + json.dumps(memblock | {"memory": [[1, 2]]}).encode()),
        "huge": gzip.compress(whole[0] + json.dumps(memblock | {"memory": [[0, 1 << 70, 0, 0]]}).encode()),
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.jsonl.gz"
        path.write_bytes(content)
        done = run("boot", "--recording", str(path))
        assert (name, done.returncode, done.stdout) == (name, 2, "")
        assert done.stderr.startswith("pagebuddy: ")
        assert len(done.stderr.splitlines()) == 1
