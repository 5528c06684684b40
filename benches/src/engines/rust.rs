//! The engine at each level.

use super::{Engine, Hand, Level, MOVABLE, gfp};
use crate::ffi::NO_PAGE;
use crate::twins::Machine;
use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::bulk::BulkRequest;
use pagebuddy_core::cpu::{Cpu, Lease};
use pagebuddy_core::free_area::Side;
use pagebuddy_core::gfp::AllocFlags;
use pagebuddy_core::page_alloc::AllocRequest;
use pagebuddy_core::pcp::Pcp;
use pagebuddy_core::pcp_sizing::PcpOrders;
use pagebuddy_core::pressure::NoHooks;
use pagebuddy_core::run::for_each_run;
use pagebuddy_core::types::MigrateType;
use pagebuddy_core::word::PageIdx;
use pagebuddy_core::zone::Zone;

fn migratetype(mt: u32) -> MigrateType {
    MigrateType::from_index(mt as usize).unwrap_or(MigrateType::Unmovable)
}

/// Who holds the leases that benchmarks take themselves.
const HOLDER: u64 = 1;

/// [`Level::Zone`].
pub struct ZoneLevel<'m>(pub &'m Machine);

/// A thread at [`Level::Zone`].
pub struct ZoneHand<'a> {
    zone: Zone<'a>,
    thread: usize,
}

impl Engine for ZoneLevel<'_> {
    type Hand<'a>
        = ZoneHand<'a>
    where
        Self: 'a;

    fn hand(&self, thread: usize) -> ZoneHand<'_> {
        ZoneHand { zone: self.0.zone(), thread }
    }

    fn drain(&self) {}
}

impl Hand for ZoneHand<'_> {
    #[inline(never)]
    fn alloc(&self, order: u32, mt: u32) -> u64 {
        match self.zone.buddy_of(self.thread).take_smallest(order, mt as usize) {
            Some(x) => self.zone.pfn(x),
            None => NO_PAGE,
        }
    }

    #[inline(never)]
    fn free(&self, pfn: u64, order: u32) {
        let x = self.zone.idx(pfn);
        let buddy = self.zone.buddy_of(self.thread);
        buddy.put(x, order, buddy.blocks().get(x).index(), Side::Likely);
    }

    #[inline(never)]
    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize {
        let buddy = self.zone.buddy_of(self.thread);
        let mut taken = 0;
        while taken < pfns.len() {
            let rest = &mut pfns[taken..];
            let Some((x, n)) = buddy.take_run(0, MOVABLE as usize, rest.len() as u32) else { break };
            rest.iter_mut().zip(x..x + n).for_each(|(pfn, x)| *pfn = self.zone.pfn(x));
            taken += n as usize;
        }
        taken
    }

    #[inline(never)]
    fn free_bulk(&self, pfns: &[u64]) {
        let buddy = self.zone.buddy_of(self.thread);
        let pages = pfns.iter().map(|&pfn| self.zone.idx(pfn));
        for_each_run(pages, buddy.run_window(), |run| {
            buddy.put_run(run, buddy.blocks().get(run.first()).index(), Side::Likely);
        });
    }
}

/// [`Level::Steal`].
pub struct StealLevel<'m>(pub &'m Machine);

/// A thread at [`Level::Steal`]; it holds its cpu's lease all the time.
pub struct StealHand<'a> {
    zone: ZoneHand<'a>,
    cpu: Cpu<'a>,
}

impl Engine for StealLevel<'_> {
    type Hand<'a>
        = StealHand<'a>
    where
        Self: 'a;

    fn hand(&self, thread: usize) -> StealHand<'_> {
        let zone = self.0.zone();
        let cpu = Cpu::enter(&zone.0.cpus, thread, HOLDER);
        assert!(cpu.is_leased(), "every thread has a cpu of its own");
        StealHand { zone: ZoneHand { zone, thread }, cpu }
    }

    fn drain(&self) {}
}

impl Hand for StealHand<'_> {
    #[inline(never)]
    fn alloc(&self, order: u32, mt: u32) -> u64 {
        let zone = self.zone.zone;
        match zone.rmqueue_locked(&self.cpu, order, migratetype(mt), AllocFlags(0)) {
            Some((x, _)) => zone.pfn(x),
            None => NO_PAGE,
        }
    }

    fn free(&self, pfn: u64, order: u32) {
        self.zone.free(pfn, order);
    }

    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize {
        self.zone.alloc_bulk(pfns)
    }

    fn free_bulk(&self, pfns: &[u64]) {
        self.zone.free_bulk(pfns);
    }
}

/// [`Level::Pcp`].
pub struct PcpLevel<'m>(pub &'m Machine);

/// A thread at [`Level::Pcp`]; every call takes the lease and gives it back.
pub struct PcpHand<'a> {
    zone: Zone<'a>,
    orders: PcpOrders,
    cpu: usize,
}

impl Engine for PcpLevel<'_> {
    type Hand<'a>
        = PcpHand<'a>
    where
        Self: 'a;

    fn hand(&self, thread: usize) -> PcpHand<'_> {
        let zone = self.0.zone();
        PcpHand { zone, orders: PcpOrders::new(&zone.config), cpu: thread }
    }

    fn drain(&self) {
        self.0.allocator.drain_all(None);
    }
}

