//! `validate`: recounts every invariant of a quiescent machine.

use crate::allocator::PageAllocator;
use crate::pcp;
use crate::sync::Relaxed;
use crate::types::{MAX_ORDER, MIGRATE_PCPTYPES, MigrateType, Pfn};
use crate::word::PageIdx;
use crate::word::page_info::{InfoKind, PageInfo};
use crate::zone::Zone;
use core::fmt;

/// The first invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Node of the zone.
    pub nid: u32,
    /// Zone index.
    pub zone: usize,
    /// The page, if it is about one.
    pub pfn: Option<Pfn>,
    /// What is wrong.
    pub what: &'static str,
    /// The number that was found and the one that was expected, if it is about a count.
    pub counts: Option<(i64, i64)>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} zone {}: {}", self.nid, self.zone, self.what)?;
        if let Some(pfn) = self.pfn {
            write!(f, " (pfn {pfn:#x})")?;
        }
        if let Some((found, expected)) = self.counts {
            write!(f, ": {found}, expected {expected}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// Which pages were seen, one bit each.
struct Seen(Vec<u64>);

/// The free pages of a zone: which, and how many of each kind.
struct FreePages {
    seen: Seen,
    nr_free: i64,
    nr_isolated: i64,
    nr_cma: i64,
}

impl Seen {
    fn new(nr_pages: PageIdx) -> Self {
        Seen(vec![0; nr_pages.div_ceil(64) as usize])
    }

    /// Marks a block; false if a page of it was marked before or does not exist.
    fn mark(&mut self, x: PageIdx, order: u32, nr_pages: PageIdx) -> bool {
        let size = 1u32 << order;
        if x % size != 0 || x.checked_add(size).is_none_or(|end| end > nr_pages) {
            return false;
        }
        (x..x + size).all(|page| {
            let (word, bit) = (page as usize / 64, 1 << (page % 64));
            let is_new = self.0[word] & bit == 0;
            self.0[word] |= bit;
            is_new
        })
    }
}

impl PageAllocator {
    /// Recounts every invariant; the first violation, if any. Meaningful while nobody changes the
    /// machine.
    pub fn validate(&self) -> Result<(), Violation> {
        self.check_sanity()?;
        self.zones().try_for_each(|zone| self.validate_zone(zone))
    }

    /// What holds whoever was killed at whatever instant: free blocks are aligned, disjoint and in
    /// their zone, and none is marked as handed out. Meaningful while nobody changes the machine.
    pub fn validate_free_lists(&self) -> Result<(), Violation> {
        self.zones().try_for_each(|zone| self.validate_lists(zone).map(|_| ()))
    }

    fn validate_zone(&self, zone: Zone<'_>) -> Result<(), Violation> {
        let fail = |x: Option<PageIdx>, what| Err(violation(zone, x, what));
        let count = |what, found: i64, expected: i64| {
            Err(Violation { nid: zone.node(), zone: zone.index(), pfn: None, what, counts: Some((found, expected)) })
        };
        let FreePages { mut seen, nr_free, nr_isolated, nr_cma } = self.validate_lists(zone)?;
        let nr_pages = zone.pages().len();
        // First pages of the blocks on per-cpu lists.
        let mut listed = Seen::new(nr_pages);
        for cpu in 0..zone.cpu_zones.len() {
            let mut pages = 0i64;
            for index in 0..zone.config.nr_pcp_lists() {
                let order = if index >= 12 { zone.config.pageblock_order } else { (index / MIGRATE_PCPTYPES) as u32 };
                for (x, _) in pcp::list_entries(zone, cpu, index) {
                    let is_new = seen.mark(x, order, nr_pages) && listed.mark(x, 0, nr_pages);
                    if !is_new || zone.view().info(x).kind() != InfoKind::Pcp {
                        return fail(Some(x), "a page on a per-cpu list is free elsewhere, or its marks are wrong");
                    }
                    pages += 1 << order;
                }
            }
            let expected = i64::from(zone.cpu_zones[cpu].count.load(Relaxed)); // ORDERING(R8)
            if pages != expected {
                return count("pages on a cpu's lists", pages, expected);
            }
        }
        for x in 0..nr_pages {
            let info = PageInfo::from_raw(zone.pages().page(x).info.load(Relaxed)); // ORDERING(R4)
            let fits = match info.kind() {
                InfoKind::None => true,
                InfoKind::Pcp => listed.0[x as usize / 64] >> (x % 64) & 1 == 1,
                InfoKind::Allocated => info.order() < zone.config.max_order && seen.mark(x, info.order(), nr_pages),
                InfoKind::Offline => seen.mark(x, 0, nr_pages),
            };
            if !fits {
                return fail(
                    Some(x),
                    "an allocated block overlaps a free one, or a page is marked as on a list it is not on",
                );
            }
        }
        let pending: i64 = zone.cpu_zones.iter().map(|cz| i64::from(cz.diff_free.load(Relaxed))).sum(); // ORDERING(R8)
        let counted = zone.shared.nr_free_pages.load(Relaxed) + pending; // ORDERING(R7)
        let isolated_blocks = zone.shared.nr_isolate_pageblock.load(Relaxed); // ORDERING(R3)
        // Isolating half of a large free block makes the kernel's counter drift for good.
        if isolated_blocks == 0 && nr_isolated == 0 && counted != nr_free && !zone.config.memory_isolation {
            return count("free page counter", counted, nr_free);
        }
        if zone.config.cma && isolated_blocks == 0 && nr_isolated == 0 {
            let pending: i64 = zone.cpu_zones.iter().map(|cz| i64::from(cz.diff_cma.load(Relaxed))).sum(); // ORDERING(R8)
            let counted = zone.shared.nr_free_cma.load(Relaxed) + pending; // ORDERING(R7)
            if counted != nr_cma && !zone.config.memory_isolation {
                return count("free CMA page counter", counted, nr_cma);
            }
        }
        Ok(())
    }

    /// Recounts the free lists and split registers of a zone.
    fn validate_lists(&self, zone: Zone<'_>) -> Result<FreePages, Violation> {
        let fail = |x: Option<PageIdx>, what| Err(violation(zone, x, what));
        for mt in MigrateType::ALL {
            let lists = &zone.shared.lists;
            let no_order = lists.split.load(mt.index()).mask() >> zone.config.max_order != 0
                || (zone.config.max_order..MAX_ORDER as u32).any(|order| !lists.list(order, mt.index()).is_empty());
            if no_order {
                return fail(None, "a free list of an order that does not exist is not empty");
            }
        }
        let nr_pages = zone.pages().len();
        let mut free = FreePages { seen: Seen::new(nr_pages), nr_free: 0, nr_isolated: 0, nr_cma: 0 };
        for order in 0..zone.config.max_order {
            for mt in MigrateType::ALL {
                for x in zone.view().list(order, mt) {
                    if !free.seen.mark(x, order, nr_pages) {
                        return fail(Some(x), "a free block overlaps another, is unaligned or outside the zone");
                    }
                    if self.zone_of(zone.pfn(x)).is_none_or(|owner| owner.number != zone.number) {
                        return fail(Some(x), "a free block lies outside its zone's memory");
                    }
                    if zone.view().info(x).kind() != InfoKind::None {
                        return fail(Some(x), "a free block's first page is marked as handed out");
                    }
                    match mt {
                        MigrateType::Isolate => free.nr_isolated += 1 << order,
                        MigrateType::Cma => {
                            free.nr_cma += 1 << order;
                            free.nr_free += 1 << order;
                        }
                        _ => free.nr_free += 1 << order,
                    }
                }
            }
        }
        Ok(free)
    }
}

fn violation(zone: Zone<'_>, x: Option<PageIdx>, what: &'static str) -> Violation {
    Violation { nid: zone.node(), zone: zone.index(), pfn: x.map(|x| zone.pfn(x)), what, counts: None }
}
