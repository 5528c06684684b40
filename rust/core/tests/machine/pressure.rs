//! Reclaim through hooks (spec 11.4 to 11.8).

use super::*;
use pagebuddy_core::pressure::{PressureEvent, Scan};
use std::cell::{Cell, RefCell};

/// Holds pages and gives them back when asked.
struct Cache<'a> {
    machine: &'a PageAllocator,
    pages: RefCell<Vec<Pfn>>,
    scans: RefCell<Vec<Scan>>,
    events: RefCell<Vec<PressureEvent>>,
}

impl<'a> Cache<'a> {
    fn new(machine: &'a PageAllocator) -> Self {
        Cache { machine, pages: RefCell::default(), scans: RefCell::default(), events: RefCell::default() }
    }
}

impl Hooks for Cache<'_> {
    fn event(&self, event: PressureEvent) {
        self.events.borrow_mut().push(event);
    }
    fn has_shrinkers(&self) -> bool {
        true
    }
    fn scan(&self, scan: Scan) -> u64 {
        self.scans.borrow_mut().push(scan);
        let mut pages = self.pages.borrow_mut();
        let n = (scan.nr_to_reclaim as usize).min(pages.len());
        for pfn in pages.drain(..n) {
            self.machine.free_pages(CPU0, pfn, 0).unwrap();
        }
        n as u64
    }
}

/// Direct reclaim is counted once per call, at the highest zone that the request may use.
#[test]
fn direct_reclaims_are_counted() {
    let machine = machine(&Config::default(), 64);
    let counted = || -> Vec<(&str, u64)> {
        let items = machine.vmstat_report().items;
        items.into_iter().filter(|(name, count)| name.starts_with("allocstall") && *count > 0).collect()
    };
    for gfp in [Gfp::GFP_ATOMIC, Gfp::GFP_ATOMIC | Gfp::DMA] {
        while alloc(&machine, gfp, 0).is_ok() {}
    }
    assert_eq!(counted(), [], "these do not reclaim");
    let cache = Cache::new(&machine);
    let norm = Gfp::GFP_KERNEL | Gfp::NORETRY;
    assert!(alloc(&machine, norm, 0).is_err());
    assert!(alloc(&machine, norm | Gfp::DMA, 0).is_err());
    for _ in 0..2 {
        assert!(alloc_with(&machine, Gfp::GFP_HIGHUSER_MOVABLE, 0, &cache).is_err());
    }
    let nr_rounds =
        cache.events.borrow().iter().filter(|event| matches!(event, PressureEvent::DirectReclaim(_))).count();
    assert!(nr_rounds > 1);
    assert_eq!(counted(), [("allocstall_dma", 1), ("allocstall_normal", 1), ("allocstall_movable", nr_rounds as u64)]);
    assert_eq!(PageAllocator::restore(&machine.snapshot()).unwrap().vmstat_report(), machine.vmstat_report());
}

#[test]
fn background_reclaim_runs_until_the_high_watermark() {
    let machine = machine(&Config::default(), 64);
    let cache = Cache::new(&machine);
    for _ in 0..40_000 {
        let pfn = alloc_with(&machine, Gfp::GFP_HIGHUSER_MOVABLE, 0, &cache).unwrap();
        cache.pages.borrow_mut().push(pfn);
    }
    let scans = cache.scans.borrow();
    assert!(!scans.is_empty() && scans.iter().all(|scan| scan.nid == Some(0)), "kswapd alone was enough");
    let state = machine.state();
    assert!(state.zones.iter().all(|zone| zone.flags & 2 == 0), "no zone is being reclaimed any more");
    machine.validate().unwrap();
}

#[test]
fn without_hooks_every_request_ends() {
    let machine = machine(&Config::default(), 16);
    let kinds = [
        Gfp::GFP_KERNEL,
        Gfp::GFP_ATOMIC,
        Gfp::GFP_NOWAIT,
        Gfp::GFP_HIGHUSER_MOVABLE,
        Gfp::GFP_KERNEL | Gfp::NORETRY,
        Gfp::GFP_KERNEL | Gfp::RETRY_MAYFAIL,
        Gfp::GFP_KERNEL | Gfp::MEMALLOC,
    ];
    for gfp in kinds {
        for order in [10, 4, 3, 0] {
            while alloc(&machine, gfp, order).is_ok() {}
            assert_eq!(alloc(&machine, gfp, order), Err(AllocError::NoMemory));
        }
    }
    while alloc(&machine, Gfp::GFP_KERNEL | Gfp::NOFAIL, 0).is_ok() {}
    assert_eq!(alloc(&machine, Gfp::GFP_KERNEL | Gfp::NOFAIL, 0), Err(AllocError::WouldLoopForever));
    assert_eq!(alloc(&machine, Gfp::GFP_KERNEL, 11), Err(AllocError::OrderOutOfRange));
    assert_eq!(alloc(&machine, Gfp::GFP_KERNEL, u32::MAX), Err(AllocError::OrderOutOfRange));
    machine.validate().unwrap();
}

#[test]
fn lying_and_reentrant_hooks_cannot_hang_a_request() {
    struct Liar<'a>(&'a PageAllocator, Cell<u32>);
    impl Hooks for Liar<'_> {
        fn has_shrinkers(&self) -> bool {
            true
        }
        fn scan(&self, _scan: Scan) -> u64 {
            self.1.set(self.1.get() + 1);
            // A hook that allocates is served from the reserves and reclaims nothing itself.
            let _ = alloc_with(self.0, Gfp::GFP_KERNEL, 0, self);
            u64::MAX
        }
        fn reclaimable_pages(&self, _nid: u32, _zone: usize) -> u64 {
            u64::MAX
        }
        fn out_of_memory(&self, _request: pagebuddy_core::pressure::Request) -> bool {
            true
        }
    }
    let machine = machine(&Config::default(), 16);
    let liar = Liar(&machine, Cell::new(0));
    while alloc(&machine, Gfp::GFP_KERNEL, 0).is_ok() {}
    assert_eq!(alloc_with(&machine, Gfp::GFP_KERNEL, 0, &liar), Err(AllocError::NoMemory));
    assert!(liar.1.get() > 0);
    machine.validate().unwrap();
}