impl PcpHand<'_> {
    /// The short path, as in whole calls.
    #[inline(always)]
    fn take_ready(&self, order: u32, mt: u32) -> Option<PageIdx> {
        let desk = self.zone.desk(self.cpu);
        let _lease = Lease::take(desk.slot, HOLDER)?;
        if self.orders.contains(order) { self.zone.take_ready(desk, order, mt as usize) } else { None }
    }

    #[inline(always)]
    fn put_ready(&self, x: PageIdx, order: u32) -> bool {
        let desk = self.zone.desk(self.cpu);
        let mt = self.zone.blocks().get(x).index();
        let Some(_lease) = Lease::take(desk.slot, HOLDER) else { return false };
        self.orders.contains(order)
            && self.zone.put_ready(desk, x, order, mt, |info| {
                desk.buddy.set_info(x, info);
                true
            })
    }

    #[cold]
    #[inline(never)]
    fn take_slowly(&self, order: u32, mt: u32) -> u64 {
        match self.take(&self.enter(), order, migratetype(mt)) {
            Some(x) => self.zone.pfn(x),
            None => NO_PAGE,
        }
    }

    #[cold]
    #[inline(never)]
    fn commit_slowly(&self, x: PageIdx, order: u32) {
        self.commit(&self.enter(), x, order);
    }

    #[inline(always)]
    fn enter(&self) -> Cpu<'_> {
        Cpu::enter(&self.zone.0.cpus, self.cpu, HOLDER)
    }

    #[inline(always)]
    fn pcp(&self, cpu: &Cpu<'_>, order: u32) -> Option<Pcp<'_>> {
        if self.zone.pcp_allowed_order(order) { self.zone.pcp(cpu) } else { None }
    }

    #[inline(always)]
    fn commit(&self, cpu: &Cpu<'_>, x: PageIdx, order: u32) {
        let mt = self.zone.blocks().get(x);
        match self.pcp(cpu, order) {
            Some(pcp) => {
                pcp.commit(cpu, x, order, mt, |info| {
                    self.zone.view().set_info(x, info);
                    true
                });
            }
            None => self.zone.free_one_page(cpu, x, order, mt, Side::Likely),
        }
    }

    #[inline(always)]
    fn take(&self, cpu: &Cpu<'_>, order: u32, mt: MigrateType) -> Option<PageIdx> {
        let flags = AllocFlags(0);
        match self.pcp(cpu, order) {
            Some(pcp) => {
                pcp.decay_free_factor();
                pcp.take(cpu, order, mt, flags)
            }
            None => {
                let (x, _) = self.zone.rmqueue_locked(cpu, order, mt, flags)?;
                self.zone.mod_free_pages(cpu, -(1 << order));
                Some(x)
            }
        }
    }
}

impl Hand for PcpHand<'_> {
    #[inline(never)]
    fn alloc(&self, order: u32, mt: u32) -> u64 {
        match self.take_ready(order, mt) {
            Some(x) => self.zone.pfn(x),
            None => self.take_slowly(order, mt),
        }
    }

    #[inline(never)]
    fn free(&self, pfn: u64, order: u32) {
        let x = self.zone.idx(pfn);
        if !self.put_ready(x, order) {
            self.commit_slowly(x, order);
        }
    }

    #[inline(never)]
    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize {
        let cpu = self.enter();
        for (taken, pfn) in pfns.iter_mut().enumerate() {
            let Some(x) = self.take(&cpu, 0, MigrateType::Movable) else { return taken };
            *pfn = self.zone.pfn(x);
        }
        pfns.len()
    }

    #[inline(never)]
    fn free_bulk(&self, pfns: &[u64]) {
        let cpu = self.enter();
        pfns.iter().for_each(|&pfn| self.commit(&cpu, self.zone.idx(pfn), 0));
    }
}

/// [`Level::Fixed`] and the levels below it.
pub struct MachineLevel<'m>(pub &'m Machine, pub Level);

/// A thread at one of the machine levels.
pub struct MachineHand<'a> {
    allocator: &'a PageAllocator,
    cpu: CpuChoice,
    nid: u32,
}

impl Engine for MachineLevel<'_> {
    type Hand<'a>
        = MachineHand<'a>
    where
        Self: 'a;

    fn hand(&self, thread: usize) -> MachineHand<'_> {
        let cpu = if self.1 == Level::Current { CpuChoice::Current } else { CpuChoice::Fixed(thread) };
        let allocator = &self.0.allocator;
        let nid = match self.1 {
            Level::Local => allocator.cpu_node(thread),
            Level::Remote => 1 - allocator.cpu_node(thread),
            _ => 0,
        };
        MachineHand { allocator, cpu, nid }
    }

    fn drain(&self) {
        self.0.allocator.drain_all(None);
    }
}

impl Hand for MachineHand<'_> {
    #[inline(never)]
    fn alloc(&self, order: u32, mt: u32) -> u64 {
        let request = AllocRequest { gfp: gfp(mt), order, nid: self.nid, nodemask: None };
        self.allocator.alloc_pages(self.cpu, request, &NoHooks).unwrap_or(NO_PAGE)
    }

    #[inline(never)]
    fn free(&self, pfn: u64, order: u32) {
        let freed = self.allocator.free_pages(self.cpu, pfn, order);
        debug_assert!(freed.is_ok(), "{freed:?}");
    }

    #[inline(never)]
    fn alloc_bulk(&self, pfns: &mut [u64]) -> usize {
        let request = BulkRequest { gfp: gfp(MOVABLE), nid: self.nid, nodemask: None };
        self.allocator.alloc_pages_bulk_array(self.cpu, request, pfns, &NoHooks)
    }

    #[inline(never)]
    fn free_bulk(&self, pfns: &[u64]) {
        let freed = self.allocator.free_page_list(self.cpu, pfns);
        debug_assert!(freed.is_ok(), "{freed:?}");
    }
}
