"""Memblocks from texts and files of real machines."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagebuddy import Memblock, MemblockError, MemblockRegion, MemoryMapError

if TYPE_CHECKING:
    from pathlib import Path

IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-3fffffff : System RAM
  01000000-01e00e90 : Kernel code
fd000000-fdffffff : PCI Bus 0000:00
"""
DMESG = """\
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable
[    0.000000] e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
"""
MEMORY = """\
   0: 0x0000000000001000..0x000000000009fbff    0 NONE
   1: 0x0000000000100000..0x000000003fffffff    0 HOTPLUG
"""
RESERVED = "   0: 0x0000000001000000..0x0000000001e00e90    x NONE\n"

LOW = MemblockRegion(0x1000, 0x9EC00, 0)
HIGH = MemblockRegion(0x100000, 0x3FF00000, 0)
KERNEL = MemblockRegion(0x1000000, 0xE00E91)


def test_texts() -> None:
    assert Memblock.from_iomem(IOMEM).memory == (LOW, HIGH)
    assert Memblock.from_iomem(IOMEM).reserved == (KERNEL,)
    assert Memblock.from_dmesg(DMESG).memory == (LOW, HIGH)
    assert Memblock.from_dmesg(DMESG.encode()).memory == (LOW, HIGH)
    one_line = "BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable"
    assert Memblock.from_dmesg(one_line).memory == (HIGH,)
    debugfs = Memblock.from_debugfs(MEMORY, RESERVED)
    assert debugfs.memory == (LOW, MemblockRegion(HIGH.base, HIGH.size, 0, 1))
    assert debugfs.reserved == (KERNEL,)


def test_files(tmp_path: Path) -> None:
    for name, text in [("iomem", IOMEM), ("dmesg", DMESG), ("memory", MEMORY), ("reserved", RESERVED)]:
        (tmp_path / name).write_text(text)
    assert Memblock.from_iomem(tmp_path / "iomem") == Memblock.from_iomem(IOMEM)
    assert Memblock.from_iomem(str(tmp_path / "iomem")) == Memblock.from_iomem(IOMEM)
    assert Memblock.from_dmesg(tmp_path / "dmesg") == Memblock.from_dmesg(DMESG)
    debugfs = Memblock.from_debugfs(tmp_path / "memory", tmp_path / "reserved")
    assert debugfs == Memblock.from_debugfs(MEMORY, RESERVED)
    assert Memblock.from_iomem(IOMEM, page_size="64K").page_size == 65536


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as info:
        Memblock.from_dmesg(tmp_path / "missing")
    assert info.value.filename == str(tmp_path / "missing")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo, "/dev/zero"):
        with pytest.raises(MemblockError, match="not a regular file"):
            Memblock.from_dmesg(path)
    for wrong in (None, 5, ["x"]):
        with pytest.raises(TypeError):
            Memblock.from_iomem(wrong)  # type: ignore[arg-type]
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\n" + DMESG.encode())
    assert Memblock.from_dmesg(binary).memory == (LOW, HIGH)


def test_errors_name_reason_and_line() -> None:
    with pytest.raises(MemoryMapError, match="CAP_SYS_ADMIN") as info:
        Memblock.from_iomem("00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n")
    assert (info.value.reason, info.value.line) == ("unprivileged", None)
    with pytest.raises(MemoryMapError) as info:
        Memblock.from_iomem(IOMEM + "0x0000\n")
    assert (info.value.reason, info.value.line) == ("bad-line", 6)
    with pytest.raises(MemoryMapError) as info:
        Memblock.from_dmesg("")
    assert info.value.reason == "no-memory"
    with pytest.raises(MemoryMapError, match="reserved list"):
        Memblock.from_debugfs(MEMORY, "0: 5..3\n")
    assert issubclass(MemoryMapError, ValueError)


@given(st.text(max_size=200), st.integers(0, len(IOMEM)))
def test_damaged_text_raises_or_is_read(junk: str, position: int) -> None:
    for parse, text in [(Memblock.from_iomem, IOMEM), (Memblock.from_dmesg, DMESG)]:
        for damaged in (text[:position] + junk + text[position:] + "\n", text[:position] + "\n", junk + "\n"):
            with contextlib.suppress(MemoryMapError):
                assert parse(damaged).memory
