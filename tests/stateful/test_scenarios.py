"""Situations that random runs hardly meet, on the product and the model."""

from __future__ import annotations

import pytest

from .machines import MACHINES
from .pair import Pair
from .workload import COMP, MOVABLE_USER, NOWAIT


@pytest.mark.parametrize("compound", [False, True])
def test_second_pages_of_compound_pairs_count_as_movable(compound: bool) -> None:
    """A Movable request claims an Unmovable pageblock of compound pairs, but not one of plain pairs (spec 05.5)."""
    pair = Pair(MACHINES["64M"])
    gfp = NOWAIT | (COMP if compound else 0)
    pairs: list[int] = []
    while (pfn := pair.apply(["a", 0, gfp, 1, 0, None])[0]) >= 0:
        pairs.append(pfn)
    size = pair.machine.config.pageblock_nr_pages
    block = 0x2000  # a pageblock of zone DMA32
    inside = [pfn for pfn in pairs if block <= pfn < block + size]
    assert len(inside) == size // 2
    for pfn in inside[: len(inside) // 4]:  # a quarter becomes free, the rest counts as movable if compound
        pair.apply(["f", 0, pfn, 1])
    pair.apply(["d", 0])
    memory = pair.model.memory
    assert memory.pageblock_type(block) == 0
    (pfn,) = pair.apply(["a", 0, MOVABLE_USER | 0x20000, 0, 0, None])
    assert block <= pfn < block + size
    assert memory.pageblock_type(block) == int(compound)
    pair.compare_state()
