//! Arguments of the allocator: numbers, pfns, orders, gfp masks, node masks.
//!
//! Every type takes whatever has `__index__`, but no `bool`: a flag in place of a number is a
//! mistake. A wrong type is a `TypeError`, a number that means nothing a `ValueError`, one that
//! does not fit the kernel's type an `OverflowError`.

use crate::errors::no_page;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::types::{MigrateType, NUMA_NO_NODE, Pfn};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString};

/// An integer argument as far as a machine word holds it.
enum Number {
    Fits(u64),
    Negative,
    Huge,
}

/// Reads an integer; `what` names it in the message for other types.
#[inline]
fn number(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Number> {
    if !object.is_instance_of::<PyBool>()
        && let Ok(number) = object.extract::<u64>()
    {
        return Ok(Number::Fits(number));
    }
    unusual_number(object, what)
}

#[cold]
#[inline(never)]
fn unusual_number(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Number> {
    if object.is_instance_of::<PyInt>() && !object.is_instance_of::<PyBool>() {
        return Ok(if object.lt(0)? { Number::Negative } else { Number::Huge });
    }
    let wrong_type = || {
        let name = object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("{what} must be an integer, not {name}"))
    };
    if object.is_instance_of::<PyBool>() {
        return Err(wrong_type());
    }
    let index = object.getattr_opt("__index__")?.ok_or_else(wrong_type)?.call0()?;
    if !index.is_instance_of::<PyInt>() || index.is_instance_of::<PyBool>() {
        return Err(wrong_type());
    }
    number(&index, what)
}

/// Reads an integer of 0 to `max`.
#[inline]
fn bounded(object: &Bound<'_, PyAny>, what: &str, max: u64) -> PyResult<u64> {
    match number(object, what)? {
        Number::Fits(number) if number <= max => Ok(number),
        Number::Negative => Err(PyValueError::new_err(format!("{what} must not be negative"))),
        Number::Fits(_) | Number::Huge => Err(PyOverflowError::new_err(format!("{what} must be at most {max}"))),
    }
}

/// A number of things, or a limit.
#[derive(Clone, Copy)]
pub struct Count(pub u64);

/// A number that may be negative.
#[derive(Clone, Copy)]
pub struct Signed(pub i64);

/// A node id, or -1 (`NUMA_NO_NODE`) for none.
#[derive(Clone, Copy)]
pub struct NodeArg(pub Option<u64>);

/// A number of 32 bits.
#[derive(Clone, Copy)]
pub struct Small(pub u32);

/// An order; whether it is below `MAX_ORDER` is for the allocator to say.
#[derive(Clone, Copy)]
pub struct Order(pub u32);

/// A pfn that is given back or looked after: whatever is no page is a bad page.
#[derive(Clone, Copy)]
pub struct PfnArg(pub Pfn);

/// Request flags without contradictions.
#[derive(Clone, Copy)]
pub struct GfpArg(pub Gfp);

/// A migratetype by its number.
#[derive(Clone, Copy)]
pub struct MigrateTypeArg(pub MigrateType);

/// Node ids: a mask, or the ids themselves.
pub struct NodeSet(pub u64);

macro_rules! from_python {
    ($name:ident, $extract:expr) => {
        impl<'a, 'py> FromPyObject<'a, 'py> for $name {
            type Error = PyErr;

            #[inline]
            fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
                let read: fn(&Bound<'py, PyAny>) -> PyResult<Self> = $extract;
                read(&object)
            }
        }
    };
}

from_python!(Count, |object| bounded(object, "a count or pfn", u64::MAX).map(Count));
from_python!(Signed, |object| match number(object, "a value")? {
    Number::Fits(number) => i64::try_from(number).ok(),
    Number::Negative => object.extract().ok(),
    Number::Huge => None,
}
.map(Signed)
.ok_or_else(|| PyOverflowError::new_err("a value must fit 64 bits with a sign")));
from_python!(NodeArg, |object| match number(object, "a node id")? {
    Number::Fits(nid) => Ok(NodeArg(Some(nid))),
    Number::Negative if object.eq(NUMA_NO_NODE)? => Ok(NodeArg(None)),
    Number::Negative => Err(PyValueError::new_err("a node id must not be negative, except -1 for no node")),
    Number::Huge => Err(PyOverflowError::new_err("a node id must be below 64")),
});
from_python!(Small, |object| bounded(object, "this number", u32::MAX.into()).map(|n| Small(n as u32)));
from_python!(Order, |object| bounded(object, "an order", u32::MAX.into()).map(|n| Order(n as u32)));
from_python!(PfnArg, |object| match number(object, "a pfn")? {
    Number::Fits(pfn) => Ok(PfnArg(pfn)),
    Number::Negative | Number::Huge => Err(no_page(object)),
});
from_python!(GfpArg, gfp);
from_python!(MigrateTypeArg, migratetype);
from_python!(NodeSet, node_set);

#[inline]
fn gfp(object: &Bound<'_, PyAny>) -> PyResult<GfpArg> {
    let gfp = match object.extract::<u32>() {
        Ok(bits) if !object.is_instance_of::<PyBool>() => Gfp(bits),
        _ => unusual_gfp(object)?,
    };
    match gfp.check() {
        Ok(()) => Ok(GfpArg(gfp)),
        Err(error) => Err(PyValueError::new_err(format!("{error} ({:#x})", gfp.0))),
    }
}

#[cold]
#[inline(never)]
fn unusual_gfp(object: &Bound<'_, PyAny>) -> PyResult<Gfp> {
    if let Ok(text) = object.cast::<PyString>() {
        return Gfp::parse(&text.to_cow()?).map_err(|error| PyValueError::new_err(error.to_string()));
    }
    match number(object, "a gfp mask")? {
        Number::Fits(bits) => u32::try_from(bits).map(Gfp).ok(),
        Number::Negative | Number::Huge => None,
    }
    .ok_or_else(|| PyValueError::new_err("a gfp mask has 32 bits"))
}

fn migratetype(object: &Bound<'_, PyAny>) -> PyResult<MigrateTypeArg> {
    let number = match number(object, "a migratetype")? {
        Number::Fits(number) => usize::try_from(number).ok(),
        Number::Negative | Number::Huge => None,
    };
    let found = number.and_then(MigrateType::from_index);
    found.map(MigrateTypeArg).ok_or_else(|| PyValueError::new_err("a migratetype is 0 to 5 (MigrateType)"))
}

fn node_set(object: &Bound<'_, PyAny>) -> PyResult<NodeSet> {
    let none = || PyValueError::new_err("a node mask names at least one node");
    if object.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("nodes are given as a mask or as node ids, not as text"));
    }
    // Asking an integer for its items makes an exception, which takes longer than an allocation.
    let ids = if object.is_exact_instance_of::<PyInt>() { None } else { object.try_iter().ok() };
    let mask = match ids {
        Some(ids) => {
            ids.map(|nid| bounded(&nid?, "a node id", 63)).try_fold(0, |mask, nid| nid.map(|nid| mask | 1 << nid))?
        }
        None => bounded(object, "a node mask", u64::MAX)?,
    };
    if mask == 0 { Err(none()) } else { Ok(NodeSet(mask)) }
}
