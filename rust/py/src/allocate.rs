//! `PageAllocator`: the calls that allocate and free.
//!
//! Calls for single pages keep the interpreter's lock, because giving it up costs more than they
//! do; long ones give it up.

use crate::allocator::PyPageAllocator;
use crate::arguments::{Count, GfpArg, MigrateTypeArg, NodeArg, NodeSet, Order, PfnArg};
use crate::errors::{AllocationFailed, ConfigError, WouldLoopForever, bad_page, range_error};
use crate::policy::PyMemPolicy;
use crate::python::{uint64_array, uint64_view};
use crate::zone::PyZone;
use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::bulk::BulkRequest;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::page_alloc::{AllocError, AllocRequest};
use pagebuddy_core::types::{MigrateType, Pfn};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::sync::Arc;

/// Bulk calls for fewer pages keep the interpreter's lock.
const SHORT_BULK: usize = 64;

const GFP_KERNEL: GfpArg = GfpArg(Gfp::GFP_KERNEL);

/// Where pages are wanted, as the arguments of the allocating calls say it.
struct Place<'a> {
    nid: Option<NodeArg>,
    nodemask: Option<NodeSet>,
    policy: Option<&'a PyMemPolicy>,
    cpu: CpuChoice,
}

/// The same, checked.
enum Target<'a> {
    Nodes { nid: u32, nodemask: Option<u64> },
    Policy(&'a PyMemPolicy),
}

impl<'a> Place<'a> {
    #[inline]
    fn check(&self, machine: &PageAllocator) -> PyResult<Target<'a>> {
        if let Some(policy) = self.policy {
            if self.nid.is_some() || self.nodemask.is_some() {
                return Err(PyValueError::new_err("a policy names the nodes: nid and nodemask exclude it"));
            }
            return Ok(Target::Policy(policy));
        }
        let nodemask = match &self.nodemask {
            None => None,
            Some(nodes) => Some(online_nodes(machine, nodes)?),
        };
        let nid = match self.nid {
            None | Some(NodeArg(None)) => machine.node_of_cpu(self.cpu),
            Some(NodeArg(Some(nid))) => online_node(machine, nid)?,
        };
        Ok(Target::Nodes { nid, nodemask })
    }
}

impl Place<'_> {
    /// The request, for a report; where a policy decides, as if it had come to the local node.
    fn request(&self, machine: &PageAllocator, gfp: Gfp, order: u32) -> AllocRequest {
        let given = self.nid.and_then(|nid| u32::try_from(nid.0?).ok());
        let nid = given.unwrap_or_else(|| machine.node_of_cpu(self.cpu));
        AllocRequest { gfp, order, nid, nodemask: self.nodemask.as_ref().map(|nodes| nodes.0) }
    }
}

fn online_node(machine: &PageAllocator, nid: u64) -> PyResult<u32> {
    let found = u32::try_from(nid).ok().filter(|nid| machine.has_node(*nid));
    found.ok_or_else(|| PyValueError::new_err(format!("node {nid} is not online")))
}

fn online_nodes(machine: &PageAllocator, nodes: &NodeSet) -> PyResult<u64> {
    let offline = (0..u64::BITS).find(|nid| nodes.0 >> nid & 1 == 1 && !machine.has_node(*nid));
    match offline {
        None => Ok(nodes.0),
        Some(nid) => Err(PyValueError::new_err(format!("the node mask names node {nid}, which is not online"))),
    }
}

/// Makes the report of a failed allocation when it is asked for.
#[pyclass(frozen, name = "_FailureReport", module = "pagebuddy")]
pub struct PyFailureReport {
    machine: Arc<PageAllocator>,
    request: AllocRequest,
    cpu: CpuChoice,
}

#[pymethods]
impl PyFailureReport {
    fn __call__(&self) -> String {
        self.machine.failure_report("python", self.request, self.cpu).to_string()
    }
}

