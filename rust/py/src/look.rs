//! `PageAllocator`: the calls that look inside.

use crate::allocator::PyPageAllocator;
use crate::arguments::{Count, NodeSet, Order};
use crate::node::PyNodeTable;
use crate::page::PyPage;
use crate::python::{uint8_zeros, uint64_array};
use crate::zone::PyZoneTable;
use pagebuddy_core::types::{MigrateType, Pfn};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

/// A page without a block, in `page_orders`.
const NO_ORDER: u8 = u8::MAX;

impl PyPageAllocator {
    /// An array of one byte per page of `start..end`, made of runs of equal pages.
    fn page_bytes<'py>(
        &self,
        py: Python<'py>,
        start: Count,
        end: Option<Count>,
        what: impl Fn(pagebuddy_core::page_state::PageState, Option<u32>) -> u8 + Send + Sync,
        hole: u8,
    ) -> PyResult<Bound<'py, PyAny>> {
        let last = self.machine.end_pfn();
        let (start, end) = (start.0, end.map_or(last.max(start.0), |end| end.0));
        let len = end.checked_sub(start).ok_or_else(|| PyValueError::new_err("end is below start"))?;
        // Zeros beyond memory cost nothing, anything else is written.
        if hole != 0 && end > last {
            return Err(PyValueError::new_err(format!("the machine ends at pfn {last:#x}")));
        }
        let array = uint8_zeros(py, len)?;
        if len == 0 {
            return Ok(array);
        }
        if hole != 0 {
            array.call_method1("fill", (hole,))?;
        }
        let runs: Vec<(Pfn, Pfn, u8)> = py.detach(|| {
            let mut runs = Vec::new();
            self.machine.visit_pages(start, end, |pfns, state, order| {
                let byte = what(state, order);
                match runs.last_mut() {
                    Some((_, last, same)) if *last == pfns.start && *same == byte => *last = pfns.end,
                    _ => runs.push((pfns.start, pfns.end, byte)),
                }
            });
            runs
        });
        let buffer = PyBuffer::<u8>::get(&array)?;
        let cells = buffer.as_mut_slice(py).ok_or_else(|| PyBufferError::new_err("the new array is read-only"))?;
        for (from, to, byte) in runs {
            cells[(from - start) as usize..(to - start) as usize].iter().for_each(|cell| cell.set(byte));
        }
        Ok(array)
    }
}

#[pymethods]
impl PyPageAllocator {
    /// The online nodes: ``nodes[nid]``.
    #[getter]
    fn nodes(&self) -> PyNodeTable {
        PyNodeTable::new(&self.machine)
    }

    /// The zones with memory: ``zones[nid, name]``, or a sequence in ascending order of node and
    /// zone index.
    #[getter]
    fn zones(&self) -> PyZoneTable {
        PyZoneTable::of_node(&self.machine, None)
    }

    /// One past the highest pfn that belongs to a block of memory.
    #[getter]
    fn end_pfn(&self) -> u64 {
        self.machine.end_pfn()
    }

    /// What a page is.
    ///
    /// Args:
    ///     pfn: Any pfn; beyond memory is a hole.
    ///
    /// Returns:
    ///     Page: The page as it is now.
    ///
    /// Raises:
    ///     ValueError: A negative pfn.
    ///     OverflowError: A pfn beyond 64 bits.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> machine.page(0x1a40)
    ///     <Page pfn=0x1a40 order=10 state=BUDDY head=0x1800>
    ///     >>> machine.page(0).state
    ///     <PageState.HOLE: 0>
    fn page(&self, pfn: Count) -> PyPage {
        PyPage::new(&self.machine, pfn)
    }

