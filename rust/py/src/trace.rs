//! `Trace` and `TraceEvent`: the kernel's kmem events, collected while a `with` block runs.

use crate::allocator::PyPageAllocator;
use crate::arguments::{Count, Small};
use crate::python::{self, array};
use crate::zone::migratetype_member;
use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::trace::{Event, FtraceTask, Payload, Record, Trace, TraceClock, TracerId};
use pagebuddy_core::types::MigrateType;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The clock of a trace, by its name.
#[derive(Clone, Copy)]
struct Clock(TraceClock);

impl<'a, 'py> FromPyObject<'a, 'py> for Clock {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<&str>() {
            Ok("mono") => Ok(Clock(TraceClock::Mono)),
            Ok("counter") => Ok(Clock(TraceClock::Counter)),
            Ok(_) => Err(PyValueError::new_err("clock must be \"mono\" or \"counter\"")),
            Err(_) => Err(PyTypeError::new_err("clock must be text")),
        }
    }
}

/// How far a trace is.
enum Stage {
    /// Its block has not begun.
    New,
    /// It collects.
    Active(TracerId),
    /// Its block has ended.
    Done(Arc<Trace>),
}

/// Trace events of an allocator, collected while its ``with`` block runs.
///
/// Made by ``PageAllocator.trace``. The events can be read in the block and after it. An exception
/// that leaves the block ends the collecting and goes on; the events stay. Any number of traces can
/// collect at once, nested or in different threads: each sees everything from its own beginning to
/// its own end.
///
/// Concurrency: events of all threads of this process are seen, in one order; other processes
/// are not. While a trace collects, allocating threads wait for each other for the moment of
/// writing an event down; otherwise tracing costs nothing.
///
/// Source: include/trace/events/kmem.h.
///
/// Example:
///     >>> from pagebuddy import PageAllocator
///     >>> machine = PageAllocator.simple("64M")
///     >>> with machine.trace() as t:
///     ...     machine.free_pages(machine.alloc_pages(order=4), order=4)
///     >>> for event in t.events:
///     ...     print(event.name, hex(event.pfn), event.order)
///     mm_page_alloc_extfrag 0x1400 4
///     mm_page_alloc_zone_locked 0x1400 4
///     mm_page_alloc 0x1400 4
///     mm_page_free 0x1400 4
#[pyclass(frozen, name = "Trace", module = "pagebuddy")]
pub struct PyTrace {
    machine: Arc<PageAllocator>,
    clock: TraceClock,
    max_events: Option<usize>,
    stage: Mutex<Stage>,
}

impl PyTrace {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was collected up to now.
    fn collected(&self) -> Arc<Trace> {
        match &*self.stage() {
            Stage::New => Arc::default(),
            Stage::Active(id) => Arc::new(self.machine.trace().peek(*id).unwrap_or_default()),
            Stage::Done(trace) => Arc::clone(trace),
        }
    }

    /// Stops collecting; does nothing if that has happened.
    fn stop(&self) {
        let mut stage = self.stage();
        if let Stage::Active(id) = *stage {
            *stage = Stage::Done(Arc::new(self.machine.trace().stop(id).unwrap_or_default()));
        }
    }
}

impl Drop for PyTrace {
    fn drop(&mut self) {
        self.stop();
    }
}