impl PyPageAllocator {
    #[inline]
    fn allocate(&self, order: u32, gfp: Gfp, place: &Place<'_>) -> PyResult<Result<Pfn, AllocError>> {
        match place.check(&self.machine)? {
            Target::Nodes { nid, nodemask } => {
                let request = AllocRequest { gfp, order, nid, nodemask };
                Ok(self.machine.alloc_pages(place.cpu, request, &self.hooks))
            }
            Target::Policy(policy) => policy.alloc_pages(&self.machine, place.cpu, gfp, order, &self.hooks),
        }
    }

    /// The exception for a failed allocation.
    #[cold]
    #[inline(never)]
    pub fn failed(&self, py: Python<'_>, error: AllocError, request: AllocRequest, cpu: CpuChoice) -> PyErr {
        let report = PyFailureReport { machine: Arc::clone(&self.machine), request, cpu };
        let report = match Py::new(py, report) {
            Ok(report) => report,
            Err(error) => return error,
        };
        let AllocRequest { gfp, order, .. } = request;
        match error {
            AllocError::NoMemory | AllocError::OrderOutOfRange => AllocationFailed::new_err((order, gfp.0, report)),
            AllocError::WouldLoopForever => WouldLoopForever::new_err((order, gfp.0, report)),
        }
    }

    /// The range calls exist in kernels with memory isolation only.
    fn need_isolation(&self) -> PyResult<()> {
        if self.machine.config().memory_isolation {
            return Ok(());
        }
        Err(ConfigError::new_err("isolated pageblocks need Config(memory_isolation=True)"))
    }

    /// Bytes rounded up to pages.
    fn nr_pages(&self, nr_bytes: Count) -> PyResult<u64> {
        match nr_bytes.0 {
            0 => Err(PyValueError::new_err("nr_bytes must be positive")),
            nr_bytes => Ok(nr_bytes.div_ceil(self.machine.config().page_size())),
        }
    }
}

