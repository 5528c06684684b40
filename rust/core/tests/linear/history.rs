//! Recorded histories and the search for a sequential order that explains them.
//!
//! What is checked is linearisability of who owns what: there is an order of all operations, which
//! keeps the order of operations of which one ended before the other began, in which every block
//! handed out was free as a whole, every block freed was in use, and every request that got nothing
//! came when no block of its order was free. Which of the free blocks a request gets is not part of
//! that: the order of lists and the smallest fit are the kernel's only where operations do not
//! overlap. Such histories, and those for which luck would have it, are explained by [`Reference`].

use std::collections::{HashSet, VecDeque};

/// First page of a block.
pub type Page = u32;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A block of this order.
    Alloc(u32),
    /// Block (page, order) back.
    Free(Page, u32),
}

/// One operation of a history.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Who.
    pub thread: usize,
    /// What.
    pub call: Call,
    /// The block that was handed out.
    pub got: Option<Page>,
    /// Ticks of the global clock before the call and after it.
    pub span: (u64, u64),
}

/// When a request may get nothing although a block is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failures {
    /// Never.
    Exact,
    /// When the blocks may be in the hands of operations that overlap with it: each can have the
    /// largest block around the page it works on, and the elements of a split register, which are
    /// all of one largest block.
    MayMissInFlight,
}

/// A zone as the kernel's rules change it, one operation after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    top: u32,
    lists: Vec<VecDeque<Page>>,
}

impl Reference {
    /// All blocks of the largest order free, in ascending order.
    pub fn new(nr_pages: u32, top: u32) -> Self {
        let mut lists = vec![VecDeque::new(); top as usize + 1];
        lists[top as usize].extend((0..nr_pages).step_by(1 << top));
        Reference { top, lists }
    }

    /// Smallest fit; the front of the list is split, and the upper halves go to the fronts.
    pub fn alloc(&mut self, order: u32) -> Option<Page> {
        let found = (order..=self.top).find(|k| !self.lists[*k as usize].is_empty())?;
        let page = self.lists[found as usize].pop_front()?;
        for k in (order..found).rev() {
            self.lists[k as usize].push_front(page + (1 << k));
        }
        Some(page)
    }

    /// Merges with free buddies; to the back if the next merge is likely, else to the front.
    pub fn free(&mut self, mut page: Page, mut order: u32) {
        while order < self.top {
            let buddy = page ^ (1 << order);
            let list = &mut self.lists[order as usize];
            let Some(at) = list.iter().position(|free| *free == buddy) else { break };
            list.remove(at);
            page &= buddy;
            order += 1;
        }
        let is_merge_likely = order + 1 < self.top && {
            let parent = page & !(1 << order);
            self.lists[order as usize + 1].contains(&(parent ^ (2 << order)))
        };
        let list = &mut self.lists[order as usize];
        if is_merge_likely { list.push_back(page) } else { list.push_front(page) }
    }

    /// One bit per free page.
    pub fn free_pages(&self) -> u64 {
        let of =
            |(order, list): (usize, &VecDeque<Page>)| list.iter().map(|page| bits(*page, order as u32)).sum::<u64>();
        self.lists.iter().enumerate().map(of).sum()
    }
}

/// The pages of a block.
fn bits(page: Page, order: u32) -> u64 {
    (u64::MAX >> (64 - (1u32 << order))) << page
}

/// A history and where it began.
pub struct History {
    /// The zone at the beginning.
    pub start: Reference,
    /// Pages of the zone, at most 64.
    pub nr_pages: u32,
    /// All operations, in any order; at most 64.
    pub events: Vec<Event>,
}

impl History {
    /// Is there an order in which the reference does exactly what was recorded?
    pub fn is_exact(&self) -> bool {
        self.search(0, self.start.clone(), &mut HashSet::new(), &|zone: &Reference, event| {
            let mut zone = zone.clone();
            match event.call {
                Call::Alloc(order) => (zone.alloc(order) == event.got).then_some(zone),
                Call::Free(page, order) => {
                    zone.free(page, order);
                    Some(zone)
                }
            }
        })
    }

    /// Is there an order that explains who owned what?
    pub fn is_linearisable(&self, failures: Failures) -> bool {
        self.search(0, self.start.free_pages(), &mut HashSet::new(), &|free: &u64, event| {
            self.owned_after(*free, event, failures)
        })
    }

    fn owned_after(&self, free: u64, event: &Event, failures: Failures) -> Option<u64> {
        match (event.call, event.got) {
            (Call::Alloc(order), Some(page)) => {
                let block = bits(page, order);
                (page % (1 << order) == 0 && free & block == block).then_some(free & !block)
            }
            (Call::Alloc(order), None) => {
                let may_hide = match failures {
                    Failures::Exact => 0,
                    Failures::MayMissInFlight => 2 * self.overlapping(event),
                };
                (self.nr_largest_with(free, order) <= may_hide).then_some(free)
            }
            (Call::Free(page, order), _) => {
                let block = bits(page, order);
                (free & block == 0).then_some(free | block)
            }
        }
    }

    /// Operations that overlap with one.
    fn overlapping(&self, event: &Event) -> usize {
        let overlaps = |other: &&Event| other.span.0 < event.span.1 && event.span.0 < other.span.1;
        self.events.iter().filter(overlaps).count() - 1
    }

    /// Blocks of the largest order in which a block of this order is free.
    fn nr_largest_with(&self, free: u64, order: u32) -> usize {
        let has_free = |largest: Page| {
            let mut blocks = (largest..largest + (1 << self.start.top)).step_by(1 << order);
            blocks.any(|page| free & bits(page, order) == bits(page, order))
        };
        (0..self.nr_pages).step_by(1 << self.start.top).filter(|largest| has_free(*largest)).count()
    }

    /// Depth first: any operation may be next that began before all others that are left ended.
    /// `seen` holds what led nowhere.
    fn search<S: Clone + Eq + std::hash::Hash>(
        &self,
        done: u64,
        state: S,
        seen: &mut HashSet<(u64, S)>,
        step: &dyn Fn(&S, &Event) -> Option<S>,
    ) -> bool {
        let left = || self.events.iter().enumerate().filter(move |(i, _)| done >> i & 1 == 0);
        let Some(first_end) = left().map(|(_, event)| event.span.1).min() else { return true };
        if !seen.insert((done, state.clone())) {
            return false;
        }
        left()
            .filter(|(_, event)| event.span.0 < first_end)
            .any(|(i, event)| step(&state, event).is_some_and(|next| self.search(done | 1 << i, next, seen, step)))
    }

    /// The events in the order of their beginnings, one a line.
    pub fn report(&self) -> String {
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.span.0);
        let mut text = format!("{} pages, {:?}\n", self.nr_pages, self.start);
        for Event { thread, call, got, span: (begun, ended) } in events {
            text += &format!("{begun:4} to {ended:4}: thread {thread} {call:?}");
            text += &match (call, got) {
                (Call::Free(..), _) => "\n".to_owned(),
                (_, Some(page)) => format!(" got page {page}\n"),
                (_, None) => " got nothing\n".to_owned(),
            };
        }
        text
    }
}
