//! Following another machine by its trace: what happened there without an event of its own.
//!
//! A trace names pages that were in use before it began, leaves out bulk allocations and does not
//! say which pages are movable. These operations make a machine agree with what a trace implies.
//! They are for a machine that one caller drives.

use crate::allocator::{CpuChoice, PageAllocator};
use crate::cpu::Cpu;
use crate::error::{BadPage, BadPageReason};
use crate::free_area::Side;
use crate::gfp::{AllocFlags, FastPathInputs, Gfp};
use crate::pcp::Pcp;
use crate::types::{MIGRATE_PCPTYPES, MigrateType, Pfn};
use crate::word::PageIdx;
use crate::word::page_info::{InfoKind, PageInfo};
use crate::zone::Zone;

/// Where a page is when a trace says that somebody has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// First page of an allocated block of this order.
    Allocated(u32),
    /// In use, but not the first page of an allocated block.
    InUse,
    /// In a free block.
    Free,
    /// In a block on a per-cpu list.
    Pcp,
    /// Not memory of the allocator.
    Nowhere,
}

impl PageAllocator {
    /// Node and zone index of a page of memory.
    pub fn zone_of_page(&self, pfn: Pfn) -> Option<(u32, usize)> {
        self.zone_of(pfn).map(|zone| (zone.node(), zone.index()))
    }

    /// Where a page is.
    pub fn whereabouts(&self, pfn: Pfn) -> Whereabouts {
        let Some(zone) = self.zone_of(pfn) else { return Whereabouts::Nowhere };
        let x = zone.idx(pfn);
        let info = zone.view().info(x);
        match info.kind() {
            InfoKind::Allocated => Whereabouts::Allocated(info.order()),
            InfoKind::Pcp => Whereabouts::Pcp,
            InfoKind::Offline => Whereabouts::Nowhere,
            InfoKind::None if zone.view().free_block_of(x).is_some() => Whereabouts::Free,
            InfoKind::None if zone.is_behind_pcp_head(x) => Whereabouts::Pcp,
            InfoKind::None if self.is_memory(pfn) => Whereabouts::InUse,
            InfoKind::None => Whereabouts::Nowhere,
        }
    }

    /// Makes 2^order pages that are in use, whoever allocated them as whatever, an allocated block
    /// of their own. A block that they were part of falls apart into single pages.
    pub fn adopt_block(&self, pfn: Pfn, order: u32) -> Result<(), BadPage> {
        let bad = |reason| Err(BadPage { pfn, reason });
        if order >= self.config().max_order {
            return bad(BadPageReason::OrderOutOfRange);
        }
        let nr_pages = 1u32 << order;
        let Some(zone) = self.zone_of(pfn) else { return bad(BadPageReason::OutOfRange) };
        let x = zone.idx(pfn);
        if x % nr_pages != 0 {
            return bad(BadPageReason::Unaligned);
        }
        for page in x..x + nr_pages {
            match self.whereabouts(zone.pfn(page)) {
                Whereabouts::Allocated(_) | Whereabouts::InUse => {}
                Whereabouts::Free | Whereabouts::Pcp => return bad(BadPageReason::AlreadyFree),
                Whereabouts::Nowhere => return bad(BadPageReason::OutOfRange),
            }
        }
        let view = zone.view();
        if let Some((head, outer)) = zone.allocated_block_around(x) {
            for page in head..head + (1 << outer) {
                let movable = view.info(page).is_movable();
                view.set_info(page, PageInfo::allocated(0, false, false).with_movable(movable));
            }
        }
        for page in x + 1..x + nr_pages {
            let movable = view.info(page).is_movable();
            view.set_info(page, PageInfo::NONE.with_movable(movable));
        }
        let movable = view.info(x).is_movable();
        view.set_info(x, PageInfo::allocated(order, false, false).with_movable(movable));
        Ok(())
    }

