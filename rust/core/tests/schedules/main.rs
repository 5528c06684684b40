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
#[path = "../common/tally.rs"]
mod tally;
mod world;
#[path = "../linear/zone.rs"]
mod zone;

use crew::Script;
use explore::Explorer;
use hunt::{Budget, Found, Sight, search, search_random};
use pagebuddy_core::sync::Bug;
use scenarios::{SCENARIOS, Scenario, random_case, scenario};
use std::time::{Duration, Instant};
use strategy::{Bounds, Repeat};
use tally::{Tally, soak};

/// Searches scenarios exhaustively: at most so many schedules each, or an equal part of a long run.
fn search_all(name: &str, scenarios: &[&Scenario], most: u64, bounds: Bounds) {
    let budget = soak()
        .map_or(Budget::Schedules(most), |soak| Budget::Time(Duration::from_secs_f64(soak / scenarios.len() as f64)));
    let mut explorer = Explorer::new();
    let mut tally = Tally::new(name);
    let mut nr_whole = 0;
    for s in scenarios {
        let case = s.case(&explorer.world);
        let began = Instant::now();
        match search(&mut explorer, &case, bounds, budget) {
            Ok(sight) => {
                println!("{:28} {sight} in {:.2} s", s.name, began.elapsed().as_secs_f64());
                count(&mut tally, &sight);
                nr_whole += u64::from(sight.exhausted);
            }
            Err(failure) => panic!("{}", failure.report(s.name)),
        }
    }
    tally.print();
    println!("{bounds}: all schedules there are of {nr_whole} of {} cases", scenarios.len());
    assert!(most < u64::MAX || soak().is_some() || nr_whole == scenarios.len() as u64);
}

fn count(tally: &mut Tally, sight: &Sight) {
    tally.add("schedules", sight.schedules);
    tally.add("kills", sight.killed);
    tally.add("zombies", sight.zombies);
}

/// Repeats a search with the budgets of a short run, or with other seeds until a long one is over.
/// `search` gets a first seed.
fn until_done(short: &[(u64, u64)], mut search: impl FnMut(u64, Budget)) {
    let Some(seconds) = soak() else {
        return short.iter().for_each(|(first_seed, most)| search(*first_seed, Budget::Schedules(*most)));
    };
    let (began, first_seed) = (Instant::now(), tally::first_seed());
    for part in 0.. {
        let left = seconds - began.elapsed().as_secs_f64();
        if left <= 0.0 {
            return;
        }
        search(first_seed + (part << 32), Budget::Time(Duration::from_secs_f64(left.min(5.0))));
    }
}

fn deeper(bound: u32) -> u32 {
    bound + u32::from(soak().is_some())
}

// The short forms below look at no fewer schedules than the hunt for a planted bug does, and at the
// same ones: what finds a bug there does not find one here.

fn preemptions(preemptions: u32) -> Bounds {
    Bounds { preemptions: deeper(preemptions), kills: 0, zombies: 0 }
}

/// All schedules with at most two preemptions, of two thirds of the cases.
#[test]
fn every_schedule_with_two_preemptions() {
    let cases: Vec<_> = SCENARIOS.iter().take(SCENARIOS.len() * 2 / 3).collect();
    search_all("preemptions", &cases, u64::MAX, preemptions(2));
}

/// The same of the others.
#[test]
fn every_schedule_with_two_preemptions_of_more_cases() {
    let cases: Vec<_> = SCENARIOS.iter().skip(SCENARIOS.len() * 2 / 3).collect();
    search_all("preemptions_more", &cases, u64::MAX, preemptions(2));
}

/// Three preemptions, where bugs are known to need them.
#[test]
fn schedules_with_three_preemptions() {
    let cases: Vec<_> = SCENARIOS.iter().filter(|s| s.is_worth_three_preemptions()).collect();
    search_all("preemptions_three", &cases, 30_000, preemptions(3));
}

/// Schedules in which one fiber dies, before any of its writes, and one preemption happens: all, or
/// the first of very many.
#[test]
fn schedules_with_a_kill() {
    let cases: Vec<_> = SCENARIOS.iter().collect();
    search_all("kill", &cases, 6_000, Bounds { kills: 1, ..preemptions(1) });
}

/// Schedules in which one remover leaves a zombie, and one preemption happens: all, or the first of
/// very many.
#[test]
fn schedules_with_a_zombie() {
    let cases: Vec<_> = SCENARIOS.iter().collect();
    search_all("zombie", &cases, 10_000, Bounds { zombies: 1, ..preemptions(1) });
}

/// Random switching and PCT on random programs, with kills and zombies.
#[test]
fn random_schedules() {
    let mut explorer = Explorer::new();
    let mut tally = Tally::new("random");
    until_done(&hunt::RANDOM_PARTS, |first_seed, budget| {
        let mut sight = Sight::default();
        if let Err((case, failure)) = search_random(&mut explorer, first_seed, true, budget, &mut sight) {
            panic!("{}", failure.report(&case));
        }
        println!("random: {sight}");
        count(&mut tally, &sight);
    });
    tally.print();
}

/// Random switching and PCT on a whole machine.
#[test]
fn machine_schedules() {
    let mut tally = Tally::new("machine");
    let mut search = |first_group, budget| match machine::search(first_group, budget) {
        Ok(sight) => {
            println!("machine: {sight:?}");
            assert!(sight.spare > 0 || sight.schedules < 100, "no schedule used the spare slot");
            tally.add("schedules", sight.schedules);
            tally.add("kills", sight.kills);
        }
        Err(what) => panic!("{what}"),
    };
    match std::env::var("PAGEBUDDY_MACHINE_GROUP") {
        Ok(group) => search(group.parse().expect("a number"), Budget::Schedules(1)),
        Err(_) => until_done(&[(0, 2_000)], search),
    }
    tally.print();
}

/// Histories of random schedules are linearisable.
#[test]
fn histories_are_linearisable() {
    let mut tally = Tally::new("histories");
    until_done(&[(0, 60_000)], |first_seed, budget| match histories::search(first_seed, None, budget) {
        Ok(sight) => {
            tally.add("schedules", sight.schedules);
            tally.add("operations", sight.operations);
            tally.add("exact", sight.exact);
        }
        Err((sight, what)) => panic!("after {} schedules: {what}", sight.schedules),
    });
    tally.print();
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
