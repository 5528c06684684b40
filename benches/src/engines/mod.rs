//! What is measured: the engine and the C variant behind one interface, at several levels.
//!
//! | level   | engine                                     | C variant                        |
//! |---------|--------------------------------------------|----------------------------------|
//! | zone    | `Buddy::take_smallest`, `Buddy::put`       | the same under the zone's lock   |
//! | steal   | `Zone::rmqueue_locked`, `Buddy::put`       | the same under the zone's lock   |
//! | pcp     | lease, `Pcp::take` or `Pcp::commit`        | trylock, per-cpu lists           |
//! | machine | `PageAllocator::alloc_pages`, `free_pages` | watermarks, trylock, references  |
//!
//! Every measured function is called, never inlined into the loop, on both sides.

pub mod c;
pub mod rust;

use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::types::MigrateType;

/// How deep a measurement cuts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The buddy lists of one migratetype.
    Zone,
    /// The buddy lists with fallback between migratetypes.
    Steal,
    /// The per-cpu lists above them, every thread on a cpu of its own.
    Pcp,
    /// Whole calls, every thread on a cpu of its own.
    Fixed,
    /// Whole calls on whatever cpu the thread runs on, as many cpus as the host has.
    Current,
    /// Whole calls for the node of the thread's cpu, on a machine with two nodes.
    Local,
    /// Whole calls for the other node.
    Remote,
}

impl Level {
    /// As tables show it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Zone | Level::Steal => "zone",
            Level::Pcp => "pcp",
            Level::Fixed => "machine, fixed cpu",
            Level::Current => "machine, current cpu",
            Level::Local => "2 nodes, local",
            Level::Remote => "2 nodes, remote",
        }
    }

    /// How many cpus the machine needs for so many threads.
    pub fn nr_cpus(self, nr_threads: usize, nr_host_cpus: usize) -> usize {
        match self {
            Level::Current => nr_host_cpus,
            Level::Local | Level::Remote => nr_threads.max(2), // at least one on each node
            _ => nr_threads,
        }
    }

    /// How many nodes the machine has.
    pub fn nr_nodes(self) -> u32 {
        if matches!(self, Level::Local | Level::Remote) { 2 } else { 1 }
    }
}

/// One thread's access to what is measured.
pub trait Hand {
    /// The first pfn of a block, or [`crate::ffi::NO_PAGE`].
    fn alloc(&self, order: u32, mt: u32) -> u64;
    /// Gives a block back.
    fn free(&self, pfn: u64, order: u32);
    /// Fills the front of the array with single movable pages; how many.
    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize;
    /// Gives single pages back.
    fn free_bulk(&self, pfns: &[u64]);
}

/// What is measured.
pub trait Engine: Sync {
    /// A thread's access.
    type Hand<'a>: Hand
    where
        Self: 'a;

    /// Access for the thread with this number.
    fn hand(&self, thread: usize) -> Self::Hand<'_>;
    /// Gives the pages on per-cpu lists back to the zone.
    fn drain(&self);
}

/// Flags of a request for a migratetype that never waits: the mobility bits, from bit 3 on, are
/// the migratetype.
#[inline(always)]
fn gfp(mt: u32) -> Gfp {
    Gfp(Gfp::GFP_NOWAIT.0 | Gfp::NOWARN.0 | mt << 3)
}

/// Migratetype of most workloads.
pub const MOVABLE: u32 = MigrateType::Movable as u32;
