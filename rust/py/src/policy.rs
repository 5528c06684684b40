//! `MemPolicy`: on which nodes requests are tried.

use crate::arguments::NodeSet;
use crate::convert::Nid;
use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::mempolicy::{MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES, MemPolicy, PolicyMode};
use pagebuddy_core::page_alloc::AllocError;
use pagebuddy_core::pressure::Hooks;
use pagebuddy_core::task_policy::TaskPolicy;
use pagebuddy_core::types::Pfn;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// A memory policy, as ``set_mempolicy`` gives it to a task.
///
/// Make one with ``default``, ``local``, ``preferred``, ``preferred_many``, ``bind`` or
/// ``interleave``, and pass it to the allocating calls. An interleaving policy remembers the node
/// it chose last, as the kernel does for a task; the other policies never change.
///
/// Concurrency: threads may share a policy; interleaving then takes turns among them.
///
/// Source: mm/mempolicy.c, include/uapi/linux/mempolicy.h.
///
/// Example:
///     >>> from pagebuddy import MemPolicy, PageAllocator
///     >>> machine = PageAllocator.simple("1G", nodes=2)
///     >>> policy = MemPolicy.interleave([0, 1])
///     >>> [machine.page(machine.alloc_pages(policy=policy)).nid for _ in range(4)]
///     [0, 1, 0, 1]
#[pyclass(frozen, name = "MemPolicy", module = "pagebuddy")]
pub struct PyMemPolicy {
    mode: PolicyMode,
    flags: u32,
    nodes: u64,
    home_node: Option<u32>,
    /// Node that interleaving chose last.
    il_prev: Mutex<Option<u32>>,
}

fn flags(static_nodes: bool, relative_nodes: bool) -> PyResult<u32> {
    let flag = |is_set, bit| if is_set { bit } else { 0 };
    let flags = flag(static_nodes, MPOL_F_STATIC_NODES) | flag(relative_nodes, MPOL_F_RELATIVE_NODES);
    if static_nodes && relative_nodes {
        return Err(PyValueError::new_err("static_nodes and relative_nodes exclude each other"));
    }
    Ok(flags)
}

impl PyMemPolicy {
    fn new(mode: PolicyMode, flags: u32, nodes: u64, home_node: Option<Nid>) -> PyResult<Self> {
        let home_node = home_node.map(|nid| nid.0);
        if home_node.is_some_and(|nid| nid >= u64::BITS || nodes >> nid & 1 == 0) {
            return Err(PyValueError::new_err("the home node must be one of the policy's nodes"));
        }
        Ok(PyMemPolicy { mode, flags, nodes, home_node, il_prev: Mutex::new(None) })
    }

    /// Allocates under the policy. Nothing calls into the interpreter meanwhile, unless the hooks do.
    pub fn alloc_pages(
        &self,
        machine: &PageAllocator,
        cpu: CpuChoice,
        gfp: Gfp,
        order: u32,
        hooks: &dyn Hooks,
    ) -> PyResult<Result<Pfn, AllocError>> {
        let mut task = self.task(machine)?;
        let result = machine.alloc_pages_policy(cpu, &mut task, gfp, order, hooks);
        self.remember(task);
        Ok(result)
    }

    /// Allocates single pages under the policy; how many.
    pub fn alloc_pages_bulk(
        &self,
        machine: &PageAllocator,
        cpu: CpuChoice,
        gfp: Gfp,
        pfns: &mut [Pfn],
        hooks: &dyn Hooks,
    ) -> PyResult<usize> {
        let mut task = self.task(machine)?;
        let filled = machine.alloc_pages_bulk_policy(cpu, &mut task, gfp, pfns, hooks);
        self.remember(task);
        Ok(filled)
    }

    /// The policy on a machine, with the interleave position.
    fn task(&self, machine: &PageAllocator) -> PyResult<TaskPolicy> {
        let derived = MemPolicy::new(self.mode, self.flags, self.nodes, machine.nodes_with_memory())
            .and_then(|policy| match self.home_node {
                Some(_) => policy.with_home_node(self.home_node),
                None => Ok(policy),
            })
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let il_prev = *self.il_prev.lock().unwrap_or_else(PoisonError::into_inner);
        let initial = || MemPolicy::initial_il_prev(machine.config().max_numnodes);
        Ok(TaskPolicy { policy: derived, il_prev: il_prev.unwrap_or_else(initial) })
    }

