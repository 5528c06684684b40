//! Cpu slots: who may use which per-cpu lists (the kernel's "executing cpu").
//!
//! A slot is leased with one CAS and given back with one store. Nobody waits for a slot: if it is
//! taken, because its holder lost the processor or was killed, the caller uses a spare one, or works
//! on the zone directly.

use crate::pressure::PressureEvent;
use crate::segment::CpuSlot;
use crate::sync::{Acquire, Relaxed, Release};
use core::cell::Cell;

/// A lease of a cpu slot; dropping it gives it back.
pub struct Lease<'a>(&'a CpuSlot);

impl<'a> Lease<'a> {
    /// The lease of a slot that nobody uses.
    #[inline(always)]
    pub fn take(slot: &'a CpuSlot, holder: u64) -> Option<Lease<'a>> {
        // A cheap look first; the CAS decides.
        let is_ours = slot.is_free()
            // ORDERING(P7): Acquire, sees what the last holder wrote.
            && slot.lease.compare_exchange(0, holder, Acquire, Relaxed).is_ok();
        // Not `then_some`, which would make and drop a lease that we do not have.
        is_ours.then(|| Lease(slot))
    }
}

impl Drop for Lease<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // ORDERING(P7): Release, publishes what we wrote to the next holder.
        self.0.lease.store(0, Release);
    }
}

/// A cpu a caller runs on, and whether its per-cpu state is ours for the moment.
#[expect(clippy::box_collection, reason = "one word on every call's stack instead of three")]
pub struct Cpu<'a> {
    slot: &'a CpuSlot,
    number: usize,
    lease: Option<Lease<'a>>,
    /// Fallbacks to tell of when the lease is given back.
    fallbacks: Cell<Option<Box<Vec<PressureEvent>>>>,
}

impl<'a> Cpu<'a> {
    /// Slot `number`, leased if nobody holds it.
    #[inline(always)]
    pub fn enter(slots: &'a [CpuSlot], number: usize, holder: u64) -> Cpu<'a> {
        let slot = &slots[number];
        let lease = Lease::take(slot, holder);
        Cpu { slot, number, lease, fallbacks: Cell::new(None) }
    }

    /// Cpu `number` without its lease.
    pub fn unleased(slots: &'a [CpuSlot], number: usize) -> Cpu<'a> {
        Cpu { slot: &slots[number], number, lease: None, fallbacks: Cell::new(None) }
    }

    /// Number of the cpu.
    #[inline(always)]
    pub fn id(&self) -> usize {
        self.slot.cpu.load(Relaxed) as usize // ORDERING(R1)
    }

    /// Number of the slot, which is that of the cpu unless it is a spare one.
    #[inline(always)]
    pub fn slot_number(&self) -> usize {
        self.number
    }

    /// May we use the cpu's lists and differentials?
    #[inline(always)]
    pub fn is_leased(&self) -> bool {
        self.lease.is_some()
    }

    /// Remembers a fallback until the lease is given back.
    pub fn remember_fallback(&self, event: PressureEvent) {
        let mut fallbacks = self.fallbacks.take().unwrap_or_default();
        fallbacks.push(event);
        self.fallbacks.set(Some(fallbacks));
    }

    /// Gives the lease back; the fallbacks that were remembered.
    #[inline(always)]
    pub fn leave(self) -> Option<Box<Vec<PressureEvent>>> {
        self.fallbacks.take()
    }

    /// Node of the cpu.
    #[inline(always)]
    pub fn node(&self) -> u32 {
        self.slot.node.load(Relaxed) // ORDERING(R1)
    }
}

impl core::fmt::Debug for Cpu<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "cpu {}, slot {}{}", self.id(), self.number, if self.is_leased() { " (leased)" } else { "" })
    }
}
