//! What a test did, in lines that `tools/soak.py` adds up.

use std::time::{Duration, Instant};

/// How often a long run tells how far it is.
const INTERVAL: Duration = Duration::from_secs(5);

/// Seconds of a long run, if one was asked for.
pub fn soak() -> Option<f64> {
    let text = std::env::var("PAGEBUDDY_SOAK_SECONDS").ok()?;
    Some(text.parse().expect("PAGEBUDDY_SOAK_SECONDS is a number of seconds"))
}

/// The first seed of a test: the same in each short run, another in each long one.
#[allow(dead_code, reason = "not every test has seeds")]
pub fn first_seed() -> u64 {
    soak().map_or(1, |_| u64::from(std::process::id()) << 24)
}

/// Counts of what was done, by name.
pub struct Tally {
    name: String,
    printed: Instant,
    counts: Vec<(&'static str, u64)>,
}

impl Tally {
    /// Nothing was done yet.
    pub fn new(name: impl Into<String>) -> Self {
        Tally { name: name.into(), printed: Instant::now(), counts: Vec::new() }
    }

    /// Adds to a count. In a long run the counts are printed now and then.
    pub fn add(&mut self, what: &'static str, n: u64) {
        match self.counts.iter_mut().find(|(name, _)| *name == what) {
            Some((_, count)) => *count += n,
            None => self.counts.push((what, n)),
        }
        if soak().is_some() && self.printed.elapsed() >= INTERVAL {
            self.print();
            self.printed = Instant::now();
        }
    }

    /// Says what was done.
    pub fn print(&self) {
        let counts: Vec<String> = self.counts.iter().map(|(name, n)| format!(" {name}={n}")).collect();
        println!("tally {}:{}", self.name, counts.concat());
    }
}
