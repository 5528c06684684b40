//! Memory hotplug: adding and removing sections of a running machine (mm/memory_hotplug.c).
//!
//! A zone's page array has its full length from the start ([`Config::max_possible_pfn`]); memory
//! that is not there yet costs address space only. Sections can be added to the zone that ends
//! last on its node, behind or inside its span, and removed again if every page is free. A zone
//! never becomes empty, so zonelists stay as they are.
//!
//! [`Config::max_possible_pfn`]: crate::config::Config::max_possible_pfn

use crate::allocator::{CpuChoice, PageAllocator};
use crate::blueprint::{put32, put64};
use crate::cpu::Cpu;
use crate::free_area::Side;
use crate::memblock::{FreeBlocks, PfnSpan};
use crate::segment::PfnRange;
use crate::sync::{AtomicU64, Relaxed};
use crate::trace::Event;
use crate::types::{MigrateType, Pfn};
use crate::word::page_info::PageInfo;
use crate::zone::Zone;
use core::fmt;

/// Why sections were not added or removed; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotplugError {
    /// The range is empty or not made of whole sections.
    Unaligned,
    /// The kernel was configured without memory isolation, which hotplug needs.
    NoIsolation,
    /// The node is not online or has no zone that could take the range.
    NoZone,
    /// The range lies behind `max_possible_pfn`.
    OutOfRange,
    /// There is memory in the range already (adding), or not everywhere (removing).
    Overlap,
    /// A page is in use or isolated.
    Busy(Pfn),
    /// The zone would become empty.
    LastSection,
    /// Too many separate ranges of memory.
    TooManyRanges,
}

impl fmt::Display for HotplugError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HotplugError::Busy(pfn) => write!(f, "a page of the range is in use (pfn {pfn:#x})"),
            other => f.write_str(match other {
                HotplugError::Unaligned => "the range must consist of whole memory sections",
                HotplugError::NoIsolation => "memory hotplug needs Config(memory_isolation=True)",
                HotplugError::NoZone => "the node has no zone that could take the range",
                HotplugError::OutOfRange => "the range lies behind Config(max_possible_pfn=...)",
                HotplugError::Overlap => "memory of the range is there already, or is not there",
                HotplugError::LastSection => "the zone would have no memory left",
                HotplugError::TooManyRanges => "too many separate ranges of memory were added or removed",
                HotplugError::Busy(_) => "",
            }),
        }
    }
}

impl std::error::Error for HotplugError {}

fn get(word: &AtomicU64) -> u64 {
    word.load(Relaxed) // ORDERING(R7)
}

fn add(word: &AtomicU64, delta: i64) {
    put64(word, get(word).wrapping_add_signed(delta));
}

impl PageAllocator {
    /// The checks that adding and removing share: the range in sections.
    fn check_sections(&self, start: Pfn, nr_pages: u64) -> Result<Pfn, HotplugError> {
        let section = 1u64 << (self.config().section_size_bits - self.config().page_shift);
        if !self.config().memory_isolation {
            return Err(HotplugError::NoIsolation);
        }
        let end = start.checked_add(nr_pages).ok_or(HotplugError::OutOfRange)?;
        if nr_pages == 0 || start % section != 0 || nr_pages % section != 0 {
            return Err(HotplugError::Unaligned);
        }
        Ok(end)
    }

    /// Blocks of the largest order in a range.
    fn blocks_in(&self, start: Pfn, end: Pfn) -> core::ops::Range<usize> {
        let shift = self.config().max_order - 1;
        (start >> shift) as usize..(end >> shift) as usize
    }