/// A buffer of `uint64` of this machine's byte order.
fn pfn_buffer(object: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u64>> {
    let buffer = PyBuffer::<u64>::get(object)?;
    // PyO3 lets buffers of the other byte order pass.
    match buffer.format().to_bytes().first() {
        Some(b'>' | b'!') if cfg!(target_endian = "little") => Err(PyBufferError::new_err("byte order")),
        _ => Ok(buffer),
    }
}

/// A writable, contiguous buffer of `uint64`.
fn output_buffer(out: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u64>> {
    let buffer = pfn_buffer(out).map_err(|error| wrong_buffer(out.py(), error))?;
    if buffer.readonly() {
        return Err(PyBufferError::new_err("out must be writable"));
    }
    if !buffer.is_c_contiguous() || buffer.dimensions() != 1 {
        return Err(PyBufferError::new_err("out must be one-dimensional and contiguous"));
    }
    Ok(buffer)
}

fn wrong_buffer(py: Python<'_>, error: PyErr) -> PyErr {
    if error.is_instance_of::<PyBufferError>(py) {
        return PyBufferError::new_err("a buffer of pfns has items of type uint64, in native byte order");
    }
    error
}

/// Pfns from a buffer of `uint64` or from any iterable of integers.
fn pfns_of(pfns: &Bound<'_, PyAny>) -> PyResult<Vec<Pfn>> {
    match pfn_buffer(pfns) {
        Ok(buffer) if buffer.dimensions() == 1 => buffer.to_vec(pfns.py()),
        Ok(_) => Err(PyBufferError::new_err("pfns must be one-dimensional")),
        Err(error) if error.is_instance_of::<PyTypeError>(pfns.py()) => {
            pfns.try_iter()?.map(|pfn| Ok(pfn?.extract::<PfnArg>()?.0)).collect()
        }
        Err(error) => Err(wrong_buffer(pfns.py(), error)),
    }
}

#[pymethods]
impl PyPageAllocator {
    /// Allocate ``2**order`` contiguous pages.
    ///
    /// Args:
    ///     order: log2 of the number of pages.
    ///     gfp: Request flags: a ``GFP`` mask, an integer, or text such as ``"GFP_KERNEL|__GFP_ZERO"``.
    ///     nid: Preferred node; by default the node of the cpu.
    ///     nodemask: Nodes allowed, as a mask or as node ids; by default all.
    ///     policy: A ``MemPolicy`` instead of ``nid`` and ``nodemask``.
    ///     cpu: The cpu whose lists are used; by default the one the thread runs on, or spare lists if
    ///         another thread or process is inside a call on it.
    ///
    /// Returns:
    ///     int: The first pfn.
    ///
    /// Raises:
    ///     AllocationFailed: The kernel would return no page; carries ``.order``, ``.gfp`` and
    ///         ``.report``. Also for an order that is not below ``MAX_ORDER``.
    ///     WouldLoopForever: Likewise, where a ``__GFP_NOFAIL`` request would never return.
    ///     ValueError: No such node or cpu, contradicting flags, a negative number.
    ///     OverflowError: A number beyond the kernel's type.
    ///
    /// Concurrency: Lock-free.
    ///
    /// Source: mm/page_alloc.c, ``__alloc_pages``.
    ///
    /// Example:
    ///     >>> from pagebuddy import GFP_ATOMIC, PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> machine.page(machine.alloc_pages(3, GFP_ATOMIC))
    ///     <Page pfn=0x1400 order=3 state=ALLOCATED refcount=1>
    ///     >>> try:
    ///     ...     machine.alloc_pages(order=11)
    ///     ... except MemoryError as error:
    ///     ...     print(error)
    ///     page allocation failure: order:11, mode:0xcc0
    #[pyo3(
        signature = (order=Order(0), gfp=GFP_KERNEL, *, nid=None, nodemask=None, policy=None, cpu=None),
        text_signature = "($self, order=0, gfp=3264, *, nid=None, nodemask=None, policy=None, cpu=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "one per part of the request")]
    fn alloc_pages(
        &self,
        py: Python<'_>,
        order: Order,
        gfp: GfpArg,
        nid: Option<NodeArg>,
        nodemask: Option<NodeSet>,
        policy: Option<&Bound<'_, PyMemPolicy>>,
        cpu: Option<Count>,
    ) -> PyResult<Pfn> {
        let place = Place { nid, nodemask, policy: policy.map(Bound::get), cpu: self.cpu(cpu)? };
        match self.allocate(order.0, gfp.0, &place)? {
            Ok(pfn) => Ok(pfn),
            Err(error) => Err(self.failed(py, error, place.request(&self.machine, gfp.0, order.0), place.cpu)),
        }
    }

    /// Allocate ``2**order`` contiguous pages, or nothing.
    ///
    /// Args:
    ///     order: See ``alloc_pages``, as for all other arguments.
    ///     gfp: Request flags.
    ///     nid: Preferred node.
    ///     nodemask: Nodes allowed.
    ///     policy: A ``MemPolicy``.
    ///     cpu: The cpu whose lists are used.
    ///
    /// Returns:
    ///     int | None: The first pfn; ``None`` where ``alloc_pages`` raises ``AllocationFailed``.
    ///
    /// Raises:
    ///     ValueError: See ``alloc_pages``.
    ///     OverflowError: See ``alloc_pages``.
    #[pyo3(
        signature = (order=Order(0), gfp=GFP_KERNEL, *, nid=None, nodemask=None, policy=None, cpu=None),
        text_signature = "($self, order=0, gfp=3264, *, nid=None, nodemask=None, policy=None, cpu=None)"
    )]
    fn try_alloc_pages(
        &self,
        order: Order,
        gfp: GfpArg,
        nid: Option<NodeArg>,
        nodemask: Option<NodeSet>,
        policy: Option<&Bound<'_, PyMemPolicy>>,
        cpu: Option<Count>,
    ) -> PyResult<Option<Pfn>> {
        let place = Place { nid, nodemask, policy: policy.map(Bound::get), cpu: self.cpu(cpu)? };
        Ok(self.allocate(order.0, gfp.0, &place)?.ok())
    }

    /// Give up one reference of an allocated block and free it if that was the last one.
    ///
    /// Args:
    ///     pfn: The block's first page.
    ///     order: The order it was allocated with.
    ///     cpu: The cpu whose lists are used; by default the one the thread runs on, or spare lists if
    ///         another thread or process is inside a call on it.
    ///
    /// Raises:
    ///     BadPageError: There is no such block (never allocated, free already, another order, inside
    ///         a block, reserved, no memory); nothing changed. Carries ``.pfn`` and ``.reason``.
    ///     ValueError: No such cpu.
    ///
    /// Concurrency: Lock-free; of two frees of the same block exactly one succeeds.
    ///
    /// Source: mm/page_alloc.c, ``__free_pages``.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> pfn = machine.alloc_pages()
    ///     >>> machine.free_pages(pfn)
    ///     >>> try:
    ///     ...     machine.free_pages(pfn)
    ///     ... except ValueError as error:
    ///     ...     print(error.reason)
    ///     the page is already free
    #[pyo3(signature = (pfn, order=Order(0), *, cpu=None), text_signature = "($self, pfn, order=0, *, cpu=None)")]
    fn free_pages(&self, pfn: PfnArg, order: Order, cpu: Option<Count>) -> PyResult<()> {
        self.machine.free_pages(self.cpu(cpu)?, pfn.0, order.0).map_err(bad_page)
    }

    /// Allocate up to ``n`` single pages in one call.
    ///
    /// Args:
    ///     n: How many; with ``out`` at most as many as it holds.
    ///     gfp: Request flags.
    ///     nid: Preferred node.
    ///     nodemask: Nodes allowed.
    ///     policy: A ``MemPolicy``.
    ///     cpu: The cpu whose lists are used.
    ///     out: A writable one-dimensional contiguous buffer of ``uint64`` for the pfns.
    ///
    /// Returns:
    ///     numpy.ndarray: ``uint64``, shape ``(k,)``: the k pfns in the order they were taken. k is
    ///     smaller than n, and possibly 0, if memory is short: the kernel takes one page at most on
    ///     the slow path. With ``out`` a view of its first items, else a new array.
    ///
    /// Raises:
    ///     ValueError: See ``alloc_pages``; also if ``out`` is too small.
    ///     BufferError: ``out`` is read-only, not contiguous or of another type.
    ///
    /// Concurrency: Lock-free; other Python threads go on during long calls.
    ///
    /// Source: mm/page_alloc.c, ``__alloc_pages_bulk``.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> pfns = machine.alloc_pages_bulk(100)
    ///     >>> pfns.dtype, len(pfns)
    ///     (dtype('uint64'), 100)
    ///     >>> machine.free_pages_bulk(pfns)
    #[pyo3(
        signature = (n, gfp=GFP_KERNEL, *, nid=None, nodemask=None, policy=None, cpu=None, out=None),
        text_signature = "($self, n, gfp=3264, *, nid=None, nodemask=None, policy=None, cpu=None, out=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "one per part of the request")]
    fn alloc_pages_bulk<'py>(
        &self,
        py: Python<'py>,
        n: Count,
        gfp: GfpArg,
        nid: Option<NodeArg>,
        nodemask: Option<NodeSet>,
        policy: Option<&Bound<'_, PyMemPolicy>>,
        cpu: Option<Count>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let cpu = self.cpu(cpu)?;
        let place = Place { nid, nodemask, policy: policy.map(Bound::get), cpu };
        let target = place.check(&self.machine)?;
        let buffer = out.map(output_buffer).transpose()?;
        if buffer.as_ref().is_some_and(|buffer| (buffer.item_count() as u64) < n.0) {
            return Err(PyValueError::new_err("out has fewer items than pages are asked for"));
        }
        // All pages there are, and one more: the answer is the same as for any larger number.
        let n = n.0.min(self.machine.end_pfn() + 1) as usize;
        let mut pfns = vec![0; n];
        let machine = &*self.machine;
        let mut work = || match target {
            Target::Nodes { nid, nodemask } => {
                let request = BulkRequest { gfp: gfp.0, nid, nodemask };
                Ok(machine.alloc_pages_bulk_array(cpu, request, &mut pfns, &self.hooks))
            }
            Target::Policy(policy) => policy.alloc_pages_bulk(machine, cpu, gfp.0, &mut pfns, &self.hooks),
        };
        let filled = if n < SHORT_BULK { work() } else { py.detach(work) }?;
        pfns.truncate(filled);
        let Some((out, buffer)) = out.zip(buffer) else { return uint64_array(py, &pfns) };
        let cells = buffer.as_mut_slice(py).ok_or_else(|| PyBufferError::new_err("out must be writable"))?;
        cells.iter().zip(&pfns).for_each(|(cell, pfn)| cell.set(*pfn));
        uint64_view(out, pfns.len())
    }

    /// Fill the empty places of a list with single pages.
    ///
    /// Args:
    ///     slots: A list of pfns and ``None``; ``None`` is an empty place. Changed in place.
    ///     gfp: Request flags.
    ///     nid: Preferred node.
    ///     nodemask: Nodes allowed.
    ///     cpu: The cpu whose lists are used.
    ///
    /// Returns:
    ///     int: How many places from the start are filled now, those that were filled before
    ///     included; places behind are as they were.
    ///
    /// Raises:
    ///     TypeError: Not a list of integers and ``None``.
    ///     ValueError: See ``alloc_pages``.
    ///
    /// Concurrency: Lock-free; nobody else may change the list meanwhile.
    ///
    /// Source: mm/page_alloc.c, ``__alloc_pages_bulk`` with a page array.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> slots = [7, None, 9, None]
    ///     >>> machine.alloc_pages_bulk_array(slots)
    ///     4
    ///     >>> slots[0], slots[2], None in slots
    ///     (7, 9, False)
    #[pyo3(
        signature = (slots, gfp=GFP_KERNEL, *, nid=None, nodemask=None, cpu=None),
        text_signature = "($self, slots, gfp=3264, *, nid=None, nodemask=None, cpu=None)"
    )]
    fn alloc_pages_bulk_array(
        &self,
        slots: &Bound<'_, PyList>,
        gfp: GfpArg,
        nid: Option<NodeArg>,
        nodemask: Option<NodeSet>,
        cpu: Option<Count>,
    ) -> PyResult<usize> {
        let place = Place { nid, nodemask, policy: None, cpu: self.cpu(cpu)? };
        let mut array: Vec<Option<Pfn>> =
            slots.iter().map(|slot| Ok(slot.extract::<Option<Count>>()?.map(|pfn| pfn.0))).collect::<PyResult<_>>()?;
        let before = array.clone();
        let Target::Nodes { nid, nodemask } = place.check(&self.machine)? else { return Ok(0) };
        let request = BulkRequest { gfp: gfp.0, nid, nodemask };
        let filled = self.machine.alloc_pages_bulk_array(place.cpu, request, &mut array, &self.hooks);
        for (i, (old, new)) in before.into_iter().zip(array).enumerate() {
            if old != new {
                slots.set_item(i, new)?;
            }
        }
        Ok(filled)
    }

    /// Free single pages in one call.
    ///
    /// Args:
    ///     pfns: A one-dimensional buffer of ``uint64``, such as a NumPy array, or an iterable of
    ///         integers.
    ///     cpu: The cpu whose lists are used.
    ///
    /// Raises:
    ///     BadPageError: One of the pages is no allocated single page, or comes twice; nothing is
    ///         freed.
    ///     BufferError: A buffer with another type of item, or with several dimensions.
    ///
    /// Concurrency: Lock-free; other Python threads go on during long calls.
    ///
    /// Source: mm/page_alloc.c, ``free_unref_page_list``.
    #[pyo3(signature = (pfns, *, cpu=None))]
    fn free_pages_bulk(&self, py: Python<'_>, pfns: &Bound<'_, PyAny>, cpu: Option<Count>) -> PyResult<()> {
        let cpu = self.cpu(cpu)?;
        let pfns = pfns_of(pfns)?;
        let work = || self.machine.free_page_list(cpu, &pfns);
        if pfns.len() < SHORT_BULK { work() } else { py.detach(work) }.map_err(bad_page)
    }

    /// Allocate just enough contiguous single pages for a number of bytes.
    ///
    /// Args:
    ///     nr_bytes: More than 0.
    ///     gfp: Request flags; ``__GFP_COMP`` and ``__GFP_HIGHMEM`` are ignored.
    ///     nid: Preferred node; by default the node of the cpu.
    ///     cpu: The cpu whose lists are used.
    ///
    /// Returns:
    ///     int: The first pfn. Free the pages with ``free_pages_exact`` or one by one.
    ///
    /// Raises:
    ///     AllocationFailed: See ``alloc_pages``.
    ///
    /// Source: mm/page_alloc.c, ``alloc_pages_exact``.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> pfn = machine.alloc_pages_exact(5 * 4096)
    ///     >>> [machine.page(pfn + i).state.name for i in (0, 4, 5)]
    ///     ['ALLOCATED', 'ALLOCATED', 'PCP']
    ///     >>> machine.free_pages_exact(pfn, 5 * 4096)
    #[pyo3(
        signature = (nr_bytes, gfp=GFP_KERNEL, *, nid=None, cpu=None),
        text_signature = "($self, nr_bytes, gfp=3264, *, nid=None, cpu=None)"
    )]
    fn alloc_pages_exact(
        &self,
        py: Python<'_>,
        nr_bytes: Count,
        gfp: GfpArg,
        nid: Option<NodeArg>,
        cpu: Option<Count>,
    ) -> PyResult<Pfn> {
        let nr_pages = self.nr_pages(nr_bytes)?;
        let cpu = self.cpu(cpu)?;
        let nid = match nid {
            Some(NodeArg(Some(nid))) => Some(online_node(&self.machine, nid)?),
            None | Some(NodeArg(None)) => None,
        };
        let result = self.machine.alloc_pages_exact(cpu, gfp.0, nr_pages, nid, &self.hooks);
        result.map_err(|error| {
            // The order of more pages than a number holds is beyond every order.
            let order = nr_pages.checked_next_power_of_two().map_or(u64::BITS, u64::trailing_zeros);
            let nid = nid.unwrap_or_else(|| self.machine.node_of_cpu(cpu));
            self.failed(py, error, AllocRequest { gfp: gfp.0, order, nid, nodemask: None }, cpu)
        })
    }

    /// Free contiguous single pages.
    ///
    /// Args:
    ///     pfn: The first page.
    ///     nr_bytes: As many as they were allocated for.
    ///     cpu: The cpu whose lists are used.
    ///
    /// Raises:
    ///     BadPageError: One of the pages is no allocated single page; nothing is freed.
    ///
    /// Source: mm/page_alloc.c, ``free_pages_exact``.
    #[pyo3(signature = (pfn, nr_bytes, *, cpu=None))]
    fn free_pages_exact(&self, pfn: PfnArg, nr_bytes: Count, cpu: Option<Count>) -> PyResult<()> {
        let nr_pages = self.nr_pages(nr_bytes)?;
        self.machine.free_pages_exact(self.cpu(cpu)?, pfn.0, nr_pages).map_err(bad_page)
    }

    /// Split an allocated block that is not compound into single pages.
    ///
    /// Args:
    ///     pfn: The block's first page.
    ///     order: The order it was allocated with.
    ///
    /// Raises:
    ///     BadPageError: There is no such block, or it is compound; nothing changed.
    ///
    /// Source: mm/page_alloc.c, ``split_page``.
    fn split_page(&self, pfn: PfnArg, order: Order) -> PyResult<()> {
        self.machine.split_page(pfn.0, order.0).map_err(bad_page)
    }

    /// Take one more reference of an allocated block.
    ///
    /// Args:
    ///     pfn: Its first page, or any page of a compound block.
    ///
    /// Raises:
    ///     BadPageError: There is no such block, or it has as many references as can be counted.
    ///
    /// Source: include/linux/mm.h, ``get_page``.
    ///
    /// Example:
    ///     >>> from pagebuddy import GFP, GFP_KERNEL, PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> head = machine.alloc_pages(2, GFP_KERNEL | GFP.COMP)
    ///     >>> machine.get_page(head + 3)
    ///     >>> machine.page(head).refcount
    ///     2
    fn get_page(&self, pfn: PfnArg) -> PyResult<()> {
        self.machine.get_page(pfn.0).map_err(bad_page)
    }

    /// Give up one reference of an allocated block.
    ///
    /// If it was the last one, a compound block is freed whole; of any other block only the first
    /// page is freed, and the others are lost, as in the kernel.
    ///
    /// Args:
    ///     pfn: The block's first page, or any page of a compound block.
    ///     cpu: The cpu whose lists are used.
    ///
    /// Raises:
    ///     BadPageError: There is no such block.
    ///
    /// Source: include/linux/mm.h, ``put_page``.
    #[pyo3(signature = (pfn, *, cpu=None))]
    fn put_page(&self, pfn: PfnArg, cpu: Option<Count>) -> PyResult<()> {
        self.machine.put_page(self.cpu(cpu)?, pfn.0).map_err(bad_page)
    }

    /// Return the pages of per-cpu lists to their zones.
    ///
    /// Args:
    ///     cpu: One cpu; by default all, in ascending order, and spare lists.
    ///     zone: One zone; by default all.
    ///
    /// Returns:
    ///     bool: Whether all of these lists were drained; lists that somebody is using at this very
    ///     moment are left alone.
    ///
    /// Raises:
    ///     ValueError: No such cpu, or a zone of another machine.
    ///
    /// Source: mm/page_alloc.c, ``drain_local_pages``, ``drain_all_pages``.
    #[pyo3(signature = (cpu=None, zone=None))]
    fn drain(&self, py: Python<'_>, cpu: Option<Count>, zone: Option<&Bound<'_, PyZone>>) -> PyResult<bool> {
        let cpu = self.cpu(cpu)?;
        let zone = match zone.map(Bound::get) {
            Some(zone) if !Arc::ptr_eq(&zone.machine, &self.machine) => {
                return Err(PyValueError::new_err("the zone is one of another machine"));
            }
            zone => zone.map(|zone| zone.number),
        };
        let machine = &*self.machine;
        Ok(py.detach(|| match cpu {
            CpuChoice::Fixed(cpu) => machine.drain_cpu(cpu, zone),
            CpuChoice::Current => machine.drain_all(zone) == 0,
        }))
    }

    /// Isolate pageblocks: nothing is allocated from them any more.
    ///
    /// Args:
    ///     start_pfn: First page; a multiple of the pageblock's size.
    ///     end_pfn: One past the last page; likewise.
    ///     migratetype: Pages of which type are wanted: only for ``CMA`` it matters.
    ///     cpu: The cpu that does it; its counters and lists are used.
    ///
    /// Raises:
    ///     RangeBusyError: A pageblock holds a page that cannot be moved, or is isolated; nothing
    ///         changed.
    ///     ValueError: The range is empty, unaligned or not wholly in one zone; no such cpu.
    ///     ConfigError: The kernel is one without memory isolation.
    ///
    /// Source: mm/page_isolation.c, ``start_isolate_page_range``.
    #[pyo3(
        signature = (start_pfn, end_pfn, migratetype=MigrateTypeArg(MigrateType::Movable), *, cpu=None),
        text_signature = "($self, start_pfn, end_pfn, migratetype=1, *, cpu=None)"
    )]
    fn isolate(
        &self,
        py: Python<'_>,
        start_pfn: Count,
        end_pfn: Count,
        migratetype: MigrateTypeArg,
        cpu: Option<Count>,
    ) -> PyResult<()> {
        self.need_isolation()?;
        let cpu = self.cpu(cpu)?;
        let machine = &*self.machine;
        let work = || machine.start_isolate_page_range(cpu, start_pfn.0, end_pfn.0, migratetype.0);
        py.detach(work).map_err(range_error)
    }

    /// End the isolation of pageblocks; those that are not isolated stay as they are.
    ///
    /// Args:
    ///     start_pfn: First page; a multiple of the pageblock's size.
    ///     end_pfn: One past the last page; likewise.
    ///     migratetype: What the pageblocks become.
    ///     cpu: The cpu that does it; its counters and lists are used.
    ///
    /// Raises:
    ///     ValueError: The range is empty, unaligned or not wholly in one zone; no such cpu.
    ///     ConfigError: The kernel is one without memory isolation.
    ///
    /// Source: mm/page_isolation.c, ``undo_isolate_page_range``.
    #[pyo3(
        signature = (start_pfn, end_pfn, migratetype=MigrateTypeArg(MigrateType::Movable), *, cpu=None),
        text_signature = "($self, start_pfn, end_pfn, migratetype=1, *, cpu=None)"
    )]
    fn unisolate(
        &self,
        py: Python<'_>,
        start_pfn: Count,
        end_pfn: Count,
        migratetype: MigrateTypeArg,
        cpu: Option<Count>,
    ) -> PyResult<()> {
        self.need_isolation()?;
        let cpu = self.cpu(cpu)?;
        let machine = &*self.machine;
        let work = || machine.undo_isolate_page_range(cpu, start_pfn.0, end_pfn.0, migratetype.0);
        py.detach(work).map_err(range_error)
    }

    /// Allocate exactly the pages of a range, if all of them are free.
    ///
    /// Args:
    ///     start_pfn: First page.
    ///     end_pfn: One past the last page.
    ///     migratetype: What the pageblocks become afterwards.
    ///     cpu: The cpu that does it; its counters and lists are used.
    ///
    /// Raises:
    ///     RangeBusyError: A page of the range is in use; carries ``.pfn``. Nothing changed but that
    ///         per-cpu lists were drained.
    ///     ValueError: The range is empty or not wholly in one zone; no such cpu.
    ///     ConfigError: The kernel is one without memory isolation.
    ///
    /// Source: mm/page_alloc.c, ``alloc_contig_range``.
    ///
    /// Example:
    ///     >>> from pagebuddy import Config, PageAllocator
    ///     >>> machine = PageAllocator.simple("256M", config=Config(memory_isolation=True))
    ///     >>> machine.alloc_contig_range(0x8000, 0x8123)
    ///     >>> machine.page(0x8122)
    ///     <Page pfn=0x8122 order=0 state=ALLOCATED refcount=1>
    #[pyo3(
        signature = (start_pfn, end_pfn, migratetype=MigrateTypeArg(MigrateType::Movable), *, cpu=None),
        text_signature = "($self, start_pfn, end_pfn, migratetype=1, *, cpu=None)"
    )]
    fn alloc_contig_range(
        &self,
        py: Python<'_>,
        start_pfn: Count,
        end_pfn: Count,
        migratetype: MigrateTypeArg,
        cpu: Option<Count>,
    ) -> PyResult<()> {
        self.need_isolation()?;
        let cpu = self.cpu(cpu)?;
        if end_pfn.0 > self.machine.end_pfn() {
            return Err(PyOverflowError::new_err("the range reaches past the machine's last page"));
        }
        let machine = &*self.machine;
        let work = || machine.alloc_contig_range(cpu, start_pfn.0, end_pfn.0, migratetype.0);
        py.detach(work).map_err(range_error)
    }
}
