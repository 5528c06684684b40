//! Cpu slots: who may use which per-cpu lists (the kernel's "executing cpu").
//!
//! A slot is leased with one CAS and given back with one store. Nobody waits for a slot: if it is
//! taken, the caller uses another one, or works on the zone directly.

use crate::segment::CpuSlot;
use crate::sync::{Acquire, Relaxed, Release};

/// A cpu a caller runs on, and whether its per-cpu state is ours for the moment.
#[derive(Debug)]
pub struct Cpu<'a> {
    slot: &'a CpuSlot,
    id: usize,
    leased: bool,
}

impl<'a> Cpu<'a> {
    /// Cpu `id`, leased if nobody holds it.
    #[inline(always)]
    pub fn enter(slots: &'a [CpuSlot], id: usize, holder: u64) -> Cpu<'a> {
        let slot = &slots[id];
        // ORDERING(R6): a cheap look first; the CAS decides.
        let leased = slot.lease.load(Relaxed) == 0
            // ORDERING(P7): Acquire, sees what the last holder wrote.
            && slot.lease.compare_exchange(0, holder, Acquire, Relaxed).is_ok();
        Cpu { slot, id, leased }
    }

    /// A free online cpu, `first` if possible; unleased `first` if all are taken.
    #[inline]
    pub fn enter_any(slots: &'a [CpuSlot], first: usize, holder: u64) -> Cpu<'a> {
        for i in 0..slots.len() {
            let id = (first + i) % slots.len();
            // Nobody drains the lists of a cpu that never came online.
            // ORDERING(R7)
            if slots[id].online.load(Relaxed) == 0 {
                continue;
            }
            let cpu = Cpu::enter(slots, id, holder);
            if cpu.leased {
                return cpu;
            }
        }
        Cpu { slot: &slots[first], id: first, leased: false }
    }

    /// Number of the cpu.
    #[inline(always)]
    pub fn id(&self) -> usize {
        self.id
    }

    /// May we use the cpu's lists and differentials?
    #[inline(always)]
    pub fn is_leased(&self) -> bool {
        self.leased
    }

    /// Node of the cpu.
    #[inline(always)]
    pub fn node(&self) -> u32 {
        self.slot.node.load(Relaxed) // ORDERING(R1)
    }
}

impl Drop for Cpu<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.leased {
            // ORDERING(P7): Release, publishes what we wrote to the next holder.
            self.slot.lease.store(0, Release);
        }
    }
}
