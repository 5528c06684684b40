//! Traced workloads are followed completely: every allocation gets the kernel's page, every move
//! between the free lists and the per-cpu lists is the kernel's, and so are the lists at the end.

mod common;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use pagebuddy_replay::report::Report;
use pagebuddy_replay::trace::replay::{STATE_FILE, TRACE_FILE, replay_folder};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn run(folder: &Path) -> Report {
    let report = replay_folder(folder, &mut |_, _| ControlFlow::Continue(()));
    report.unwrap_or_else(|error| panic!("{error}")).expect("never cancelled")
}

fn lines(folder: &Path) -> Vec<String> {
    let mut text = String::new();
    let file = File::open(folder.join(TRACE_FILE)).expect("a trace");
    GzDecoder::new(file).read_to_string(&mut text).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn is_without_bulk(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("trace-nobulk-"))
}

/// Checks that a report is about all of its trace, with counts that come from the text itself.
fn assert_complete(folder: &Path, report: &Report) {
    assert!(report.is_exact(), "{report}");
    let lines = lines(folder);
    let count = |events: &[&str]| lines.iter().filter(|line| events.iter().any(|event| line.contains(event))).count();
    let nr_moves = count(&[" mm_page_alloc_zone_locked: ", " mm_page_pcpu_drain: "]);
    assert_eq!((report.ops, report.matched), (count(&[" mm_page_alloc: "]) as u64, report.ops), "{report}");
    assert_eq!((report.moves, report.moves_matched), (nr_moves as u64, report.moves), "{report}");
    assert_eq!((report.states, report.states_matched), (2, 2), "{report}");
    assert!(report.ops > 1000, "{report}");
}

#[test]
fn workloads_without_bulk_allocations_are_followed_completely() {
    let folders: Vec<PathBuf> = common::trace_folders().into_iter().filter(|folder| is_without_bulk(folder)).collect();
    assert!(!folders.is_empty());
    for folder in folders {
        let report = run(&folder);
        assert_complete(&folder, &report);
        assert_eq!(report.unseen, 0, "{report}");
        println!("{report}");
    }
}

/// Bulk allocations have no events; the pages that they take are inferred.
#[test]
fn workloads_with_bulk_allocations_are_followed_completely() {
    for folder in common::trace_folders().into_iter().filter(|folder| !is_without_bulk(folder)) {
        let report = run(&folder);
        assert_complete(&folder, &report);
        assert!(report.unseen > 0, "{report}");
        println!("{report}");
    }
}

/// The lists at the end are compared: a free that is left out shows there, and nowhere else.
#[test]
fn an_end_that_differs_is_found_out() {
    let workload = common::kept().join("trace-nobulk-dd-low64-256M-2cpu");
    let mut lines = lines(&workload);
    let last = lines.iter().rposition(|line| line.contains(" mm_page_free: ")).expect("a free");
    lines.remove(last);

    let folder = std::env::temp_dir().join(format!("pagebuddy-trace-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    fs::copy(workload.join(STATE_FILE), folder.join(STATE_FILE)).expect("a copy");
    let mut file = GzEncoder::new(File::create(folder.join(TRACE_FILE)).expect("a file"), Compression::fast());
    file.write_all((lines.join("\n") + "\n").as_bytes()).and_then(|()| file.try_finish()).expect("written");
    let report = run(&folder);
    fs::remove_dir_all(&folder).expect("removed");

    assert_eq!((report.states, report.states_matched), (2, 1), "{report}");
    assert!(report.matched >= report.ops - 1, "{report}");
    let mismatch = report.first_mismatch.expect("a mismatch");
    assert!(mismatch.op == "state `end`", "{mismatch}");
}
