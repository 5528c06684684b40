//! A tiny zone, and random programs for its users.

use crate::history::{Call, Event, History, Page, Reference};
use pagebuddy_core::buddy::Buddy;
use pagebuddy_core::free_area::{FreeArea, MergeRule, Side};
use pagebuddy_core::free_list::{FreeLists, ZoneLists};
use pagebuddy_core::in_flight::{InFlight, InFlightFlag};
use pagebuddy_core::page_array::{PageArray, PageDesc};
use pagebuddy_core::pageblock::Pageblocks;
use pagebuddy_core::sync::{AtomicU8, AtomicU32};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Most users.
pub const MAX_USERS: usize = 3;

/// A zone whose blocks may merge up to order `top`, and a clock for its history.
pub struct TinyZone {
    pages: Vec<PageDesc>,
    lists: Box<ZoneLists>,
    types: Vec<AtomicU8>,
    nr_isolated: AtomicU32,
    flags: Vec<InFlightFlag>,
    clock: AtomicU64,
    top: u32,
}

impl TinyZone {
    fn new(nr_pages: u32, top: u32) -> Self {
        let zone = TinyZone {
            pages: (0..nr_pages).map(|_| PageDesc::new()).collect(),
            lists: Box::default(),
            types: (0..nr_pages).map(|_| AtomicU8::new(0)).collect(),
            nr_isolated: AtomicU32::new(0),
            flags: (0..=MAX_USERS).map(|_| InFlightFlag::new()).collect(),
            clock: AtomicU64::new(0),
            top,
        };
        (0..nr_pages).step_by(1 << top).for_each(|page| zone.buddy(0).put(page, top, 0, Side::Back));
        zone
    }

    /// The last user has no cpu slot.
    fn buddy(&self, user: usize) -> Buddy<'_> {
        // The small table has one descriptor, that of page 0, which the other has room for.
        let pages = PageArray::new(&self.pages, &self.pages[..1]).expect("a small zone");
        let lists = FreeLists { lists: &self.lists, pages };
        let blocks = Pageblocks::new(&self.types, 10);
        let rule = MergeRule { top: self.top, blocks, nr_isolated: &self.nr_isolated, has_isolation: false };
        let own = (user + 1 < MAX_USERS).then(|| &self.flags[user]);
        Buddy { area: FreeArea { lists, rule, in_flight: InFlight { own, all: &self.flags } } }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, SeqCst)
    }

    /// Runs a user's program; what was recorded.
    pub fn run(&self, user: usize, program: &Program, mut between: impl FnMut()) -> Vec<Event> {
        let buddy = self.buddy(user);
        let mut held = program.held.clone();
        let mut events = Vec::with_capacity(program.steps.len());
        for step in &program.steps {
            let call = match *step {
                Step::Alloc(order) => Call::Alloc(order),
                Step::Free(_) if held.is_empty() => continue,
                Step::Free(i) => {
                    let (page, order) = held.remove(i % held.len());
                    Call::Free(page, order)
                }
            };
            between();
            let begun = self.tick();
            let got = match call {
                Call::Alloc(order) => buddy.take_smallest(order, 0),
                Call::Free(page, order) => {
                    buddy.put(page, order, 0, Side::Likely);
                    None
                }
            };
            let ended = self.tick();
            if let (Call::Alloc(order), Some(page)) = (call, got) {
                held.push((page, order));
            }
            events.push(Event { thread: user, call, got, span: (begun, ended) });
        }
        events
    }
}

/// One step of a program; blocks are named by their position among what the user holds.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Allocate a block of an order.
    Alloc(u32),
    /// Free a block.
    Free(usize),
}

/// What a user does.
#[derive(Clone, Debug, Default)]
pub struct Program {
    held: Vec<(Page, u32)>,
    steps: Vec<Step>,
}

/// A zone, the same zone as the reference sees it, and programs.
pub struct Case {
    /// The engine's zone.
    pub zone: TinyZone,
    /// One program per user.
    pub programs: Vec<Program>,
    start: Reference,
}

impl Case {
    /// A random one.
    ///
    /// # Panics
    /// If the engine and the reference differ in what is done sequentially.
    pub fn new(below: &mut dyn FnMut(u64) -> u64, nr_users: usize, most_steps: u64) -> Self {
        let nr_pages: u32 = [2, 4, 8, 16][below(4) as usize];
        let top = 1 + below(u64::from(nr_pages.ilog2())) as u32;
        let zone = TinyZone::new(nr_pages, top);
        let mut start = Reference::new(nr_pages, top);
        let mut programs = vec![Program::default(); nr_users];
        let buddy = zone.buddy(0);
        for _ in 0..below(2 * u64::from(nr_pages)) {
            let held = &mut programs[below(nr_users as u64) as usize].held;
            if below(3) > 0 || held.is_empty() {
                let order = Self::order(below, top);
                let page = start.alloc(order);
                assert_eq!(buddy.take_smallest(order, 0), page, "order {order}, one after the other");
                held.extend(page.map(|page| (page, order)));
            } else {
                let (page, order) = held.remove(below(held.len() as u64) as usize);
                start.free(page, order);
                buddy.put(page, order, 0, Side::Likely);
            }
        }
        for program in &mut programs {
            program.steps = (0..1 + below(most_steps))
                .map(|_| match below(2) {
                    0 => Step::Alloc(Self::order(below, top)),
                    _ => Step::Free(below(8) as usize),
                })
                .collect();
        }
        Case { zone, programs, start }
    }

    fn order(below: &mut dyn FnMut(u64) -> u64, top: u32) -> u32 {
        if below(2) == 0 { 0 } else { below(u64::from(top) + 1) as u32 }
    }

    /// The history of a run.
    pub fn history(&self, events: Vec<Event>) -> History {
        History { start: self.start.clone(), nr_pages: self.zone.pages.len() as u32, events }
    }
}
