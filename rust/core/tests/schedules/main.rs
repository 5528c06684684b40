//! Deterministic schedules of the lock-free zone.
//!
//! Two to four fibers run on one small zone; before every access to a shared word a strategy
//! decides who goes on. Every schedule is checked at every access (nobody takes what is not free,
//! nobody loses a page) and at its end (lists are sound, buddies are merged, everything adds up).
//! A failing schedule prints a line for `PAGEBUDDY_REPLAY`, which repeats it with a trace.
//!
//! `PAGEBUDDY_SOAK_SECONDS` makes every search one level deeper and lets each test run that long.

mod crew;
mod explore;
mod fiber;
mod histories;
#[path = "../linear/history.rs"]
mod history;
mod hunt;
mod inspect;
mod ledger;
mod machine;
mod program;
mod scenarios;
mod strategy;
mod world;
#[path = "../linear/zone.rs"]
mod zone;

use crew::Script;
use explore::Explorer;
use hunt::{Budget, Found, Tally, search, search_random};
use pagebuddy_core::sync::Bug;
use scenarios::{SCENARIOS, Scenario, random_case, scenario};
use std::time::{Duration, Instant};
use strategy::{Bounds, Repeat};

/// Seconds of a long run, if one was asked for.
fn soak() -> Option<f64> {
    let text = std::env::var("PAGEBUDDY_SOAK_SECONDS").ok()?;
    Some(text.parse().expect("PAGEBUDDY_SOAK_SECONDS is a number of seconds"))
}

/// Searches scenarios exhaustively: at most so many schedules each, or an equal part of a long run.
fn search_all(scenarios: &[Scenario], most: u64, bounds: Bounds) {
    let budget = soak()
        .map_or(Budget::Schedules(most), |soak| Budget::Time(Duration::from_secs_f64(soak / scenarios.len() as f64)));
    let mut explorer = Explorer::new();
    let (mut nr_schedules, mut nr_whole) = (0, 0);
    for s in scenarios {
        let case = s.case(&explorer.world);
        let began = Instant::now();
        match search(&mut explorer, &case, bounds, budget) {
            Ok(tally) => {
                println!("{:28} {tally} in {:.2} s", s.name, began.elapsed().as_secs_f64());
                nr_schedules += tally.schedules;
                nr_whole += u64::from(tally.exhausted);
            }
            Err(failure) => panic!("{}", failure.report(s.name)),
        }
    }
    println!("{bounds}: {nr_schedules} schedules, all there are in {nr_whole} of {} cases", scenarios.len());
    assert!(most < u64::MAX || soak().is_some() || nr_whole == scenarios.len() as u64);
}

fn deeper(bound: u32) -> u32 {
    bound + u32::from(soak().is_some())
}

// The short forms below look at no fewer schedules than the hunt for a planted bug does, and at the
// same ones: what finds a bug there does not find one here.

/// All schedules with at most two preemptions, of the cases of one half.
#[test]
fn every_schedule_with_two_preemptions() {
    search_all(
        &SCENARIOS[..SCENARIOS.len() * 2 / 3],
        u64::MAX,
        Bounds { preemptions: deeper(2), kills: 0, zombies: 0 },
    );
}

/// The same of the other half.
#[test]
fn every_schedule_with_two_preemptions_of_more_cases() {
    search_all(
        &SCENARIOS[SCENARIOS.len() * 2 / 3..],
        u64::MAX,
        Bounds { preemptions: deeper(2), kills: 0, zombies: 0 },
    );
}

/// Three preemptions, where bugs are known to need them.
#[test]
fn schedules_with_three_preemptions() {
    for s in SCENARIOS.iter().filter(|s| s.is_worth_three_preemptions()) {
        search_all(std::slice::from_ref(s), 30_000, Bounds { preemptions: deeper(3), kills: 0, zombies: 0 });
    }
}

/// Schedules in which one fiber dies, before any of its writes, and one preemption happens: all, or
/// the first of very many.
#[test]
fn schedules_with_a_kill() {
    search_all(SCENARIOS, 6_000, Bounds { preemptions: deeper(1), kills: 1, zombies: 0 });
}

/// Schedules in which one remover leaves a zombie, and one preemption happens: all, or the first of
/// very many.
#[test]
fn schedules_with_a_zombie() {
    search_all(SCENARIOS, 10_000, Bounds { preemptions: deeper(1), kills: 0, zombies: 1 });
}

/// Random switching and PCT on random programs, with kills and zombies.
#[test]
fn random_schedules() {
    let parts = match soak() {
        None => hunt::RANDOM_PARTS.map(|(first_seed, most)| (first_seed, Budget::Schedules(most))).to_vec(),
        // Other seeds in each long run.
        Some(seconds) => vec![(u64::from(std::process::id()) << 32, Budget::Time(Duration::from_secs_f64(seconds)))],
    };
    let mut explorer = Explorer::new();
    let mut tally = Tally::default();
    for (first_seed, budget) in parts {
        if let Err((case, failure)) = search_random(&mut explorer, first_seed, true, budget, &mut tally) {
            panic!("{}", failure.report(&case));
        }
    }
    println!("random: {tally}");
}

