//! Watermarks, reserves, per-cpu list sizes and counter thresholds of a whole machine, and the
//! tunables under /proc/sys/vm that recompute them (mm/page_alloc.c, mm/vmstat.c).

use crate::allocator::PageAllocator;
use crate::blueprint::{put32, put64};
use crate::pcp_sizing::{self, PagesetCpus, PagesetSizes};
use crate::sync::{AtomicU64, Relaxed};
use crate::types::MAX_NR_ZONES;
use crate::watermark::{WMARK_HIGH, WMARK_LOW, WMARK_MIN, sizing};
use crate::zone::Zone;
use core::fmt;

/// A file under /proc/sys/vm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sysctl {
    /// `min_free_kbytes`.
    MinFreeKbytes,
    /// `watermark_scale_factor`, 1 to 3000.
    WatermarkScaleFactor,
    /// `watermark_boost_factor`.
    WatermarkBoostFactor,
    /// `lowmem_reserve_ratio`, one value per zone index.
    LowmemReserveRatio,
    /// `percpu_pagelist_high_fraction`, 0 or at least 8.
    PercpuPagelistHighFraction,
}

impl Sysctl {
    /// All of them.
    pub const ALL: [Sysctl; 5] = [
        Sysctl::MinFreeKbytes,
        Sysctl::WatermarkScaleFactor,
        Sysctl::WatermarkBoostFactor,
        Sysctl::LowmemReserveRatio,
        Sysctl::PercpuPagelistHighFraction,
    ];

    /// Name of the file.
    pub const fn name(self) -> &'static str {
        match self {
            Sysctl::MinFreeKbytes => "min_free_kbytes",
            Sysctl::WatermarkScaleFactor => "watermark_scale_factor",
            Sysctl::WatermarkBoostFactor => "watermark_boost_factor",
            Sysctl::LowmemReserveRatio => "lowmem_reserve_ratio",
            Sysctl::PercpuPagelistHighFraction => "percpu_pagelist_high_fraction",
        }
    }
}

/// The kernel rejects the value (`-EINVAL`); the old one stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidValue(pub Sysctl);

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = match self.0 {
            Sysctl::MinFreeKbytes => "takes one value from 0 to 2147483647",
            Sysctl::WatermarkScaleFactor => "takes one value from 1 to 3000",
            Sysctl::WatermarkBoostFactor => "takes one value from 0 to 2147483647",
            Sysctl::LowmemReserveRatio => "takes one value per zone",
            Sysctl::PercpuPagelistHighFraction => "takes 0 or a value from 8 on",
        };
        write!(f, "{} {range}", self.0.name())
    }
}

impl std::error::Error for InvalidValue {}

impl Zone<'_> {
    /// `zone_set_pageset_high_and_batch`: nothing is written if both values are unchanged.
    fn set_pageset_high_and_batch(self, sizes: PagesetSizes) {
        let PagesetSizes { high, batch } = sizes;
        let (zone_high, zone_batch) = (&self.shared.pageset_high, &self.shared.pageset_batch);
        // ORDERING(R7)
        if zone_high.load(Relaxed) == high && zone_batch.load(Relaxed) == batch {
            return;
        }
        put32(zone_high, high);
        put32(zone_batch, batch);
        for state in self.own_cpu_zones() {
            put32(&state.high, high);
            put32(&state.batch, batch);
        }
    }
}

impl PageAllocator {
    /// Number of online cpus; they are `0..nr_online_cpus`.
    pub fn nr_online_cpus(&self) -> u32 {
        self.segment.cpus.iter().filter(|cpu| cpu.is_online()).count() as u32
    }

    /// Online cpus of a node.
    fn nr_node_cpus(&self, nid: u32) -> u32 {
        let local = |cpu: &&crate::segment::CpuSlot| {
            cpu.is_online() && cpu.node.load(Relaxed) == nid // ORDERING(R7)
        };
        self.segment.cpus.iter().filter(local).count() as u32
    }

