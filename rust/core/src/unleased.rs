//! The commonest calls of somebody who finds no free cpu slot: a block from and to a zone that is far
//! above its watermark.
//!
//! Whoever names a cpu whose slot somebody else uses comes here, and whoever names none while all
//! spare slots are taken, too. As in [`crate::fast_path`], each function does exactly what the
//! ordinary path would do, or it changes nothing and says so. Nobody comes here who is alone.

use crate::allocator::{CpuChoice, PageAllocator};
use crate::counters::NumaEvent;
use crate::free_area::Side;
use crate::gfp::Gfp;
use crate::sync::Relaxed;
use crate::types::{MIGRATE_PCPTYPES, MigrateType, Pfn};
use crate::watermark::WMARK_LOW;
use crate::word::page_info::PageInfo;

impl PageAllocator {
    /// The cpu of a call for which no slot is free at this moment; `None` if there is one.
    fn cpu_without_slot(&self, choice: CpuChoice) -> Option<usize> {
        let slots = &self.segment.cpus;
        let own = self.cpu_hint(choice);
        // Nobody drains the lists of a cpu that never came online.
        if !slots[own].is_online() || slots[own].is_free() {
            return None;
        }
        let is_any_free =
            || self.find_spare(own).is_some() || slots.iter().any(|slot| slot.is_online() && slot.is_free());
        (matches!(choice, CpuChoice::Fixed(_)) || !is_any_free()).then_some(own)
    }

    /// A block for a request that any node may serve, if that takes no more than one look at a list.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_unleased(&self, choice: CpuChoice, gfp: Gfp, order: u32, nid: u32) -> Option<Pfn> {
        let cpu = self.cpu_without_slot(choice)?;
        let gfp = Gfp(gfp.0 & self.machine().gfp_allowed_mask.load(Relaxed)); // ORDERING(R7)
        let mt = self.migratetype_of(gfp);
        let (number, highest) = self.first_zone(nid, gfp)?;
        let zone = self.zone(number);
        let may_be_cma = self.config().cma && mt == MigrateType::Movable;
        if order >= self.config().max_order
            || self.trace().is_on()
            || may_be_cma
            || !zone.is_far_above_watermark(order, highest, WMARK_LOW)
            || zone.is_boosted_flag_set()
        {
            return None;
        }
        let x = zone.view().try_take_smallest(order, mt.index())?;
        zone.view().set_info(x, PageInfo::allocated(order, gfp.contains(Gfp::COMP), false));
        let shared = &zone.shared;
        shared.nr_free_pages.fetch_sub(1 << order, Relaxed); // ORDERING(R7)
        shared.pgalloc.fetch_add(1 << order, Relaxed); // ORDERING(R7)
        // ORDERING(R7)
        if self.config().numa && self.machine().numa_stat.load(Relaxed) != 0 {
            let is_remote = zone.node() != self.cpu_node(cpu);
            let count = |event: usize| shared.numa_events[event].fetch_add(1, Relaxed); // ORDERING(R7)
            count(NumaEvent::Hit as usize);
            count(NumaEvent::Local as usize + usize::from(is_remote));
        }
        Some(zone.pfn(x))
    }

    /// A block that one caller holds to where it belongs, if that is easy. True if that was all
    /// there is to do.
    #[cold]
    #[inline(never)]
    pub(crate) fn free_unleased(&self, choice: CpuChoice, pfn: Pfn, order: u32) -> bool {
        if self.cpu_without_slot(choice).is_none() {
            return false;
        }
        let Some(zone) = self.zone_of_whole(pfn) else { return false };
        let x = zone.idx(pfn);
        if order >= self.config().max_order || x & ((1 << order) - 1) != 0 || self.trace().is_on() {
            return false;
        }
        let mt = zone.blocks().get(x);
        let old = zone.view().info(x);
        if !old.is_allocated_once(order)
            || mt.index() >= MIGRATE_PCPTYPES
            || !zone.view().replace_info(x, old, PageInfo::NONE)
        {
            return false;
        }
        let shared = &zone.shared;
        // What only misses the lists of a cpu is not counted.
        if !zone.pcp_allowed_order(order) {
            shared.pgfree.fetch_add(1 << order, Relaxed); // ORDERING(R7)
        }
        shared.nr_free_pages.fetch_add(1 << order, Relaxed); // ORDERING(R7)
        zone.view().put(x, order, mt.index(), Side::Likely);
        true
    }
}
