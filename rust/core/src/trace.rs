//! kmem trace events (include/trace/events/kmem.h), collected when somebody listens.

use crate::sync::{AtomicU32, Relaxed};
use crate::types::Pfn;
use std::sync::Mutex;

/// One event. Migratetypes are engine numbers (CMA 4, Isolate 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Where events go. Off (the default) it costs one relaxed load per site.
#[derive(Debug, Default)]
pub struct TraceSink {
    on: AtomicU32,
    events: Mutex<Vec<(u32, Event)>>,
}

impl TraceSink {
    /// Is anybody listening?
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed) != 0 // ORDERING(R9)
    }

    /// Records what `event` makes, if anybody is listening.
    #[inline(always)]
    pub fn emit(&self, cpu: usize, event: impl FnOnce() -> Event) {
        if self.is_on() {
            self.record(cpu, event());
        }
    }

    #[cold]
    #[inline(never)]
    fn record(&self, cpu: usize, event: Event) {
        if let Ok(mut events) = self.events.lock() {
            events.push((cpu as u32, event));
        }
    }

    /// Starts or stops collecting.
    pub fn switch(&self, on: bool) {
        self.on.store(on.into(), Relaxed); // ORDERING(R9)
    }

    /// Takes what was collected: cpu and event, in order.
    pub fn take(&self) -> Vec<(u32, Event)> {
        self.events.lock().map(|mut events| std::mem::take(&mut *events)).unwrap_or_default()
    }
}
