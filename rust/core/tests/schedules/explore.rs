//! Runs schedules of one small zone and checks everything after each.

use crate::crew::{Crew, Script, Stage, Strategy, catch};
use crate::fiber::Fiber;
use crate::inspect::Findings;
use crate::ledger::MAX_FIBERS;
use crate::program::Op;
use crate::world::{Start, World};
use pagebuddy_core::sync::Bug;
use std::rc::Rc;

/// A schedule that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was broken.
    pub what: String,
    /// How to repeat it.
    pub script: Script,
}

impl Failure {
    /// What was broken and how to repeat it.
    pub fn report(&self, case: &str) -> String {
        format!("{}\nrepeat with PAGEBUDDY_REPLAY='{case}@{}'", self.what, self.script)
    }
}

/// A schedule that broke none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// What was found at the end.
    pub findings: Findings,
    /// Accesses of all fibers.
    pub nr_accesses: u32,
    /// Was a fiber killed midway?
    pub killed: bool,
}

/// One case: a start and what the fibers do.
#[derive(Clone, Debug)]
pub struct Case {
    /// State at the start.
    pub start: Start,
    /// One program per fiber.
    pub programs: Vec<Vec<Op>>,
    /// Does each fiber hold a cpu slot?
    pub leased: bool,
}

impl Case {
    /// Is it easy to say whether a single page was available? Either all memory is of one type, now
    /// and always, or every allocation looks at the lists of both types that cases have.
    fn has_exact_failures(&self) -> bool {
        let ops = || self.programs.iter().flatten();
        let moves = |op: &Op| {
            let is_spoil = matches!(op, Op::Spoil { .. } | Op::SpoilBlock { .. });
            is_spoil || matches!(op, Op::MoveBlock(..) | Op::Move(_, _, 1..) | Op::Steal(..))
        };
        let looks_at_one = |op: &Op| matches!(op, Op::Alloc(..) | Op::Bulk(..));
        let has_one_type = self.start.types.iter().all(|mt| *mt == 0) && !ops().any(moves);
        has_one_type || !ops().any(looks_at_one)
    }
}

/// Runs schedules on this OS thread.
pub struct Explorer {
    /// The zone.
    pub world: Rc<World>,
    crew: Crew,
    /// The bug to plant.
    pub planted: Option<Bug>,
    /// Is it wrong to fail for want of a page that was there all the time? (Not if somebody was
    /// killed or starved.)
    pub exact_failure: bool,
}

impl Explorer {
    /// An explorer without a planted bug.
    pub fn new() -> Self {
        Explorer { world: World::of_thread(), crew: Crew::default(), planted: None, exact_failure: false }
    }

    /// Runs one schedule and checks everything.
    pub fn run(&mut self, case: &Case, strategy: &mut dyn Strategy) -> Result<Done, Failure> {
        let world = &self.world;
        self.crew.fill(|number| {
            let world = Rc::clone(world);
            Fiber::new(move || world.run_program(number))
        });
        world.exact_failure.set(self.exact_failure && case.has_exact_failures());
        world.leased.set(case.leased);
        world.reset(&case.start, &case.programs, self.planted);
        let mut script = Script::default();
        let result = catch(|| {
            self.crew.run(case.programs.len(), &**world, strategy, &mut script);
            world.quiesce();
            let findings = world.inspect(script.killed);
            world.use_up();
            world.free_everything(&case.start.others, script.killed);
            findings
        });
        world.quiesce();
        match result {
            Ok(findings) => {
                let nr_accesses = (0..MAX_FIBERS as u8).map(|f| world.nr_accesses(f)).sum();
                Ok(Done { findings, nr_accesses, killed: script.killed.is_some() })
            }
            Err(what) => Err(Failure { what, script }),
        }
    }
}
