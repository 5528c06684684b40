//! Strategies: random switching, PCT, exhaustive search, and repeating a script.

use crate::crew::{Decision, Script, Sight, Strategy};
use crate::fiber::Stop;
use crate::ledger::MAX_FIBERS;
use std::fmt;

/// Small and fast, and the same everywhere.
pub struct Rng(u64);

impl Rng {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| {
            rng.next();
        });
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// One of the items.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Kills and zombies, as random strategies use them.
struct Accidents {
    kill: Option<(u8, u32)>,
    zombies: bool,
}

impl Accidents {
    fn new(rng: &mut Rng, nr_fibers: u8, kills: bool) -> Self {
        let kill = (kills && rng.one_in(3)).then(|| (rng.below(u64::from(nr_fibers)) as u8, rng.below(150) as u32));
        Accidents { kill, zombies: rng.one_in(2) }
    }

    fn strikes(&mut self, sight: &Sight<'_>) -> bool {
        let Some((fiber, at)) = self.kill else { return false };
        let strikes = sight.current == Some(fiber)
            && matches!(sight.stop, Stop::Access { .. })
            && sight.nr_accesses[fiber as usize] >= at;
        if strikes {
            self.kill = None;
        }
        strikes
    }
}

/// Switches with a fixed probability to a random fiber.
pub struct Random {
    rng: Rng,
    switch: u64,
    accidents: Accidents,
    /// The step until which a fiber that yielded waits.
    wakes: [u64; MAX_FIBERS],
    step: u64,
}

impl Random {
    /// `kills`: may a fiber be killed?
    pub fn new(seed: u64, nr_fibers: u8, kills: bool) -> Self {
        let mut rng = Rng::new(seed);
        let accidents = Accidents::new(&mut rng, nr_fibers, kills);
        Random { switch: rng.pick(&[2, 4, 10, 30]), accidents, rng, wakes: [0; MAX_FIBERS], step: 0 }
    }
}

impl Strategy for Random {
    fn decide(&mut self, sight: &Sight<'_>) -> Decision {
        if self.accidents.strikes(sight) {
            return Decision::Kill;
        }
        if let (Stop::Yield, Some(fiber)) = (sight.stop, sight.current) {
            self.wakes[fiber as usize] = self.step + 100;
        }
        self.step += 1;
        match sight.current {
            Some(fiber) if sight.stop != Stop::Yield && !self.rng.one_in(self.switch) => Decision::Run(fiber),
            _ => {
                let first = self.rng.below(sight.ready.len() as u64) as usize;
                let (before, after) = sight.ready.split_at(first);
                let is_awake = |f: &&u8| self.wakes[**f as usize] <= self.step;
                Decision::Run(*after.iter().chain(before).find(is_awake).unwrap_or(&sight.ready[first]))
            }
        }
    }

    fn zombie(&mut self) -> bool {
        self.accidents.zombies && self.rng.one_in(4)
    }
}

/// Probabilistic concurrency testing: the fiber of the highest priority runs; at a few random
/// moments the running one falls to the lowest.
pub struct Pct {
    rng: Rng,
    priority: [i64; MAX_FIBERS],
    changes: Vec<u64>,
    lowest: i64,
    step: u64,
    accidents: Accidents,
}

impl Pct {
    /// `kills`: may a fiber be killed?
    pub fn new(seed: u64, nr_fibers: u8, kills: bool) -> Self {
        let mut rng = Rng::new(seed);
        let accidents = Accidents::new(&mut rng, nr_fibers, kills);
        let span = rng.pick(&[60, 150, 300, 600]);
        let nr_changes = 1 + rng.below(5);
        Pct {
            priority: std::array::from_fn(|_| 1 + rng.below(1000) as i64),
            changes: (0..nr_changes).map(|_| rng.below(span)).collect(),
            lowest: 0,
            step: 0,
            accidents,
            rng,
        }
    }
}

impl Strategy for Pct {
    fn decide(&mut self, sight: &Sight<'_>) -> Decision {
        if self.accidents.strikes(sight) {
            return Decision::Kill;
        }
        self.step += 1;
        if let Some(fiber) = sight.current
            && (sight.stop == Stop::Yield || self.changes.contains(&self.step))
        {
            self.lowest -= 1;
            self.priority[fiber as usize] = self.lowest;
        }
        let highest = sight.ready.iter().copied().max_by_key(|f| self.priority[*f as usize]);
        Decision::Run(highest.expect("somebody is ready"))
    }

    fn zombie(&mut self) -> bool {
        self.accidents.zombies && self.rng.one_in(4)
    }
}

