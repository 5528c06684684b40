//! Runs schedules: a strategy decides at every stop who goes on.

use crate::fiber::{self, Fiber, Stop};
use crate::inspect::Findings;
use crate::ledger::MAX_FIBERS;
use crate::program::Op;
use crate::world::{Start, World};
use pagebuddy_core::sync::Bug;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

/// Where a strategy decides.
#[derive(Debug)]
pub struct Sight<'a> {
    /// Fibers that can run.
    pub ready: &'a [u8],
    /// The fiber that ran last, if it can go on.
    pub current: Option<u8>,
    /// Why it stopped.
    pub stop: Stop,
    /// Can its next access influence others, or be influenced?
    pub is_conflict: bool,
    /// Accesses each fiber has made.
    pub nr_accesses: [u32; MAX_FIBERS],
}

/// What a strategy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This fiber goes on.
    Run(u8),
    /// The current fiber never goes on.
    Kill,
}

/// Decides who runs.
pub trait Strategy {
    /// At a stop.
    fn decide(&mut self, sight: &Sight<'_>) -> Decision;
    /// A remover asks whether to leave a zombie.
    fn zombie(&mut self) -> bool;
}

/// The decisions of one schedule, independent of where fibers stop: enough to repeat it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Fiber and number of accesses it made without interruption.
    pub segments: Vec<(u8, u32)>,
    /// The fiber that was killed after the last of its segments.
    pub killed: Option<u8>,
    /// Answers to remover's questions.
    pub zombies: Vec<bool>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments: Vec<_> = self.segments.iter().map(|(fiber, n)| format!("{fiber}*{n}")).collect();
        write!(f, "{}", segments.join(","))?;
        if let Some(fiber) = self.killed {
            write!(f, ";k{fiber}")?;
        }
        if !self.zombies.is_empty() {
            let zombies: String = self.zombies.iter().map(|z| if *z { '1' } else { '0' }).collect();
            write!(f, ";z{zombies}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut script = Script::default();
        for part in text.split(';') {
            if let Some(fiber) = part.strip_prefix('k') {
                script.killed = Some(fiber.parse().map_err(|_| format!("killed fiber {fiber:?}"))?);
            } else if let Some(bits) = part.strip_prefix('z') {
                script.zombies = bits.chars().map(|c| c == '1').collect();
            } else {
                for segment in part.split(',').filter(|s| !s.is_empty()) {
                    let parsed = segment.split_once('*').and_then(|(f, n)| Some((f.parse().ok()?, n.parse().ok()?)));
                    script.segments.push(parsed.ok_or_else(|| format!("segment {segment:?}"))?);
                }
            }
        }
        Ok(script)
    }
}

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
    /// Is all memory of one type, now and always, so that it is easy to say whether a single page
    /// was available?
    fn has_one_type(&self) -> bool {
        let moves = |op: &Op| matches!(op, Op::MoveBlock(..) | Op::Move(_, _, 1..));
        self.start.types.iter().all(|mt| *mt == 0) && !self.programs.iter().flatten().any(moves)
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "a panic".into())
}

/// Runs schedules on this OS thread.
pub struct Explorer {
    /// The zone.
    pub world: Rc<World>,
    fibers: Vec<Fiber>,
    /// The bug to plant.
    pub planted: Option<Bug>,
    /// Is it wrong to fail for want of a page that was there all the time? (Not if somebody was
    /// killed or starved.)
    pub exact_failure: bool,
}

impl Explorer {
    /// An explorer without a planted bug.
    pub fn new() -> Self {
        quiet_panics();
        Explorer { world: World::of_thread(), fibers: Vec::new(), planted: None, exact_failure: false }
    }

    fn prepare(&mut self, case: &Case) {
        for number in 0..MAX_FIBERS {
            if self.fibers.get(number).is_none_or(Fiber::is_stopped_midway) {
                let world = Rc::clone(&self.world);
                let fiber = Fiber::new(move || world.run_program(number as u8));
                if number < self.fibers.len() {
                    self.fibers[number] = fiber;
                } else {
                    self.fibers.push(fiber);
                }
            }
        }
        self.world.exact_failure.set(self.exact_failure && case.has_one_type());
        self.world.leased.set(case.leased);
        self.world.reset(&case.start, &case.programs, self.planted);
    }

    /// Runs one schedule and checks everything.
    pub fn run(&mut self, case: &Case, strategy: &mut dyn Strategy) -> Result<Done, Failure> {
        self.prepare(case);
        let mut script = Script::default();
        QUIET.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.run_fibers(case.programs.len(), strategy, &mut script);
            self.world.quiesce();
            let findings = self.world.inspect(script.killed);
            self.world.use_up();
            self.world.free_everything(&case.start.others, script.killed);
            findings
        }));
        QUIET.set(false);
        self.world.quiesce();
        match result {
            Ok(findings) => {
                let nr_accesses = (0..MAX_FIBERS as u8).map(|f| self.world.nr_accesses(f)).sum();
                Ok(Done { findings, nr_accesses, killed: script.killed.is_some() })
            }
            Err(panic) => Err(Failure { what: message(&*panic), script }),
        }
    }

    fn run_fibers(&mut self, nr_fibers: usize, strategy: &mut dyn Strategy, script: &mut Script) {
        let world = Rc::clone(&self.world);
        let mut ready: Vec<u8> = (0..nr_fibers as u8).collect();
        let mut stops = [Stop::Done; MAX_FIBERS];
        let mut current: Option<u8> = None;
        let executed =
            |fiber: u8, stop: Stop| world.nr_accesses(fiber) - u32::from(matches!(stop, Stop::Access { .. }));
        while !ready.is_empty() {
            let stop = current.map_or(Stop::Done, |fiber| stops[fiber as usize]);
            let sight = Sight {
                ready: &ready,
                current,
                stop,
                is_conflict: matches!(stop, Stop::Access { address, .. } if world.is_conflict(address)),
                nr_accesses: std::array::from_fn(|f| executed(f as u8, stops[f])),
            };
            let fiber = match (strategy.decide(&sight), current) {
                (Decision::Kill, Some(fiber)) => {
                    script.killed = Some(fiber);
                    ready.retain(|f| *f != fiber);
                    current = None;
                    continue;
                }
                (Decision::Kill, None) => unreachable!("only a fiber that can go on can be killed"),
                (Decision::Run(fiber), _) => fiber,
            };
            world.running.set(fiber);
            // A fiber that breaks a rule does not come back, so its segment is there before it runs.
            if script.segments.last().is_none_or(|(last, _)| *last != fiber) {
                script.segments.push((fiber, 0));
            }
            let before = executed(fiber, stops[fiber as usize]);
            let mut stop = self.fibers[fiber as usize].resume();
            while stop == Stop::AskZombie {
                let yes = strategy.zombie();
                script.zombies.push(yes);
                fiber::answer(yes);
                stop = self.fibers[fiber as usize].resume();
            }
            if let Some((_, n)) = script.segments.last_mut() {
                *n += executed(fiber, stop) - before;
            }
            stops[fiber as usize] = stop;
            if stop == Stop::Done {
                ready.retain(|f| *f != fiber);
                current = None;
            } else {
                current = Some(fiber);
            }
        }
    }
}