    /// Recomputes high and batch of every zone; `just_online` is 1 inside the cpu-online callback.
    pub(crate) fn update_pcp_sizes(&self, just_online: u32) {
        let fraction = self.machine().percpu_pagelist_high_fraction.load(Relaxed) as u32; // ORDERING(R7)
        for zone in self.zones() {
            let cpus = PagesetCpus {
                nr_local: self.nr_node_cpus(zone.node()) + just_online,
                nr_online: self.nr_online_cpus(),
            };
            let low = zone.watermark(WMARK_LOW);
            zone.set_pageset_high_and_batch(PagesetSizes::of_zone(self.config(), zone.managed(), low, fraction, cpus));
            let spares = self.spares().ever_used().filter(|slot| *slot >= self.nr_cpus());
            spares.for_each(|slot| zone.set_spare_sizes(slot));
        }
    }

    /// `setup_per_zone_wmarks`: watermarks, boosts, reserves in total, per-cpu list sizes.
    pub fn setup_per_zone_wmarks(&self) {
        let machine = self.machine();
        let min_free_kbytes = machine.min_free_kbytes.load(Relaxed) as i32; // ORDERING(R7)
        let scale = machine.watermark_scale_factor.load(Relaxed) as u32; // ORDERING(R7)
        let total = self.zones().map(Zone::managed).sum();
        for zone in self.zones() {
            let marks = sizing::zone_watermarks(self.config(), min_free_kbytes, scale, zone.managed(), total);
            for (word, mark) in zone.shared.watermark.iter().zip(marks) {
                put64(word, mark);
            }
            put64(&zone.shared.watermark_boost, 0);
        }
        self.calculate_totalreserve_pages();
        self.update_pcp_sizes(0);
    }

    /// `setup_per_zone_lowmem_reserve`.
    pub(crate) fn setup_per_zone_lowmem_reserve(&self) {
        let ratio: [u32; MAX_NR_ZONES] = core::array::from_fn(|i| {
            self.machine().lowmem_reserve_ratio[i].load(Relaxed) as u32 // ORDERING(R7)
        });
        for node in self.nodes() {
            let managed: [u64; MAX_NR_ZONES] =
                core::array::from_fn(|index| self.zone_at(node.nid, index).map_or(0, Zone::managed));
            let reserve = sizing::lowmem_reserve(&managed, &ratio, self.config().nr_zones());
            for (index, row) in reserve.iter().enumerate() {
                let Some(zone) = self.zone_at(node.nid, index) else { continue };
                zone.shared.lowmem_reserve.iter().zip(row).for_each(|(word, pages)| put64(word, *pages));
            }
        }
        self.calculate_totalreserve_pages();
    }

    /// `calculate_totalreserve_pages`: what each zone keeps back, per zone, node and machine.
    pub(crate) fn calculate_totalreserve_pages(&self) {
        let load = |words: &[AtomicU64; MAX_NR_ZONES]| -> [u64; MAX_NR_ZONES] {
            core::array::from_fn(|i| words[i].load(Relaxed)) // ORDERING(R7)
        };
        let mut total = 0u64;
        for (node, cache) in self.segment.nodes.iter().zip(self.nodes()) {
            let mut node_total = 0u64;
            for zone in self.zones().filter(|zone| zone.node() == cache.nid) {
                let reserve = load(&zone.shared.lowmem_reserve);
                let pages = sizing::zone_totalreserve(zone.managed(), zone.watermark(WMARK_HIGH), &reserve);
                put64(&zone.shared.totalreserve_pages, pages);
                node_total = node_total.saturating_add(pages);
            }
            put64(&node.totalreserve_pages, node_total);
            total = total.saturating_add(node_total);
        }
        put64(&self.machine().totalreserve_pages, total);
    }

    /// Pages above the high watermarks of the zones up to Normal that a node falls back to
    /// (`nr_free_buffer_pages`, seen from that node).
    fn nr_free_buffer_pages(&self, nid: u32) -> u64 {
        let normal = self.normal_zone_index();
        let list = self.nodes().iter().find(|node| node.nid == nid).map_or(&[][..], |node| &node.fallback.all);
        sizing::nr_free_buffer_pages(list.iter().filter(|entry| entry.index <= normal).map(|entry| {
            let zone = self.zone(entry.zone);
            (zone.managed(), zone.watermark(WMARK_HIGH))
        }))
    }

