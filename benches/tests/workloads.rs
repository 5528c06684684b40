//! Every workload runs on the engine and on every flavour of the C variant, and gives all its
//! pages back.

use pagebuddy_bench::measure::{Effort, check, latencies};
use pagebuddy_bench::workloads;
use quanta::Clock;
use std::time::Duration;

const EFFORT: Effort = Effort {
    nr_ops: 4_000,
    millis: 1,
    nr_rounds: 1,
    most_rounds: 1,
    row_limit: Duration::ZERO,
    quick: true,
    huge_pages: false,
};

#[test]
fn every_workload_gives_its_pages_back() {
    for work in workloads::all() {
        for nr_threads in [1, 3] {
            check(work, nr_threads, EFFORT).unwrap();
        }
    }
}

#[test]
fn latencies_are_ordered() {
    let clock = Clock::new();
    for work in workloads::all().into_iter().step_by(6) {
        for row in latencies(work, 2, EFFORT, &clock).unwrap() {
            assert!(row.percentiles.is_sorted(), "{row:?}");
            assert!(row.percentiles[3] <= row.max && row.max > 0, "{row:?}");
        }
    }
}
