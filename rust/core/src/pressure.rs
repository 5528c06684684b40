//! Hooks: what the allocator asks of reclaim, compaction, kswapd and the OOM killer.
//!
//! The allocator decides when to call and what to do with the answer; the hooks decide what
//! happens in between. No cpu lease is held during a call, so a hook may allocate and free.

use crate::gfp::Gfp;
use crate::types::{MigrateType, Pfn};
use std::cell::Cell;

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

/// One call of the shrinkers (mm/vmscan.c, `struct scan_control`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The node to free pages of; `None` for direct reclaim, which takes any node of the request.
    pub nid: Option<u32>,
    /// The request on whose behalf pages are freed.
    pub request: Request,
    /// 12 (gentle) down to 0 (everything).
    pub priority: u32,
    /// How many pages are wanted.
    pub nr_to_reclaim: u64,
}

/// Something the allocator noticed or asked for, in the order in which the kernel would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PressureEvent {
    /// kswapd of a node was asked to run (`wakeup_kswapd`).
    WakeKswapd {
        /// Node.
        nid: u32,
        /// Zone index of the first zone of the node that the request may use.
        zone: usize,
        /// The request.
        request: Request,
    },
    /// kswapd was asked to run because an allocation boosted a zone's watermarks.
    Boosted {
        /// Node.
        nid: u32,
        /// Zone index.
        zone: usize,
    },
    /// A block of another migratetype was taken (told only if somebody wants to know,
    /// [`crate::allocator::PageAllocator::tell_fallbacks`]).
    Fallback {
        /// Node.
        nid: u32,
        /// Zone index.
        zone: usize,
        /// First page of the block.
        pfn: Pfn,
        /// Order of the request.
        order: u32,
        /// Order of the block.
        fallback_order: u32,
        /// Migratetype of the request.
        migratetype: MigrateType,
        /// Migratetype of the list the block was in.
        fallback_migratetype: MigrateType,
    },
    /// Direct reclaim begins.
    DirectReclaim(Request),
    /// Direct compaction begins.
    DirectCompact(Request, CompactPriority),
    /// The OOM killer is called.
    OutOfMemory(Request),
}

/// What lies outside the allocator. Every method has the answer of a machine on which nothing can
/// be reclaimed.
pub trait Hooks {
    /// Tells what is about to happen.
    fn event(&self, _event: PressureEvent) {}

    /// Is there anything that [`Self::scan`] could free? If not, kswapd has nothing to run.
    fn has_shrinkers(&self) -> bool {
        false
    }

    /// Frees pages (by calling the allocator's freeing functions): how many.
    fn scan(&self, _scan: Scan) -> u64 {
        0
    }

    /// Pages of a zone that reclaim could free (`zone_reclaimable_pages`).
    fn reclaimable_pages(&self, _nid: u32, _zone: usize) -> u64 {
        0
    }

    /// Direct compaction.
    fn compact(&self, _request: Request, _priority: CompactPriority) -> CompactResult {
        CompactResult::Skipped
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

thread_local! {
    /// This thread is inside a hook: it may use the reserves and must not reclaim
    /// (`PF_MEMALLOC`).
    static MEMALLOC: Cell<bool> = const { Cell::new(false) };
}

/// Is the calling thread inside a hook?
#[inline(always)]
pub(crate) fn is_memalloc() -> bool {
    MEMALLOC.with(Cell::get)
}

/// Calls a hook with `PF_MEMALLOC` set for the calling thread.
pub(crate) fn as_memalloc<R>(hook: impl FnOnce() -> R) -> R {
    /// Puts the old value back even if the hook unwinds.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            MEMALLOC.with(|flag| flag.set(self.0));
        }
    }
    let _restore = Restore(MEMALLOC.with(|flag| flag.replace(true)));
    hook()
}
