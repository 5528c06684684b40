"""The kernel's reports about memory, from Python."""

from __future__ import annotations

from typing import Any

import pytest

from pagebuddy import (
    GFP,
    GFP_ATOMIC,
    GFP_KERNEL,
    AllocationFailed,
    Config,
    MigrateType,
    PageAllocator,
)


@pytest.fixture
def machine() -> PageAllocator:
    return PageAllocator.simple("256M", nr_cpus=2, nodes=2)


def test_buddyinfo_counts_what_the_lists_hold(machine: PageAllocator) -> None:
    machine.alloc_pages(3)
    counts = machine.free_area_counts().sum(axis=2)
    lines = machine.buddyinfo().splitlines()
    assert len(lines) == len(machine.zones) == 3
    for line, zone, numbers in zip(lines, machine.zones, counts, strict=True):
        assert line == f"Node {zone.nid}, zone {zone.name:>8} " + "".join(f"{number:6} " for number in numbers)


def test_pagetypeinfo_counts_lists_and_pageblocks(machine: PageAllocator) -> None:
    pfn = machine.alloc_pages(0, cpu=0)
    blocks = "Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic "
    free = "Free pages count per migrate type at order "
    text = machine.pagetypeinfo()
    assert text.count("Page block order: 9\nPages per block:  512\n\n") == 2
    assert text.count(f"\n\n{blocks}\n") == 2
    assert free + " " + "".join(f"{order:6} " for order in range(11)) in text.splitlines()
    zone = next(zone for zone in machine.zones if zone.start_pfn <= pfn < zone.start_pfn + zone.spanned)
    row = f"Node {zone.nid:4}, zone {zone.name:>8}, type    Unmovable "
    (line,) = (line for line in text.splitlines() if line.startswith(row))
    lists = [len(zone.free_list(order, MigrateType.UNMOVABLE)) for order in range(11)]
    assert [int(number) for number in line.removeprefix(row).split()] == lists


def test_zoneinfo_tells_every_zone_of_every_node(machine: PageAllocator) -> None:
    text = machine.zoneinfo()
    heads = [line for line in text.splitlines() if line.startswith("Node ")]
    names = ["DMA", "DMA32", "Normal", "Movable"]
    assert heads == [f"Node {nid}, zone {name:>8}" for nid in (0, 1) for name in names]
    assert text.count("  per-node stats\n") == 2
    assert text.count("  pagesets\n") == 3
    zone = machine.zones[1, "DMA32"]
    part = text[text.index("Node 1, zone    DMA32") :]
    low = zone.watermarks.low
    assert f"  pages free     {zone.managed}\n        boost    0\n" in part
    assert f"        low      {low}\n" in part
    assert f"        managed  {zone.managed}\n        cma      0\n        protection: (0, 0, 0, 0)\n" in part
    assert f"  start_pfn:           {zone.start_pfn}\n" in part


def test_vmstat_folds_what_zoneinfo_shows(machine: PageAllocator) -> None:
    def shown() -> int:
        return sum(int(line.split()[1]) for line in machine.zoneinfo().splitlines() if "numa_hit" in line)

    before, folded = shown(), machine.vmstat()["numa_hit"]
    assert folded >= before
    assert shown() == folded
    machine.alloc_pages(4, cpu=1)
    assert shown() == folded
    vmstat = machine.vmstat()
    assert vmstat["numa_hit"] == shown() == folded + 1
    assert vmstat["nr_free_pages"] == sum(zone.managed for zone in machine.zones) - 16
    assert next(iter(vmstat)) == "nr_free_pages"
    assert list(vmstat)[-2:] == ["pgfree", "nr_unstable"]


def test_show_free_areas_leaves_nodes_out(machine: PageAllocator) -> None:
    whole = machine.show_free_areas()
    assert whole.startswith("Mem-Info:\nactive_anon:0 inactive_anon:0 isolated_anon:0\n active_file:0 ")
    for nid in (0, 1):
        assert f"\nNode {nid} active_anon:0kB " in whole
    assert "\nlowmem_reserve[]: 0 " in whole
    (blocks,) = (line for line in whole.splitlines() if line.startswith("Node 1 DMA32: "))
    zone = machine.zones[1, "DMA32"]
    assert blocks.endswith(f"*4096kB (M) = {zone.managed * 4}kB")
    second = machine.show_free_areas([1])
    assert second == machine.show_free_areas(0b10)
    assert "Node 0" not in second
    assert "Node 1 DMA32 free:" in second
    present, managed = (sum(getattr(zone, name) for zone in machine.zones) for name in ("present", "managed"))
    ending = f"\n{present} pages RAM\n0 pages HighMem/MovableOnly\n{present - managed} pages reserved\n"
    assert whole.endswith(ending)
    assert second.endswith(ending)


