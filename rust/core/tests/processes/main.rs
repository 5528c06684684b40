//! Processes and threads that stand still or die at random instants.
//!
//! Nobody else may be delayed, no page may ever have two owners, and of a machine on which some were
//! killed nothing may be missing but what was in their hands. The short form takes about ten
//! seconds; `PAGEBUDDY_SOAK_SECONDS` makes each of the three tests run that long.
//!
//! There is no test harness, because only a process with one thread can fork safely.

mod accounts;
mod board;
mod processes;
#[path = "../common/tally.rs"]
mod tally;
mod threads;
mod work;

use tally::Tally;

/// Seconds of each test in the short form.
const SECONDS: f64 = 2.5;

/// A test: its name and what it does, for so many seconds.
type Test = (&'static str, fn(f64, &mut Tally));

/// All tests. Those that fork come first: later there may be threads.
const TESTS: [Test; 3] = [
    ("stopped_processes", |seconds, tally| processes::run(seconds, false, tally)),
    ("killed_processes", |seconds, tally| processes::run(seconds, true, tally)),
    ("paused_threads", threads::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_asked_for = |name: &str| {
        let mut names = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|part| name.contains(part.as_str()))
    };
    let tests = TESTS.iter().filter(|(name, _)| is_asked_for(name));
    if arguments.iter().any(|argument| argument == "--list") {
        return tests.for_each(|(name, _)| println!("{name}: test"));
    }
    for (name, test) in tests {
        test(tally::soak().unwrap_or(SECONDS), &mut Tally::new(*name));
    }
    println!("test result: ok");
}
