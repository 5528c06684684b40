//! Isolating pageblocks, contiguous ranges and hardware poison (mm/page_isolation.c,
//! mm/page_alloc.c).

use crate::allocator::{CpuChoice, PageAllocator};
use crate::buddy::Moved;
use crate::cpu::Cpu;
use crate::free_area::Side;
use crate::gfp::AllocFlags;
use crate::sync::Relaxed;
use crate::types::{MigrateType, Pfn, ZoneKind};
use crate::watermark::WMARK_MIN;
use crate::word::PageIdx;
use crate::word::page_info::{InfoKind, PageInfo};
use crate::zone::Zone;
use core::fmt;

/// Why a range was not isolated or not allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// The range is empty, unaligned, or not wholly in one zone.
    Invalid,
    /// A page in the range cannot be had (`-EBUSY`); the pageblock's or page's pfn.
    Busy(Pfn),
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RangeError::Invalid => f.write_str("the range is empty, unaligned or not wholly in one zone"),
            RangeError::Busy(pfn) => write!(f, "a page of the range is in use or isolated (pfn {pfn:#x})"),
        }
    }
}

impl std::error::Error for RangeError {}

impl Zone<'_> {
    /// Isolates one pageblock (`set_migratetype_isolate`).
    fn isolate_pageblock(self, cpu: &Cpu<'_>, x: PageIdx, mt: MigrateType, is_reserved: impl Fn(Pfn) -> bool) -> bool {
        let count = &self.shared.nr_isolate_pageblock;
        // Of two who isolate a pageblock at the same time one does: whoever changes the type.
        let old = loop {
            let old = self.blocks().get(x);
            if old == MigrateType::Isolate || self.has_unmovable_pages(x, old, mt, &is_reserved) {
                return false;
            }
            count.fetch_add(1, Relaxed); // ORDERING(R3)
            if self.blocks().replace(x, old, MigrateType::Isolate) {
                break old;
            }
            count.fetch_sub(1, Relaxed); // ORDERING(R3)
        };
        let Moved { nr_free, .. } = self.move_freepages_block(cpu, x, MigrateType::Isolate);
        self.mod_free_pages(cpu, -(nr_free as i64));
        if old == MigrateType::Cma {
            self.mod_free_cma(cpu, -(nr_free as i64));
        }
        true
    }

    /// Ends the isolation of one pageblock (`unset_migratetype_isolate`).
    pub(crate) fn unisolate_pageblock(self, cpu: &Cpu<'_>, x: PageIdx, mt: MigrateType) {
        if self.blocks().get(x) != MigrateType::Isolate {
            return;
        }
        let buddy = self.buddy(cpu);
        let pageblock_order = self.config.pageblock_order;
        let top = self.config.max_order - 1;
        // A whole free block is taken out and freed anew, so that it can merge again.
        let whole = buddy
            .free_order(x)
            .filter(|order| (pageblock_order..top).contains(order))
            .filter(|order| self.blocks().get(x ^ (1 << order)) != MigrateType::Isolate)
            .filter(|order| self.isolate_free_page(cpu, x, *order));
        match whole {
            Some(order) => {
                self.set_pageblock_type(x, mt);
                self.free_one_page(cpu, x, order, mt, Side::Back);
            }
            None => {
                let Moved { nr_free, .. } = self.move_freepages_block(cpu, x, mt);
                self.mod_free_pages(cpu, nr_free as i64);
                if mt == MigrateType::Cma {
                    self.mod_free_cma(cpu, nr_free as i64);
                }
                self.set_pageblock_type(x, mt);
            }
        }
        // Saturating: an Isolate type overwritten by a steal leaves a surplus, never a deficit.
        // ORDERING(R3)
        let count = &self.shared.nr_isolate_pageblock;
        let mut seen = count.load(Relaxed); // ORDERING(R3)
        // ORDERING(R3)
        while let Err(now) = count.compare_exchange(seen, seen.saturating_sub(1), Relaxed, Relaxed) {
            seen = now;
        }
    }

    /// Is a page in the pageblock that can neither be freed nor moved (`has_unmovable_pages`)?
    fn has_unmovable_pages(
        self,
        x: PageIdx,
        pageblock_type: MigrateType,
        request: MigrateType,
        is_reserved: impl Fn(Pfn) -> bool,
    ) -> bool {
        if pageblock_type == MigrateType::Cma {
            return request != MigrateType::Cma;
        }
        let view = self.view();
        let end = (x | (self.blocks().nr_pages() - 1)) + 1;
        let mut page = x;
        while page < end {
            if is_reserved(self.pfn(page)) {
                return true;
            }
            if self.kind() == ZoneKind::Movable {
                page += 1;
                continue;
            }
            if let Some((head, order)) = view.free_block_of(page) {
                page = head + (1 << order);
                continue;
            }
            let info = view.info(page);
            match info.kind() {
                InfoKind::Pcp => page += 1 << self.pcp_block_order(page).unwrap_or(0),
                InfoKind::Offline => page += 1,
                InfoKind::Allocated if info.is_movable() => page += 1 << info.order(),
                InfoKind::None if info.is_movable() => page += 1,
                InfoKind::None => match self.block_in_use_around(page) {
                    // Only the first page of a block that is not compound has references.
                    Some((head, order)) if !view.info(head).is_compound() => page = head + (1 << order),
                    Some((head, order)) if view.info(head).is_movable() => page = head + (1 << order),
                    _ => return true,
                },
                InfoKind::Allocated => return true,
            }
        }
        false
    }

    /// The allocated block that contains a page which is not its first: first page and order.
    pub(crate) fn block_in_use_around(self, x: PageIdx) -> Option<(PageIdx, u32)> {
        (1..self.config.max_order).find_map(|order| {
            let head = x & !((1 << order) - 1);
            let info = self.view().info(head);
            (matches!(info.kind(), InfoKind::Allocated) && info.order() >= order).then(|| (head, info.order()))
        })
    }

    /// Order of the block on a per-cpu list that starts at `x`: found by looking through the lists.
    pub(crate) fn pcp_block_order(self, x: PageIdx) -> Option<u32> {
        // ORDERING(R8)
        let has_pages = |slot: &usize| self.cpu_zones[*slot].count.load(Relaxed) != 0;
        (0..self.cpu_zones.len()).filter(has_pages).find_map(|cpu| {
            (0..self.config.nr_pcp_lists()).find_map(|index| {
                let order = if index >= 12 { self.config.pageblock_order } else { index as u32 / 3 };
                crate::pcp::list_entries(self, cpu, index).iter().any(|(page, _)| *page == x).then_some(order)
            })
        })
    }

    /// Takes free block (x, order) off its list (`__isolate_free_page`). False if watermarks forbid
    /// it or somebody else took it.
    pub(crate) fn isolate_free_page(self, cpu: &Cpu<'_>, x: PageIdx, order: u32) -> bool {
        let mt = self.blocks().get(x);
        if mt != MigrateType::Isolate {
            let mark = self.raw_watermark(WMARK_MIN) + (1 << order);
            if !self.watermark_ok(0, mark, 0, AllocFlags::CMA, self.free_pages_approximate()) {
                return false;
            }
        }
        if self.buddy(cpu).area.take(x, order).is_none() {
            return false;
        }
        if mt != MigrateType::Isolate {
            self.mod_free_pages(cpu, -(1 << order));
            if mt == MigrateType::Cma {
                self.mod_free_cma(cpu, -(1 << order));
            }
        }
        if order + 1 >= self.config.pageblock_order {
            for block in (x..x + (1 << order)).step_by(1 << self.config.pageblock_order) {
                if !matches!(
                    self.blocks().get(block),
                    MigrateType::Isolate | MigrateType::Cma | MigrateType::HighAtomic
                ) {
                    self.set_pageblock_type(block, MigrateType::Movable);
                }
            }
        }
        true
    }
}