    /// Adds the sections `start..start + nr_pages` to a node (`online_pages`).
    ///
    /// Not atomic towards other threads in its counts, but every page becomes free exactly once.
    pub fn online_pages(&self, cpu: CpuChoice, start: Pfn, nr_pages: u64, nid: u32) -> Result<(), HotplugError> {
        let end = self.check_sections(start, nr_pages)?;
        let zone = self.hotplug_zone(nid, start, end)?;
        let blocks = self.segment.block_zones.get(self.blocks_in(start, end)).ok_or(HotplugError::OutOfRange)?;
        // ORDERING(R1)
        if blocks.iter().any(|block| block.load(Relaxed) != 0) {
            return Err(HotplugError::Overlap);
        }
        let entry = self.segment.memory.iter().find(|range| get(&range.start) == get(&range.end));
        let entry = entry.ok_or(HotplugError::TooManyRanges)?;
        put32(&entry.nid, nid);
        put64(&entry.end, end);
        put64(&entry.start, start);
        self.grow_span(zone, start, end);
        let nr_pageblocks = nr_pages >> self.config().pageblock_order;
        let cpu = self.enter(cpu);
        zone.shared.nr_isolate_pageblock.fetch_add(nr_pageblocks as u32, Relaxed); // ORDERING(R3)
        let pageblocks = (start..end).step_by(self.config().pageblock_nr_pages() as usize);
        pageblocks.clone().for_each(|pfn| zone.blocks().set(zone.idx(pfn), MigrateType::Isolate));
        blocks.iter().for_each(|block| block.store(zone.number as u16 + 1, Relaxed)); // ORDERING(R1)
        for (pfn, order) in FreeBlocks::new(PfnSpan { start, end }, self.config().max_order) {
            zone.trace.emit(cpu.id(), || Event::Free { pfn, order });
            zone.count_pgfree(&cpu, 1 << order);
            zone.free_one_page(&cpu, zone.idx(pfn), order, MigrateType::Isolate, Side::Back);
        }
        self.change_sizes(zone, nr_pages as i64);
        pageblocks.for_each(|pfn| zone.unisolate_pageblock(&cpu, zone.idx(pfn), MigrateType::Movable));
        drop(cpu);
        self.init_per_zone_wmark_min();
        Ok(())
    }

