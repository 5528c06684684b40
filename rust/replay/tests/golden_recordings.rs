//! The engine reproduces every recording at hand completely.

mod common;

use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_replay::golden::replay::replay;
use pagebuddy_replay::golden::{Mode, Recording};
use pagebuddy_replay::report::Report;
use std::ops::ControlFlow;
use std::path::Path;

fn read(path: &Path) -> Recording {
    let recording = Recording::read(path, &mut |_| ControlFlow::Continue(()));
    recording.unwrap_or_else(|error| panic!("{error}")).expect("never cancelled")
}

fn run(recording: &Recording) -> Report {
    let report = replay::<PageAllocator>(recording, &mut |_| ControlFlow::Continue(()));
    report.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn recordings_are_reproduced_completely() {
    let (mut nr_files, mut nr_ops, mut nr_states, mut nr_digests) = (0, 0, 0, 0);
    for path in common::recordings() {
        let recording = read(&path);
        let report = run(&recording);
        assert!(report.is_exact(), "{report}");
        let is_scripted = recording.header.mode != Mode::Boot;
        assert!(report.states >= if is_scripted { 4 } else { 1 }, "{report}");
        assert_eq!(report.ops > 0, is_scripted, "{report}");
        nr_files += 1;
        nr_ops += report.matched;
        nr_states += report.states_matched;
        nr_digests += report.digests_matched;
    }
    assert!(nr_files >= 50 && nr_ops > 500_000 && nr_digests > 500 && nr_states > 200);
    println!("{nr_files} files, {nr_ops} operations, {nr_digests} digests, {nr_states} states");
}

/// A falsified recording is not reproduced, and the report says where.
#[test]
fn falsified_recordings_are_found_out() {
    use pagebuddy_replay::golden::{Expectation, Op};
    let good = read(&common::kept().join("late-soak-tiny-16M-s15.jsonl.gz"));

    let mut result = good.clone();
    let at = result.ops.ops.iter().rposition(|op| matches!(op, Op::Alloc { pfn: 0..=0xffff, .. })).expect("an alloc");
    if let Op::Alloc { pfn, .. } = &mut result.ops.ops[at] {
        *pfn ^= 1;
    }
    let report = run(&result);
    assert_eq!((report.replayed, report.matched), (at as u64 + 1, at as u64), "{report}");
    assert_eq!(report.first_mismatch.map(|mismatch| mismatch.line), Some(good.ops.line(at)));

    let mut double_free = good.clone();
    let at = double_free.ops.ops.iter().position(|op| matches!(op, Op::Free { .. })).expect("a free");
    double_free.ops.ops[at + 1] = double_free.ops.ops[at];
    let report = run(&double_free);
    assert_eq!(report.matched, at as u64 + 1, "{report}");
    let mismatch = report.first_mismatch.expect("a mismatch");
    assert!(mismatch.got.contains("already free"), "{mismatch}");

    let mut state = good.clone();
    let last = state.checks.iter_mut().rev().find_map(|check| match &mut check.expected {
        Expectation::State(state) => Some(state),
        _ => None,
    });
    let last = last.expect("a state");
    let line = last.line;
    last.zones[0].zone.free_lists.iter_mut().find(|list| list.len() > 1).expect("a list").swap(0, 1);
    let report = run(&state);
    assert_eq!((report.matched, report.states_matched), (report.ops, report.states - 1));
    let mismatch = report.first_mismatch.expect("a mismatch");
    assert!(mismatch.line == line && mismatch.what.contains("free list of order"), "{mismatch}");
}

/// A start state that cannot be is refused, not loaded.
#[test]
fn impossible_start_states_are_refused() {
    use pagebuddy_replay::golden::Expectation;
    use pagebuddy_replay::report::RecordingErrorKind;
    let good = read(&common::kept().join("late-soak-tiny-16M-s15.jsonl.gz"));
    let damages: [fn(&mut pagebuddy_core::state::ZoneState); 6] = [
        |zone| zone.free_lists[0].push(zone.extent.start_pfn + zone.extent.spanned + 5),
        |zone| zone.free_lists[0].push(u64::MAX),
        |zone| {
            let list = zone.free_lists.iter_mut().find(|list| !list.is_empty()).expect("a list");
            list.push(list[0]);
        },
        |zone| zone.free_lists.iter_mut().rfind(|list| !list.is_empty()).expect("a list")[0] += 1,
        |zone| zone.pcp[0].cpu = 7,
        |zone| zone.pcp[0].high = u64::MAX,
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut bad = good.clone();
        for check in &mut bad.checks {
            match &mut check.expected {
                Expectation::State(state) if state.label == "start" => damage(&mut state.zones[0].zone),
                _ => {}
            }
        }
        let error = replay::<PageAllocator>(&bad, &mut |_| ControlFlow::Continue(()));
        assert_eq!(error.map_err(|error| error.kind), Err(RecordingErrorKind::Unsupported), "damage {number}");
    }
}