impl PageAllocator {
    /// Is the page reserved at boot?
    pub(crate) fn is_reserved(&self, pfn: Pfn) -> bool {
        let table = &self.segment.reserved;
        let after = table.partition_point(|range| range.start.load(Relaxed) <= pfn); // ORDERING(R1)
        // Ranges are cut at pages, so neighbours may share one: look at the last two.
        table[..after].iter().rev().take(2).any(|range| pfn < range.end.load(Relaxed)) // ORDERING(R1)
    }

    /// The zone that holds the whole pageblock-aligned range.
    fn pageblock_range(&self, start: Pfn, end: Pfn) -> Result<Zone<'_>, RangeError> {
        let size = self.config().pageblock_nr_pages();
        if start >= end || start % size != 0 || end % size != 0 || !self.config().memory_isolation {
            return Err(RangeError::Invalid);
        }
        let zone = self.zone_of(start).ok_or(RangeError::Invalid)?;
        let in_zone = |pfn: Pfn| self.zone_of(pfn).is_some_and(|other| other.number == zone.number);
        if (start..end).step_by(size as usize).all(in_zone) { Ok(zone) } else { Err(RangeError::Invalid) }
    }

    /// Isolates the pageblocks of `start..end` (`start_isolate_page_range`); all or none.
    pub fn start_isolate_page_range(
        &self,
        cpu: CpuChoice,
        start: Pfn,
        end: Pfn,
        mt: MigrateType,
    ) -> Result<(), RangeError> {
        let zone = self.pageblock_range(start, end)?;
        let size = self.config().pageblock_nr_pages();
        let cpu = self.enter(cpu);
        for pfn in (start..end).step_by(size as usize) {
            if !zone.isolate_pageblock(&cpu, zone.idx(pfn), mt, |pfn| self.is_reserved(pfn)) {
                for done in (start..pfn).step_by(size as usize) {
                    zone.unisolate_pageblock(&cpu, zone.idx(done), mt);
                }
                return Err(RangeError::Busy(pfn));
            }
        }
        Ok(())
    }

    /// Ends the isolation of `start..end`; the pageblocks become `mt` (`undo_isolate_page_range`).
    pub fn undo_isolate_page_range(
        &self,
        cpu: CpuChoice,
        start: Pfn,
        end: Pfn,
        mt: MigrateType,
    ) -> Result<(), RangeError> {
        let zone = self.pageblock_range(start, end)?;
        let cpu = self.enter(cpu);
        for pfn in (start..end).step_by(self.config().pageblock_nr_pages() as usize) {
            zone.unisolate_pageblock(&cpu, zone.idx(pfn), mt);
        }
        Ok(())
    }

    /// Allocates exactly the pages `start..end` if all of them are free (`alloc_contig_range`
    /// without migration); each gets one reference.
    pub fn alloc_contig_range(&self, cpu: CpuChoice, start: Pfn, end: Pfn, mt: MigrateType) -> Result<(), RangeError> {
        if start >= end {
            return Err(RangeError::Invalid);
        }
        let align = self.config().max_order_nr_pages();
        let (outer_start, outer_end) = (start / align * align, end.next_multiple_of(align));
        self.start_isolate_page_range(cpu, outer_start, outer_end, mt)?;
        let result = self.take_isolated_range(cpu, start, end);
        self.undo_isolate_page_range(cpu, outer_start, outer_end, mt)?;
        result
    }

    /// Takes the free blocks that cover `start..end` and frees what sticks out.
    fn take_isolated_range(&self, cpu: CpuChoice, start: Pfn, end: Pfn) -> Result<(), RangeError> {
        let zone = self.zone_of(start).ok_or(RangeError::Invalid)?;
        self.drain_all(Some(zone.number));
        let view = zone.view();
        let mut blocks = Vec::new();
        let mut pfn = start;
        while pfn < end {
            let (head, order) = view.free_block_of(zone.idx(pfn)).ok_or(RangeError::Busy(pfn))?;
            blocks.push((head, order));
            pfn = zone.pfn(head) + (1 << order);
        }
        let cpu = self.enter(cpu);
        for (i, &(head, order)) in blocks.iter().enumerate() {
            if !zone.isolate_free_page(&cpu, head, order) {
                for &(head, order) in &blocks[..i] {
                    zone.free_one_page(&cpu, head, order, zone.blocks().get(head), Side::Likely);
                }
                return Err(RangeError::Busy(zone.pfn(head)));
            }
        }
        for &(head, order) in &blocks {
            for x in head..head + (1 << order) {
                if (start..end).contains(&zone.pfn(x)) {
                    view.set_info(x, PageInfo::allocated(0, false, false));
                }
            }
        }
        for &(head, order) in &blocks {
            for x in head..head + (1 << order) {
                if !(start..end).contains(&zone.pfn(x)) {
                    zone.free_owned(&cpu, x, 0);
                }
            }
        }
        Ok(())
    }

    /// Takes one page off the buddy lists for good, splitting its block (`take_page_off_buddy`).
    /// False if the page is not free.
    pub fn take_page_off_buddy(&self, cpu: CpuChoice, pfn: Pfn) -> bool {
        let Some(zone) = self.zone_of(pfn) else { return false };
        let page = zone.idx(pfn);
        let cpu = self.enter(cpu);
        let buddy = zone.buddy(&cpu);
        buddy.announced(|| {
            loop {
                let Some((head, order)) = buddy.free_block_of(page) else { return false };
                if buddy.area.take(head, order).is_none() {
                    continue;
                }
                let mt = zone.blocks().get(head);
                let mut first = head;
                for k in (0..order).rev() {
                    let upper = first + (1 << k);
                    let other = if page >= upper { first } else { upper };
                    if page >= upper {
                        first = upper;
                    }
                    buddy.area.push_front(other, k, mt.index());
                }
                buddy.set_info(page, PageInfo::offline());
                if mt != MigrateType::Isolate {
                    zone.mod_free_pages(&cpu, -1);
                    if mt == MigrateType::Cma {
                        zone.mod_free_cma(&cpu, -1);
                    }
                }
                return true;
            }
        })
    }

    /// Gives back a page taken off by [`Self::take_page_off_buddy`] (`put_page_back_buddy`). False
    /// if the page was not taken off.
    pub fn put_page_back_buddy(&self, cpu: CpuChoice, pfn: Pfn) -> bool {
        let Some(zone) = self.zone_of(pfn) else { return false };
        let page = zone.idx(pfn);
        let cpu = self.enter(cpu);
        if !zone.replace_info(page, PageInfo::offline(), PageInfo::NONE) {
            return false;
        }
        zone.free_one_page(&cpu, page, 0, zone.blocks().get(page), Side::Likely);
        true
    }
}
