//! A crew of fibers and the loop in which a strategy runs them.

use crate::fiber::{self, Fiber, Stop};
use crate::ledger::MAX_FIBERS;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// What the fibers work on.
pub trait Stage {
    /// This fiber runs from now on.
    fn set_running(&self, fiber: u8);
    /// Accesses the fiber has begun.
    fn nr_accesses(&self, fiber: u8) -> u32;
    /// Can an access to this address influence others, or be influenced?
    fn is_conflict(&self, address: usize) -> bool;
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

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; the message of its panic, if it panics, instead of a report on the terminal.
pub fn catch<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    result.map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "a panic".into())
}

/// Fibers that are used for one schedule after another.
#[derive(Default)]
pub struct Crew {
    fibers: Vec<Fiber>,
}

impl Crew {
    /// Replaces fibers that were killed or broke a rule; `hire` makes the fiber of a number.
    pub fn fill(&mut self, hire: impl Fn(u8) -> Fiber) {
        for number in 0..MAX_FIBERS {
            match self.fibers.get_mut(number) {
                None => self.fibers.push(hire(number as u8)),
                Some(fiber) if fiber.is_stopped_midway() => *fiber = hire(number as u8),
                Some(_) => {}
            }
        }
    }

    /// Runs the first `nr_fibers` to their ends, and writes down how.
    pub fn run(&mut self, nr_fibers: usize, stage: &dyn Stage, strategy: &mut dyn Strategy, script: &mut Script) {
        let mut ready: Vec<u8> = (0..nr_fibers as u8).collect();
        let mut stops = [Stop::Done; MAX_FIBERS];
        let mut current: Option<u8> = None;
        let executed =
            |fiber: u8, stop: Stop| stage.nr_accesses(fiber) - u32::from(matches!(stop, Stop::Access { .. }));
        while !ready.is_empty() {
            let stop = current.map_or(Stop::Done, |fiber| stops[fiber as usize]);
            let sight = Sight {
                ready: &ready,
                current,
                stop,
                is_conflict: matches!(stop, Stop::Access { address, .. } if stage.is_conflict(address)),
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
            stage.set_running(fiber);
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
