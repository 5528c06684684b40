//! Shrinkers and event callbacks: what the allocator calls where the kernel would wake kswapd,
//! reclaim, compact or kill.

use crate::allocator::PyPageAllocator;
use pagebuddy_core::pressure::{CompactPriority, CompactResult, Hooks, PressureEvent, Request, Scan};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Kinds of events, in the words of the Python side.
const KINDS: [&str; 6] = ["wake_kswapd", "boosted", "fallback", "direct_reclaim", "direct_compact", "out_of_memory"];

/// What is to be called.
enum Callback {
    Shrinker { scan: Py<PyAny>, count: Option<Py<PyAny>> },
    Listener { call: Py<PyAny>, kinds: Option<Vec<&'static str>> },
}

impl Callback {
    fn clone_ref(&self, py: Python<'_>) -> Callback {
        match self {
            Callback::Shrinker { scan, count } => {
                Callback::Shrinker { scan: scan.clone_ref(py), count: count.as_ref().map(|count| count.clone_ref(py)) }
            }
            Callback::Listener { call, kinds } => Callback::Listener { call: call.clone_ref(py), kinds: kinds.clone() },
        }
    }
}

/// The callbacks of one machine, in the order of their registration.
#[derive(Default)]
pub struct Registry {
    callbacks: Mutex<Vec<(u64, Callback)>>,
    next_id: AtomicU64,
    /// Anything registered at all? Keeps the interpreter out of machines without callbacks. The
    /// flags only say whether to look; the mutex orders the callbacks themselves.
    is_used: AtomicBool,
    has_shrinkers: AtomicBool,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Callback)>> {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update_flags(&self, callbacks: &[(u64, Callback)]) {
        let has_shrinkers = callbacks.iter().any(|(_, callback)| matches!(callback, Callback::Shrinker { .. }));
        self.is_used.store(!callbacks.is_empty(), Ordering::Relaxed); // ORDERING(R9)
        self.has_shrinkers.store(has_shrinkers, Ordering::Relaxed); // ORDERING(R9)
    }

    fn add(&self, callback: Callback) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed); // ORDERING(R9)
        let mut callbacks = self.lock();
        callbacks.push((id, callback));
        self.update_flags(&callbacks);
        id
    }

    /// The removed callback, so that it is dropped without the lock.
    fn remove(&self, id: u64) -> Option<Callback> {
        let mut callbacks = self.lock();
        let position = callbacks.iter().position(|(other, _)| *other == id)?;
        let removed = callbacks.remove(position).1;
        self.update_flags(&callbacks);
        Some(removed)
    }

    /// Does anybody listen to fallbacks?
    pub fn listens_to_fallbacks(&self) -> bool {
        self.lock().iter().any(|(_, callback)| match callback {
            Callback::Listener { kinds, .. } => kinds.as_ref().is_none_or(|kinds| kinds.contains(&"fallback")),
            Callback::Shrinker { .. } => false,
        })
    }

    /// Calls `each` for all callbacks as they were registered at this moment: a callback may
    /// register and unregister others.
    fn for_each(&self, py: Python<'_>, mut each: impl FnMut(&Callback)) {
        let callbacks: Vec<Callback> = self.lock().iter().map(|(_, callback)| callback.clone_ref(py)).collect();
        callbacks.iter().for_each(&mut each);
    }

    /// Tells all listeners of an event; whether one of them answered with something true.
    fn tell(&self, event: PressureEvent) -> bool {
        // ORDERING(R9)
        if !self.is_used.load(Ordering::Relaxed) {
            return false;
        }
        Python::attach(|py| {
            let event = PyPressureEvent::new(event);
            let mut answer = false;
            self.for_each(py, |callback| {
                let Callback::Listener { call, kinds } = callback else { return };
                if kinds.as_ref().is_some_and(|kinds| !kinds.contains(&event.kind)) {
                    return;
                }
                let result = call.bind(py).call1((event.clone(),)).and_then(|answer| answer.is_truthy());
                match result {
                    Ok(yes) => answer |= yes,
                    Err(error) => error.write_unraisable(py, Some(call.bind(py))),
                }
            });
            answer
        })
    }

    /// Visits what the garbage collector needs to see.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Somebody who holds the lock only copies references and is not the collector.
        let Ok(callbacks) = self.callbacks.try_lock() else { return Ok(()) };
        for (_, callback) in callbacks.iter() {
            match callback {
                Callback::Shrinker { scan, count } => {
                    visit.call(scan)?;
                    visit.call(count)?;
                }
                Callback::Listener { call, .. } => visit.call(call)?,
            }
        }
        Ok(())
    }

    /// Drops all callbacks.
    pub fn clear(&self) {
        let removed = {
            let mut callbacks = self.lock();
            let removed = std::mem::take(&mut *callbacks);
            self.update_flags(&callbacks);
            removed
        };
        drop(removed);
    }
}

