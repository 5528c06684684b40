//! Arguments: byte counts, node ids, flags.

use pagebuddy_core::memblock::FLAGS_ALL;
use pagebuddy_core::memparse::memparse;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

/// Node ids are below the largest `MAX_NUMNODES` a kernel can be built with.
const NR_NODE_IDS: u64 = 1024;

/// An address or size in bytes: an integer, or text such as "512M".
#[derive(Clone, Copy)]
pub struct Bytes(pub u64);

/// A node id.
#[derive(Clone, Copy)]
pub struct Nid(pub u32);

/// Flags of a memory region.
#[derive(Clone, Copy)]
pub struct RegionFlags(pub u32);

impl<'a, 'py> FromPyObject<'a, 'py> for Bytes {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = object.cast::<PyString>() {
            let text = text.to_cow()?;
            return memparse(&text).map(Bytes).ok_or_else(|| {
                PyValueError::new_err(format!(
                    "not a number of bytes: '{}' (a number with an optional K, M, G, T, P or E, below 2**64)",
                    text.chars().take(40).collect::<String>()
                ))
            });
        }
        unsigned(&object, u64::MAX, "an address or size").map(Bytes)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Nid {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        // The limit keeps the number far below 2^32.
        unsigned(&object, NR_NODE_IDS - 1, "a node id").map(|nid| Nid(nid as u32))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for RegionFlags {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        unsigned(&object, FLAGS_ALL.into(), "memblock flags").map(|flags| RegionFlags(flags as u32))
    }
}

/// An integer of 0 to `max`, from whatever has `__index__`.
fn unsigned(object: &Bound<'_, PyAny>, max: u64, what: &str) -> PyResult<u64> {
    let integer = if object.is_instance_of::<PyInt>() {
        object.clone()
    } else {
        let index = object.getattr_opt("__index__")?.ok_or_else(|| {
            let name = object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!("{what} must be an integer, not {name}"))
        })?;
        index.call0()?
    };
    match integer.extract::<u64>() {
        Ok(number) if number <= max => Ok(number),
        Ok(_) | Err(_) => {
            if !integer.is_instance_of::<PyInt>() {
                return Err(PyTypeError::new_err(format!("{what}: __index__ did not return an integer")));
            }
            Err(PyValueError::new_err(format!("{what} must be 0 to {max}, not {}", shown(&integer)?)))
        }
    }
}

/// The number in a message; a huge one is not written out.
fn shown(integer: &Bound<'_, PyAny>) -> PyResult<String> {
    let bits: u64 = integer.call_method0("bit_length")?.extract()?;
    if bits <= 128 { Ok(integer.str()?.to_string()) } else { Ok(format!("a number of {bits} bits")) }
}
