//! /proc/vmstat (mm/vmstat.c, `vmstat_start`).

use super::{Item, NODE_ITEMS, NUMA_ITEMS, ZONE_ITEMS};
use crate::allocator::PageAllocator;
use crate::sync::Relaxed;
use crate::types::ZoneKind;
use core::fmt;

/// The lines of /proc/vmstat that concern pages: zone, NUMA and node counters, the dirty
/// thresholds, and of the events those of page allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmstatReport {
    /// Names and values in the kernel's order.
    pub items: Vec<Item>,
}

impl fmt::Display for VmstatReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.iter().try_for_each(|(name, value)| writeln!(f, "{name} {value}"))
    }
}

/// An event that is counted per zone kind: the kernel's names by kind.
struct ZoneEvent([&'static str; 4]);

const PGALLOC: ZoneEvent = ZoneEvent(["pgalloc_dma", "pgalloc_dma32", "pgalloc_normal", "pgalloc_movable"]);
const ALLOCSTALL: ZoneEvent =
    ZoneEvent(["allocstall_dma", "allocstall_dma32", "allocstall_normal", "allocstall_movable"]);
const PGSKIP: ZoneEvent = ZoneEvent(["pgskip_dma", "pgskip_dma32", "pgskip_normal", "pgskip_movable"]);

impl PageAllocator {
    /// System-wide counters and page events. Folds the NUMA events, as opening /proc/vmstat does.
    pub fn vmstat_report(&self) -> VmstatReport {
        self.fold_vm_numa_events();
        let mut items: Vec<Item> = ZONE_ITEMS.map(|name| (name, self.zone_item_sum(name))).to_vec();
        if self.config().numa {
            let sum = |event: usize| self.zones().map(|zone| zone.shared.numa_events[event].load(Relaxed)).sum(); // ORDERING(R7)
            items.extend(NUMA_ITEMS.iter().enumerate().map(|(event, name)| (*name, sum(event))));
        }
        items
            .extend(NODE_ITEMS.iter().chain(&["nr_dirty_threshold", "nr_dirty_background_threshold"]).map(|n| (*n, 0)));
        let kinds: Vec<ZoneKind> = self.config().zone_kinds().collect();
        let mut add = |event: ZoneEvent, count: &dyn Fn(ZoneKind) -> u64| {
            items.extend(kinds.iter().map(|kind| (event.0[*kind as usize], count(*kind))));
        };
        let of_kind = |kind: ZoneKind| self.zones().filter(move |zone| zone.kind() == kind);
        add(PGALLOC, &|kind| of_kind(kind).map(|zone| zone.vm_events().0).sum());
        add(ALLOCSTALL, &|kind| {
            let index = self.config().zone_kinds().position(|other| other == kind);
            let cpus = self.segment.cpus.iter();
            // ORDERING(R7)
            index.map_or(0, |index| cpus.fold(0, |sum, cpu| sum.wrapping_add(cpu.allocstall[index].load(Relaxed))))
        });
        // Pages that isolation from the LRU lists passes over: there are no such lists here.
        add(PGSKIP, &|_| 0);
        items.push(("pgfree", self.zones().map(|zone| zone.vm_events().1).sum()));
        items.push(("nr_unstable", 0));
        VmstatReport { items }
    }

    /// A zone counter summed over all zones (`global_zone_page_state`).
    pub(super) fn zone_item_sum(&self, name: &str) -> u64 {
        let global = |zone: crate::zone::Zone<'_>| match name {
            "nr_free_pages" => zone.shared.nr_free_pages.load(Relaxed), // ORDERING(R7)
            "nr_free_cma" => zone.shared.nr_free_cma.load(Relaxed),     // ORDERING(R7)
            _ => 0,
        };
        self.zones().map(global).sum::<i64>().max(0) as u64
    }
}