    /// The zone of a node whose page array reaches over the range: the one that ends last.
    fn hotplug_zone(&self, nid: u32, start: Pfn, end: Pfn) -> Result<Zone<'_>, HotplugError> {
        let last = |zone: &Zone<'_>| zone.extent().start_pfn + zone.extent().spanned;
        let zone = self.zones().filter(|zone| zone.node() == nid).max_by_key(last).ok_or(HotplugError::NoZone)?;
        if start < zone.base_pfn {
            return Err(HotplugError::NoZone);
        }
        if end - zone.base_pfn > u64::from(zone.pages().len()) {
            return Err(HotplugError::OutOfRange);
        }
        Ok(zone)
    }

    fn grow_span(&self, zone: Zone<'_>, start: Pfn, end: Pfn) {
        let extent = zone.extent();
        let new_start = extent.start_pfn.min(start);
        let new_end = (extent.start_pfn + extent.spanned).max(end);
        put64(&zone.shared.start_pfn, new_start);
        put64(&zone.shared.spanned, new_end - new_start);
        self.change_node(zone, |node| add(&node.spanned, (new_end - new_start) as i64 - extent.spanned as i64));
    }

    fn change_node(&self, zone: Zone<'_>, change: impl FnOnce(&crate::segment::NodeShared)) {
        // ORDERING(R1)
        if let Some(node) = self.segment.nodes.iter().find(|node| node.nid.load(Relaxed) == zone.node()) {
            change(node);
        }
    }

    /// managed, present and total RAM grow or shrink together.
    fn change_sizes(&self, zone: Zone<'_>, delta: i64) {
        add(&zone.shared.present, delta);
        add(&zone.shared.managed, delta);
        self.change_node(zone, |node| add(&node.present, delta));
        add(&self.machine().totalram_pages, delta);
    }

    /// Removes the sections `start..start + nr_pages`, if all their pages are free
    /// (`offline_pages` without migration).
    pub fn offline_pages(&self, cpu: CpuChoice, start: Pfn, nr_pages: u64) -> Result<(), HotplugError> {
        let end = self.check_sections(start, nr_pages)?;
        let zone = self.zone_of(start).ok_or(HotplugError::Overlap)?;
        let number = zone.number as u16 + 1;
        let blocks = self.segment.block_zones.get(self.blocks_in(start, end)).ok_or(HotplugError::OutOfRange)?;
        // ORDERING(R1)
        if blocks.iter().any(|block| block.load(Relaxed) != number) {
            return Err(HotplugError::Overlap);
        }
        if zone.extent().present <= nr_pages {
            return Err(HotplugError::LastSection);
        }
        let holes = self.memory_after_removal(start, end)?;
        self.drain_all(Some(zone.number));
        self.start_isolate_page_range(cpu, start, end, MigrateType::Movable).map_err(|error| match error {
            crate::isolation::RangeError::Busy(pfn) => HotplugError::Busy(pfn),
            crate::isolation::RangeError::Invalid => HotplugError::Overlap,
        })?;
        let entered = self.enter(cpu);
        if let Err(busy) = self.take_all_blocks(&entered, zone, start, end) {
            drop(entered);
            let _ = self.undo_isolate_page_range(cpu, start, end, MigrateType::Movable);
            return Err(busy);
        }
        drop(entered);
        blocks.iter().for_each(|block| block.store(0, Relaxed)); // ORDERING(R1)
        let nr_pageblocks = nr_pages >> self.config().pageblock_order;
        zone.shared.nr_isolate_pageblock.fetch_sub(nr_pageblocks as u32, Relaxed); // ORDERING(R3)
        for pfn in (start..end).step_by(self.config().pageblock_nr_pages() as usize) {
            zone.blocks().set(zone.idx(pfn), MigrateType::Unmovable);
        }
        for (entry, (start, end)) in holes {
            put64(&entry.start, start);
            put64(&entry.end, end);
            put32(&entry.nid, zone.node());
        }
        self.shrink_span(zone);
        self.change_sizes(zone, -(nr_pages as i64));
        self.init_per_zone_wmark_min();
        Ok(())
    }

    /// Takes every free block of an isolated range off the lists; all or none. Poisoned pages go with
    /// their section.
    fn take_all_blocks(&self, cpu: &Cpu<'_>, zone: Zone<'_>, start: Pfn, end: Pfn) -> Result<(), HotplugError> {
        let view = zone.view();
        let mut taken = Vec::new();
        let mut poisoned = Vec::new();
        let mut pfn = start;
        while pfn < end {
            let x = zone.idx(pfn);
            if view.info(x) == PageInfo::offline() {
                poisoned.push(x);
                pfn += 1;
                continue;
            }
            let order = view.free_order(x).filter(|order| zone.isolate_free_page(cpu, x, *order));
            let Some(order) = order else {
                for (x, order) in taken {
                    zone.free_one_page(cpu, x, order, MigrateType::Isolate, Side::Back);
                }
                return Err(HotplugError::Busy(pfn));
            };
            taken.push((x, order));
            pfn += 1 << order;
        }
        poisoned.into_iter().for_each(|x| view.set_info(x, PageInfo::NONE));
        Ok(())
    }

    /// What each entry of the memory table that overlaps the range becomes.
    #[expect(clippy::type_complexity, reason = "a list of entries with their new ranges")]
    fn memory_after_removal(&self, start: Pfn, end: Pfn) -> Result<Vec<(&PfnRange, (Pfn, Pfn))>, HotplugError> {
        let table = &self.segment.memory;
        let mut spare = table.iter().filter(|range| get(&range.start) == get(&range.end));
        let mut changes = Vec::new();
        for range in table.iter() {
            let (first, last) = (get(&range.start), get(&range.end));
            if first >= end || last <= start || first == last {
                continue;
            }
            match (first < start, end < last) {
                (false, false) => changes.push((range, (0, 0))),
                (true, false) => changes.push((range, (first, start))),
                (false, true) => changes.push((range, (end, last))),
                (true, true) => {
                    changes.push((range, (first, start)));
                    changes.push((spare.next().ok_or(HotplugError::TooManyRanges)?, (end, last)));
                }
            }
        }
        Ok(changes)
    }

    /// Makes a zone's span end where its memory ends (`shrink_zone_span`).
    fn shrink_span(&self, zone: Zone<'_>) {
        let extent = zone.extent();
        let last = self
            .segment
            .memory
            .iter()
            .filter(|range| range.nid.load(Relaxed) == zone.node()) // ORDERING(R1)
            .map(|range| get(&range.end).min(extent.start_pfn + extent.spanned))
            .max()
            .unwrap_or(extent.start_pfn);
        let spanned = last.max(extent.start_pfn) - extent.start_pfn;
        put64(&zone.shared.spanned, spanned);
        self.change_node(zone, |node| add(&node.spanned, spanned as i64 - extent.spanned as i64));
    }
}
