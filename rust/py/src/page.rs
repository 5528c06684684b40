//! `Page`: what a page is.

use crate::arguments::Count;
use crate::python::{self, enum_member};
use crate::zone::{PyZone, migratetype_member};
use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::inspect::PageReport;
use pagebuddy_core::page_state::PageState;
use pyo3::prelude::*;
use std::sync::Arc;

/// Bits of `pagebuddy.PageFlag`.
const FLAG_HEAD: usize = 1 << 0;
const FLAG_COMPOUND: usize = 1 << 1;
const FLAG_COMPOUND_HEAD: usize = 1 << 2;
const FLAG_PFMEMALLOC: usize = 1 << 3;
const FLAG_MOVABLE: usize = 1 << 4;
const FLAG_RESERVED: usize = 1 << 5;
const FLAG_HWPOISON: usize = 1 << 6;

/// A page as it was when it was asked for.
///
/// Obtained from ``PageAllocator.page``.
///
/// Source: include/linux/mm_types.h, ``struct page``.
#[pyclass(frozen, name = "Page", module = "pagebuddy")]
pub struct PyPage {
    machine: Arc<PageAllocator>,
    report: PageReport,
}

impl PyPage {
    /// The page with this pfn, any pfn.
    pub fn new(machine: &Arc<PageAllocator>, pfn: Count) -> Self {
        PyPage { machine: Arc::clone(machine), report: machine.page_report(pfn.0) }
    }

    fn is_head(&self) -> bool {
        self.report.block.is_some_and(|(first, _)| first == self.report.pfn)
    }
}

/// Name of a state, as `pagebuddy.PageState` has it.
const fn state_name(state: PageState) -> &'static str {
    match state {
        PageState::Hole => "HOLE",
        PageState::Reserved => "RESERVED",
        PageState::Buddy => "BUDDY",
        PageState::Pcp => "PCP",
        PageState::Allocated => "ALLOCATED",
        PageState::Offline => "OFFLINE",
        PageState::Used => "USED",
    }
}

#[pymethods]
impl PyPage {
    /// The page's number.
    #[getter]
    fn pfn(&self) -> u64 {
        self.report.pfn
    }

    /// What the page is: a ``PageState``.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        enum_member(py, &python::PAGE_STATE, self.report.state as usize)
    }

    /// Order of the block it is part of; ``None`` if it is neither free nor handed out.
    #[getter]
    fn order(&self) -> Option<u32> {
        self.report.block.map(|(_, order)| order)
    }

    /// First pfn of the block it is part of, likewise.
    #[getter]
    fn head(&self) -> Option<u64> {
        self.report.block.map(|(first, _)| first)
    }

    /// First pfn of the compound page it is part of (``compound_head``); its own if it is in none.
    #[getter]
    fn compound_head(&self) -> u64 {
        match self.report.block {
            Some((first, _)) if self.report.is_compound => first,
            _ => self.report.pfn,
        }
    }

    /// Migratetype of the free list it is on, else of its pageblock; ``None`` for a hole.
    #[getter]
    fn migratetype<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.report.migratetype.map(|mt| migratetype_member(py, mt)).transpose()
    }

    /// Migratetype of its pageblock; ``None`` for a hole.
    #[getter]
    fn pageblock_migratetype<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.report.pageblock.map(|mt| migratetype_member(py, mt)).transpose()
    }

    /// References of a handed-out block, counted at its first page; 0 for every other page.
    #[getter]
    fn refcount(&self) -> u32 {
        self.report.refcount
    }

    /// ``PageFlag`` bits.
    #[getter]
    fn flags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let report = &self.report;
        let flags = [
            (self.is_head(), FLAG_HEAD),
            (report.is_compound, FLAG_COMPOUND),
            (report.is_compound && self.is_head(), FLAG_COMPOUND_HEAD),
            (report.is_pfmemalloc, FLAG_PFMEMALLOC),
            (report.is_movable, FLAG_MOVABLE),
            (report.state == PageState::Reserved, FLAG_RESERVED),
            (report.state == PageState::Offline, FLAG_HWPOISON),
        ];
        let bits = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum();
        enum_member(py, &python::PAGE_FLAG, bits)
    }

    /// Who holds it: always ``None``, as the pages of a simulated machine have no owner.
    #[getter]
    fn owner(&self) -> Option<u32> {
        None
    }

    /// Node id; ``None`` for a hole.
    #[getter]
    fn nid(&self) -> Option<u32> {
        self.report.zone.map(|(nid, _)| nid)
    }

    /// The zone; ``None`` for a hole.
    #[getter]
    fn zone(&self) -> Option<PyZone> {
        let (nid, index) = self.report.zone?;
        let number = self.machine.zone_number(nid, index)?;
        Some(PyZone { machine: Arc::clone(&self.machine), number })
    }

    fn __repr__(&self) -> String {
        let PageReport { pfn, state, block, refcount, .. } = self.report;
        let order = block.map_or(String::new(), |(_, order)| format!(" order={order}"));
        let refs = if refcount > 0 { format!(" refcount={refcount}") } else { String::new() };
        let head = match block {
            Some((first, _)) if first != pfn => format!(" head={first:#x}"),
            _ => String::new(),
        };
        format!("<Page pfn={pfn:#x}{order} state={}{head}{refs}>", state_name(state))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<PyPage>().is_ok_and(|other| {
            let other = other.get();
            Arc::ptr_eq(&self.machine, &other.machine) && self.report == other.report
        })
    }

    fn __hash__(&self) -> u64 {
        self.report.pfn
    }
}
