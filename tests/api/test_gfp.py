"""Request flags and migratetypes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pagebuddy
from pagebuddy import GFP, GFP_KERNEL, MigrateType, gfp

ALL = 0x1FFFFFF


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GFP_ATOMIC", 0xA20),
        ("GFP_KERNEL", 0xCC0),
        ("GFP_KERNEL_ACCOUNT", 0x400CC0),
        ("GFP_NOWAIT", 0x800),
        ("GFP_NOIO", 0xC00),
        ("GFP_NOFS", 0xC40),
        ("GFP_USER", 0x100CC0),
        ("GFP_DMA", 0x1),
        ("GFP_DMA32", 0x4),
        ("GFP_HIGHUSER", 0x100CC2),
        ("GFP_HIGHUSER_MOVABLE", 0x1100CCA),
        ("GFP_TRANSHUGE_LIGHT", 0x11C20CA),
        ("GFP_TRANSHUGE", 0x11C24CA),
        ("GFP_BOOT_MASK", 0x1FFF33F),
    ],
)
def test_composites_have_the_kernels_values(name: str, value: int) -> None:
    assert getattr(pagebuddy, name) == value
    assert isinstance(getattr(pagebuddy, name), GFP)
    if name != "GFP_BOOT_MASK":
        assert GFP[name] == value


def test_single_bits_cover_the_mask() -> None:
    singles = [member for name, member in GFP.__members__.items() if not name.startswith("GFP_")]
    assert sum({int(member) for member in singles if int(member).bit_count() == 1}) == ALL
    assert (GFP.RECLAIM, GFP.ZONEMASK) == (0xC00, 0xF)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, ""),
        (0xCC0, "GFP_KERNEL"),
        (0xDC0, "GFP_KERNEL|__GFP_ZERO"),
        (0x1100CCA, "GFP_HIGHUSER_MOVABLE"),
        (0xA20, "GFP_ATOMIC"),
        (0xC40, "GFP_NOFS"),
        (0x8C0, "GFP_NOWAIT|__GFP_IO|__GFP_FS"),
        (0x140CCA, "GFP_HIGHUSER|__GFP_COMP|__GFP_MOVABLE"),
        (0x40DC0, "GFP_KERNEL|__GFP_COMP|__GFP_ZERO"),
        (0x400, "__GFP_DIRECT_RECLAIM"),
        (0x2000CC0, "GFP_KERNEL|0x2000000"),
    ],
)
def test_text_is_the_kernels(value: int, text: str) -> None:
    assert str(GFP(value)) == text
    assert f"{GFP(value)}" == text
    assert GFP.parse(text) == value
    assert f"{GFP(value):#x}" == hex(value)


@given(st.integers(0, 0xFFFFFFFF))
def test_text_can_be_read_back(value: int) -> None:
    mask = GFP(value)
    assert GFP.parse(str(mask)) == value
    assert pickle.loads(pickle.dumps(mask)) == mask
    assert ~mask == ALL & ~value
    assert isinstance(~mask, GFP)


def test_spellings_that_are_read() -> None:
    assert GFP.parse("none") == GFP.parse("") == GFP.parse(" (none) ") == 0
    assert GFP.parse("0x140cca") == 0x140CCA
    assert GFP.parse(" GFP_KERNEL | __GFP_ZERO|ZERO|0x1") == 0xDC1
    assert GFP.parse("__GFP_DMA32") == GFP.DMA32


@pytest.mark.parametrize(
    "text", ["GFP_KERNAL", "GFP_KERNEL|", "|", "0x", "0x1_0", "0x100000000", "0xg", "-0x1", "3264", "gfp_kernel", "é"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        GFP.parse(text)


def test_repr() -> None:
    assert repr(GFP_KERNEL | GFP.ZERO) == "<GFP 0xdc0 GFP_KERNEL|__GFP_ZERO>"
    assert repr(GFP(0)) == "<GFP 0x0 none>"


def test_migratetypes() -> None:
    assert [str(mt) for mt in MigrateType] == ["Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate"]
    assert "".join(mt.letter for mt in MigrateType) == "UMEHCI"
    assert f"{MigrateType.CMA}" == "CMA"
    assert [int(mt) for mt in MigrateType] == list(range(6))
    assert pickle.loads(pickle.dumps(MigrateType.ISOLATE)) is MigrateType.ISOLATE


def test_migratetype_of_a_request() -> None:
    assert MigrateType.of(GFP_KERNEL) is MigrateType.UNMOVABLE
    assert MigrateType.of(gfp.GFP_HIGHUSER_MOVABLE) is MigrateType.MOVABLE
    assert MigrateType.of(0xCD0) is MigrateType.RECLAIMABLE
    with pytest.raises(ValueError, match="both movable and reclaimable"):
        MigrateType.of(GFP.MOVABLE | GFP.RECLAIMABLE)
