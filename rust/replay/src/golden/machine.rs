//! What a replay needs from an allocator.

use super::recording::Recording;
use pagebuddy_core::state::{MachineState, ZoneRef, ZoneState};
use pagebuddy_core::tunables::Sysctl;
use pagebuddy_core::types::{MigrateType, Pfn};
use std::fmt::Display;

/// An allocator that a recording can be replayed on.
///
/// Errors are only displayed: a replay stops at the first operation that does not do what was
/// recorded.
pub trait Machine: Sized {
    /// Why a page cannot be freed or split.
    type BadPage: Display;

    /// The recorded machine right after the hand-over.
    fn boot(recording: &Recording) -> Result<Self, String>;

    /// The recorded machine at the start of the operations of a late recording, from its start
    /// state ([`Recording::start_machine`]).
    fn start(recording: &Recording) -> Result<Self, String>;

    /// Everything about the machine.
    fn dump(&self) -> MachineState;

    /// The zones alone, for digests: fields that a digest does not cover may be empty.
    fn dump_lists(&self) -> Vec<ZoneState>;

    /// Allocates a block, preferring a node (mm/page_alloc.c, `__alloc_pages`).
    fn alloc(&mut self, cpu: usize, gfp: u32, order: u32, nid: u32, nodemask: Option<u64>) -> Option<Pfn>;

    /// Drops the only reference to a block (`__free_pages`).
    fn free(&mut self, cpu: usize, pfn: Pfn, order: u32) -> Result<(), Self::BadPage>;

    /// Drains the CPU's lists of all zones (`drain_local_pages`).
    fn drain(&mut self, cpu: usize);

    /// Fills the empty slots with single pages and returns how many slots of the array's beginning
    /// are populated (`__alloc_pages_bulk` with an array).
    fn bulk_array(&mut self, cpu: usize, gfp: u32, nid: u32, nodemask: Option<u64>, slots: &mut [Option<Pfn>])
    -> usize;

    /// Puts up to `n` single pages in front of an empty list (`__alloc_pages_bulk` with a list).
    fn bulk_list(&mut self, cpu: usize, gfp: u32, nid: u32, nodemask: Option<u64>, n: usize) -> Vec<Pfn>;

    /// Allocates pages under the policy of the CPU's task and gives the unused rest of the block
    /// back (`alloc_pages_exact`).
    fn alloc_exact(&mut self, cpu: usize, gfp: u32, nr_pages: u64) -> Option<Pfn>;

    /// Frees an exact allocation (`free_pages_exact`).
    fn free_exact(&mut self, cpu: usize, pfn: Pfn, nr_pages: u64) -> Result<(), Self::BadPage>;

    /// Splits an allocated block into single pages (`split_page`).
    fn split(&mut self, pfn: Pfn, order: u32) -> Result<(), Self::BadPage>;

    /// Frees a block whose first page somebody else references (`__free_pages`).
    fn free_referenced(&mut self, cpu: usize, pfn: Pfn, order: u32) -> Result<(), Self::BadPage>;

    /// Frees single pages in one call (`free_unref_page_list`).
    fn free_list(&mut self, cpu: usize, pfns: &[Pfn]) -> Result<(), Self::BadPage>;

    /// Gives one high-atomic pageblock back (`unreserve_highatomic_pageblock`).
    fn unreserve_highatomic(&mut self, cpu: usize, gfp: u32, nid: u32, force: bool) -> bool;

    /// Sets or clears a zone's reclaim-active flag.
    fn reclaim_active(&mut self, zone: ZoneRef, active: bool);

    /// Writes a tunable; the error is the kernel's, negative.
    fn sysctl(&mut self, cpu: usize, tunable: Sysctl, values: &[i64]) -> Result<(), i32>;

    /// Sets the policy of the CPU's task (mm/mempolicy.c, `do_set_mempolicy`).
    fn set_policy(&mut self, cpu: usize, mode: u32, flags: u32, nodes: u64) -> Result<(), i32>;

    /// Nodes with memory, and with memory below zone Movable, as policies see them.
    fn policy_nodes(&self) -> (u64, u64);

    /// Mode and nodes of the policy in force for the CPU's task.
    fn policy(&self, cpu: usize) -> (u32, u64);

    /// The interleave position of the CPU's task (`il_prev`).
    fn interleave_position(&self, cpu: usize) -> u32;

    /// Allocates a block under the policy of the CPU's task (`alloc_pages`).
    fn alloc_policy(&mut self, cpu: usize, gfp: u32, order: u32) -> Option<Pfn>;

    /// Isolates the pageblocks of a range (mm/page_isolation.c, `start_isolate_page_range`).
    fn isolate(&mut self, cpu: usize, start: Pfn, end: Pfn, mt: MigrateType) -> Result<(), i32>;

    /// Undoes an isolation (`undo_isolate_page_range`).
    fn undo_isolate(&mut self, cpu: usize, start: Pfn, end: Pfn, mt: MigrateType) -> Result<(), i32>;
}