    fn remember(&self, task: TaskPolicy) {
        if self.mode == PolicyMode::Interleave {
            *self.il_prev.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.il_prev);
        }
    }
}

#[pymethods]
impl PyMemPolicy {
    /// The local node, then the others (``MPOL_DEFAULT``).
    #[staticmethod]
    fn default() -> PyResult<Self> {
        Self::new(PolicyMode::Default, 0, 0, None)
    }

    /// The local node, then the others (``MPOL_LOCAL``).
    #[staticmethod]
    fn local() -> PyResult<Self> {
        Self::new(PolicyMode::Local, 0, 0, None)
    }

    /// One node, then the others (``MPOL_PREFERRED``).
    ///
    /// Args:
    ///     nodes: A node mask or node ids; the first usable node counts.
    ///     static_nodes: The nodes are meant as they are (``MPOL_F_STATIC_NODES``).
    ///     relative_nodes: The nodes are positions among the usable ones
    ///         (``MPOL_F_RELATIVE_NODES``).
    #[staticmethod]
    #[pyo3(signature = (nodes, *, static_nodes=false, relative_nodes=false))]
    fn preferred(nodes: NodeSet, static_nodes: bool, relative_nodes: bool) -> PyResult<Self> {
        Self::new(PolicyMode::Preferred, flags(static_nodes, relative_nodes)?, nodes.0, None)
    }

    /// The given nodes, then the others (``MPOL_PREFERRED_MANY``).
    #[staticmethod]
    #[pyo3(signature = (nodes, *, home_node=None, static_nodes=false, relative_nodes=false))]
    fn preferred_many(
        nodes: NodeSet,
        home_node: Option<Nid>,
        static_nodes: bool,
        relative_nodes: bool,
    ) -> PyResult<Self> {
        Self::new(PolicyMode::PreferredMany, flags(static_nodes, relative_nodes)?, nodes.0, home_node)
    }

    /// Only the given nodes (``MPOL_BIND``).
    ///
    /// Args:
    ///     nodes: A node mask or node ids.
    ///     home_node: The node to start at (``set_mempolicy_home_node``); else the local one.
    ///     static_nodes: See ``preferred``.
    ///     relative_nodes: See ``preferred``.
    #[staticmethod]
    #[pyo3(signature = (nodes, *, home_node=None, static_nodes=false, relative_nodes=false))]
    fn bind(nodes: NodeSet, home_node: Option<Nid>, static_nodes: bool, relative_nodes: bool) -> PyResult<Self> {
        Self::new(PolicyMode::Bind, flags(static_nodes, relative_nodes)?, nodes.0, home_node)
    }

    /// The given nodes in turn (``MPOL_INTERLEAVE``).
    #[staticmethod]
    #[pyo3(signature = (nodes, *, static_nodes=false, relative_nodes=false))]
    fn interleave(nodes: NodeSet, static_nodes: bool, relative_nodes: bool) -> PyResult<Self> {
        Self::new(PolicyMode::Interleave, flags(static_nodes, relative_nodes)?, nodes.0, None)
    }

    /// Name of the mode as /proc/PID/numa_maps prints it.
    #[getter]
    fn mode(&self) -> &'static str {
        self.mode.name()
    }

    /// The nodes that were given, as a mask.
    #[getter]
    fn nodes(&self) -> u64 {
        self.nodes
    }

    /// The node to start at; ``None`` for the local one.
    #[getter]
    fn home_node(&self) -> Option<u32> {
        self.home_node
    }

    fn __repr__(&self) -> String {
        let ids: Vec<String> =
            (0..u64::BITS).filter(|nid| self.nodes >> nid & 1 == 1).map(|nid| nid.to_string()).collect();
        let nodes = if ids.is_empty() { String::new() } else { format!(" nodes={}", ids.join(",")) };
        let home = self.home_node.map_or(String::new(), |nid| format!(" home_node={nid}"));
        format!("<MemPolicy {}{nodes}{home}>", self.mode.name())
    }
}
