//! Replay of recordings.

use crate::errors::recording_error;
use pagebuddy_replay::file::{self, Progress};
use pagebuddy_replay::report::{Mismatch, Report};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time between two looks at signals and two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Replays a recording of the real kernel and compares everything that was recorded.
///
/// Args:
///     path: The recording, or the folder of a traced workload.
///     progress: Called now and then with the share of the work that is done and the number of
///         operations performed. What it raises ends the replay.
///
/// Returns:
///     The report's fields by name.
///
/// Raises:
///     RecordingError: The file is no recording, or a damaged one.
///
/// Concurrency:
///     Other threads run meanwhile.
#[pyfunction]
#[pyo3(name = "_replay_file", signature = (path, progress=None))]
pub fn replay_file<'py>(py: Python<'py>, path: PathBuf, progress: Option<Py<PyAny>>) -> PyResult<Bound<'py, PyDict>> {
    let mut raised = None;
    let result = py.detach(|| {
        let mut last = None::<Instant>;
        file::replay_file(&path, &mut |Progress { fraction, ops }| {
            if last.is_some_and(|last| last.elapsed() < PROGRESS_INTERVAL) {
                return ControlFlow::Continue(());
            }
            last = Some(Instant::now());
            let told = Python::attach(|py| {
                py.check_signals()?;
                progress.as_ref().map_or(Ok(()), |progress| progress.call1(py, (fraction, ops)).map(drop))
            });
            match told {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    raised = Some(error);
                    ControlFlow::Break(())
                }
            }
        })
    });
    if let Some(error) = raised {
        return Err(error);
    }
    match result {
        Ok(Some(report)) => to_dict(py, &report),
        // Only a callback that raised can have ended it.
        Ok(None) => Ok(PyDict::new(py)),
        Err(error) => Err(recording_error(py, &error)),
    }
}

fn to_dict<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("file", &report.file)?;
    dict.set_item("mode", &report.mode)?;
    dict.set_item("scenario", &report.scenario)?;
    dict.set_item("seed", report.seed)?;
    dict.set_item("ops", report.ops)?;
    dict.set_item("replayed", report.replayed)?;
    dict.set_item("matched", report.matched)?;
    dict.set_item("digests", report.digests)?;
    dict.set_item("digests_matched", report.digests_matched)?;
    dict.set_item("states", report.states)?;
    dict.set_item("states_matched", report.states_matched)?;
    dict.set_item("moves", report.moves)?;
    dict.set_item("moves_matched", report.moves_matched)?;
    dict.set_item("unseen", report.unseen)?;
    dict.set_item("misses", report.misses.named().collect::<BTreeMap<_, _>>())?;
    dict.set_item("is_partial", report.is_partial)?;
    dict.set_item("core_time_ns", report.core_time_ns)?;
    let mismatch = report.first_mismatch.as_ref().map(|mismatch| mismatch_to_dict(py, mismatch));
    dict.set_item("first_mismatch", mismatch.transpose()?)?;
    Ok(dict)
}

fn mismatch_to_dict<'py>(py: Python<'py>, mismatch: &Mismatch) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("line", mismatch.line)?;
    dict.set_item("op_index", mismatch.op_index)?;
    dict.set_item("op", &mismatch.op)?;
    dict.set_item("what", &mismatch.what)?;
    dict.set_item("expected", &mismatch.expected)?;
    dict.set_item("got", &mismatch.got)?;
    Ok(dict)
}
