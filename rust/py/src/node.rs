//! `Node` and `NodeTable`.

use crate::zone::PyZoneTable;
use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::inspect::NodeReport;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList};
use std::sync::Arc;

/// An online node.
///
/// Source: include/linux/mmzone.h, ``pg_data_t``.
#[pyclass(frozen, name = "Node", module = "pagebuddy")]
pub struct PyNode {
    machine: Arc<PageAllocator>,
    nid: u32,
}

impl PyNode {
    fn report(&self) -> NodeReport {
        self.machine.node_report(self.nid).expect("nodes are never removed")
    }
}

#[pymethods]
impl PyNode {
    /// Node id.
    #[getter]
    fn nid(&self) -> u32 {
        self.nid
    }

    /// First pfn; 0 for a node without memory.
    #[getter]
    fn start_pfn(&self) -> u64 {
        self.report().start_pfn
    }

    /// Pages spanned by its zones.
    #[getter]
    fn spanned(&self) -> u64 {
        self.report().spanned
    }

    /// Pages that exist.
    #[getter]
    fn present(&self) -> u64 {
        self.report().present
    }

    /// The node's cpus, those that are not online yet included.
    #[getter]
    fn cpus(&self) -> Vec<usize> {
        self.report().cpus
    }

    /// Distances to the online nodes, by node id.
    #[getter]
    fn distances<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let distances = PyDict::new(py);
        for (nid, distance) in self.machine.node_ids().zip(self.report().distance) {
            distances.set_item(nid, distance)?;
        }
        Ok(distances)
    }

    /// The node's zones with memory.
    #[getter]
    fn zones(&self) -> PyZoneTable {
        PyZoneTable::of_node(&self.machine, Some(self.nid))
    }

    /// The zones tried for a request that prefers this node, in order (``ZONELIST_FALLBACK``).
    #[getter]
    fn zonelist(&self) -> PyZoneTable {
        PyZoneTable::new(&self.machine, self.report().fallback)
    }

    /// The zones tried with ``__GFP_THISNODE``, in order (``ZONELIST_NOFALLBACK``).
    #[getter]
    fn thisnode_zonelist(&self) -> PyZoneTable {
        PyZoneTable::new(&self.machine, self.report().thisnode)
    }

    fn __repr__(&self) -> String {
        format!("<Node {} present={}>", self.nid, self.report().present)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<PyNode>().is_ok_and(|other| {
            let other = other.get();
            Arc::ptr_eq(&self.machine, &other.machine) && self.nid == other.nid
        })
    }

    fn __hash__(&self) -> u64 {
        Arc::as_ptr(&self.machine) as u64 ^ u64::from(self.nid) << 56
    }
}

/// The online nodes: ``nodes[nid]`` is a node, iteration gives them in ascending order of id.
///
/// Example:
///     >>> from pagebuddy import PageAllocator
///     >>> nodes = PageAllocator.simple("1G", nodes=2).nodes
///     >>> [node.nid for node in nodes], nodes[1].zones[0].name
///     ([0, 1], 'DMA32')
#[pyclass(frozen, name = "NodeTable", module = "pagebuddy")]
pub struct PyNodeTable {
    machine: Arc<PageAllocator>,
}

impl PyNodeTable {
    /// The nodes of a machine.
    pub fn new(machine: &Arc<PageAllocator>) -> Self {
        PyNodeTable { machine: Arc::clone(machine) }
    }

    fn node(&self, nid: u32) -> PyNode {
        PyNode { machine: Arc::clone(&self.machine), nid }
    }
}

#[pymethods]
impl PyNodeTable {
    fn __len__(&self) -> usize {
        self.machine.node_ids().len()
    }

    fn __getitem__(&self, nid: &Bound<'_, PyAny>) -> PyResult<PyNode> {
        let found = nid.extract::<u32>().ok().filter(|nid| self.machine.has_node(*nid));
        match found {
            Some(nid) => Ok(self.node(nid)),
            None => Err(PyKeyError::new_err(nid.clone().unbind())),
        }
    }

    fn __contains__(&self, nid: &Bound<'_, PyAny>) -> bool {
        nid.extract::<u32>().is_ok_and(|nid| self.machine.has_node(nid))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, self.machine.node_ids().map(|nid| self.node(nid)))?.try_iter()
    }

    fn __repr__(&self) -> String {
        let ids: Vec<String> = self.machine.node_ids().map(|nid| nid.to_string()).collect();
        format!("<NodeTable {}>", ids.join(" "))
    }
}
