//! Where recordings are found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The recordings kept with the sources.
pub fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/recordings")
}

/// Every page-allocator recording at hand, by file name: those kept with the sources, and larger
/// collections named by `PAGEBUDDY_RECORDINGS` or found beside the checkout.
#[allow(dead_code, reason = "not every test file that includes this module reads all recordings")]
pub fn recordings() -> Vec<PathBuf> {
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
    let mut found = BTreeMap::new();
    for folder in folders {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if name.ends_with(".jsonl.gz") {
                found.insert(name, path);
            }
        }
    }
    assert!(!found.is_empty(), "no recordings");
    found.into_values().collect()
}
