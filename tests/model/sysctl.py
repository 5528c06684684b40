"""Tunables of /proc/sys/vm changed at run time, and start-up steps that use the same rules (spec 09, 07.2, 08.2)."""

from __future__ import annotations

from collections.abc import Sequence

from . import pcp, watermark
from .counters import normal_threshold
from .page_alloc import PageAllocatorModel
from .zone import Zone

EINVAL = -22


class Tunables:
    """Values in force; `write` does what a write to the file does after its number was parsed."""

    def __init__(self, model: PageAllocatorModel, lowmem_reserve_ratio: Sequence[int] = (256, 256, 32, 0)) -> None:
        self.model = model
        self.min_free_kbytes = 1024
        self.user_min_free_kbytes = -1
        self.watermark_scale_factor = 10
        self.lowmem_reserve_ratio = list(lowmem_reserve_ratio)
        self.percpu_pagelist_high_fraction = 0
        self.totalreserve_pages = 0
        self.node_totalreserve = [0] * len(model.nodes)

    @property
    def watermark_boost_factor(self) -> int:
        return self.model.memory.watermark_boost_factor

    def write(self, name: str, values: Sequence[int]) -> int:
        value = values[0]
        if name == "min_free_kbytes":
            if value < 0:
                return EINVAL
            self.min_free_kbytes = self.user_min_free_kbytes = value
            self.setup_per_zone_wmarks()
        elif name == "watermark_scale_factor":
            if not 1 <= value <= 3000:
                return EINVAL
            self.watermark_scale_factor = value
            self.setup_per_zone_wmarks()
        elif name == "watermark_boost_factor":
            if value < 0:
                return EINVAL
            self.model.memory.watermark_boost_factor = value
        elif name == "lowmem_reserve_ratio":
            self.lowmem_reserve_ratio = [ratio if ratio >= 1 else 0 for ratio in values]
            self.setup_lowmem_reserve()
        elif name == "percpu_pagelist_high_fraction":
            if value < 0 or 0 < value < 8:
                return EINVAL
            if value != self.percpu_pagelist_high_fraction:
                self.percpu_pagelist_high_fraction = value
                self.update_pcp()
        else:
            raise ValueError(f"unknown tunable {name}")
        return 0

    def setup_per_zone_wmarks(self) -> None:
        watermark.setup_per_zone_wmarks(self.model.zones, self.min_free_kbytes, self.watermark_scale_factor)
        self.update_totalreserve()
        self.update_pcp()

    def setup_lowmem_reserve(self) -> None:
        watermark.setup_per_zone_lowmem_reserve(self.model.zones, self.lowmem_reserve_ratio)
        self.update_totalreserve()

    def update_totalreserve(self) -> None:
        zones = self.model.zones
        self.totalreserve_pages = watermark.totalreserve_pages(zones)
        self.node_totalreserve = [watermark.totalreserve_pages(zones, node) for node in self.model.nodes]

    def update_pcp(self) -> None:
        """zone_set_pageset_high_and_batch of every zone (spec 07.2)"""
        for zone in self.model.zones:
            nr_node_cpus = self.model.cpu_node.count(zone.node)
            batch = pcp.zone_batchsize(zone.managed)
            high = pcp.zone_highsize(zone, batch, self.percpu_pagelist_high_fraction, nr_node_cpus, self.model.nr_cpus)
            pcp.set_high_and_batch(zone, high, batch)

    # -- start-up --------------------------------------------------------------------------------------------------

    def start_up(self) -> None:
        """From the hand-over to a started machine without allocations of its own (spec 02.8 steps 5 to 9)."""
        self.bring_up_cpus()
        self.init_per_zone_wmark_min()
        if self.model.config.thp and sum(zone.managed for zone in self.model.zones) >= 131072:
            self.thp_start()

    def init_per_zone_wmark_min(self) -> None:
        """Watermarks, reserves, per-cpu sizes and thresholds from the managed pages (spec 02.8 step 8)."""
        new = watermark.calculate_min_free_kbytes(self.local_zones)
        if new > self.user_min_free_kbytes:
            self.min_free_kbytes = min(max(new, 128), 262144)
        self.setup_per_zone_wmarks()
        self.refresh_zone_stat_thresholds(self.model.nr_cpus)
        self.setup_lowmem_reserve()

    def bring_up_cpus(self) -> None:
        """Secondary cpus come online before any watermark exists; the drift mark stays of it (spec 02.8, 08.2)."""
        for nr_online in range(2, self.model.nr_cpus + 1):
            self.refresh_zone_stat_thresholds(nr_online)

    def refresh_zone_stat_thresholds(self, nr_online: int) -> None:
        """spec 08.2; a kernel for one processor has no differentials."""
        if not self.model.config.smp:
            return
        for zone in self.model.zones:
            threshold = normal_threshold(zone.managed, nr_online)
            zone.counters.threshold = [threshold] * self.model.nr_cpus
            low, high = zone.wmark[1] + zone.boost, zone.wmark[2] + zone.boost
            drift = nr_online * threshold
            if drift > low - (zone.wmark[0] + zone.boost):
                zone.drift_mark = high + drift

    @property
    def local_zones(self) -> list[Zone]:
        """The fallback list of the boot cpu's node."""
        return self.model.zonelists[self.model.cpu_node[0], False]

    def thp_start(self) -> None:
        """Transparent huge pages raise min_free_kbytes (spec 09.2)."""
        wanted = watermark.recommended_min_free_kbytes(self.model.zones, self.local_zones)
        self.min_free_kbytes = max(self.min_free_kbytes, wanted)
        self.setup_per_zone_wmarks()
