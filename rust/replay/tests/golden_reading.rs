//! Every recording at hand can be read, and its digests are those of its own states.

mod common;

use pagebuddy_replay::golden::compare::compare_digests;
use pagebuddy_replay::golden::{Expectation, Mode, Op, Recording};
use std::ops::ControlFlow;
use std::path::Path;

fn read(path: &Path) -> Recording {
    let mut last = 0.0;
    let recording = Recording::read(path, &mut |share| {
        assert!((last..=1.0).contains(&share), "{share} after {last}");
        last = share;
        ControlFlow::Continue(())
    });
    recording.unwrap_or_else(|error| panic!("{error}")).expect("never cancelled")
}

#[test]
fn recordings_are_read_completely() {
    let (mut nr_ops, mut nr_digests) = (0, 0);
    for path in common::recordings() {
        let recording = read(&path);
        nr_ops += recording.ops.ops.len();
        assert_eq!(recording.start().is_some(), recording.header.mode != Mode::Boot, "{}", recording.file);
        // A digest right behind a state is a digest of that state.
        for pair in recording.checks.windows(2) {
            let (Expectation::State(state), Expectation::Digest(digests)) = (&pair[0].expected, &pair[1].expected)
            else {
                continue;
            };
            if pair[0].op == pair[1].op {
                let zones: Vec<_> = state.zones.iter().map(|zone| zone.zone.clone()).collect();
                let difference = compare_digests(digests, &zones, &recording.header.config);
                assert_eq!(difference, None, "{}:{}", recording.file, pair[1].line);
                nr_digests += 1;
            }
        }
    }
    assert!(nr_ops > 500_000 && nr_digests > 50, "{nr_ops} operations, {nr_digests} digests");
}

#[test]
fn operations_keep_their_lines() {
    let recording = read(&common::kept().join("late-soak-tiny-16M-s15.jsonl.gz"));
    assert_eq!(recording.ops.line(0), 11);
    assert!(matches!(recording.ops.ops[0], Op::Alloc { cpu: 0, order: 9, gfp: 10432, nodemask: None, .. }));
    assert_eq!(recording.ops.describe(0), "alloc_pages(gfp 0x28c0, order 9, node 0) on cpu 0");
    assert_eq!(recording.ops.describe(3), "free_pages(pfn 3260, order 1) on cpu 0");
    assert!(recording.ops.describe(6000).is_empty());
}

#[test]
fn reading_can_be_cancelled() {
    let path = common::kept().join("late-api-64M-s1.jsonl.gz");
    let cancelled = Recording::read(&path, &mut |_| ControlFlow::Break(()));
    assert!(cancelled.expect("readable").is_none());
}

#[test]
fn boot_parameters_shape_the_configuration() {
    use pagebuddy_core::config::CoreSize;
    for (name, kernelcore) in [
        ("boot-kc128-256M.jsonl.gz", CoreSize::Pages(32768)),
        ("boot-kc50p-256M.jsonl.gz", CoreSize::Percent(50)),
        ("boot-m256M.jsonl.gz", CoreSize::None),
    ] {
        assert_eq!(read(&common::kept().join(name)).header.config.kernelcore, kernelcore, "{name}");
    }
}
