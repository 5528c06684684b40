//! Look-ahead in a trace: what an event leads to.

use super::line::TraceEvent;
use pagebuddy_core::trace::Event;
use pagebuddy_core::types::Pfn;
use std::cell::Cell;
use std::collections::HashMap;

/// What is known about a trace as a whole, and how far it was followed.
pub(super) struct Plan {
    /// For the first `zone_locked` event of an allocation: the allocation's own event.
    alloc_of: HashMap<usize, usize>,
    /// Numbers of the pages.
    pages: HashMap<Pfn, usize>,
    /// Events of each page.
    uses: Vec<Uses>,
    /// Number of each event's page.
    page_of: Vec<Option<usize>>,
    /// Events that were followed.
    is_done: Vec<bool>,
}

/// Events of a page, ascending.
#[derive(Default)]
struct Uses {
    events: Vec<usize>,
    /// All before this position were followed.
    nr_done: Cell<usize>,
}

/// Blocks that left the free lists in one go, not yet tied to an allocation.
struct Group {
    first: usize,
    pfn: Pfn,
    order: u32,
    migratetype: u8,
    /// Can more blocks follow?
    is_open: bool,
}

impl Plan {
    pub fn new(events: &[TraceEvent]) -> Plan {
        let mut plan = Plan {
            alloc_of: HashMap::new(),
            pages: HashMap::new(),
            uses: Vec::new(),
            page_of: Vec::with_capacity(events.len()),
            is_done: vec![false; events.len()],
        };
        let mut groups: HashMap<u32, Vec<Group>> = HashMap::new();
        for (at, TraceEvent { cpu, event, .. }) in events.iter().enumerate() {
            // A fallback's page is the one that its allocation names too.
            let pfn = event.pfn().filter(|_| !matches!(event, Event::AllocExtfrag { .. }));
            let page = pfn.map(|pfn| plan.page_number(pfn));
            if let Some(page) = page {
                plan.uses[page].events.push(at);
            }
            plan.page_of.push(page);
            plan.tie(groups.entry(*cpu).or_default(), at, *event);
        }
        plan
    }

    fn page_number(&mut self, pfn: Pfn) -> usize {
        let next = self.uses.len();
        let number = *self.pages.entry(pfn).or_insert(next);
        if number == next {
            self.uses.push(Uses::default());
        }
        number
    }

    /// Ties an allocation to the blocks that were taken for it.
    fn tie(&mut self, groups: &mut Vec<Group>, at: usize, event: Event) {
        match event {
            Event::AllocZoneLocked { pfn, order, migratetype } => match groups.last_mut() {
                Some(group) if group.is_open && (group.order, group.migratetype) == (order, migratetype) => {}
                _ => groups.push(Group { first: at, pfn, order, migratetype, is_open: true }),
            },
            Event::AllocExtfrag { .. } => {}
            Event::Alloc { pfn, order, .. } => {
                // An interrupt may have allocated between the blocks and the event.
                let found = groups.iter().rposition(|group| Some(group.pfn) == pfn && group.order == order);
                if let Some(found) = found {
                    self.alloc_of.insert(groups[found].first, at);
                    groups.truncate(found);
                }
                groups.iter_mut().for_each(|group| group.is_open = false);
            }
            Event::Free { .. } | Event::FreeBatched { .. } | Event::PcpuDrain { .. } => {
                groups.iter_mut().for_each(|group| group.is_open = false);
            }
        }
    }

    /// The allocation that the block of a `zone_locked` event was taken for.
    pub fn alloc_of(&self, at: usize) -> Option<usize> {
        self.alloc_of.get(&at).copied()
    }

    /// Remembers whether an event was followed.
    pub fn set_done(&mut self, at: usize, is_done: bool) {
        self.is_done[at] = is_done;
        if let (false, Some(page)) = (is_done, self.page_of[at]) {
            let uses = &self.uses[page];
            uses.nr_done.set(uses.nr_done.get().min(uses.events.partition_point(|other| *other < at)));
        }
    }

    /// Events of a page that were not followed yet, ascending.
    pub fn pending_uses(&self, pfn: Pfn) -> impl Iterator<Item = usize> {
        let uses = self.pages.get(&pfn).map(|page| &self.uses[*page]);
        let pending = uses.map_or(&[][..], |uses| {
            let mut first = uses.nr_done.get();
            while uses.events.get(first).is_some_and(|at| self.is_done[*at]) {
                first += 1;
            }
            uses.nr_done.set(first);
            &uses.events[first..]
        });
        pending.iter().copied().filter(|at| !self.is_done[*at])
    }
}
