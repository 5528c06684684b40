//! The native module `pagebuddy._pagebuddy`: a thin layer over `pagebuddy-core`.

mod allocate;
mod allocator;
mod arguments;
mod build_info;
mod config;
mod convert;
mod core_pairs;
mod errors;
mod fast_call;
mod hotplug;
mod look;
mod memblock;
mod node;
mod page;
mod page_frag;
mod policy;
mod pressure;
mod python;
mod replay;
mod sysctl;
mod text_source;
mod trace;
mod zone;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _pagebuddy {
    use super::*;

    #[pymodule_export]
    use crate::allocator::PyPageAllocator;
    #[pymodule_export]
    use crate::build_info::build_info;
    #[pymodule_export]
    use crate::config::PyConfig;
    #[pymodule_export]
    use crate::core_pairs::core_pairs;
    #[pymodule_export]
    use crate::memblock::{PyMemblock, PyMemblockRegion};
    #[pymodule_export]
    use crate::node::{PyNode, PyNodeTable};
    #[pymodule_export]
    use crate::page::PyPage;
    #[pymodule_export]
    use crate::page_frag::{PyPageFrag, PyPageFragCache};
    #[pymodule_export]
    use crate::policy::PyMemPolicy;
    #[pymodule_export]
    use crate::pressure::{PyPressureEvent, PyRegistration, PyShrinkControl};
    #[pymodule_export]
    use crate::replay::replay_file;
    #[pymodule_export]
    use crate::trace::{PyTrace, PyTraceEvent};
    #[pymodule_export]
    use crate::zone::{PyPcp, PyZone, PyZoneTable};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::fast_call::install(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