/// How far an exhaustive search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most preemptions in one schedule.
    pub preemptions: u32,
    /// Most fibers killed in one schedule (0 or 1).
    pub kills: u32,
    /// Most forced zombies in one schedule.
    pub zombies: u32,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} preemptions, {} kills, {} zombies", self.preemptions, self.kills, self.zombies)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Free(Decision),
    Preempt(u8),
    Kill,
}

/// Depth-first search over all schedules within bounds: each run takes the next path.
pub struct Search {
    bounds: Bounds,
    left: Bounds,
    path: Vec<(u8, u8)>,
    depth: usize,
    /// Fibers that yielded, one bit each: they wait until somebody else is done or waits too.
    asleep: u8,
}

impl Search {
    /// Starts with the schedule without preemptions.
    pub fn new(bounds: Bounds) -> Self {
        Search { bounds, left: bounds, path: Vec::new(), depth: 0, asleep: 0 }
    }

    fn choose(&mut self, nr_choices: usize) -> usize {
        if nr_choices == 1 {
            return 0;
        }
        if self.depth == self.path.len() {
            self.path.push((0, nr_choices as u8));
        }
        let (choice, among) = self.path[self.depth];
        assert_eq!(usize::from(among), nr_choices, "a schedule did not repeat itself");
        self.depth += 1;
        usize::from(choice)
    }

    /// Goes to the next path after a run. False if there is none.
    pub fn advance(&mut self) -> bool {
        self.path.truncate(self.depth);
        self.depth = 0;
        self.left = self.bounds;
        self.asleep = 0;
        while let Some((choice, among)) = self.path.last_mut() {
            if *choice + 1 < *among {
                *choice += 1;
                return true;
            }
            self.path.pop();
        }
        false
    }
}

impl Strategy for Search {
    fn decide(&mut self, sight: &Sight<'_>) -> Decision {
        let mut choices = Vec::with_capacity(6);
        let others = |current: u8| sight.ready.iter().copied().filter(move |f| *f != current);
        match (sight.current, sight.stop) {
            (Some(fiber), Stop::Access { is_write, .. }) => {
                choices.push(Choice::Free(Decision::Run(fiber)));
                if self.left.preemptions > 0 && sight.is_conflict {
                    choices.extend(others(fiber).map(Choice::Preempt));
                }
                if self.left.kills > 0 && is_write {
                    choices.push(Choice::Kill);
                }
            }
            (yielded, _) => {
                self.asleep = yielded.map_or(0, |fiber| self.asleep | 1 << fiber);
                let is_awake = |fiber: &&u8| self.asleep >> **fiber & 1 == 0;
                choices.extend(sight.ready.iter().filter(is_awake).map(|f| Choice::Free(Decision::Run(*f))));
                if choices.is_empty() {
                    self.asleep = 0;
                    choices.extend(sight.ready.iter().map(|f| Choice::Free(Decision::Run(*f))));
                }
            }
        }
        match choices[self.choose(choices.len())] {
            Choice::Free(decision) => decision,
            Choice::Preempt(fiber) => {
                self.left.preemptions -= 1;
                Decision::Run(fiber)
            }
            Choice::Kill => {
                self.left.kills -= 1;
                Decision::Kill
            }
        }
    }

    fn zombie(&mut self) -> bool {
        let yes = self.left.zombies > 0 && self.choose(2) == 1;
        self.left.zombies -= u32::from(yes);
        yes
    }
}

/// Repeats a script, whatever strategy it came from.
pub struct Repeat {
    script: Script,
    segment: usize,
    begun_at: Option<u32>,
    next_zombie: usize,
}

impl Repeat {
    /// Stops must not be filtered.
    pub fn new(script: Script) -> Self {
        Repeat { script, segment: 0, begun_at: None, next_zombie: 0 }
    }
}

impl Strategy for Repeat {
    fn decide(&mut self, sight: &Sight<'_>) -> Decision {
        while let Some(&(fiber, n)) = self.script.segments.get(self.segment) {
            let made = sight.nr_accesses[fiber as usize];
            let begun_at = *self.begun_at.get_or_insert(made);
            let is_last = self.segment + 1 == self.script.segments.len() && self.script.killed.is_none();
            if sight.ready.contains(&fiber) && (made < begun_at + n || is_last) {
                return Decision::Run(fiber);
            }
            self.segment += 1;
            self.begun_at = None;
            if self.script.killed == Some(fiber)
                && sight.current == Some(fiber)
                && !self.script.segments[self.segment..].iter().any(|(other, _)| *other == fiber)
            {
                return Decision::Kill;
            }
        }
        Decision::Run(sight.current.unwrap_or(sight.ready[0]))
    }

    fn zombie(&mut self) -> bool {
        self.next_zombie += 1;
        self.script.zombies.get(self.next_zombie - 1).copied().unwrap_or(false)
    }
}
