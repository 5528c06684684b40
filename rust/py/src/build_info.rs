//! What this build is and how far the engine reaches.

use pagebuddy_core::segment::{LAYOUT_VERSION, MAX_ZONE_PAGES};
use pagebuddy_core::types::{MAX_NR_CPUS, MAX_NR_ZONES, MAX_NUMNODES, MAX_ORDER, MAX_PFN, NR_MIGRATETYPES};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::env::consts;

/// What this build is and how far the engine reaches, for ``pagebuddy info``.
///
/// Returns:
///     dict: ``"build"`` and ``"limits"``, each a dict.
#[pyfunction(name = "_build_info")]
pub fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let build = PyDict::new(py);
    build.set_item("kernel", "5.17.9")?;
    build.set_item("target", format!("{}-{}", consts::ARCH, consts::OS))?;
    build.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    build.set_item("segment_layout", LAYOUT_VERSION)?;

    let limits = PyDict::new(py);
    limits.set_item("orders", MAX_ORDER)?;
    limits.set_item("migratetypes", NR_MIGRATETYPES)?;
    limits.set_item("zones_per_node", MAX_NR_ZONES)?;
    limits.set_item("nodes", MAX_NUMNODES)?;
    limits.set_item("cpus", MAX_NR_CPUS)?;
    limits.set_item("pfns", MAX_PFN)?;
    limits.set_item("pages_per_zone", MAX_ZONE_PAGES)?;

    let info = PyDict::new(py);
    info.set_item("build", build)?;
    info.set_item("limits", limits)?;
    Ok(info)
}
