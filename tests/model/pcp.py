"""Per-cpu page lists (spec 07)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from . import fallback
from .config import MIGRATE_PCPTYPES, MOVABLE, Config

if TYPE_CHECKING:
    from .zone import Zone


class PerCpuPages:
    """The lists of one cpu in one zone. An entry is (pfn, remembered migratetype); index 0 of a deque is the head."""

    __slots__ = ("count", "high", "batch", "free_factor", "lists")

    def __init__(self, nr_lists: int) -> None:
        self.count = 0
        self.high = 0  # boot pageset: a freed page is drained at once
        self.batch = 1
        self.free_factor = 0
        self.lists: list[deque[tuple[int, int]]] = [deque() for _ in range(nr_lists)]


def order_allowed(config: Config, order: int) -> bool:
    return order <= 3 or (config.thp and order == config.pageblock_order)


def list_index(order: int, migratetype: int) -> int:
    return MIGRATE_PCPTYPES * min(order, 4) + migratetype


def list_order(config: Config, index: int) -> int:
    return index // MIGRATE_PCPTYPES if index < 12 else config.pageblock_order


# -- sizes (spec 07.2) -------------------------------------------------------------------------------------------------


def zone_batchsize(managed: int) -> int:
    batch = max(1, min(managed >> 10, 256) // 4)
    batch += batch // 2
    return max(1, (1 << (batch.bit_length() - 1)) - 1)


def zone_highsize(zone: Zone, batch: int, high_fraction: int, nr_node_cpus: int, nr_online_cpus: int) -> int:
    total = zone.managed // high_fraction if high_fraction else zone.wmark[1] + zone.boost
    return max(total // (nr_node_cpus or nr_online_cpus), 4 * batch)


def set_high_and_batch(zone: Zone, high: int, batch: int) -> None:
    zone.pageset_high = high
    zone.pageset_batch = batch
    for pcp in zone.pcp:
        pcp.high = high
        pcp.batch = batch


# -- allocation (spec 07.3) --------------------------------------------------------------------------------------------


def rmqueue_bulk(zone: Zone, cpu: int, order: int, count: int, migratetype: int, flags: int) -> int:
    """Refill: append up to `count` blocks to the tail of the list; returns how many."""
    entries = zone.pcp[cpu].lists[list_index(order, migratetype)]
    taken = 0
    while taken < count:
        block = fallback.rmqueue(zone, order, migratetype, flags)
        if block is None:
            break
        taken += 1
        entries.append(block)
        if block[1] == zone.config.migrate_cma:
            zone.counters.mod_free_cma(cpu, -(1 << order))
    zone.counters.mod_free(cpu, -(taken << order))
    return taken


def take(zone: Zone, cpu: int, order: int, migratetype: int, flags: int) -> int | None:
    """__rmqueue_pcplist: head of the list, refilled when empty."""
    pcp = zone.pcp[cpu]
    entries = pcp.lists[list_index(order, migratetype)]
    if not entries:
        count = pcp.batch if pcp.batch == 1 else max(pcp.batch >> order, 2)
        pcp.count += rmqueue_bulk(zone, cpu, order, count, migratetype, flags) << order
        if not entries:
            return None
    pcp.count -= 1 << order
    return entries.popleft()[0]


def rmqueue_pcplist(zone: Zone, cpu: int, order: int, migratetype: int, flags: int) -> int | None:
    zone.pcp[cpu].free_factor >>= 1
    return take(zone, cpu, order, migratetype, flags)


# -- freeing (spec 07.4) -----------------------------------------------------------------------------------------------


def commit(zone: Zone, cpu: int, pfn: int, order: int, migratetype: int) -> None:
    """free_unref_page_commit: on the list's head; drain when the count reaches the limit."""
    pcp = zone.pcp[cpu]
    list_type = migratetype if migratetype < MIGRATE_PCPTYPES else MOVABLE
    pcp.lists[list_index(order, list_type)].appendleft((pfn, migratetype))
    pcp.count += 1 << order
    high = effective_high(zone, pcp)
    if pcp.count >= high:
        drain(zone, cpu, nr_pcp_free(pcp, high))


def effective_high(zone: Zone, pcp: PerCpuPages) -> int:
    if pcp.high and zone.reclaim_active:
        return min(4 * pcp.batch, pcp.high)
    return pcp.high


def nr_pcp_free(pcp: PerCpuPages, high: int) -> int:
    if high < pcp.batch:
        return 1
    at_most = high - pcp.batch
    nr_pages = pcp.batch << pcp.free_factor
    if nr_pages < at_most:
        pcp.free_factor += 1
    return min(max(nr_pages, pcp.batch), at_most)


# -- draining (spec 07.5) ----------------------------------------------------------------------------------------------


def drain(zone: Zone, cpu: int, nr_pages: int) -> None:
    """free_pcppages_bulk: round robin over the lists with a quota that grows while lists are skipped."""
    pcp = zone.pcp[cpu]
    nr_lists = len(pcp.lists)
    remaining = min(pcp.count, nr_pages)
    index = quota = 0
    work: list[tuple[int, int, int]] = []
    while remaining > 0:
        while True:
            quota += 1
            index = (index + 1) % nr_lists
            if pcp.lists[index]:
                break
        if quota == nr_lists:  # only this list is left
            quota = remaining
        order = list_order(zone.config, index)
        entries = pcp.lists[index]
        while True:
            pfn, migratetype = entries.pop()
            work.append((pfn, order, migratetype))
            pcp.count -= 1 << order
            remaining -= 1 << order
            if remaining <= 0:
                break
            quota -= 1
            if quota == 0 or not entries:
                break
    for pfn, order, migratetype in work:
        if zone.nr_isolate_pageblock:
            migratetype = zone.memory.pageblock_type(pfn)
        zone.free_one_page(cpu, pfn, order, migratetype)
        if zone.memory.events is not None:
            zone.memory.events.append(("mm_page_pcpu_drain", pfn, order, migratetype))


def drain_all(zone: Zone, cpu: int) -> None:
    """drain_pages_zone (spec 07.6)."""
    drain(zone, cpu, zone.pcp[cpu].count)
