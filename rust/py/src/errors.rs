//! Exceptions: the classes live in `pagebuddy.errors`.

use pagebuddy_core::memblock as core;
use pagebuddy_replay::memory_map::{MapError, MapErrorKind};
use pyo3::prelude::*;

pyo3::import_exception!(pagebuddy.errors, MemblockError);
pyo3::import_exception!(pagebuddy.errors, MemblockDiscardedError);
pyo3::import_exception!(pagebuddy.errors, MemblockNoMemoryError);
pyo3::import_exception!(pagebuddy.errors, MemoryMapError);

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