    /// The state of every page of a range.
    ///
    /// Args:
    ///     start: First pfn.
    ///     end: One past the last pfn; by default the machine's ``end_pfn``.
    ///
    /// Returns:
    ///     numpy.ndarray: ``uint8``, shape ``(end - start,)``: ``PageState`` numbers. A copy.
    ///
    /// Raises:
    ///     ValueError: ``end`` is below ``start``.
    ///     MemoryError: The array does not fit into memory.
    ///
    /// Concurrency: A racy view; other threads go on.
    ///
    /// Example:
    ///     >>> import numpy
    ///     >>> from pagebuddy import PageAllocator, PageState
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> pages = machine.page_map()
    ///     >>> for state in PageState:
    ///     ...     print(state.name, numpy.count_nonzero(pages == state))
    ///     HOLE 98
    ///     RESERVED 1182
    ///     BUDDY 15104
    ///     PCP 0
    ///     ALLOCATED 0
    ///     OFFLINE 0
    ///     USED 0
    #[pyo3(signature = (start=Count(0), end=None), text_signature = "($self, start=0, end=None)")]
    fn page_map<'py>(&self, py: Python<'py>, start: Count, end: Option<Count>) -> PyResult<Bound<'py, PyAny>> {
        self.page_bytes(py, start, end, |state, _| state as u8, 0)
    }

    /// The order of the block that every page of a range is part of.
    ///
    /// Args:
    ///     start: First pfn.
    ///     end: One past the last pfn; by default, and at most, the machine's ``end_pfn``.
    ///
    /// Returns:
    ///     numpy.ndarray: ``uint8``, shape ``(end - start,)``; 255 for pages that are neither free nor
    ///     handed out. A copy.
    #[pyo3(signature = (start=Count(0), end=None), text_signature = "($self, start=0, end=None)")]
    fn page_orders<'py>(&self, py: Python<'py>, start: Count, end: Option<Count>) -> PyResult<Bound<'py, PyAny>> {
        self.page_bytes(py, start, end, |_, order| order.map_or(NO_ORDER, |order| order as u8), NO_ORDER)
    }

    /// Number of free blocks, by zone, order and migratetype.
    ///
    /// Returns:
    ///     numpy.ndarray: ``uint64``, shape ``(len(zones), MAX_ORDER, 6)``: rows as in ``zones``, columns
    ///     are ``MigrateType`` numbers. A copy.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> PageAllocator.simple("64M").free_area_counts().sum(axis=2)[:, 10]
    ///     array([ 3, 11], dtype=uint64)
    fn free_area_counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let machine = &*self.machine;
        let counts: Vec<u64> = py.detach(|| machine.zone_views().flat_map(|zone| zone.free_area_counts()).collect());
        let shape = (-1, i64::from(machine.config().max_order), MigrateType::ALL.len());
        uint64_array(py, &counts)?.call_method1("reshape", (shape,))
    }

    /// Why a request of an order would fail, per zone: towards 0 for lack of memory, towards 1000
    /// for fragmentation, -1000 if it would succeed.
    ///
    /// Args:
    ///     order: Below ``MAX_ORDER``.
    ///
    /// Returns:
    ///     dict[tuple[int, str], int]: By node and zone name, in thousandths.
    ///
    /// Source: mm/vmstat.c, ``extfrag_show_print``.
    fn extfrag_index<'py>(&self, py: Python<'py>, order: Order) -> PyResult<Bound<'py, PyDict>> {
        self.by_zone(py, order, |info| info.extfrag_index().into())
    }

    /// Share of the free pages that a request of an order cannot use, per zone.
    ///
    /// Args:
    ///     order: Below ``MAX_ORDER``.
    ///
    /// Returns:
    ///     dict[tuple[int, str], int]: By node and zone name, in thousandths.
    ///
    /// Source: mm/vmstat.c, ``unusable_show_print``.
    fn unusable_index<'py>(&self, py: Python<'py>, order: Order) -> PyResult<Bound<'py, PyDict>> {
        self.by_zone(py, order, |info| info.unusable_index().into())
    }

    /// Free blocks of every order, a line per zone: the text of /proc/buddyinfo.
    ///
    /// Concurrency: A racy view.
    ///
    /// Source: mm/vmstat.c, ``frag_show_print``.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> print(PageAllocator.simple("64M").buddyinfo(), end="")
    ///     Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3
    ///     Node 0, zone    DMA32      0      0      0      0      0      0      0      0      0      0     11
    fn buddyinfo(&self) -> String {
        self.machine.buddyinfo()
    }

    /// Free blocks by migratetype and order, and pageblocks by type: the text of /proc/pagetypeinfo.
    ///
    /// Concurrency: A racy view.
    ///
    /// Source: mm/vmstat.c, ``pagetypeinfo_show``.
    fn pagetypeinfo(&self, py: Python<'_>) -> String {
        py.detach(|| self.machine.pagetypeinfo())
    }

    /// Sizes, watermarks, counters and per-cpu lists of every zone: the text of /proc/zoneinfo.
    ///
    /// Concurrency: A racy view.
    ///
    /// Source: mm/vmstat.c, ``zoneinfo_show``.
    fn zoneinfo(&self, py: Python<'_>) -> String {
        py.detach(|| self.machine.zoneinfo())
    }

    /// Counters and page events of the whole machine, as /proc/vmstat lists them.
    ///
    /// Returns:
    ///     dict[str, int]: By the kernel's names, in the kernel's order. What the allocator does not
    ///     know, such as what pages in use are used for, is 0; events that have nothing to do with
    ///     page allocation are left out.
    ///
    /// Concurrency: A racy view. Like a reader of the file it folds the NUMA events, which
    /// ``zoneinfo`` shows only as far as they are folded.
    ///
    /// Source: mm/vmstat.c, ``vmstat_start``.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> pfn = machine.alloc_pages(order=4)
    ///     >>> machine.vmstat()["pgalloc_dma32"]
    ///     16
    fn vmstat<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = py.detach(|| self.machine.vmstat_report());
        report.items.into_py_dict(py)
    }

    /// The state of memory as the kernel logs it after a failed allocation ("Mem-Info").
    ///
    /// Args:
    ///     nodemask: Only these nodes, as a mask or as node ids; by default all.
    ///     cpu: The cpu whose per-cpu lists are the local ones; by default the one the thread runs on.
    ///
    /// Concurrency: A racy view.
    ///
    /// Source: mm/page_alloc.c, ``show_free_areas``; lib/show_mem.c.
    #[pyo3(signature = (nodemask=None, *, cpu=None))]
    fn show_free_areas(&self, py: Python<'_>, nodemask: Option<NodeSet>, cpu: Option<Count>) -> PyResult<String> {
        let cpu = self.cpu(cpu)?;
        Ok(py.detach(|| self.machine.show_free_areas(nodemask.map(|nodes| nodes.0), cpu)))
    }
}

impl PyPageAllocator {
    fn by_zone<'py>(
        &self,
        py: Python<'py>,
        order: Order,
        index: impl Fn(pagebuddy_core::extfrag::ContigPageInfo) -> i64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let max_order = self.machine.config().max_order;
        if order.0 >= max_order {
            return Err(PyValueError::new_err(format!("an order must be below MAX_ORDER ({max_order})")));
        }
        let indices = PyDict::new(py);
        for zone in self.machine.zone_views() {
            indices.set_item((zone.node(), zone.kind().name()), index(zone.contig_page_info(order.0)))?;
        }
        Ok(indices)
    }
}
