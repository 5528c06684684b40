//! Hooks: what the allocator asks of reclaim, compaction, kswapd and the OOM killer.
//!
//! The allocator decides when to call and what to do with the answer; the hooks decide what
//! happens in between. No cpu lease is held during a call, so a hook may allocate and free.

use crate::gfp::Gfp;

/// Result of a compaction attempt, in the kernel's order (include/linux/compaction.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CompactResult {
    /// Not a suitable zone.
    NotSuitableZone,
    /// Did not start, too little free memory.
    Skipped,
    /// Did not start, failed recently.
    Deferred,
    /// No suitable page.
    NoSuitablePage,
    /// Should go on.
    Continue,
    /// Everything was scanned.
    Complete,
    /// Only a part was scanned.
    PartialSkipped,
    /// Gave way to others.
    Contended,
    /// A suitable block should be there now.
    Success,
}

/// How hard compaction works (`enum compact_priority`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CompactPriority {
    /// Everything, synchronously.
    SyncFull = 0,
    /// Synchronously, gently.
    SyncLight = 1,
    /// Asynchronously.
    Async = 2,
}

/// A request as the hooks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Masked gfp flags.
    pub gfp: Gfp,
    /// Order.
    pub order: u32,
    /// Highest zone index it may use.
    pub highest_zone: usize,
    /// Nodes it may use; `None` is all.
    pub nodemask: Option<u64>,
}

/// What lies outside the allocator. Every method has the answer of a machine on which nothing can
/// be reclaimed.
pub trait Hooks {
    /// kswapd of a node is asked to run for a zone (`wakeup_kswapd`).
    fn wake_kswapd(&self, _nid: u32, _zone: usize, _request: Request) {}

    /// A zone's watermark was boosted by an allocation (`wakeup_kswapd(zone, 0, 0, zone index)`).
    fn boosted(&self, _nid: u32, _zone: usize) {}

    /// Direct compaction.
    fn compact(&self, _request: Request, _priority: CompactPriority) -> CompactResult {
        CompactResult::Skipped
    }

    /// Direct reclaim: number of pages that were freed.
    fn reclaim(&self, _request: Request) -> u64 {
        0
    }

    /// Pages of a zone that reclaim could free (`zone_reclaimable_pages`).
    fn reclaimable_pages(&self, _nid: u32, _zone: usize) -> u64 {
        0
    }

    /// The OOM killer: true if it freed something or will soon.
    fn out_of_memory(&self, _request: Request) -> bool {
        false
    }
}

/// A machine on which nothing can be reclaimed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}
