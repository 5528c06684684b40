//! Every memblock recording at hand must be reproduced completely.

use pagebuddy_replay::memblock_recording::replay;
use pagebuddy_replay::report::Report;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Folders that may hold memblock recordings: those kept with the sources, and larger collections
/// named by `PAGEBUDDY_RECORDINGS` or found beside the checkout.
fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = vec![root.join("tests/data/recordings/memblock")];
    match std::env::var_os("PAGEBUDDY_RECORDINGS") {
        Some(folder) => folders.push(PathBuf::from(folder).join("memblock")),
        None => {
            // A checkout may be a worktree one level further down.
            folders.push(root.join("../shared/goldens/memblock"));
            folders.push(root.join("../../shared/goldens/memblock"));
        }
    }
    folders
}

fn recordings() -> Vec<PathBuf> {
    let entries = folders().into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.to_string_lossy().ends_with(".jsonl.gz"))
        .collect();
    files.sort();
    files
}

fn replay_file(path: &Path) -> Report {
    let file = File::open(path).expect("a readable recording");
    replay(file, &path.display().to_string()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn recordings_are_reproduced_completely() {
    let files = recordings();
    assert!(!files.is_empty(), "no recordings in {:?}", folders());
    let mut total = Report::default();
    for path in &files {
        let report = replay_file(path);
        assert!(report.is_exact(), "{report}");
        assert!(report.ops > 0 && report.states >= 2, "{report}");
        total.ops += report.ops;
        total.matched += report.matched;
        total.states += report.states;
        total.states_matched += report.states_matched;
        total.core_time_ns += report.core_time_ns;
    }
    println!("{} files: {total}, {} ns in the core", files.len(), total.core_time_ns);
}
