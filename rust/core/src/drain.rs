//! Returning what per-cpu lists hold (mm/page_alloc.c, `drain_pages` and its callers).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::sync::Relaxed;

impl PageAllocator {
    /// Returns the pages of one slot's lists, of one zone or of all (`drain_local_pages`). False if
    /// somebody else is using them.
    pub fn drain_cpu(&self, slot: usize, zone: Option<usize>) -> bool {
        let cpu = self.enter_slot(slot);
        if !cpu.is_leased() {
            return false;
        }
        for zone in self.zones().filter(|z| zone.is_none_or(|number| number == z.number)) {
            if let Some(pcp) = zone.pcp(&cpu) {
                pcp.drain(&cpu);
            }
        }
        true
    }

    /// Returns the pages of all cpus' lists (`drain_all_pages`), cpus in ascending order, then spare
    /// slots. Lists somebody is using at this moment are left alone; how many slots those were.
    pub fn drain_all(&self, zone: Option<usize>) -> usize {
        self.spares().ever_used().filter(|slot| !self.drain_cpu(*slot, zone)).count()
    }

    /// Returns the pages of the spare slots that nobody is using at this moment.
    pub(crate) fn drain_spares(&self) {
        // ORDERING(R8): a look that saves a lease.
        let has_pages = |slot: usize| self.zones().any(|zone| zone.cpu_zones[slot].count.load(Relaxed) != 0);
        for slot in self.spares().ever_used().filter(|slot| *slot >= self.nr_cpus() && has_pages(*slot)) {
            self.drain_cpu(slot, None);
        }
    }

    /// The periodic work of one cpu (mm/vmstat.c, `refresh_cpu_vm_stats`); with `do_pagesets` the
    /// spare slots' pages are returned, too. False if somebody is using the cpu at this moment.
    pub fn refresh_cpu_vm_stats(&self, cpu: usize, do_pagesets: bool) -> bool {
        if do_pagesets {
            self.drain_spares();
        }
        let cpu = self.enter(CpuChoice::Fixed(cpu));
        if cpu.is_leased() {
            self.zones().for_each(|zone| zone.refresh_vm_stats(&cpu, do_pagesets));
        }
        cpu.is_leased()
    }
}