    /// `calculate_min_free_kbytes` on a cpu of node `nid`.
    pub(crate) fn calculate_min_free_kbytes(&self, nid: u32) {
        let machine = self.machine();
        let current = machine.min_free_kbytes.load(Relaxed) as i32; // ORDERING(R7)
        let user = machine.user_min_free_kbytes.load(Relaxed) as i32; // ORDERING(R7)
        let kbytes = sizing::calculate_min_free_kbytes(self.config(), self.nr_free_buffer_pages(nid), current, user);
        machine.min_free_kbytes.store(kbytes.into(), Relaxed); // ORDERING(R7)
    }

    /// `set_recommended_min_free_kbytes`: what THP adds, then new watermarks.
    pub(crate) fn set_recommended_min_free_kbytes(&self, nid: u32) {
        let machine = self.machine();
        let normal = self.normal_zone_index();
        let nr_zones = self.zones().filter(|zone| zone.index() <= normal).count() as u64;
        let current = machine.min_free_kbytes.load(Relaxed) as i32; // ORDERING(R7)
        let pages = self.nr_free_buffer_pages(nid);
        let kbytes = sizing::recommended_min_free_kbytes(self.config(), nr_zones, pages, current);
        machine.min_free_kbytes.store(kbytes.into(), Relaxed); // ORDERING(R7)
        self.setup_per_zone_wmarks();
    }

    /// `refresh_zone_stat_thresholds`.
    pub(crate) fn refresh_zone_stat_thresholds(&self) {
        let nr_online = self.nr_online_cpus();
        for zone in self.zones() {
            let threshold = pcp_sizing::normal_threshold(self.config(), zone.managed(), nr_online);
            for (state, cpu) in zone.cpu_zones.iter().zip(zone.cpus.iter()) {
                if cpu.is_online() {
                    state.stat_threshold.store(threshold as i32, Relaxed); // ORDERING(R8)
                }
            }
            let marks = [WMARK_MIN, WMARK_LOW, WMARK_HIGH].map(|which| zone.watermark(which));
            if let Some(mark) = pcp_sizing::percpu_drift_mark(marks, nr_online, threshold) {
                put64(&zone.shared.percpu_drift_mark, mark);
            }
        }
    }

    /// Sets the counter thresholds of a node's zones that have a drift mark
    /// (`set_pgdat_percpu_threshold`): tight while kswapd works, else normal.
    pub(crate) fn set_percpu_threshold(&self, nid: u32, is_pressure: bool) {
        let nr_online = self.nr_online_cpus();
        for zone in self.zones().filter(|zone| zone.node() == nid) {
            // ORDERING(R7)
            if zone.shared.percpu_drift_mark.load(Relaxed) == 0 {
                continue;
            }
            let threshold = if is_pressure {
                let (low, min) = (zone.watermark(WMARK_LOW), zone.watermark(WMARK_MIN));
                pcp_sizing::pressure_threshold(self.config(), low, min, nr_online)
            } else {
                pcp_sizing::normal_threshold(self.config(), zone.managed(), nr_online)
            };
            for state in zone.own_cpu_zones() {
                state.stat_threshold.store(threshold as i32, Relaxed); // ORDERING(R7)
            }
        }
    }