    /// Counts the pages of an allocated block as movable from now on, as pages on an LRU list are, or
    /// no longer. A free forgets it of the first page alone.
    pub fn set_movable(&self, pfn: Pfn, order: u32, is_movable: bool) {
        let Some(zone) = self.zone_of(pfn).filter(|_| order < self.config().max_order) else { return };
        let x = zone.idx(pfn);
        if zone.view().info(x).is_allocated() {
            for page in x..x + (1 << order) {
                let info = zone.view().info(page);
                zone.view().set_info(page, info.with_movable(is_movable));
            }
        }
    }

    /// The block that the cpu's list of this order and type gives next, in the zone of `pfn`.
    pub fn pcp_head(&self, cpu: usize, pfn: Pfn, order: u32, mt: MigrateType) -> Option<Pfn> {
        let zone = self.zone_of(pfn)?;
        if !zone.pcp_allowed_order(order) || mt.index() >= MIGRATE_PCPTYPES {
            return None;
        }
        self.zone_pcp(zone, cpu, |pcp, _| pcp.first(order, mt))?.map(|x| zone.pfn(x))
    }

    /// Is a block on the cpu's list of this order and type?
    pub fn is_on_pcp(&self, cpu: usize, pfn: Pfn, order: u32, mt: MigrateType) -> bool {
        let Some(zone) = self.zone_of(pfn) else { return false };
        zone.pcp_allowed_order(order)
            && mt.index() < MIGRATE_PCPTYPES
            && self.zone_pcp(zone, cpu, |pcp, _| pcp.holds(zone.idx(pfn), order, mt)) == Some(true)
    }

    /// Pages on the cpu's lists in the zone of `pfn`.
    pub fn pcp_count(&self, cpu: usize, pfn: Pfn) -> u64 {
        self.zone_of(pfn).and_then(|zone| self.zone_pcp(zone, cpu, |pcp, _| pcp.count())).map_or(0, u64::from)
    }

    /// Takes a single page of the zone of `pfn` from the cpu's list as a bulk allocation does,
    /// refilling the list if it is empty.
    pub fn take_from_pcp(&self, cpu: usize, pfn: Pfn, mt: MigrateType) -> Option<Pfn> {
        let zone = self.zone_of(pfn)?;
        let inputs = FastPathInputs { cma: self.config().cma, ..FastPathInputs::default() };
        let flags = AllocFlags::fast_path(Gfp::NONE, mt, inputs);
        let x = self.zone_pcp(zone, cpu, |pcp, cpu| pcp.take(cpu, 0, mt, flags))??;
        zone.view().set_info(x, PageInfo::allocated(0, false, false));
        Some(zone.pfn(x))
    }

    /// Drains the cpu's lists in the zone of `pfn`: all of them, or one batch as the periodic
    /// expiry of remote lists does.
    pub fn drain_pcp(&self, cpu: usize, pfn: Pfn, is_one_batch: bool) {
        if let Some(zone) = self.zone_of(pfn) {
            self.zone_pcp(zone, cpu, |pcp, cpu| if is_one_batch { pcp.drain_batch(cpu) } else { pcp.drain(cpu) });
        }
    }

    /// Puts an allocated block on the cpu's list of its order and this type; nothing is drained.
    /// False if there is no such list, or no such block.
    pub fn put_on_pcp(&self, cpu: usize, pfn: Pfn, order: u32, mt: MigrateType, is_at_back: bool) -> bool {
        let Some((zone, x)) = self.allocated_block(pfn, order) else { return false };
        if !zone.pcp_allowed_order(order) || mt.index() >= MIGRATE_PCPTYPES {
            return false;
        }
        self.zone_pcp(zone, cpu, |pcp, _| pcp.insert(x, order, mt, is_at_back)).is_some()
    }

    /// Gives an allocated block to the free list of a type, past the per-cpu lists. False if there
    /// is no such block.
    pub fn release_block(&self, cpu: usize, pfn: Pfn, order: u32, mt: MigrateType) -> bool {
        let Some((zone, x)) = self.allocated_block(pfn, order).filter(|_| cpu < self.nr_cpus()) else { return false };
        zone.view().set_info(x, PageInfo::NONE);
        zone.free_one_page(&self.enter(CpuChoice::Fixed(cpu)), x, order, mt, Side::Likely);
        true
    }

