"""Tunables as properties, and bulk allocation into the holes of a list."""

from __future__ import annotations

from typing import Any

import pytest

from pagebuddy import PageAllocator


@pytest.fixture
def machine() -> PageAllocator:
    return PageAllocator.simple("512M")


def test_setting_min_free_kbytes_moves_the_watermarks(machine: PageAllocator) -> None:
    before = machine.zones[0, "DMA32"].watermarks
    machine.min_free_kbytes = 2 * machine.min_free_kbytes
    assert machine.sysctl["min_free_kbytes"] == machine.min_free_kbytes
    assert machine.zones[0, "DMA32"].watermarks.min > before.min


def test_every_tunable_is_a_property(machine: PageAllocator) -> None:
    machine.watermark_scale_factor = 200
    machine.watermark_boost_factor = 0
    machine.percpu_pagelist_high_fraction = 8
    machine.lowmem_reserve_ratio = (1, 2, 3, 0)
    assert machine.sysctl == {
        "min_free_kbytes": machine.min_free_kbytes,
        "watermark_scale_factor": 200,
        "watermark_boost_factor": 0,
        "lowmem_reserve_ratio": (1, 2, 3, 0),
        "percpu_pagelist_high_fraction": 8,
    }
    assert machine.lowmem_reserve_ratio == (1, 2, 3, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("watermark_scale_factor", 0), ("percpu_pagelist_high_fraction", 7), ("lowmem_reserve_ratio", (1,)),
     ("min_free_kbytes", -1)],
)  # fmt: skip
def test_refused_values_change_nothing(machine: PageAllocator, name: str, value: Any) -> None:
    before = machine.sysctl
    with pytest.raises(ValueError, match=name):
        setattr(machine, name, value)
    assert machine.sysctl == before


def test_holes_of_a_list_are_filled(machine: PageAllocator) -> None:
    slots: list[int | None] = [1, None, 3, None, None]
    assert machine.alloc_pages_bulk_array(slots) == 5
    assert slots[0] == 1
    assert slots[2] == 3
    taken = [pfn for pfn in slots if pfn is not None and pfn not in (1, 3)]
    assert len(set(taken)) == 3
    machine.free_pages_bulk(taken)
    machine.validate()
    assert machine.alloc_pages_bulk_array([5, 6]) == 2
    assert machine.alloc_pages_bulk_array([]) == 0
    wrong: Any = ["x", None]
    with pytest.raises(TypeError):
        machine.alloc_pages_bulk_array(wrong)