    /// Writes a tunable as the kernel does after parsing the numbers.
    pub fn write_sysctl(&self, sysctl: Sysctl, values: &[i64]) -> Result<(), InvalidValue> {
        let machine = self.machine();
        let invalid = InvalidValue(sysctl);
        let one = |min: i64, max: i64| match values {
            [value] if (min..=max).contains(value) => Ok(*value),
            _ => Err(invalid),
        };
        let int_max = i64::from(i32::MAX);
        match sysctl {
            Sysctl::MinFreeKbytes => {
                let kbytes = one(0, int_max)?;
                machine.min_free_kbytes.store(kbytes, Relaxed); // ORDERING(R7)
                machine.user_min_free_kbytes.store(kbytes, Relaxed); // ORDERING(R7)
                self.setup_per_zone_wmarks();
            }
            Sysctl::WatermarkScaleFactor => {
                put64(&machine.watermark_scale_factor, one(1, 3000)? as u64);
                self.setup_per_zone_wmarks();
            }
            Sysctl::WatermarkBoostFactor => put64(&machine.watermark_boost_factor, one(0, int_max)? as u64),
            Sysctl::LowmemReserveRatio => {
                if values.len() != self.config().nr_zones() || values.iter().any(|v| i32::try_from(*v).is_err()) {
                    return Err(invalid);
                }
                for (word, value) in machine.lowmem_reserve_ratio.iter().zip(values) {
                    put64(word, (*value).max(0) as u64);
                }
                self.setup_per_zone_lowmem_reserve();
            }
            Sysctl::PercpuPagelistHighFraction => {
                let fraction = one(0, int_max)? as u64;
                if (1..8).contains(&fraction) {
                    return Err(invalid);
                }
                // ORDERING(R7)
                if machine.percpu_pagelist_high_fraction.load(Relaxed) != fraction {
                    put64(&machine.percpu_pagelist_high_fraction, fraction);
                    self.update_pcp_sizes(0);
                }
            }
        }
        Ok(())
    }

    /// Values of a tunable.
    pub fn read_sysctl(&self, sysctl: Sysctl) -> Vec<i64> {
        let machine = self.machine();
        let load = |word: &AtomicU64| word.load(Relaxed) as i64; // ORDERING(R7)
        match sysctl {
            Sysctl::MinFreeKbytes => vec![machine.min_free_kbytes.load(Relaxed)], // ORDERING(R7)
            Sysctl::WatermarkScaleFactor => vec![load(&machine.watermark_scale_factor)],
            Sysctl::WatermarkBoostFactor => vec![load(&machine.watermark_boost_factor)],
            Sysctl::LowmemReserveRatio => {
                machine.lowmem_reserve_ratio.iter().take(self.config().nr_zones()).map(load).collect()
            }
            Sysctl::PercpuPagelistHighFraction => vec![load(&machine.percpu_pagelist_high_fraction)],
        }
    }

    /// The rest of the start-up after the hand-over: real pagesets, cpus coming online, watermarks,
    /// reserves, thresholds, the THP adjustment.
    pub(crate) fn finish_boot(&self) {
        let machine = self.machine();
        put32(&machine.gfp_allowed_mask, crate::gfp::Gfp::ALL.0);
        put32(&machine.late, 1);
        // setup_per_cpu_pageset: only the boot cpu is there, the low watermarks are 0.
        self.update_pcp_sizes(0);
        for id in 1..self.nr_cpus() {
            // The callback runs before the cpu stands in its node's mask.
            let slot = &self.segment.cpus[id];
            self.update_pcp_sizes(1);
            put32(&slot.online, 1);
            self.refresh_zone_stat_thresholds();
        }
        self.bring_up_spares();
        self.init_per_zone_wmark_min();
        let totalram = machine.totalram_pages.load(Relaxed); // ORDERING(R7)
        if sizing::is_thp_started(self.config(), totalram) {
            put32(&machine.thp_started, 1);
            self.set_recommended_min_free_kbytes(self.cpu_node(0));
        }
    }

    /// From now on calls may use the spare slots.
    pub(crate) fn bring_up_spares(&self) {
        self.segment.slots[self.nr_cpus()..].iter().for_each(|slot| put32(&slot.online, 1));
    }

    /// `init_per_zone_wmark_min`: everything that depends on the sizes of the zones.
    pub(crate) fn init_per_zone_wmark_min(&self) {
        let nid = self.cpu_node(0);
        self.calculate_min_free_kbytes(nid);
        self.setup_per_zone_wmarks();
        self.refresh_zone_stat_thresholds();
        self.setup_per_zone_lowmem_reserve();
        // ORDERING(R7)
        if self.machine().thp_started.load(Relaxed) != 0 {
            self.set_recommended_min_free_kbytes(nid);
        }
    }
}