#[pymethods]
impl PyTrace {
    /// Names of the events; the numbers in the column ``event`` of ``table`` are indices into it.
    #[classattr]
    const EVENT_NAMES: [&str; 6] = Event::NAMES;

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let trace = slf.get();
        let mut stage = trace.stage();
        if !matches!(*stage, Stage::New) {
            return Err(PyRuntimeError::new_err("a trace collects once; ask the allocator for another one"));
        }
        let started = trace.machine.trace().start(trace.clock, trace.max_events);
        *stage = Stage::Active(started.map_err(|error| PyRuntimeError::new_err(error.to_string()))?);
        drop(stage);
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        py.detach(|| self.stop());
    }

    /// Is it collecting?
    #[getter]
    fn is_active(&self) -> bool {
        matches!(*self.stage(), Stage::Active(_))
    }

    /// What ``time`` of an event is: ``"mono"``, nanoseconds since the allocator was made, or
    /// ``"counter"``, the event's number.
    #[getter]
    fn clock(&self) -> &'static str {
        match self.clock {
            TraceClock::Mono => "mono",
            TraceClock::Counter => "counter",
        }
    }

    /// Events that happened, those that were lost included.
    #[getter]
    fn nr_written(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.collected().nr_written)
    }

    /// Events that were lost because there were more than ``max_events``; the oldest ones.
    #[getter]
    fn nr_lost(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.collected().lost.values().sum())
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| match &*self.stage() {
            Stage::New => 0,
            Stage::Active(id) => self.machine.trace().nr_records(*id).unwrap_or(0),
            Stage::Done(trace) => trace.records.len(),
        })
    }

    /// The events, oldest first, as a list of ``TraceEvent``. A copy.
    #[getter]
    fn events<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let trace = py.detach(|| self.collected());
        let event = |record: &Record| PyTraceEvent { machine: Arc::clone(&self.machine), record: *record };
        PyList::new(py, trace.records.iter().map(event))
    }

    /// The events as columns.
    ///
    /// Returns:
    ///     dict[str, numpy.ndarray]: Arrays of one item per event, oldest first: ``time`` (uint64),
    ///     ``cpu`` (uint32), ``event`` (uint8, index into ``EVENT_NAMES``), ``pfn`` (uint64, all
    ///     ones for a failed allocation), ``order`` (int8, of a fallback the request's),
    ///     ``migratetype`` (int8, a ``MigrateType``), ``gfp`` (uint32), ``percpu_refill``,
    ///     ``fallback_order``, ``fallback_migratetype``, ``fragmenting`` and ``change_ownership``
    ///     (int8). What an event does not have is -1, in ``gfp`` 0. Copies.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator, Trace
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> with machine.trace() as t:
    ///     ...     machine.free_pages_bulk(machine.alloc_pages_bulk(1000))
    ///     >>> table = t.table()
    ///     >>> drains = table["event"] == Trace.EVENT_NAMES.index("mm_page_pcpu_drain")
    ///     >>> int(table["order"][drains].max())
    ///     0
    fn table<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let columns = py.detach(|| self.collected().columns(self.machine.config()));
        let table = PyDict::new(py);
        table.set_item("time", array(py, "uint64", &columns.time)?)?;
        table.set_item("cpu", array(py, "uint32", &columns.cpu)?)?;
        table.set_item("event", array(py, "uint8", &columns.event)?)?;
        table.set_item("pfn", array(py, "uint64", &columns.pfn)?)?;
        table.set_item("order", array(py, "int8", &columns.order)?)?;
        table.set_item("migratetype", array(py, "int8", &columns.migratetype)?)?;
        table.set_item("gfp", array(py, "uint32", &columns.gfp)?)?;
        table.set_item("percpu_refill", array(py, "int8", &columns.percpu_refill)?)?;
        table.set_item("fallback_order", array(py, "int8", &columns.fallback_order)?)?;
        table.set_item("fallback_migratetype", array(py, "int8", &columns.fallback_migratetype)?)?;
        table.set_item("fragmenting", array(py, "int8", &columns.fragmenting)?)?;
        table.set_item("change_ownership", array(py, "int8", &columns.change_ownership)?)?;
        Ok(table)
    }

    /// The events as the file ``trace`` of the kernel's tracefs shows them.
    ///
    /// Args:
    ///     comm: Name of the task that all lines show; cut at 15 characters.
    ///     pid: Its id; by default this process's.
    ///
    /// Returns:
    ///     str: Header and one line per event. Where the kernel prints the hashed address of a
    ///     page's descriptor, the unhashed address on a kernel without address randomisation.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> with machine.trace(clock="counter") as t:
    ///     ...     pfn = machine.alloc_pages(3, "GFP_ATOMIC", cpu=0)
    ///     >>> print(t.to_ftrace(comm="init", pid=1).splitlines()[-1])
    ///                 init-1       [000] .....            ...: mm_page_alloc: page=... order=3 migratetype=0 gfp_flags=GFP_ATOMIC
    #[pyo3(signature = (*, comm="python", pid=None))]
    fn to_ftrace(&self, py: Python<'_>, comm: &str, pid: Option<Small>) -> String {
        let task = FtraceTask { comm, pid: pid.map_or_else(std::process::id, |pid| pid.0) };
        let machine = &*self.machine;
        py.detach(|| self.collected().to_ftrace(machine.config(), machine.nr_cpus(), task))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let state = match &*self.stage() {
            Stage::New => "new",
            Stage::Active(_) => "active",
            Stage::Done(_) => "done",
        };
        format!("<Trace {state} events={}>", self.__len__(py))
    }
}

#[pymethods]
impl PyPageAllocator {
    /// Collect trace events in a ``with`` block.
    ///
    /// Args:
    ///     clock: ``"mono"`` stamps events with nanoseconds since the allocator was made,
    ///         ``"counter"`` with their number from 1, so that equal runs give equal traces.
    ///     max_events: How many events to keep at most, the latest ones; by default all.
    ///
    /// Returns:
    ///     Trace: A context manager; it collects from its beginning to its end.
    ///
    /// Raises:
    ///     ValueError: An unknown clock, a negative number.
    ///
    /// Concurrency: See ``Trace``.
    ///
    /// Source: include/trace/events/kmem.h.
    #[pyo3(
        signature = (*, clock=Clock(TraceClock::Mono), max_events=None),
        text_signature = "($self, *, clock='mono', max_events=None)"
    )]
    fn trace(&self, clock: Clock, max_events: Option<Count>) -> PyTrace {
        PyTrace {
            machine: Arc::clone(&self.machine),
            clock: clock.0,
            // More than memory holds is no limit.
            max_events: max_events.and_then(|max| usize::try_from(max.0).ok()),
            stage: Mutex::new(Stage::New),
        }
    }
}

