//! `alloc_pages`, `try_alloc_pages` and `free_pages` as plain C methods, for calls as programs make
//! them: a few small integers.
//!
//! What PyO3 generates around a method costs more than allocating a page. The methods here read
//! such arguments themselves and ask the allocator. Whatever else a call holds - a policy, text, a
//! wrong type, a number that is refused - goes to the generated method, which alone knows the
//! rules, the messages and the documentation.

use crate::allocator::PyPageAllocator;
use crate::arguments::Count;
use crate::errors::bad_page;
use pagebuddy_core::allocator::CpuChoice;
use pagebuddy_core::error::BadPage;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::page_alloc::{AllocError, AllocRequest};
use pagebuddy_core::types::Pfn;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyInt, PyString, PyTuple};
use std::any::Any;
use std::ffi::{CString, c_long};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::slice;

/// Arguments that are read here, at most.
const NR_PLACES: usize = 4;

/// An argument that was not given, where that matters.
const ABSENT: u64 = u64::MAX;

/// What a call answers.
enum Answer {
    Page(Pfn),
    Nothing,
}

/// Why the allocator refused.
enum Refusal {
    Alloc(AllocError, AllocRequest, CpuChoice),
    Free(BadPage),
}

/// The method that PyO3 generated, and the names of the arguments that are read here.
struct Generated {
    method: Py<PyAny>,
    names: Vec<Py<PyString>>,
}

/// A method that is called often.
trait FastCall: 'static {
    const NAME: &'static str;
    /// The arguments that are read here; the first ones may be given by position.
    const ARGUMENTS: &'static [&'static str];
    const NR_POSITIONAL: usize;
    const DEFAULTS: [u64; NR_PLACES];

    fn generated() -> &'static PyOnceLock<Generated>;

    /// Does it; `None`, with nothing changed, if the generated method has to look at the arguments.
    fn call(machine: &PyPageAllocator, arguments: [u64; NR_PLACES]) -> Option<Result<Answer, Refusal>>;
}

/// The cpu of an argument.
#[inline(always)]
fn cpu(machine: &PyPageAllocator, cpu: u64) -> Option<CpuChoice> {
    if cpu == ABSENT { Some(CpuChoice::Current) } else { machine.online_cpu(Count(cpu)) }
}

/// A request, if every part of it is allowed.
#[inline(always)]
fn request(machine: &PyPageAllocator, [order, gfp, nid, cpu]: [u64; NR_PLACES]) -> Option<(AllocRequest, CpuChoice)> {
    let cpu = self::cpu(machine, cpu)?;
    let gfp = Gfp(u32::try_from(gfp).ok()?);
    gfp.check().ok()?;
    let nid = if nid == ABSENT {
        machine.machine.node_of_cpu(cpu)
    } else {
        u32::try_from(nid).ok().filter(|nid| machine.machine.has_node(*nid))?
    };
    Some((AllocRequest { gfp, order: u32::try_from(order).ok()?, nid, nodemask: None }, cpu))
}

struct AllocPages;

impl FastCall for AllocPages {
    const NAME: &'static str = "alloc_pages";
    const ARGUMENTS: &'static [&'static str] = &["order", "gfp", "nid", "cpu"];
    const NR_POSITIONAL: usize = 2;
    const DEFAULTS: [u64; NR_PLACES] = [0, Gfp::GFP_KERNEL.0 as u64, ABSENT, ABSENT];

    fn generated() -> &'static PyOnceLock<Generated> {
        static GENERATED: PyOnceLock<Generated> = PyOnceLock::new();
        &GENERATED
    }

    #[inline(always)]
    fn call(machine: &PyPageAllocator, arguments: [u64; NR_PLACES]) -> Option<Result<Answer, Refusal>> {
        let (request, cpu) = request(machine, arguments)?;
        let result = machine.machine.alloc_pages(cpu, request, &machine.hooks);
        Some(result.map(Answer::Page).map_err(|error| Refusal::Alloc(error, request, cpu)))
    }
}

struct TryAllocPages;

impl FastCall for TryAllocPages {
    const NAME: &'static str = "try_alloc_pages";
    const ARGUMENTS: &'static [&'static str] = AllocPages::ARGUMENTS;
    const NR_POSITIONAL: usize = AllocPages::NR_POSITIONAL;
    const DEFAULTS: [u64; NR_PLACES] = AllocPages::DEFAULTS;

    fn generated() -> &'static PyOnceLock<Generated> {
        static GENERATED: PyOnceLock<Generated> = PyOnceLock::new();
        &GENERATED
    }

    #[inline(always)]
    fn call(machine: &PyPageAllocator, arguments: [u64; NR_PLACES]) -> Option<Result<Answer, Refusal>> {
        let (request, cpu) = request(machine, arguments)?;
        let result = machine.machine.alloc_pages(cpu, request, &machine.hooks);
        Some(Ok(result.map_or(Answer::Nothing, Answer::Page)))
    }
}