def test_local_lists_are_those_of_the_cpu(machine: PageAllocator) -> None:
    machine.free_pages(machine.alloc_pages(cpu=1, nid=1), cpu=1)
    count = machine.zones[1, "DMA32"].pcp(1).count
    assert count > 0
    (line,) = (line for line in machine.show_free_areas(cpu=1).splitlines() if "Node 1 DMA32 free:" in line)
    assert f" free_pcp:{4 * count}kB local_pcp:{4 * count}kB " in line
    assert f" free_pcp:{4 * count}kB local_pcp:0kB " in machine.show_free_areas(cpu=0)


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((-1,), {}, ValueError),
        ((2**64,), {}, OverflowError),
        (("0",), {}, TypeError),
        (([0, 64],), {}, (ValueError, OverflowError)),
        ((), {"cpu": 2}, ValueError),
        ((), {"cpu": -1}, ValueError),
        ((), {"cpu": "0"}, TypeError),
    ],
)
def test_wrong_arguments(
    machine: PageAllocator, arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        machine.show_free_areas(*arguments, **options)


def test_indices_per_zone(machine: PageAllocator) -> None:
    keys = [(zone.nid, zone.name) for zone in machine.zones]
    for order in (0, 10):
        extfrag, unusable = machine.extfrag_index(order), machine.unusable_index(order)
        assert list(extfrag) == list(unusable) == keys
        assert set(extfrag.values()) == {-1000}
        for zone in machine.zones:
            assert extfrag[zone.nid, zone.name] == zone.extfrag_index(order)
            assert 0 <= unusable[zone.nid, zone.name] < 1000
    pages = []
    while (pfn := machine.try_alloc_pages(0, GFP.MEMALLOC | GFP_KERNEL)) is not None:
        pages.append(pfn)
    assert set(machine.extfrag_index(3).values()) == {0}
    assert set(machine.unusable_index(3).values()) == {1000}
    for order in (11, 2**31):
        with pytest.raises(ValueError, match="below MAX_ORDER"):
            machine.extfrag_index(order)


def failure_report(machine: PageAllocator, order: int, gfp: GFP) -> str:
    """Allocates from node 1 until that fails: the report."""
    with pytest.raises(AllocationFailed) as failure:  # noqa: PT012 - which of the calls fails is for memory to say
        while True:
            machine.alloc_pages(order, gfp, nodemask=[1], cpu=0)
    return failure.value.report


def test_a_failure_carries_the_kernels_report(machine: PageAllocator) -> None:
    report = failure_report(machine, 10, GFP_KERNEL | GFP.COMP | GFP.NORETRY)
    header, _, memory = report.partition("\n")
    task, _, rest = header.partition(": ")
    assert task == "python"
    assert rest == (
        "page allocation failure: order:10, mode:0x50cc0(GFP_KERNEL|__GFP_NORETRY|__GFP_COMP), "
        "nodemask=1,cpuset=/,mems_allowed=0-1"
    )
    assert memory == machine.show_free_areas([1], cpu=0)
    report = failure_report(machine, 4, GFP_ATOMIC)
    assert "mode:0xa20(GFP_ATOMIC), nodemask=(null)," in report
    assert "\nNode 0 DMA32 free:" in report


def test_the_configuration_decides_the_text() -> None:
    machine = PageAllocator.simple("64M", config=Config(numa=False, thp=False, cma=True, memory_isolation=True))
    memory = machine.show_free_areas()
    assert "\nDMA32 free:" in memory
    assert "shmem_thp" not in memory
    assert memory.endswith("\n0 pages cma reserved\n")
    assert "numa_hit" not in machine.zoneinfo()
    assert "numa_hit" not in machine.vmstat()
    assert "  HighAtomic          CMA      Isolate \n" in machine.pagetypeinfo()


def test_reports_survive_snapshots(machine: PageAllocator) -> None:
    machine.alloc_pages_bulk(777, cpu=1)
    twin = PageAllocator.restore(machine.snapshot())
    for report in ("buddyinfo", "pagetypeinfo", "zoneinfo", "show_free_areas", "vmstat"):
        assert getattr(twin, report)() == getattr(machine, report)(), report