/// A number of pages that a callback answered: `None` is 0.
fn pages(answer: &Bound<'_, PyAny>) -> PyResult<u64> {
    if answer.is_none() {
        return Ok(0);
    }
    answer.extract::<u64>().map_err(|_| PyTypeError::new_err("a shrinker answers with a number of pages or None"))
}

impl Hooks for Registry {
    fn event(&self, event: PressureEvent) {
        // The answers to these two matter; `compact` and `out_of_memory` ask for them.
        if !matches!(event, PressureEvent::DirectCompact(..) | PressureEvent::OutOfMemory(_)) {
            self.tell(event);
        }
    }

    fn has_shrinkers(&self) -> bool {
        self.has_shrinkers.load(Ordering::Relaxed) // ORDERING(R9)
    }

    fn scan(&self, scan: Scan) -> u64 {
        Python::attach(|py| {
            let mut freed = 0u64;
            self.for_each(py, |callback| {
                let Callback::Shrinker { scan: call, .. } = callback else { return };
                let wanted = scan.nr_to_reclaim.saturating_sub(freed).max(1);
                let control = PyShrinkControl::new(scan, wanted);
                match call.bind(py).call1((control,)).and_then(|answer| pages(&answer)) {
                    Ok(n) => freed = freed.saturating_add(n),
                    Err(error) => error.write_unraisable(py, Some(call.bind(py))),
                }
            });
            freed
        })
    }

    fn reclaimable_pages(&self, nid: u32, _zone: usize) -> u64 {
        if !self.has_shrinkers() {
            return 0;
        }
        Python::attach(|py| {
            let mut total = 0u64;
            self.for_each(py, |callback| {
                let Callback::Shrinker { count: Some(count), .. } = callback else { return };
                match count.bind(py).call1((nid,)).and_then(|answer| pages(&answer)) {
                    Ok(n) => total = total.saturating_add(n),
                    Err(error) => error.write_unraisable(py, Some(count.bind(py))),
                }
            });
            total
        })
    }

    fn compact(&self, request: Request, priority: CompactPriority) -> CompactResult {
        if self.tell(PressureEvent::DirectCompact(request, priority)) {
            CompactResult::Success
        } else {
            CompactResult::Skipped
        }
    }

    fn out_of_memory(&self, request: Request) -> bool {
        self.tell(PressureEvent::OutOfMemory(request))
    }
}

/// What a shrinker is asked to do.
///
/// Source: include/linux/shrinker.h, ``struct shrink_control``.
#[pyclass(frozen, get_all, name = "ShrinkControl", module = "pagebuddy")]
pub struct PyShrinkControl {
    /// How many pages are wanted.
    nr_to_scan: u64,
    /// The node to free pages of; ``None`` for direct reclaim.
    nid: Option<u32>,
    /// Flags of the request on whose behalf pages are freed.
    gfp: u32,
    /// Its order.
    order: u32,
    /// 12 (gentle) to 0 (everything).
    priority: u32,
}

impl PyShrinkControl {
    fn new(scan: Scan, nr_to_scan: u64) -> Self {
        let Scan { nid, request, priority, .. } = scan;
        PyShrinkControl { nr_to_scan, nid, gfp: request.gfp.0, order: request.order, priority }
    }
}

#[pymethods]
impl PyShrinkControl {
    fn __repr__(&self) -> String {
        let nid = self.nid.map_or_else(|| "None".to_owned(), |nid| nid.to_string());
        format!(
            "<ShrinkControl nr_to_scan={} nid={nid} order={} priority={}>",
            self.nr_to_scan, self.order, self.priority
        )
    }
}

/// Something the allocator noticed or asked for.
///
/// ``kind`` is ``"wake_kswapd"``, ``"boosted"``, ``"fallback"``, ``"direct_reclaim"``,
/// ``"direct_compact"`` or ``"out_of_memory"``; what does not apply is ``None``.
#[pyclass(frozen, get_all, skip_from_py_object, name = "PressureEvent", module = "pagebuddy")]
#[derive(Clone)]
pub struct PyPressureEvent {
    /// Which event.
    kind: &'static str,
    /// Node of the zone.
    nid: Option<u32>,
    /// Index of the zone.
    zone: Option<usize>,
    /// Order of the request.
    order: Option<u32>,
    /// Flags of the request.
    gfp: Option<u32>,
    /// First page of the block that a fallback took.
    pfn: Option<u64>,
    /// Order of that block before it was split.
    fallback_order: Option<u32>,
    /// Migratetype of the request.
    migratetype: Option<u8>,
    /// Migratetype of the block.
    fallback_migratetype: Option<u8>,
}