/// One trace event.
///
/// Attributes that the event does not have are ``None``. ``str()`` gives the text that the kernel
/// prints for it. Events are equal if all their attributes are.
///
/// Source: include/trace/events/kmem.h.
///
/// Example:
///     >>> from pagebuddy import PageAllocator
///     >>> machine = PageAllocator.simple("64M")
///     >>> with machine.trace(clock="counter") as t:
///     ...     pfn = machine.alloc_pages(5, "GFP_HIGHUSER_MOVABLE", cpu=0)
///     >>> print(t.events[-1])
///     mm_page_alloc: page=ffffea0000050000 pfn=0x1400 order=5 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE
///     >>> t.events[-1]
///     <TraceEvent mm_page_alloc time=2 cpu=0 pfn=0x1400 order=5>
#[pyclass(frozen, eq, hash, skip_from_py_object, name = "TraceEvent", module = "pagebuddy")]
pub struct PyTraceEvent {
    machine: Arc<PageAllocator>,
    record: Record,
}

impl PartialEq for PyTraceEvent {
    fn eq(&self, other: &Self) -> bool {
        self.record == other.record
    }
}

impl Hash for PyTraceEvent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.record.hash(state);
    }
}

fn member<'py>(py: Python<'py>, migratetype: Option<u8>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let mt = migratetype.and_then(|number| MigrateType::from_index(number.into()));
    mt.map(|mt| migratetype_member(py, mt)).transpose()
}

#[pymethods]
impl PyTraceEvent {
    /// Name of the event, such as ``"mm_page_alloc"``.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::intern(py, self.record.event.name())
    }

    /// Nanoseconds or a number, as the trace's clock says.
    #[getter]
    fn time(&self) -> u64 {
        self.record.time
    }

    /// Cpu the caller ran on.
    #[getter]
    fn cpu(&self) -> u32 {
        self.record.cpu
    }

    /// First page of the block; ``None`` for a failed allocation.
    #[getter]
    fn pfn(&self) -> Option<u64> {
        self.record.event.pfn()
    }

    /// Order of the block; of a fallback, of the request.
    #[getter]
    fn order(&self) -> u32 {
        self.record.event.order()
    }

    /// Requested ``MigrateType``; of a drained page that of the list it goes to.
    #[getter]
    fn migratetype<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        member(py, self.record.event.migratetype())
    }

    /// ``GFP`` flags of the request, in ``mm_page_alloc``.
    #[getter]
    fn gfp<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.record.event {
            Event::Alloc { gfp, .. } => python::GFP.get(py)?.call1((gfp,)).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether the kernel calls it a refill of a per-cpu list (it does for order 0), in
    /// ``mm_page_alloc_zone_locked``.
    #[getter]
    fn percpu_refill(&self) -> Option<bool> {
        match self.record.event {
            Event::AllocZoneLocked { order, .. } => Some(order == 0),
            _ => None,
        }
    }

    /// Order of the block that was found, in ``mm_page_alloc_extfrag``.
    #[getter]
    fn fallback_order(&self) -> Option<u32> {
        match self.record.event {
            Event::AllocExtfrag { fallback_order, .. } => Some(fallback_order),
            _ => None,
        }
    }

    /// ``MigrateType`` of the list it was found on, in ``mm_page_alloc_extfrag``.
    #[getter]
    fn fallback_migratetype<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.record.event {
            Event::AllocExtfrag { fallback_migratetype, .. } => member(py, Some(fallback_migratetype)),
            _ => Ok(None),
        }
    }

    /// Whether a pageblock is broken up, in ``mm_page_alloc_extfrag``.
    #[getter]
    fn fragmenting(&self) -> Option<bool> {
        self.fallback_order().map(|order| order < self.machine.config().pageblock_order)
    }

    /// Whether the pageblock is of the requested type now, in ``mm_page_alloc_extfrag``.
    #[getter]
    fn change_ownership(&self) -> Option<bool> {
        match self.record.event {
            Event::AllocExtfrag { change_ownership, .. } => Some(change_ownership),
            _ => None,
        }
    }

    fn __str__(&self) -> String {
        let event = &self.record.event;
        format!("{}: {}", event.name(), Payload { event, config: self.machine.config() })
    }

    fn __repr__(&self) -> String {
        let Record { time, cpu, event } = &self.record;
        let pfn = event.pfn().map_or("None".to_owned(), |pfn| format!("{pfn:#x}"));
        format!("<TraceEvent {} time={time} cpu={cpu} pfn={pfn} order={}>", event.name(), event.order())
    }
}