struct FreePages;

impl FastCall for FreePages {
    const NAME: &'static str = "free_pages";
    const ARGUMENTS: &'static [&'static str] = &["pfn", "order", "cpu"];
    const NR_POSITIONAL: usize = 2;
    const DEFAULTS: [u64; NR_PLACES] = [ABSENT, 0, ABSENT, ABSENT];

    fn generated() -> &'static PyOnceLock<Generated> {
        static GENERATED: PyOnceLock<Generated> = PyOnceLock::new();
        &GENERATED
    }

    #[inline(always)]
    fn call(machine: &PyPageAllocator, [pfn, order, cpu, _]: [u64; NR_PLACES]) -> Option<Result<Answer, Refusal>> {
        if pfn == ABSENT {
            return None;
        }
        let (cpu, order) = (self::cpu(machine, cpu)?, u32::try_from(order).ok()?);
        Some(machine.machine.free_pages(cpu, pfn, order).map(|()| Answer::Nothing).map_err(Refusal::Free))
    }
}

/// Puts the fast methods into the class, in place of the generated ones.
pub fn install(py: Python<'_>) -> PyResult<()> {
    install_method::<AllocPages>(py)?;
    install_method::<TryAllocPages>(py)?;
    install_method::<FreePages>(py)
}

fn install_method<F: FastCall>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<PyPageAllocator>();
    let method = class.getattr(F::NAME)?;
    let signature: String = method.getattr("__text_signature__")?.extract()?;
    let documentation: String = method.getattr("__doc__")?.extract()?;
    let documentation = CString::new(format!("{}{signature}\n--\n\n{documentation}", F::NAME))?;
    // The interpreter keeps pointers into the definition as long as it lives.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: CString::new(F::NAME)?.into_raw(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: enter::<F> },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: documentation.into_raw(),
    }));
    // SAFETY: the class is a type object, the definition lives for ever, and `enter` has the
    // signature that the flags promise.
    let descriptor = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), definition) };
    // SAFETY: the call above returned a new reference, or null with an exception set.
    let descriptor = unsafe { Bound::from_owned_ptr_or_err(py, descriptor) }?;
    let names = F::ARGUMENTS.iter().map(|name| PyString::intern(py, name).unbind()).collect();
    let _ = F::generated().set(py, Generated { method: method.unbind(), names });
    class.setattr(F::NAME, descriptor)
}

/// What the interpreter calls.
///
/// # Safety
///
/// The thread is attached; `slf` is a `PageAllocator`, which the method's descriptor checks; `args`
/// holds `nargs` objects and one for every name in `kwnames`, which is a tuple or null.
unsafe extern "C" fn enter<F: FastCall>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter called us.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the caller keeps the object while it waits for us.
    let object = unsafe { Borrowed::from_ptr(py, slf) };
    // SAFETY: the descriptor has checked the type.
    let machine = unsafe { object.cast_unchecked::<PyPageAllocator>() }.get();
    // SAFETY: as the caller promises.
    let given = unsafe { Given::new(py, args, nargs as usize, kwnames) };
    if let Some(arguments) = given.numbers::<F>() {
        match catch_unwind(AssertUnwindSafe(|| F::call(machine, arguments))) {
            Ok(Some(Ok(Answer::Page(pfn)))) => return page_number(pfn),
            Ok(Some(Ok(Answer::Nothing))) => return py.None().into_ptr(),
            Ok(Some(Err(refusal))) => return raise_refusal(machine, refusal),
            Ok(None) => {}
            Err(panic) => return raise_panic(panic.as_ref()),
        }
    }
    call_generated::<F>(&object, given)
}

/// The arguments of a call; passed by value, so that the compiler keeps it in registers.
#[derive(Clone, Copy)]
struct Given<'a, 'py> {
    positional: &'a [Borrowed<'a, 'py, PyAny>],
    named: &'a [Borrowed<'a, 'py, PyAny>],
    /// As many names as `named` has values.
    names: Option<Borrowed<'a, 'py, PyTuple>>,
}

impl<'a, 'py> Given<'a, 'py> {
    /// # Safety
    ///
    /// As for [`enter`].
    #[inline(always)]
    unsafe fn new(
        py: Python<'py>,
        args: *const *mut ffi::PyObject,
        nr_positional: usize,
        kwnames: *mut ffi::PyObject,
    ) -> Self {
        // SAFETY: the caller keeps the tuple while it waits for us.
        let names = unsafe { Borrowed::<PyAny>::from_ptr_or_opt(py, kwnames) };
        // SAFETY: it is a tuple.
        let names = names.map(|names| unsafe { names.cast_unchecked::<PyTuple>() });
        let nr = nr_positional + names.as_ref().map_or(0, |names| names.len());
        // The interpreter may pass null for no arguments.
        let all = if nr == 0 {
            &[]
        } else {
            // SAFETY: there are so many objects, which the caller keeps while it waits for us; a
            // `Borrowed` is a pointer that is not null.
            unsafe { slice::from_raw_parts(args.cast::<Borrowed<'a, 'py, PyAny>>(), nr) }
        };
        let (positional, named) = all.split_at(nr_positional);
        Given { positional, named, names }
    }

