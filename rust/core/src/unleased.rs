//! The commonest calls of somebody whose cpu slot is taken: a block from or to another slot's
//! lists, or from and to a zone that is far above its watermark.
//!
//! Where more threads run than cpus, threads that lost their processor inside a call keep their
//! slots for that long, and all others come here. As in [`crate::fast_path`], each function does
//! exactly what the ordinary path would do, or it changes nothing and says so. Nobody comes here
//! who is alone.

use crate::allocator::{CpuChoice, PageAllocator};
use crate::counters::NumaEvent;
use crate::free_area::Side;
use crate::gfp::Gfp;
use crate::sync::Relaxed;
use crate::types::{MIGRATE_PCPTYPES, MigrateType, Pfn};
use crate::watermark::WMARK_LOW;
use crate::word::page_info::PageInfo;

/// Whom a call may work for whose own slot is taken.
enum Stand {
    /// Another cpu, whose slot was free.
    In(usize),
    /// Its own cpu, without the slot.
    Without(usize),
}

impl PageAllocator {
    /// Where a call works whose slot somebody else uses at this moment; `None` if nobody does.
    fn stand_of(&self, choice: CpuChoice) -> Option<Stand> {
        let slots = &self.segment.cpus;
        // ORDERING(R7): nobody drains the lists of a cpu that never came online.
        let is_online = |cpu: usize| slots[cpu].online.load(Relaxed) != 0;
        let is_free = |cpu: usize| slots[cpu].lease.load(Relaxed) == 0; // ORDERING(R6)
        let own = self.cpu_hint(choice);
        if !is_online(own) || is_free(own) {
            return None;
        }
        let mut others = (own + 1..slots.len()).chain(0..own);
        match choice {
            CpuChoice::Current => others.find(|cpu| is_online(*cpu) && is_free(*cpu)).map(Stand::In),
            CpuChoice::Fixed(_) => None,
        }
        .or(Some(Stand::Without(own)))
    }

    /// A block for a request that any node may serve, if that takes no more than one look at a list.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_unleased(&self, choice: CpuChoice, gfp: Gfp, order: u32, nid: u32) -> Option<Pfn> {
        let cpu = match self.stand_of(choice)? {
            Stand::In(other) => return self.alloc_ready(other, gfp, order, nid),
            Stand::Without(cpu) => cpu,
        };
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
        match self.stand_of(choice) {
            None => return false,
            Some(Stand::In(other)) => return self.free_ready(other, pfn, order),
            Some(Stand::Without(_)) => {}
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
