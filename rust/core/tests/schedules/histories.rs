//! Histories under the deterministic scheduler: every one is linearisable, without the exception for
//! blocks in flight, because nobody is starved. Planted bugs show in them.

use crate::crew::{Crew, Script, Stage, Strategy, catch};
use crate::fiber::{self, Fiber, Stop};
use crate::history::{Event, Failures};
use crate::hunt::Budget;
use crate::ledger::MAX_FIBERS;
use crate::strategy::{Pct, Random, Rng};
use crate::zone::{Case, MAX_USERS};
use pagebuddy_core::sync::Bug;
use pagebuddy_core::sync::scheduled::{Hooks, plant, set_hooks};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

/// Schedules of one case.
const PER_CASE: u64 = 8;

/// More accesses than any schedule needs.
const LIVELOCK: u32 = 60_000;

/// Where the fibers are.
#[derive(Default)]
struct Place {
    case: RefCell<Option<Rc<Case>>>,
    running: Cell<u8>,
    nr_accesses: [Cell<u32>; MAX_FIBERS],
    recorded: RefCell<Vec<Event>>,
}

thread_local! {
    static PLACE: Rc<Place> = Rc::default();
}

impl Stage for Place {
    fn set_running(&self, fiber: u8) {
        self.running.set(fiber);
    }

    fn nr_accesses(&self, fiber: u8) -> u32 {
        self.nr_accesses[fiber as usize].get()
    }

    fn is_conflict(&self, _: usize) -> bool {
        true
    }
}

impl Place {
    fn run_program(&self, user: usize) {
        let case = self.case.borrow().clone().expect("a case");
        let events = case.zone.run(user, &case.programs[user], || ());
        self.recorded.borrow_mut().extend(events);
    }
}

fn before_access(address: usize, is_write: bool) {
    // Destructors of a fiber that broke a rule go on without stops.
    if !fiber::is_running() || std::thread::panicking() {
        return;
    }
    let count = PLACE.with(|place| {
        let count = &place.nr_accesses[place.running.get() as usize];
        count.set(count.get() + 1);
        count.get()
    });
    assert!(count < LIVELOCK, "somebody does not get anywhere");
    fiber::suspend(Stop::Access { address, is_write });
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Schedules, each of which leaves one history.
    pub schedules: u64,
    /// Operations in them.
    pub operations: u64,
    /// Histories that the reference explains exactly.
    pub exact: u64,
}

/// Random schedules of random cases; how many there were before one was not linearisable, and its
/// history.
pub fn search(first_seed: u64, planted: Option<Bug>, budget: Budget) -> Result<Tally, (Tally, String)> {
    let place = PLACE.with(Rc::clone);
    let mut crew = Crew::default();
    let mut tally = Tally::default();
    let began = Instant::now();
    for seed in first_seed.. {
        if budget.is_spent(began, tally.schedules) {
            break;
        }
        for schedule in seed * PER_CASE..(seed + 1) * PER_CASE {
            set_hooks(Hooks::default());
            plant(None);
            // The same case each time: a zone is used up by a schedule.
            let mut rng = Rng::new(seed ^ 0x7e57);
            let nr_users = 2 + rng.below(MAX_USERS as u64 - 1) as usize;
            *place.case.borrow_mut() = Some(Rc::new(Case::new(&mut |n| rng.below(n), nr_users, 4)));
            place.recorded.borrow_mut().clear();
            place.nr_accesses.iter().for_each(|n| n.set(0));
            crew.fill(|number| {
                let place = Rc::clone(&place);
                Fiber::new(move || place.run_program(number.into()))
            });
            let mut strategy: Box<dyn Strategy> = if schedule % 2 == 0 {
                Box::new(Random::new(schedule, nr_users as u8, false))
            } else {
                Box::new(Pct::new(schedule, nr_users as u8, false))
            };
            let mut script = Script::default();
            plant(planted);
            set_hooks(Hooks {
                before: Some(before_access),
                after: None,
                yielded: Some(|| fiber::suspend(Stop::Yield)),
                zombie: Some(fiber::ask_zombie),
            });
            let result = catch(|| crew.run(nr_users, &*place, &mut *strategy, &mut script));
            set_hooks(Hooks::default());
            plant(None);
            tally.schedules += 1;
            let case = place.case.borrow().clone().expect("a case");
            let history = case.history(place.recorded.take());
            tally.operations += history.events.len() as u64;
            if let Err(what) = result {
                return Err((tally, format!("{what}\nin schedule {schedule} of\n{}", history.report())));
            }
            if history.is_exact() {
                tally.exact += 1;
            } else if !history.is_linearisable(Failures::Exact) {
                let missed = history.is_linearisable(Failures::MayMissInFlight);
                let how = if missed { "but for blocks in flight" } else { "at all" };
                return Err((tally, format!("not linearisable {how}, in schedule {schedule}:\n{}", history.report())));
            }
        }
    }
    Ok(tally)
}
