//! Exceptions: the classes live in `pagebuddy.errors`.

use pagebuddy_core::error::{BadPage, BadPageReason, BootError};
use pagebuddy_core::isolation::RangeError;
use pagebuddy_core::memblock as core;
use pagebuddy_core::segment::ImageError;
use pagebuddy_core::verify::Violation;
use pagebuddy_replay::memory_map::{MapError, MapErrorKind};
use pagebuddy_replay::report::RecordingError as UnreadableRecording;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

pyo3::import_exception!(pagebuddy.errors, AllocationFailed);
pyo3::import_exception!(pagebuddy.errors, BadPageError);
pyo3::import_exception!(pagebuddy.errors, ConfigError);
pyo3::import_exception!(pagebuddy.errors, CorruptionError);
pyo3::import_exception!(pagebuddy.errors, RangeBusyError);
pyo3::import_exception!(pagebuddy.errors, SnapshotError);
pyo3::import_exception!(pagebuddy.errors, WouldLoopForever);
pyo3::import_exception!(pagebuddy.errors, MemblockError);
pyo3::import_exception!(pagebuddy.errors, MemblockDiscardedError);
pyo3::import_exception!(pagebuddy.errors, MemblockNoMemoryError);
pyo3::import_exception!(pagebuddy.errors, MemoryMapError);
pyo3::import_exception!(pagebuddy.errors, RecordingError);

/// The exception for a refused memblock operation.
pub fn memblock_error(error: core::MemblockError) -> PyErr {
    let message = error.to_string();
    match error {
        core::MemblockError::NoMemory => MemblockNoMemoryError::new_err(message),
        core::MemblockError::Discarded => MemblockDiscardedError::new_err(message),
        core::MemblockError::BadAlign
        | core::MemblockError::ArrayReservation
        | core::MemblockError::BadRegions
        | core::MemblockError::Geometry => MemblockError::new_err(message),
    }
}

/// The exception for an unreadable memory map.
pub fn map_error(error: &MapError) -> PyErr {
    let reason = match error.kind {
        MapErrorKind::Unprivileged => "unprivileged",
        MapErrorKind::NoMemory => "no-memory",
        MapErrorKind::BadLine => "bad-line",
        MapErrorKind::Geometry => "geometry",
    };
    MemoryMapError::new_err((error.to_string(), (error.line > 0).then_some(error.line), reason))
}

/// The exception for a page that cannot be given back, split or referenced like that.
#[cold]
pub fn bad_page(bad: BadPage) -> PyErr {
    BadPageError::new_err((bad.pfn, bad.reason.as_str()))
}

/// The exception for a number that cannot be a page at all.
#[cold]
pub fn no_page(number: &Bound<'_, PyAny>) -> PyErr {
    BadPageError::new_err((number.clone().unbind(), BadPageReason::OutOfRange.as_str()))
}

/// The exception for a range that cannot be isolated or allocated.
pub fn range_error(error: RangeError) -> PyErr {
    match error {
        RangeError::Invalid => PyValueError::new_err(error.to_string()),
        RangeError::Busy(pfn) => RangeBusyError::new_err((pfn,)),
    }
}

/// The exception for a machine that cannot exist.
pub fn boot_error(error: BootError) -> PyErr {
    match error {
        BootError::Config(_) | BootError::MemoryMap(_) | BootError::Topology(_) => {
            ConfigError::new_err(error.to_string())
        }
        BootError::OutOfMemory(_) => PyMemoryError::new_err(error.to_string()),
    }
}

/// The exception for a snapshot that cannot be restored.
pub fn image_error(error: ImageError) -> PyErr {
    match error {
        ImageError::NotAnImage
        | ImageError::Version(_)
        | ImageError::Truncated
        | ImageError::Checksum
        | ImageError::Inconsistent => SnapshotError::new_err(error.to_string()),
        ImageError::OutOfMemory(_) => PyMemoryError::new_err(error.to_string()),
    }
}

/// The exception for a broken invariant; `zone` is the zone's name.
pub fn violation_error(py: Python<'_>, violation: &Violation, zone: &str) -> PyErr {
    let details = PyDict::new(py);
    let filled = details.set_item("pfn", violation.pfn).and_then(|()| details.set_item("zone", zone));
    let error = filled.and_then(|()| py.get_type::<CorruptionError>().call((violation.to_string(),), Some(&details)));
    error.map_or_else(|error| error, PyErr::from_value)
}

/// The exception for an unreadable recording.
pub fn recording_error(py: Python<'_>, error: &UnreadableRecording) -> PyErr {
    let made = || {
        let keywords = PyDict::new(py);
        keywords.set_item("path", &error.file)?;
        keywords.set_item("line", (error.line > 0).then_some(error.line))?;
        py.get_type::<RecordingError>().call((&error.message,), Some(&keywords))
    };
    made().map_or_else(|failure| failure, PyErr::from_value)
}
