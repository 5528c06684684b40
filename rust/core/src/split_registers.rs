//! The split registers of a zone as shared words, with their orderings. What a register says:
//! [`crate::word::split_register`].

use crate::sync::{Acquire, AtomicU64, Release, SeqCst};
use crate::types::NR_MIGRATETYPES;
use crate::word::split_register::SplitRegister;

/// The split registers of a zone, one per migratetype, together on one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct SplitRegisters {
    registers: [AtomicU64; NR_MIGRATETYPES],
    /// Bit mt: register mt has had an element at some time. Most zones use two or three of them,
    /// and nobody needs to look at the others.
    used: AtomicU64,
}

impl SplitRegisters {
    /// Empty registers.
    pub fn new() -> Self {
        SplitRegisters { registers: core::array::from_fn(|_| AtomicU64::new(0)), used: AtomicU64::new(0) }
    }

    /// The registers that may have elements: one bit per migratetype, never taken back.
    ///
    /// ORDERING(S1): SeqCst, so that a register that is not named here was empty when we looked.
    #[inline(always)]
    pub fn used(&self) -> u32 {
        // ORDERING(S1). Nothing but bits of migratetypes, whatever the memory holds.
        self.used.load(SeqCst) as u32 & ((1 << NR_MIGRATETYPES) - 1)
    }

    /// Before a register gets elements. ORDERING(P4): AcqRel, seen by all who see the elements.
    #[inline(always)]
    fn mark_used(&self, mt: usize) {
        // ORDERING(P4)
        if self.used.load(Acquire) >> mt & 1 == 0 {
            self.used.fetch_or(1 << mt, SeqCst); // ORDERING(S1)
        }
    }

    /// The register. ORDERING(S1): SeqCst, because the free path's re-check looks here as well.
    #[inline(always)]
    pub fn load(&self, mt: usize) -> SplitRegister {
        SplitRegister::from_raw(self.registers[mt].load(SeqCst)) // ORDERING(S1)
    }

    /// Replaces a value that is still there.
    ///
    /// ORDERING(P4): hands the elements over. ORDERING(S1): SeqCst, because a block that is freed
    /// into a register is published by this exchange.
    #[inline(always)]
    pub fn cas(&self, mt: usize, old: SplitRegister, new: SplitRegister) -> Result<(), SplitRegister> {
        if old.is_empty() {
            self.mark_used(mt);
        }
        self.cas_of_used(mt, old, new)
    }

    /// [`Self::cas`] of a value that is not empty, so that the register is marked as used.
    #[inline(always)]
    pub fn cas_of_used(&self, mt: usize, old: SplitRegister, new: SplitRegister) -> Result<(), SplitRegister> {
        // ORDERING(P4, S1)
        match self.registers[mt].compare_exchange(old.raw(), new.raw(), SeqCst, Acquire) {
            Ok(_) => Ok(()),
            Err(seen) => Err(SplitRegister::from_raw(seen)),
        }
    }

    /// For planted bugs only.
    pub fn blind_store(&self, mt: usize, new: SplitRegister) {
        self.mark_used(mt);
        self.registers[mt].store(new.raw(), Release); // ORDERING(P4)
    }
}

impl Default for SplitRegisters {
    fn default() -> Self {
        Self::new()
    }
}
