//! Who has blocks in flight: blocks that are in no list for the moment, because somebody splits,
//! merges, moves or frees them.
//!
//! Whoever does so announces it, so that a thread that finds nothing knows whether there is
//! nothing, and a thread that finds two free buddies knows whether somebody is about to merge them.

use crate::sync::{AcqRel, Acquire, AtomicU32, Relaxed, Release};

/// One announcer's word pair, on a cache line of its own: how many announcements began and how
/// many ended.
///
/// A cpu slot's pair is written by the holder of its lease alone. The last pair of a table is
/// shared by all who hold no lease.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct InFlightFlag {
    begun: AtomicU32,
    ended: AtomicU32,
}

impl InFlightFlag {
    /// Nothing in flight.
    pub fn new() -> Self {
        InFlightFlag { begun: AtomicU32::new(0), ended: AtomicU32::new(0) }
    }

    /// Counts up a word that nobody else writes.
    ///
    /// ORDERING(P5): Release. Who sees `ended` change sees the blocks that were put back before.
    /// Who sees a block gone sees `begun` changed, because the CAS that took it releases this
    /// store, too.
    #[inline(always)]
    fn advance(word: &AtomicU32) {
        // ORDERING(P5)
        word.store(word.load(Relaxed).wrapping_add(1), Release);
    }

    /// If nothing is in flight: a number that changes as soon as something is.
    ///
    /// `ended` is read first and never exceeds `begun`: if the two are equal, they were so at the
    /// first read, and nothing began until the second.
    fn quiet(&self) -> Option<u32> {
        let ended = self.ended.load(Acquire); // ORDERING(P5)
        let begun = self.begun.load(Acquire); // ORDERING(P5)
        (begun == ended).then_some(begun)
    }

    /// Forgets what dead holders had in flight.
    pub fn clear(&self) {
        // ORDERING(P5)
        self.ended.store(self.begun.load(Relaxed), Release);
    }
}

/// The words of all announcers, and which are ours.
#[derive(Clone, Copy, Debug)]
pub struct InFlight<'a> {
    /// Those of our cpu slot, if we hold a lease.
    pub own: Option<&'a InFlightFlag>,
    /// Those of all cpu slots, then the pair of those without a lease.
    pub all: &'a [InFlightFlag],
}

impl InFlight<'_> {
    /// Runs `work`, which takes blocks out and puts blocks back, announced.
    #[inline(always)]
    pub fn announced<R>(&self, work: impl FnOnce() -> R) -> R {
        self.begin();
        let result = work();
        self.end();
        result
    }

    /// Something of ours is in flight from now on.
    #[inline(always)]
    pub fn begin(&self) {
        if let Some(own) = self.own {
            InFlightFlag::advance(&own.begun);
        } else if let Some(shared) = self.all.last() {
            shared.begun.fetch_add(1, AcqRel); // ORDERING(P5)
        }
    }

    /// All of it is back.
    #[inline(always)]
    pub fn end(&self) {
        if let Some(own) = self.own {
            InFlightFlag::advance(&own.ended);
        } else if let Some(shared) = self.all.last() {
            shared.ended.fetch_add(1, AcqRel); // ORDERING(P5)
        }
    }

    /// If nobody else has blocks in flight: a number that changes as soon as somebody has. Two
    /// equal answers prove that in between nobody else put a block anywhere.
    pub fn others_quiet(&self) -> Option<u32> {
        let is_own = |flag: &InFlightFlag| self.own.is_some_and(|own| core::ptr::eq(own, flag));
        let others = self.all.iter().filter(|flag| !is_own(flag));
        others.map(InFlightFlag::quiet).try_fold(0u32, |sum, begun| Some(sum.wrapping_add(begun?)))
    }
}