impl PyPressureEvent {
    fn new(event: PressureEvent) -> Self {
        let empty = PyPressureEvent {
            kind: "",
            nid: None,
            zone: None,
            order: None,
            gfp: None,
            pfn: None,
            fallback_order: None,
            migratetype: None,
            fallback_migratetype: None,
        };
        let with_request = |kind, request: Request| PyPressureEvent {
            kind,
            order: Some(request.order),
            gfp: Some(request.gfp.0),
            ..empty.clone()
        };
        match event {
            PressureEvent::WakeKswapd { nid, zone, request } => {
                PyPressureEvent { nid: Some(nid), zone: Some(zone), ..with_request("wake_kswapd", request) }
            }
            PressureEvent::Boosted { nid, zone } => {
                PyPressureEvent { kind: "boosted", nid: Some(nid), zone: Some(zone), ..empty }
            }
            PressureEvent::Fallback { nid, zone, pfn, order, fallback_order, migratetype, fallback_migratetype } => {
                PyPressureEvent {
                    kind: "fallback",
                    nid: Some(nid),
                    zone: Some(zone),
                    order: Some(order),
                    gfp: None,
                    pfn: Some(pfn),
                    fallback_order: Some(fallback_order),
                    migratetype: Some(migratetype as u8),
                    fallback_migratetype: Some(fallback_migratetype as u8),
                }
            }
            PressureEvent::DirectReclaim(request) => with_request("direct_reclaim", request),
            PressureEvent::DirectCompact(request, _) => with_request("direct_compact", request),
            PressureEvent::OutOfMemory(request) => with_request("out_of_memory", request),
        }
    }
}

#[pymethods]
impl PyPressureEvent {
    fn __repr__(&self) -> String {
        let mut text = format!("<PressureEvent {}", self.kind);
        let numbers = [
            ("nid", self.nid.map(u64::from)),
            ("zone", self.zone.map(|zone| zone as u64)),
            ("order", self.order.map(u64::from)),
            ("fallback_order", self.fallback_order.map(u64::from)),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                text += &format!(" {name}={value}");
            }
        }
        if let Some(pfn) = self.pfn {
            text += &format!(" pfn={pfn:#x}");
        }
        text + ">"
    }
}

/// A registered callback; ``unregister`` it, or use it in a ``with`` statement.
#[pyclass(frozen, name = "Registration", module = "pagebuddy")]
pub struct PyRegistration {
    machine: Py<PyPageAllocator>,
    id: u64,
}

#[pymethods]
impl PyRegistration {
    /// Stop calling the callback.
    ///
    /// Returns:
    ///     bool: False if it was unregistered before.
    fn unregister(&self) -> bool {
        let machine = self.machine.get();
        let removed = machine.hooks.remove(self.id).is_some();
        machine.update_fallback_listeners();
        removed
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyAny>) {
        self.unregister();
    }
}

fn callable(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Py<PyAny>> {
    if object.is_callable() {
        return Ok(object.clone().unbind());
    }
    Err(PyTypeError::new_err(format!("{name} must be callable")))
}

fn registration(machine: &Bound<'_, PyPageAllocator>, callback: Callback) -> PyRegistration {
    let id = machine.get().hooks.add(callback);
    machine.get().update_fallback_listeners();
    PyRegistration { machine: machine.clone().unbind(), id }
}

/// Registers a shrinker.
pub fn register_shrinker(
    machine: &Bound<'_, PyPageAllocator>,
    scan: &Bound<'_, PyAny>,
    count: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyRegistration> {
    let scan = callable(scan, "scan")?;
    let count = count.map(|count| callable(count, "count")).transpose()?;
    Ok(registration(machine, Callback::Shrinker { scan, count }))
}

/// Registers an event callback.
pub fn on_event(
    machine: &Bound<'_, PyPageAllocator>,
    call: &Bound<'_, PyAny>,
    kinds: Option<Vec<String>>,
) -> PyResult<PyRegistration> {
    let known = |kind: String| {
        let found = KINDS.into_iter().find(|known| *known == kind);
        found.ok_or_else(|| PyValueError::new_err(format!("no such event: {kind:?}; there are {}", KINDS.join(", "))))
    };
    let kinds = kinds.map(|kinds| kinds.into_iter().map(known).collect::<PyResult<Vec<_>>>()).transpose()?;
    Ok(registration(machine, Callback::Listener { call: callable(call, "callback")?, kinds }))
}
