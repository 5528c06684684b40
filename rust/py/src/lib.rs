//! The native module `pagebuddy._pagebuddy`: a thin layer over `pagebuddy-core`.

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _pagebuddy {
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
