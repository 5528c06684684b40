"""Zone counters with per-cpu differentials, NUMA events (spec 08)."""

from __future__ import annotations


class ZoneCounters:
    """nr_free_pages and nr_free_cma of one zone, and its NUMA event counts summed over all cpus."""

    __slots__ = ("free", "free_diff", "free_cma", "cma_diff", "threshold", "numa")

    NUMA_ITEMS = ("hit", "miss", "foreign", "interleave", "local", "other")

    def __init__(self, nr_cpus: int) -> None:
        self.free = 0
        self.free_diff = [0] * nr_cpus
        self.free_cma = 0
        self.cma_diff = [0] * nr_cpus
        self.threshold = [0] * nr_cpus  # spec 08.2: 0 at boot, every change folds at once
        self.numa = dict.fromkeys(self.NUMA_ITEMS, 0)

    # spec 08.1: fold only when the absolute value exceeds the threshold
    def mod_free(self, cpu: int, delta: int) -> None:
        x = self.free_diff[cpu] + delta
        if abs(x) > self.threshold[cpu]:
            self.free += x
            x = 0
        self.free_diff[cpu] = x

    def mod_free_cma(self, cpu: int, delta: int) -> None:
        x = self.cma_diff[cpu] + delta
        if abs(x) > self.threshold[cpu]:
            self.free_cma += x
            x = 0
        self.cma_diff[cpu] = x

    def free_pages(self) -> int:
        """zone_page_state: differentials ignored, never negative."""
        return max(0, self.free)

    def free_cma_pages(self) -> int:
        return max(0, self.free_cma)

    def free_pages_snapshot(self) -> int:
        return max(0, self.free + sum(self.free_diff))

    def fold(self, cpu: int) -> bool:
        """refresh_cpu_vm_stats for this zone (spec 08.3); True if something was pending."""
        pending = self.free_diff[cpu] != 0 or self.cma_diff[cpu] != 0
        self.free += self.free_diff[cpu]
        self.free_cma += self.cma_diff[cpu]
        self.free_diff[cpu] = self.cma_diff[cpu] = 0
        return pending


def normal_threshold(managed: int, nr_online_cpus: int) -> int:
    """calculate_normal_threshold (spec 08.2); bit_length is the kernel's fls."""
    return min(125, 2 * nr_online_cpus.bit_length() * (1 + (managed >> 15).bit_length()))
