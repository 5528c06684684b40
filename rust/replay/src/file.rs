//! Replays a recording of any kind from its file.

use crate::golden::replay::replay;
use crate::golden::{self, Recording};
use crate::lines::Lines;
use crate::memblock_recording;
use crate::report::{RecordingError, RecordingErrorKind, Report};
use crate::trace;
use pagebuddy_core::allocator::PageAllocator;
use serde::Deserialize;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

/// Share of the work that reading is; the rest is the replay.
const READING_SHARE: f64 = 0.5;

/// How far a replay has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Share of the work that is done, 0 to 1; never falls.
    pub fraction: f64,
    /// Operations performed.
    pub ops: u64,
}

/// The part of a first line that tells the format.
#[derive(Deserialize)]
struct Signature {
    #[serde(default)]
    format: serde_json::Value,
}

/// The folder of a traced workload that a path names: itself, its states or its trace.
fn trace_folder(path: &Path) -> Option<&Path> {
    let is_trace = |folder: &Path| folder.join(trace::replay::TRACE_FILE).is_file();
    if path.is_dir() {
        return Some(path);
    }
    let name = path.file_name()?;
    let is_part = name == trace::replay::STATE_FILE || name == trace::replay::TRACE_FILE;
    path.parent().filter(|folder| is_part && is_trace(folder) && folder.join(trace::replay::STATE_FILE).is_file())
}

/// Replays the recording at `path`, whatever its kind, on the engine. A traced workload is a
/// folder with the states around it (`state.jsonl.gz`) and the trace (`trace.txt.gz`).
///
/// `progress` is called now and then; breaking ends the replay with `Ok(None)`.
pub fn replay_file(
    path: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<Report>, RecordingError> {
    if let Some(folder) = trace_folder(path) {
        return trace::replay::replay_folder(folder, &mut |fraction, ops| progress(Progress { fraction, ops }));
    }
    let name = path.display().to_string();
    let open =
        || File::open(path).map_err(|error| RecordingError::new(&*name, 0, RecordingErrorKind::Io, error.to_string()));
    let mut lines = Lines::new(open()?, &name)?;
    let first = lines.next_line()?.map(serde_json::from_str::<Signature>);
    match first {
        Some(Ok(signature)) if signature.format == memblock_recording::FORMAT => {
            return memblock_recording::replay(open()?, &name).map(Some);
        }
        Some(Ok(signature)) if signature.format == golden::recording::FORMAT => {}
        None => return Err(lines.error(RecordingErrorKind::Truncated, "the recording is empty")),
        Some(_) => {
            let message = "the first line is not the header of a recording (buddy-golden or memblock-golden)";
            return Err(lines.error(RecordingErrorKind::Format, message));
        }
    }
    let reading = &mut |share: f64| progress(Progress { fraction: share * READING_SHARE, ops: 0 });
    let Some(recording) = Recording::read(path, reading)? else { return Ok(None) };
    let nr_ops = recording.ops.ops.len().max(1) as f64;
    let mut is_cancelled = false;
    let report = replay::<PageAllocator>(&recording, &mut |ops| {
        let fraction = READING_SHARE + (1.0 - READING_SHARE) * ops as f64 / nr_ops;
        let going = progress(Progress { fraction, ops });
        is_cancelled = going.is_break();
        going
    })?;
    Ok((!is_cancelled).then_some(report))
}