/// Random switching and PCT on a whole machine.
#[test]
fn machine_schedules() {
    let group = std::env::var("PAGEBUDDY_MACHINE_GROUP").ok();
    let (first_group, budget) = match (group, soak()) {
        (Some(group), _) => (group.parse().expect("a number"), Budget::Schedules(1)),
        (None, None) => (0, Budget::Schedules(2_000)),
        (None, Some(seconds)) => (std::process::id().into(), Budget::Time(Duration::from_secs_f64(seconds))),
    };
    match machine::search(first_group, budget) {
        Ok(tally) => println!("machine: {tally:?}"),
        Err(what) => panic!("{what}"),
    }
}

/// Histories of random schedules are linearisable.
#[test]
fn histories_are_linearisable() {
    let (first_seed, budget) = match soak() {
        None => (0, Budget::Schedules(60_000)),
        Some(seconds) => (u64::from(std::process::id()) << 24, Budget::Time(Duration::from_secs_f64(seconds))),
    };
    match histories::search(first_seed, None, budget) {
        Ok(tally) => println!("histories: {tally:?}"),
        Err((tally, what)) => panic!("after {} schedules: {what}", tally.schedules),
    }
}

/// Bugs that show in who owns what, or in that somebody does not get anywhere, are found in
/// histories, too, by what the operations return alone.
#[test]
fn planted_bugs_show_in_histories() {
    const SHOWN: [Bug; 16] = [
        Bug::NoPend,
        Bug::NoRecheck,
        Bug::NoRecheckAfterSpill,
        Bug::NoResolve,
        Bug::PromoteAnyWord,
        Bug::PopWithoutClaim,
        Bug::BlindSplitMerge,
        Bug::UnlinkThroughAnyPrev,
        Bug::DetachUnproved,
        Bug::InstallOverwrites,
        Bug::SpillLinksFirst,
        Bug::LinkBeforeWord,
        Bug::UnlinkedBeforeUnlink,
        Bug::NoQuietCheck,
        Bug::NoHelpForPush,
        Bug::NoHelpForRemoval,
    ];
    let is_missed = |bug: &Bug| match histories::search(0, Some(*bug), Budget::Schedules(60_000)) {
        Ok(_) => true,
        Err((tally, what)) => {
            println!("{bug:?}: after {} schedules: {}", tally.schedules, what.lines().next().unwrap_or_default());
            false
        }
    };
    let missed: Vec<Bug> = SHOWN.into_iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "no history shows {missed:?}");
}

/// Every planted bug is found; what finds it is printed.
fn find_bugs(bugs: &[Bug]) {
    let mut explorer = Explorer::new();
    let missed: Vec<_> = bugs
        .iter()
        .filter(|bug| match hunt::hunt(&mut explorer, **bug) {
            Some(Found { strategy, schedules, failure, case, time }) => {
                println!("{bug:?}: {strategy} after {schedules} schedules, {:.2} s, {case}", time.as_secs_f64());
                println!("    {}", failure.what.lines().next().unwrap_or_default());
                false
            }
            None => true,
        })
        .collect();
    assert!(missed.is_empty(), "nobody found {missed:?}");
}

#[test]
fn planted_bugs_are_found() {
    find_bugs(&Bug::ALL[..Bug::ALL.len() / 2]);
}

#[test]
fn more_planted_bugs_are_found() {
    find_bugs(&Bug::ALL[Bug::ALL.len() / 2..]);
}

/// Repeats the schedule that `PAGEBUDDY_REPLAY` names and prints every access.
#[test]
fn replay() {
    let Ok(text) = std::env::var("PAGEBUDDY_REPLAY") else { return };
    let (case, script) = text.split_once('@').expect("a case, @ and a script");
    let script: Script = script.parse().expect("a script");
    let mut explorer = Explorer::new();
    let case = match case.parse() {
        Ok(seed) => random_case(&explorer.world, seed),
        Err(_) => scenario(case).case(&explorer.world),
    };
    println!("{case:?}");
    explorer.planted = std::env::var("PAGEBUDDY_PLANT")
        .ok()
        .map(|name| Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name).expect("the name of a bug"));
    explorer.world.filtered.set(false);
    explorer.exact_failure = script.killed.is_none();
    explorer.world.start_trace();
    let result = explorer.run(&case, &mut Repeat::new(script));
    println!("{}", explorer.world.take_trace().unwrap_or_default());
    if let Err(failure) = result {
        panic!("{}", failure.what);
    }
}
