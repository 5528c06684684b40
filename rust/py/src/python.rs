//! What this crate uses of the Python side: classes of the package and NumPy, imported once.

use pyo3::buffer::{Element, PyBuffer};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// An attribute of a module, looked up when it is first needed.
pub struct Imported {
    module: &'static str,
    name: &'static str,
    object: PyOnceLock<Py<PyAny>>,
}

impl Imported {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Imported { module, name, object: PyOnceLock::new() }
    }

    /// The attribute.
    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let import = || Ok(py.import(self.module)?.getattr(self.name)?.unbind());
        self.object.get_or_try_init(py, import).map(|object| object.bind(py))
    }
}

/// `pagebuddy.MigrateType`.
pub static MIGRATE_TYPE: Imported = Imported::new("pagebuddy.gfp", "MigrateType");
/// `pagebuddy.GFP`.
pub static GFP: Imported = Imported::new("pagebuddy.gfp", "GFP");
/// `pagebuddy.PageState`.
pub static PAGE_STATE: Imported = Imported::new("pagebuddy.page_state", "PageState");
/// `pagebuddy.PageFlag`.
pub static PAGE_FLAG: Imported = Imported::new("pagebuddy.page_state", "PageFlag");
/// `pagebuddy.Watermarks`.
pub static WATERMARKS: Imported = Imported::new("pagebuddy.watermarks", "Watermarks");
static NUMPY_EMPTY: Imported = Imported::new("numpy", "empty");
static NUMPY_FROMBUFFER: Imported = Imported::new("numpy", "frombuffer");
static NUMPY_UINT64: Imported = Imported::new("numpy", "uint64");
static NUMPY_ZEROS: Imported = Imported::new("numpy", "zeros");

/// The member of an enumeration with this value.
pub fn enum_member<'py>(py: Python<'py>, class: &Imported, value: usize) -> PyResult<Bound<'py, PyAny>> {
    class.get(py)?.call1((value,))
}

/// A new one-dimensional array with these values; `dtype` must name their type.
pub fn array<'py, T: Element>(py: Python<'py>, dtype: &str, values: &[T]) -> PyResult<Bound<'py, PyAny>> {
    let array = NUMPY_EMPTY.get(py)?.call1((values.len(), dtype))?;
    if !values.is_empty() {
        PyBuffer::<T>::get(&array)?.copy_from_slice(py, values)?;
    }
    Ok(array)
}

/// A new one-dimensional `uint64` array with these values.
pub fn uint64_array<'py>(py: Python<'py>, values: &[u64]) -> PyResult<Bound<'py, PyAny>> {
    array(py, "uint64", values)
}

/// A new one-dimensional `uint8` array of zeros.
pub fn uint8_zeros(py: Python<'_>, len: u64) -> PyResult<Bound<'_, PyAny>> {
    NUMPY_ZEROS.get(py)?.call1((len, "uint8"))
}

/// A `uint64` array over the first `len` items of a buffer; shares its memory.
pub fn uint64_view<'py>(buffer: &Bound<'py, PyAny>, len: usize) -> PyResult<Bound<'py, PyAny>> {
    let py = buffer.py();
    // The type, because a name has to be looked up each time.
    NUMPY_FROMBUFFER.get(py)?.call1((buffer, NUMPY_UINT64.get(py)?, len))
}
