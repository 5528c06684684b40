//! Zone counters with per-cpu differentials, NUMA and vm events (mm/vmstat.c).
//!
//! A cpu's differential belongs to the holder of the cpu's lease; a caller without a lease adds to
//! the global part at once, which is what a threshold of 0 would do.

use crate::cpu::Cpu;
use crate::segment::CpuZone;
use crate::sync::{AtomicI32, AtomicI64, AtomicU64, Relaxed};
use crate::zone::Zone;

/// NUMA events in the order of the kernel's `enum numa_stat_item`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum NumaEvent {
    /// Allocated in the preferred node.
    Hit = 0,
    /// Allocated here although another node was preferred.
    Miss = 1,
    /// Preferred here but allocated elsewhere.
    Foreign = 2,
    /// Interleaved as wanted.
    InterleaveHit = 3,
    /// Allocated by a cpu of this node.
    Local = 4,
    /// Allocated by a cpu of another node.
    Other = 5,
}

/// Adds to a word that only the lease's holder writes.
#[inline(always)]
fn add_own(word: &AtomicU64, n: u64) {
    word.store(word.load(Relaxed).wrapping_add(n), Relaxed); // ORDERING(R8)
}

impl Zone<'_> {
    /// `__mod_zone_page_state`: a change beyond the threshold folds into the global part.
    #[inline(always)]
    fn modify(self, cpu: &Cpu<'_>, global: &AtomicI64, diff: impl Fn(&CpuZone) -> &AtomicI32, delta: i64) {
        if !cpu.is_leased() {
            global.fetch_add(delta, Relaxed); // ORDERING(R7)
            return;
        }
        let cz = self.cpu_zone(cpu);
        let diff = diff(cz);
        let sum = i64::from(diff.load(Relaxed)) + delta; // ORDERING(R8)
        if sum.abs() > i64::from(cz.stat_threshold.load(Relaxed)) {
            global.fetch_add(sum, Relaxed); // ORDERING(R7)
            diff.store(0, Relaxed); // ORDERING(R8)
        } else {
            diff.store(sum as i32, Relaxed); // ORDERING(R8)
        }
    }

    /// Changes `NR_FREE_PAGES`.
    #[inline(always)]
    pub fn mod_free_pages(self, cpu: &Cpu<'_>, delta: i64) {
        self.modify(cpu, &self.shared.nr_free_pages, |cz| &cz.diff_free, delta);
    }

    /// Changes `NR_FREE_CMA_PAGES`.
    #[inline(always)]
    pub fn mod_free_cma(self, cpu: &Cpu<'_>, delta: i64) {
        self.modify(cpu, &self.shared.nr_free_cma, |cz| &cz.diff_cma, delta);
    }

    /// `zone_page_state(NR_FREE_PAGES)`: the approximate count that decisions use.
    #[inline(always)]
    pub fn free_pages_approximate(self) -> i64 {
        self.shared.nr_free_pages.load(Relaxed).max(0) // ORDERING(R7)
    }

    /// `zone_page_state(NR_FREE_CMA_PAGES)`.
    #[inline(always)]
    pub fn free_cma_approximate(self) -> i64 {
        self.shared.nr_free_cma.load(Relaxed).max(0) // ORDERING(R7)
    }

    /// `zone_page_state_snapshot(NR_FREE_PAGES)`: with the differentials of all online cpus.
    pub fn free_pages_snapshot(self) -> i64 {
        let pending: i64 = self.cpu_zones.iter().map(|cz| i64::from(cz.diff_free.load(Relaxed))).sum(); // ORDERING(R8)
        (self.shared.nr_free_pages.load(Relaxed) + pending).max(0) // ORDERING(R7)
    }

    /// Folds the differentials of a leased cpu into the global parts (`refresh_cpu_vm_stats`
    /// without the pageset pass). True if something was folded.
    pub fn fold_differentials(self, cpu: &Cpu<'_>) -> bool {
        if !cpu.is_leased() {
            return false;
        }
        let cz = self.cpu_zone(cpu);
        let mut folded = false;
        for (global, diff) in [(&self.shared.nr_free_pages, &cz.diff_free), (&self.shared.nr_free_cma, &cz.diff_cma)] {
            let pending = diff.load(Relaxed); // ORDERING(R8)
            if pending != 0 {
                global.fetch_add(pending.into(), Relaxed); // ORDERING(R7)
                diff.store(0, Relaxed); // ORDERING(R8)
                folded = true;
            }
        }
        folded
    }

    /// Counts a NUMA event of this zone.
    #[inline(always)]
    pub fn count_numa(self, cpu: &Cpu<'_>, event: NumaEvent, n: u64) {
        if cpu.is_leased() {
            add_own(&self.cpu_zone(cpu).numa_events[event as usize], n);
        } else {
            self.shared.numa_events[event as usize].fetch_add(n, Relaxed); // ORDERING(R7)
        }
    }

    /// `zone_statistics`: n allocations from this zone, preferred was `preferred`.
    #[inline]
    pub fn count_numa_allocation(self, cpu: &Cpu<'_>, preferred: Zone<'_>, n: u64) {
        // ORDERING(R7)
        if !self.config.numa || self.machine.numa_stat.load(Relaxed) == 0 {
            return;
        }
        let node = self.node();
        if node == preferred.node() {
            self.count_numa(cpu, NumaEvent::Hit, n);
        } else {
            self.count_numa(cpu, NumaEvent::Miss, n);
            preferred.count_numa(cpu, NumaEvent::Foreign, n);
        }
        let event = if node == cpu.node() { NumaEvent::Local } else { NumaEvent::Other };
        self.count_numa(cpu, event, n);
    }

    /// A NUMA event's count, folded or not.
    pub fn numa_events(self, event: NumaEvent) -> u64 {
        let pending: u64 = self.cpu_zones.iter().map(|cz| cz.numa_events[event as usize].load(Relaxed)).sum(); // ORDERING(R8)
        self.shared.numa_events[event as usize].load(Relaxed) + pending // ORDERING(R7)
    }

    /// vm event pgalloc of this zone.
    #[inline(always)]
    pub fn count_pgalloc(self, cpu: &Cpu<'_>, n: u64) {
        if cpu.is_leased() {
            add_own(&self.cpu_zone(cpu).pgalloc, n);
        } else {
            self.shared.pgalloc.fetch_add(n, Relaxed); // ORDERING(R7)
        }
    }

    /// vm event pgfree of this zone.
    #[inline(always)]
    pub fn count_pgfree(self, cpu: &Cpu<'_>, n: u64) {
        if cpu.is_leased() {
            add_own(&self.cpu_zone(cpu).pgfree, n);
        } else {
            self.shared.pgfree.fetch_add(n, Relaxed); // ORDERING(R7)
        }
    }
}
