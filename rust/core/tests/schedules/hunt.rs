//! Searches: many schedules of one strategy, and the hunt for planted bugs.

use crate::explore::{Case, Done, Explorer, Failure};
use crate::scenarios::{SCENARIOS, Scenario, random_case};
use crate::strategy::{Bounds, Pct, Random, Search};
use pagebuddy_core::sync::Bug;
use std::fmt;
use std::time::{Duration, Instant};

/// What a search saw.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Schedules.
    pub schedules: u64,
    /// Schedules in which a fiber was killed.
    pub killed: u64,
    /// Zombies that were left at the ends of schedules.
    pub zombies: u64,
    /// Were these all?
    pub exhausted: bool,
    most_accesses: u32,
    most_stranded: usize,
    most_pairs: usize,
    most_zombies: usize,
}

impl Sight {
    fn count(&mut self, done: &Done) {
        self.schedules += 1;
        self.killed += u64::from(done.killed);
        self.zombies += done.findings.nr_zombies as u64;
        self.most_accesses = self.most_accesses.max(done.nr_accesses);
        self.most_stranded = self.most_stranded.max(done.findings.nr_stranded);
        self.most_pairs = self.most_pairs.max(done.findings.nr_pairs);
        self.most_zombies = self.most_zombies.max(done.findings.nr_zombies);
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:7} schedules{}, at most {} accesses, {} zombies",
            self.schedules,
            if self.exhausted { " (all)" } else { "" },
            self.most_accesses,
            self.most_zombies
        )?;
        if self.killed > 0 {
            let Sight { killed, most_stranded, most_pairs, .. } = self;
            write!(f, "; {killed} kills, at most {most_stranded} pages stranded, {most_pairs} pairs unmerged")?;
        }
        Ok(())
    }
}

/// How long a search may go on.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    /// This long.
    Time(Duration),
    /// This many schedules: the same ones each time.
    Schedules(u64),
}

impl Budget {
    /// Is it?
    pub fn is_spent(self, began: Instant, schedules: u64) -> bool {
        match self {
            Budget::Time(time) => schedules % 64 == 0 && began.elapsed() >= time,
            Budget::Schedules(most) => schedules >= most,
        }
    }
}

/// All schedules of a case within bounds, or as many as the budget allows.
pub fn search(explorer: &mut Explorer, case: &Case, bounds: Bounds, budget: Budget) -> Result<Sight, Failure> {
    let world = explorer.world.clone();
    let began = Instant::now();
    explorer.exact_failure = bounds.kills == 0;
    world.kill_points.set(bounds.kills > 0);
    world.filtered.set(true);
    // Where fibers cannot influence each other no decision is needed. Which words they share is
    // learnt: whenever one more turns out to be shared, the search starts again.
    world.forget_conflicts();
    let mut sight = Sight::default();
    'restart: loop {
        world.conflicts_grew();
        let mut path = Search::new(bounds);
        loop {
            sight.count(&explorer.run(case, &mut path)?);
            if world.conflicts_grew() {
                continue 'restart;
            }
            if !path.advance() {
                sight.exhausted = true;
                return Ok(sight);
            }
            if budget.is_spent(began, sight.schedules) {
                return Ok(sight);
            }
        }
    }
}

/// Random schedules of random cases and scenarios; the case that failed and how.
pub fn search_random(
    explorer: &mut Explorer,
    first_seed: u64,
    kills: bool,
    budget: Budget,
    sight: &mut Sight,
) -> Result<(), (String, Failure)> {
    const PER_CASE: u64 = 16;
    let (began, before) = (Instant::now(), sight.schedules);
    explorer.exact_failure = false;
    explorer.world.filtered.set(false);
    for seed in first_seed.. {
        if budget.is_spent(began, sight.schedules - before) {
            break;
        }
        let s = &SCENARIOS[seed as usize % SCENARIOS.len()];
        let (name, case) = if seed % 4 == 0 {
            (s.name.to_owned(), s.case(&explorer.world))
        } else {
            (seed.to_string(), random_case(&explorer.world, seed))
        };
        let nr_fibers = case.programs.len() as u8;
        for schedule in seed * PER_CASE..(seed + 1) * PER_CASE {
            let result = if schedule % 2 == 0 {
                explorer.run(&case, &mut Random::new(schedule, nr_fibers, kills))
            } else {
                explorer.run(&case, &mut Pct::new(schedule, nr_fibers, kills))
            };
            match result {
                Ok(done) => sight.count(&done),
                Err(failure) => return Err((name, failure)),
            }
        }
    }
    Ok(())
}

/// How a planted bug was found.
pub struct Found {
    /// The strategy that found it.
    pub strategy: String,
    /// The case.
    pub case: String,
    /// Schedules of that strategy before.
    pub schedules: u64,
    /// What was broken.
    pub failure: Failure,
    /// Time of the whole hunt.
    pub time: Duration,
}

/// Plants a bug and searches until it is found, the way the ordinary tests search.
pub fn hunt(explorer: &mut Explorer, bug: Bug) -> Option<Found> {
    let began = Instant::now();
    explorer.planted = Some(bug);
    let found = hunt_planted(explorer).map(|(strategy, case, schedules, failure)| Found {
        strategy,
        case,
        schedules,
        failure,
        time: began.elapsed(),
    });
    explorer.planted = None;
    found
}

/// First seed and number of the random schedules of a hunt.
pub const RANDOM_PARTS: [(u64, u64); 2] = [(0, 8_000), (1_000_000, 100_000)];

fn hunt_planted(explorer: &mut Explorer) -> Option<(String, String, u64, Failure)> {
    let few = |preemptions, kills, zombies| Bounds { preemptions, kills, zombies };
    hunt_exhaustively(explorer, few(1, 0, 0), 2000)
        .or_else(|| hunt_exhaustively(explorer, few(1, 0, 1), 1000))
        .or_else(|| hunt_randomly(explorer, RANDOM_PARTS[0]))
        .or_else(|| hunt_exhaustively(explorer, few(2, 0, 0), 10_000))
        .or_else(|| hunt_exhaustively(explorer, few(1, 1, 0), 3000))
        .or_else(|| hunt_randomly(explorer, RANDOM_PARTS[1]))
}

/// One preemption more where bugs are known to need it.
fn deepen(s: &Scenario, bounds: Bounds) -> Bounds {
    let more = bounds.preemptions == 2 && s.is_worth_three_preemptions();
    Bounds { preemptions: bounds.preemptions + u32::from(more), ..bounds }
}

fn hunt_exhaustively(
    explorer: &mut Explorer,
    bounds: Bounds,
    most_each: u64,
) -> Option<(String, String, u64, Failure)> {
    let mut schedules = 0;
    for s in SCENARIOS {
        let case = s.case(&explorer.world);
        match search(explorer, &case, deepen(s, bounds), Budget::Schedules(most_each)) {
            Ok(sight) => schedules += sight.schedules,
            Err(failure) => return Some((bounds.to_string(), s.name.to_owned(), schedules, failure)),
        }
    }
    None
}

fn hunt_randomly(explorer: &mut Explorer, (first_seed, most): (u64, u64)) -> Option<(String, String, u64, Failure)> {
    let mut sight = Sight::default();
    let found = search_random(explorer, first_seed, true, Budget::Schedules(most), &mut sight);
    found.err().map(|(case, failure)| ("random or PCT".to_owned(), case, sight.schedules, failure))
}