    /// The arguments by their places; `None` if one is no plain number, or not meant for us.
    #[inline(always)]
    fn numbers<F: FastCall>(self) -> Option<[u64; NR_PLACES]> {
        if self.positional.len() > F::NR_POSITIONAL {
            return None;
        }
        let mut numbers = F::DEFAULTS;
        for (i, number) in numbers.iter_mut().enumerate().take(F::NR_POSITIONAL) {
            if let Some(object) = self.positional.get(i) {
                *number = plain_number(*object)?;
            }
        }
        match self.names {
            None => Some(numbers),
            Some(names) => self.with_keywords::<F>(names, numbers),
        }
    }

    #[inline(never)]
    fn with_keywords<F: FastCall>(
        self,
        names: Borrowed<'a, 'py, PyTuple>,
        mut numbers: [u64; NR_PLACES],
    ) -> Option<[u64; NR_PLACES]> {
        let known = &F::generated().get(names.py())?.names;
        for (name, object) in names.iter_borrowed().zip(self.named) {
            // Names in source code are interned; another string that reads the same is rare enough.
            // The same name never comes twice.
            let place = known.iter().position(|known| known.as_ptr() == name.as_ptr())?;
            if place < self.positional.len() {
                return None;
            }
            numbers[place] = plain_number(*object)?;
        }
        Some(numbers)
    }
}

/// An integer below [`ABSENT`]; no `bool`, and nothing that has to be asked for its number.
#[inline(always)]
fn plain_number(object: Borrowed<'_, '_, PyAny>) -> Option<u64> {
    let is_exact = object.is_exact_instance_of::<PyInt>();
    if !is_exact && (!object.is_instance_of::<PyInt>() || object.is_exact_instance_of::<PyBool>()) {
        return None;
    }
    // SAFETY: the object is an integer.
    let number = unsafe { ffi::PyLong_AsUnsignedLongLong(object.as_ptr()) };
    if number == ABSENT {
        // Negative or too large, or this very number, which is no less strange.
        // SAFETY: whoever has a reference to an object is attached.
        unsafe { ffi::PyErr_Clear() };
        return None;
    }
    Some(number)
}

#[inline(always)]
fn page_number(pfn: Pfn) -> *mut ffi::PyObject {
    // The interpreter makes small integers of a long faster than of any other type; pfns have no
    // more than 52 bits.
    // SAFETY: called from `enter`, so the thread is attached.
    unsafe { ffi::PyLong_FromLong(pfn as c_long) }
}

#[cold]
#[inline(never)]
fn raise_refusal(machine: &PyPageAllocator, refusal: Refusal) -> *mut ffi::PyObject {
    Python::attach(|py| {
        let error = match refusal {
            Refusal::Alloc(error, request, cpu) => machine.failed(py, error, request, cpu),
            Refusal::Free(bad) => bad_page(bad),
        };
        error.restore(py);
        null_mut()
    })
}

/// As PyO3 does for its own methods.
#[cold]
#[inline(never)]
fn raise_panic(panic: &(dyn Any + Send)) -> *mut ffi::PyObject {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = literal.or_else(|| panic.downcast_ref::<String>().cloned());
    Python::attach(|py| {
        PyErr::new::<PanicException, _>((message.unwrap_or_else(|| "panic from Rust code".to_owned()),)).restore(py);
        null_mut()
    })
}

/// Lets the generated method do it.
#[cold]
#[inline(never)]
fn call_generated<F: FastCall>(object: &Bound<'_, PyAny>, given: Given<'_, '_>) -> *mut ffi::PyObject {
    // Attached once more, so that PyO3 knows that it is.
    Python::attach(|py| {
        let call = || {
            let method = &F::generated().get(py).ok_or_else(|| PyRuntimeError::new_err("not installed"))?.method;
            let positional = std::iter::once(object.as_borrowed()).chain(given.positional.iter().copied());
            let positional = PyTuple::new(py, positional.collect::<Vec<_>>())?;
            let Some(names) = given.names else { return method.bind(py).call1(positional) };
            let keywords = PyDict::new(py);
            for (name, value) in names.iter_borrowed().zip(given.named) {
                keywords.set_item(name, value)?;
            }
            method.bind(py).call(positional, Some(&keywords))
        };
        match call() {
            Ok(answer) => answer.into_ptr(),
            Err(error) => {
                error.restore(py);
                null_mut()
            }
        }
    })
}
