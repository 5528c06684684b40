//! How much was done, in lines that `tools/soak.py` reads.

use std::time::{Duration, Instant};

/// How often a long run tells how far it is.
const INTERVAL: Duration = Duration::from_secs(10);

/// What a test did so far.
pub struct Tally {
    name: &'static str,
    printed: Instant,
    is_long: bool,
    /// Fresh machines.
    pub rounds: u64,
    /// Operations of all workers.
    pub operations: u64,
    /// Workers that stood still for a while.
    pub stops: u64,
    /// Workers that were killed.
    pub kills: u64,
}

impl Tally {
    /// Nothing was done yet.
    pub fn new(name: &'static str, is_long: bool) -> Self {
        Tally { name, printed: Instant::now(), is_long, rounds: 0, operations: 0, stops: 0, kills: 0 }
    }

    /// The first seed: the same in each short run, another in each long one.
    pub fn seed(&self) -> u64 {
        if self.is_long { u64::from(std::process::id()) << 20 } else { 1 }
    }

    /// Says what was done.
    pub fn print(&self) {
        let Tally { name, rounds, operations, stops, kills, .. } = self;
        println!("tally {name}: rounds={rounds} operations={operations} stops={stops} kills={kills}");
    }

    /// The same, if it was not said for some time.
    pub fn print_now_and_then(&mut self) {
        if self.is_long && self.printed.elapsed() >= INTERVAL {
            self.print();
            self.printed = Instant::now();
        }
    }
}
