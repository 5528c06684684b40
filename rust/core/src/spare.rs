//! Spare cpu slots: for calls whose cpu's slot is taken, because its holder lost the processor
//! inside a call, or was killed there.
//!
//! A spare slot has per-cpu lists like any other, but as short as a cpu's may be, and adds what
//! it counts of free pages to the zone at once, so that neither sizes nor watermarks depend on how
//! many there are. Nobody uses one unless calls overlap on one cpu: calls made one after the other
//! never notice them.

use crate::segment::CpuSlot;
use crate::sync::{AtomicU64, Relaxed};
use core::cell::Cell;
use core::sync::atomic::AtomicUsize;

const IS_MODEL: bool = cfg!(any(feature = "loom", feature = "schedules"));

/// Spare slots of a machine: as many threads may lose the processor inside a call before the others
/// have to work on the zone without a slot.
pub const NR_SPARES: usize = if IS_MODEL { 1 } else { 64 };

/// `high` of a spare slot's lists, in batches: the least that a cpu's lists have once the machine
/// is up.
const HIGH_BATCHES: u32 = 4;

/// `high` of the lists of a spare slot where a cpu's have `high` and `batch`.
pub fn spare_high(high: u32, batch: u32) -> u32 {
    high.min(batch.saturating_mul(HIGH_BATCHES))
}

/// Where the next thread begins to look.
static NEXT_HINT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Where this thread last found a spare slot: most likely it is free again, and its pages are
    /// still in the processor's cache.
    static HINT: Cell<usize> = Cell::new(first_hint());
}

/// Threads, and processes too, begin at different places.
fn first_hint() -> usize {
    const FAR_APART: usize = 37;
    // ORDERING(R6): only a hint.
    NEXT_HINT.fetch_add(1, Relaxed).wrapping_add(std::process::id() as usize * FAR_APART)
}

/// All slots of a machine, and which of the spare ones were ever used.
#[derive(Clone, Copy)]
pub struct Spares<'a> {
    /// Those of the cpus, then the spare ones.
    pub slots: &'a [CpuSlot],
    /// Number of cpus.
    pub nr_cpus: usize,
    /// A bit for each spare slot.
    pub used: &'a AtomicU64,
}

impl Spares<'_> {
    /// Number of a spare slot on the node of cpu `own` that nobody uses at this moment, if any.
    pub fn find(self, own: usize) -> Option<usize> {
        let nr_spares = self.slots.len() - self.nr_cpus;
        let node = self.slots[own].node.load(Relaxed); // ORDERING(R1)
        let is_free = |spare: &usize| {
            let slot = &self.slots[self.nr_cpus + spare];
            slot.is_free() && slot.is_online() && slot.node.load(Relaxed) == node // ORDERING(R1)
        };
        let hint = if IS_MODEL { 0 } else { HINT.get() };
        let found = (0..nr_spares).map(|i| hint.wrapping_add(i) % nr_spares).find(is_free)?;
        HINT.set(found);
        Some(self.nr_cpus + found)
    }

    /// Was this slot ever used? Those of cpus count as used.
    pub fn was_used(self, slot: usize) -> bool {
        // ORDERING(R7)
        slot.checked_sub(self.nr_cpus).is_none_or(|spare| self.used.load(Relaxed) >> spare & 1 != 0)
    }

    /// Remembers that a spare slot is used, so that drains look there.
    pub fn mark_used(self, slot: usize) {
        self.used.fetch_or(1 << (slot - self.nr_cpus), Relaxed); // ORDERING(R7)
    }

    /// Numbers of the cpus' slots and of the spare ones that were ever used, ascending.
    pub fn ever_used(self) -> impl Iterator<Item = usize> {
        (0..self.slots.len()).filter(move |slot| self.was_used(*slot))
    }
}

const _: () = assert!(NR_SPARES <= u64::BITS as usize, "one bit for each");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::segment::{Segment, SegmentPlan};

    #[test]
    fn a_spare_slot_is_free_and_online_and_on_the_node_of_the_cpu() {
        let plan = SegmentPlan {
            config: Config::default(),
            nr_nodes: 2,
            nr_cpus: 2,
            nr_spares: 4,
            zones: Vec::new(),
            nr_zonelist_entries: 0,
            nr_memory: 0,
            nr_reserved: 0,
            end_pfn: 0,
        };
        let segment = Segment::create(&plan).unwrap();
        let (slots, used) = (&*segment.slots, &segment.machine.spares_used);
        for (number, slot) in slots.iter().enumerate() {
            slot.node.store(number as u32 % 2, Relaxed);
        }
        let spares = Spares { slots, nr_cpus: 2, used };
        assert_eq!(spares.find(0), None, "none is online");
        slots[2..].iter().for_each(|slot| slot.online.store(1, Relaxed));
        for (cpu, on_node) in [(0, [2, 4]), (1, [3, 5])] {
            let first = spares.find(cpu).unwrap();
            assert!(on_node.contains(&first));
            assert_eq!(spares.find(cpu), Some(first), "where it was found last");
            slots[first].lease.store(1, Relaxed);
            let second = spares.find(cpu).unwrap();
            assert!(on_node.contains(&second) && second != first);
            slots[second].lease.store(1, Relaxed);
            assert_eq!(spares.find(cpu), None, "both are taken");
        }
        spares.mark_used(4);
        assert_eq!(spares.ever_used().collect::<Vec<_>>(), [0, 1, 4]);
    }

    #[test]
    fn spare_lists_are_short() {
        assert_eq!(spare_high(1295, 63), 252);
        assert_eq!(spare_high(5, 3), 5, "never longer than the cpu's own");
        assert_eq!(spare_high(0, 1), 0, "none before the pagesets are real");
        assert_eq!(spare_high(u32::MAX, u32::MAX), u32::MAX);
    }
}
