//! The native module `pagebuddy._pagebuddy`: a thin layer over `pagebuddy-core`.

mod convert;
mod errors;
mod memblock;
mod text_source;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _pagebuddy {
    use super::*;

    #[pymodule_export]
    use crate::memblock::{PyMemblock, PyMemblockRegion};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
