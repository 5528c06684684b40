//! Zone counters with per-cpu differentials, NUMA and vm events (mm/vmstat.c).
//!
//! A cpu's differential belongs to the holder of the cpu's lease; a caller without a lease adds to
//! the global part at once, which is what a threshold of 0 would do.

use crate::allocator::PageAllocator;
use crate::cpu::Cpu;
use crate::segment::CpuZone;
use crate::sync::{AtomicI32, AtomicI64, AtomicU64, Relaxed};
use crate::zone::Zone;

/// Periodic passes without activity after which a remote zone's pages are returned.
const EXPIRE_PASSES: u32 = 3;

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

impl CpuZone {
    /// Changes a differential of a leased cpu.
    #[inline(always)]
    pub(crate) fn modify_own(&self, global: &AtomicI64, diff: &AtomicI32, delta: i64) {
        let sum = i64::from(diff.load(Relaxed)) + delta; // ORDERING(R8)
        if sum.abs() > i64::from(self.stat_threshold.load(Relaxed)) {
            global.fetch_add(sum, Relaxed); // ORDERING(R7)
            diff.store(0, Relaxed); // ORDERING(R8)
        } else {
            diff.store(sum as i32, Relaxed); // ORDERING(R8)
        }
    }

    /// What `n` calls of [`Self::modify_own`] that add 2^order each leave, with one change of the
    /// global part at most.
    #[inline(always)]
    pub(crate) fn add_own_each(&self, global: &AtomicI64, diff: &AtomicI32, order: u32, n: u32) {
        if n == 1 {
            return self.modify_own(global, diff, 1 << order);
        }
        let threshold = i64::from(self.stat_threshold.load(Relaxed)); // ORDERING(R8)
        let (mut sum, mut folded) = (i64::from(diff.load(Relaxed)), 0); // ORDERING(R8)
        let mut left = i64::from(n);
        while left > 0 {
            // So many make the sum exceed the threshold. Beyond it, where a higher threshold may
            // have left it, the next one folds or comes back, so that one is looked at alone.
            let is_within = sum.abs() <= threshold;
            let to_fold = if is_within { ((threshold - sum) >> order) + 1 } else { 1 };
            let step = left.min(to_fold);
            sum += step << order;
            left -= step;
            if sum.abs() > threshold {
                folded += sum;
                sum = 0;
            }
        }
        if folded != 0 {
            global.fetch_add(folded, Relaxed); // ORDERING(R7)
        }
        diff.store(sum as i32, Relaxed); // ORDERING(R8)
    }
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
        cz.modify_own(global, diff(cz), delta);
    }

    /// Changes `NR_FREE_PAGES`.
    #[inline(always)]
    pub fn mod_free_pages(self, cpu: &Cpu<'_>, delta: i64) {
        self.modify(cpu, &self.shared.nr_free_pages, |cz| &cz.diff_free, delta);
    }

    /// Adds `n` times 2^order to `NR_FREE_PAGES`, as frees of so many blocks do, and to
    /// `NR_FREE_CMA_PAGES` if they are blocks of CMA.
    #[inline(always)]
    pub fn count_free_each(self, cpu: &Cpu<'_>, order: u32, n: u32, is_cma: bool) {
        let cz = self.cpu_zone(cpu);
        let counters = [(&self.shared.nr_free_pages, &cz.diff_free), (&self.shared.nr_free_cma, &cz.diff_cma)];
        for (global, diff) in counters.into_iter().take(1 + usize::from(is_cma)) {
            if cpu.is_leased() {
                cz.add_own_each(global, diff, order, n);
            } else {
                global.fetch_add(i64::from(n) << order, Relaxed); // ORDERING(R7)
            }
        }
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

    /// `zone_page_state_snapshot(NR_FREE_PAGES)`: with the differentials of all online cpus. (Spare
    /// slots have none.)
    pub fn free_pages_snapshot(self) -> i64 {
        let pending: i64 = self.own_cpu_zones().iter().map(|cz| i64::from(cz.diff_free.load(Relaxed))).sum(); // ORDERING(R8)
        (self.shared.nr_free_pages.load(Relaxed) + pending).max(0) // ORDERING(R7)
    }

    /// Folds the differentials of a leased cpu into the global parts. True if there were any.
    fn fold_differentials(self, cpu: &Cpu<'_>) -> bool {
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

    /// The periodic work of a leased cpu on this zone (`refresh_cpu_vm_stats`): folds its
    /// differentials; with `do_pagesets` also returns one batch of a remote zone's pages after the
    /// third pass without activity.
    pub(crate) fn refresh_vm_stats(self, cpu: &Cpu<'_>, do_pagesets: bool) {
        let cz = self.cpu_zone(cpu);
        let folded = self.fold_differentials(cpu);
        if !self.config.numa {
            return;
        }
        if folded {
            cz.expire.store(EXPIRE_PASSES, Relaxed); // ORDERING(R8)
        }
        let expire = cz.expire.load(Relaxed); // ORDERING(R8)
        // ORDERING(R8)
        if !do_pagesets || expire == 0 || cz.count.load(Relaxed) == 0 {
            return;
        }
        if self.node() == cpu.node() {
            cz.expire.store(0, Relaxed); // ORDERING(R8)
            return;
        }
        cz.expire.store(expire - 1, Relaxed); // ORDERING(R8)
        if expire == 1
            && let Some(pcp) = self.pcp(cpu)
        {
            pcp.drain_batch(cpu);
        }
    }

    /// Folds the NUMA events of all cpus (`fold_vm_numa_events`, one zone). Counts of a cpu that
    /// is in use at this moment stay pending.
    pub(crate) fn fold_numa_events(self, cpu: &Cpu<'_>) {
        let cz = self.cpu_zone(cpu);
        for (global, pending) in self.shared.numa_events.iter().zip(&cz.numa_events) {
            global.fetch_add(pending.load(Relaxed), Relaxed); // ORDERING(R7)
            pending.store(0, Relaxed); // ORDERING(R8)
        }
    }

    /// A NUMA event's folded count, as /proc/zoneinfo shows it.
    pub fn numa_events_folded(self, event: NumaEvent) -> u64 {
        self.shared.numa_events[event as usize].load(Relaxed) // ORDERING(R7)
    }

    /// vm events pgalloc and pgfree of this zone, all cpus.
    pub fn vm_events(self) -> (u64, u64) {
        let sum = |own: &AtomicU64, word: fn(&CpuZone) -> &AtomicU64| {
            let cpus: u64 = self.cpu_zones.iter().map(|cz| word(cz).load(Relaxed)).sum(); // ORDERING(R8)
            own.load(Relaxed) + cpus // ORDERING(R7)
        };
        (sum(&self.shared.pgalloc, |cz| &cz.pgalloc), sum(&self.shared.pgfree, |cz| &cz.pgfree))
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
    #[inline(always)]
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

impl PageAllocator {
    /// Folds the NUMA events of all slots, as reading /proc/vmstat does.
    pub fn fold_vm_numa_events(&self) {
        for slot in self.spares().ever_used() {
            let cpu = self.enter_slot(slot);
            if cpu.is_leased() {
                self.zones().for_each(|zone| zone.fold_numa_events(&cpu));
            }
        }
    }
}