    fn allocated_block(&self, pfn: Pfn, order: u32) -> Option<(Zone<'_>, PageIdx)> {
        let zone = self.zone_of(pfn)?;
        let x = zone.idx(pfn);
        let info = zone.view().info(x);
        (info.is_allocated() && info.order() == order).then_some((zone, x))
    }

    /// Takes a block that is free here but in use on the other machine, from wherever it is, as an
    /// allocated block. False if it is not wholly free.
    pub fn seize_block(&self, cpu: usize, pfn: Pfn, order: u32) -> bool {
        let Some(zone) = self.zone_of(pfn).filter(|_| order < self.config().max_order) else { return false };
        let x = zone.idx(pfn);
        if x % (1 << order) != 0 {
            return false;
        }
        let is_on_pcp = |cpu| self.zone_pcp(zone, cpu, |pcp, _| pcp.remove(x, order)) == Some(true);
        // The cpu must be free again before its lists are searched.
        let is_carved = cpu < self.nr_cpus() && zone.carve(&self.enter(CpuChoice::Fixed(cpu)), x, order);
        if is_carved || (0..self.nr_cpus()).any(is_on_pcp) {
            zone.view().set_info(x, PageInfo::allocated(order, false, false));
            return true;
        }
        false
    }

    /// Puts the free block that a page is part of behind all others of its list.
    pub fn postpone_block(&self, cpu: usize, pfn: Pfn) {
        let Some(zone) = self.zone_of(pfn).filter(|_| cpu < self.nr_cpus()) else { return };
        let cpu = self.enter(CpuChoice::Fixed(cpu));
        let buddy = zone.buddy(&cpu);
        if let Some((head, order)) = buddy.free_block_of(zone.idx(pfn))
            && let Some(mt) = buddy.area.take(head, order)
        {
            buddy.area.push_back(head, order, mt);
        }
    }

    fn zone_pcp<T>(&self, zone: Zone<'_>, cpu: usize, act: impl FnOnce(Pcp<'_>, &Cpu<'_>) -> T) -> Option<T> {
        if cpu >= self.nr_cpus() {
            return None;
        }
        let cpu = self.enter(CpuChoice::Fixed(cpu));
        zone.pcp(&cpu).map(|pcp| act(pcp, &cpu))
    }
}

impl Zone<'_> {
    /// The allocated block that a page is part of: first page and order.
    fn allocated_block_around(self, x: PageIdx) -> Option<(PageIdx, u32)> {
        let info = self.view().info(x);
        if info.is_allocated() { Some((x, info.order())) } else { self.block_in_use_around(x) }
    }

    /// Is the page behind the first one of a block on a per-cpu list?
    fn is_behind_pcp_head(self, x: PageIdx) -> bool {
        (1..self.config.max_order).any(|order| {
            let head = x & !((1 << order) - 1);
            matches!(self.view().info(head).kind(), InfoKind::Pcp)
                && self.pcp_block_order(head).is_some_and(|found| found >= order)
        })
    }

    /// Cuts a block out of the free block it is part of. False if there is none.
    fn carve(self, cpu: &Cpu<'_>, x: PageIdx, order: u32) -> bool {
        let buddy = self.buddy(cpu);
        let Some((mut head, outer)) = buddy.free_block_of(x).filter(|(_, outer)| *outer >= order) else { return false };
        if buddy.area.take(head, outer).is_none() {
            return false;
        }
        let mt = self.blocks().get(head);
        for half in (order..outer).rev() {
            let upper = head + (1 << half);
            let rest = if x >= upper { core::mem::replace(&mut head, upper) } else { upper };
            buddy.area.push_front(rest, half, mt.index());
        }
        self.mod_free_pages(cpu, -(1 << order));
        true
    }
}
