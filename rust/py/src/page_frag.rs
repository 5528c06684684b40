//! `PageFragCache`: small pieces of pages.

use crate::allocator::PyPageAllocator;
use crate::arguments::{Count, GfpArg};
use crate::errors::{AllocationFailed, bad_page};
use pagebuddy_core::allocator::CpuChoice;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::page_frag::{FragError, PageFrag, PageFragCache};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A piece of a page, cut by a ``PageFragCache``.
#[pyclass(frozen, eq, hash, skip_from_py_object, name = "PageFrag", module = "pagebuddy")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PyPageFrag {
    pfn: u64,
    offset: u64,
    size_bytes: u64,
}

#[pymethods]
impl PyPageFrag {
    /// First page of the block that the piece lies in.
    #[getter]
    fn pfn(&self) -> u64 {
        self.pfn
    }

    /// Where the piece starts, in bytes from the start of the block.
    #[getter]
    fn offset(&self) -> u64 {
        self.offset
    }

    /// Size of the piece in bytes.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.size_bytes
    }

    fn __repr__(&self) -> String {
        format!("<PageFrag pfn={:#x} offset={} nbytes={}>", self.pfn, self.offset, self.size_bytes)
    }
}

/// Cuts small pieces from 32 KiB pages; a page is free again when all its pieces are.
///
/// Made by ``PageAllocator.page_frag_cache()``.
///
/// Concurrency: One cache may be used by several threads; they take turns.
///
/// Source: mm/page_alloc.c, ``page_frag_alloc_align``.
///
/// Example:
///     >>> from pagebuddy import PageAllocator
///     >>> cache = PageAllocator.simple("64M").page_frag_cache()
///     >>> first, second = cache.alloc(1000), cache.alloc(100, align=64)
///     >>> first.offset, second.offset
///     (31768, 31616)
///     >>> cache.free(first); cache.free(second); cache.drain()
#[pyclass(frozen, name = "PageFragCache", module = "pagebuddy")]
pub struct PyPageFragCache {
    machine: Py<PyPageAllocator>,
    cpu: CpuChoice,
    cache: Mutex<PageFragCache>,
}

impl PyPageFragCache {
    fn lock(&self) -> MutexGuard<'_, PageFragCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl PyPageFragCache {
    /// Cut a piece.
    ///
    /// Args:
    ///     nbytes: Its size, 1 to 32768.
    ///     gfp: Request flags for a new page.
    ///     align: A power of two that its offset is a multiple of.
    ///
    /// Raises:
    ///     AllocationFailed: No page was to be had.
    ///     ValueError: The size or the alignment is impossible, or only a smaller page was to be had.
    #[pyo3(
        signature = (nbytes, gfp=GfpArg(Gfp::GFP_ATOMIC), *, align=Count(1)),
        text_signature = "($self, nbytes, gfp=2592, *, align=1)"
    )]
    fn alloc(&self, py: Python<'_>, nbytes: Count, gfp: GfpArg, align: Count) -> PyResult<PyPageFrag> {
        let machine = self.machine.get();
        // Hooks may call into the interpreter, so the cache is taken out instead of kept locked.
        let mut cache = std::mem::take(&mut *self.lock());
        let result = py
            .detach(|| machine.machine.page_frag_alloc(&mut cache, self.cpu, gfp.0, nbytes.0, align.0, &machine.hooks));
        // Somebody else may have filled the cache meanwhile; then ours is given back.
        let mut other = std::mem::replace(&mut *self.lock(), cache);
        machine.machine.page_frag_drain(&mut other, self.cpu);
        match result {
            Ok(PageFrag { pfn, offset, size_bytes }) => Ok(PyPageFrag { pfn, offset, size_bytes }),
            Err(FragError::Alloc(_)) => Err(AllocationFailed::new_err((0, gfp.0.0, ""))),
            Err(FragError::Size) => Err(PyValueError::new_err(
                "a piece has 1 to 32768 bytes (4096 while memory is short), its alignment is a power of two",
            )),
        }
    }

    /// Give a piece back.
    ///
    /// Raises:
    ///     BadPageError: Its page has no references left.
    fn free(&self, frag: &Bound<'_, PyPageFrag>) -> PyResult<()> {
        let PyPageFrag { pfn, offset, size_bytes } = *frag.get();
        let frag = PageFrag { pfn, offset, size_bytes };
        self.machine.get().machine.page_frag_free(self.cpu, frag).map_err(bad_page)
    }

    /// Give up the cache's own page; pieces stay valid.
    fn drain(&self) {
        let mut cache = std::mem::take(&mut *self.lock());
        self.machine.get().machine.page_frag_drain(&mut cache, self.cpu);
    }

    fn __repr__(&self) -> String {
        "<PageFragCache>".to_owned()
    }
}

#[pymethods]
impl PyPageAllocator {
    /// A cache for small pieces of pages.
    ///
    /// Args:
    ///     cpu: The cpu whose lists are used; by default the one the thread runs on, or spare lists if
    ///         another thread or process is inside a call on it.
    ///
    /// Raises:
    ///     ValueError: No such cpu.
    #[pyo3(signature = (*, cpu=None))]
    fn page_frag_cache(slf: &Bound<'_, Self>, cpu: Option<Count>) -> PyResult<PyPageFragCache> {
        let cpu = slf.get().cpu(cpu)?;
        Ok(PyPageFragCache { machine: slf.clone().unbind(), cpu, cache: Mutex::default() })
    }
}
