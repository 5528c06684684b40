//! kmem trace events (include/trace/events/kmem.h): collected when somebody listens, told as the
//! kernel's text or as columns.

mod columns;
mod sink;
mod text;

pub use columns::TraceColumns;
pub use sink::{Record, Trace, TraceClock, TraceError, TraceSink, TracerId};
pub use text::{FtraceTask, Payload};

use crate::types::Pfn;

/// One event. Migratetypes are engine numbers (CMA 4, Isolate 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields carry the names of the trace event's fields")]
pub enum Event {
    /// `mm_page_alloc`; `pfn` is `None` for a failed allocation.
    Alloc { pfn: Option<Pfn>, order: u32, gfp: u32, migratetype: u8 },
    /// `mm_page_alloc_zone_locked`.
    AllocZoneLocked { pfn: Pfn, order: u32, migratetype: u8 },
    /// `mm_page_alloc_extfrag`.
    AllocExtfrag {
        pfn: Pfn,
        alloc_order: u32,
        fallback_order: u32,
        alloc_migratetype: u8,
        fallback_migratetype: u8,
        change_ownership: bool,
    },
    /// `mm_page_free`.
    Free { pfn: Pfn, order: u32 },
    /// `mm_page_free_batched`.
    FreeBatched { pfn: Pfn },
    /// `mm_page_pcpu_drain`.
    PcpuDrain { pfn: Pfn, order: u32, migratetype: u8 },
}

impl Event {
    /// Names of the events, by [`Event::index`].
    pub const NAMES: [&str; 6] = [
        "mm_page_alloc",
        "mm_page_alloc_zone_locked",
        "mm_page_alloc_extfrag",
        "mm_page_free",
        "mm_page_free_batched",
        "mm_page_pcpu_drain",
    ];

    /// Which event it is, as an index into [`Event::NAMES`].
    pub const fn index(&self) -> usize {
        match self {
            Event::Alloc { .. } => 0,
            Event::AllocZoneLocked { .. } => 1,
            Event::AllocExtfrag { .. } => 2,
            Event::Free { .. } => 3,
            Event::FreeBatched { .. } => 4,
            Event::PcpuDrain { .. } => 5,
        }
    }

    /// The event's name.
    pub const fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// The page; `None` for a failed allocation.
    pub const fn pfn(&self) -> Option<Pfn> {
        match *self {
            Event::Alloc { pfn, .. } => pfn,
            Event::AllocZoneLocked { pfn, .. }
            | Event::AllocExtfrag { pfn, .. }
            | Event::Free { pfn, .. }
            | Event::FreeBatched { pfn }
            | Event::PcpuDrain { pfn, .. } => Some(pfn),
        }
    }

    /// The order: of a fallback the request's.
    pub const fn order(&self) -> u32 {
        match *self {
            Event::Alloc { order, .. }
            | Event::AllocZoneLocked { order, .. }
            | Event::Free { order, .. }
            | Event::PcpuDrain { order, .. } => order,
            Event::AllocExtfrag { alloc_order, .. } => alloc_order,
            Event::FreeBatched { .. } => 0,
        }
    }

    /// The migratetype: requested, or of the list a drained page goes to.
    pub const fn migratetype(&self) -> Option<u8> {
        match *self {
            Event::Alloc { migratetype, .. }
            | Event::AllocZoneLocked { migratetype, .. }
            | Event::PcpuDrain { migratetype, .. } => Some(migratetype),
            Event::AllocExtfrag { alloc_migratetype, .. } => Some(alloc_migratetype),
            Event::Free { .. } | Event::FreeBatched { .. } => None,
        }
    }

    /// Is it emitted with interrupts off?
    const fn is_irqs_off(&self) -> bool {
        !matches!(self, Event::Alloc { .. } | Event::Free { .. })
    }
}
