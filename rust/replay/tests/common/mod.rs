//! Where recordings are found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The recordings kept with the sources.
pub fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/recordings")
}

/// The collections at hand: the one kept with the sources, and larger ones named by
/// `PAGEBUDDY_RECORDINGS` or found beside the checkout.
#[allow(dead_code, reason = "not every test file that includes this module reads collections")]
fn collections() -> Vec<PathBuf> {
    let mut folders = vec![kept()];
    match std::env::var_os("PAGEBUDDY_RECORDINGS") {
        Some(folder) => folders.push(PathBuf::from(folder)),
        None => {
            // A checkout may be a worktree one level further down.
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            folders.push(root.join("../shared/goldens"));
            folders.push(root.join("../../shared/goldens"));
        }
    }
    folders
}

/// Entries of all collections that `is_wanted`, each name once.
#[allow(dead_code, reason = "not every test file that includes this module reads collections")]
fn entries(is_wanted: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for entries in collections().iter().filter_map(|folder| fs::read_dir(folder).ok()) {
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if is_wanted(&path, &name) {
                found.insert(name, path);
            }
        }
    }
    assert!(!found.is_empty(), "no recordings");
    found.into_values().collect()
}

/// Every page-allocator recording at hand, by file name.
#[allow(dead_code, reason = "not every test file that includes this module reads all recordings")]
pub fn recordings() -> Vec<PathBuf> {
    entries(|_, name| name.ends_with(".jsonl.gz"))
}

/// Every traced workload at hand, by name.
#[allow(dead_code, reason = "not every test file that includes this module reads traced workloads")]
pub fn trace_folders() -> Vec<PathBuf> {
    entries(|path, name| name.starts_with("trace-") && path.is_dir())
}
