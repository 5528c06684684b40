//! `PageAllocator`: memory that comes and goes, pages that are taken away, the periodic work.

use crate::allocator::PyPageAllocator;
use crate::arguments::{Count, NodeArg, PfnArg};
use pagebuddy_core::allocator::CpuChoice;
use pagebuddy_core::hotplug::HotplugError;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::{ConfigError, RangeBusyError};

/// The exception for sections that cannot be added or removed.
fn hotplug_error(error: HotplugError) -> PyErr {
    match error {
        HotplugError::Busy(pfn) => RangeBusyError::new_err((pfn,)),
        HotplugError::NoIsolation => ConfigError::new_err(error.to_string()),
        HotplugError::Unaligned
        | HotplugError::NoZone
        | HotplugError::OutOfRange
        | HotplugError::Overlap
        | HotplugError::LastSection
        | HotplugError::TooManyRanges => PyValueError::new_err(error.to_string()),
    }
}

#[pymethods]
impl PyPageAllocator {
    /// Add memory sections to a running machine.
    ///
    /// They go to the zone of the node that ends last, inside or behind its span; watermarks,
    /// reserves and thresholds follow. Needs ``Config(memory_isolation=True, max_possible_pfn=...)``.
    ///
    /// Args:
    ///     start_pfn: First pfn, a multiple of the section size (32768 pages of 4 KiB).
    ///     nr_pages: Number of pages, a multiple of the section size.
    ///     nid: The node.
    ///     cpu: The cpu that does it; its counters and lists are used.
    ///
    /// Raises:
    ///     ConfigError: The kernel was configured without memory isolation.
    ///     ValueError: Not whole sections, memory there already, behind ``max_possible_pfn``, no
    ///         such node, no such cpu; nothing changed.
    ///
    /// Concurrency: Others may allocate and free meanwhile; one hotplug call at a time.
    ///
    /// Source: mm/memory_hotplug.c, ``online_pages``.
    ///
    /// Example:
    ///     >>> from pagebuddy import Config, PageAllocator
    ///     >>> config = Config(memory_isolation=True, max_possible_pfn=1 << 17)
    ///     >>> machine = PageAllocator.simple("256M", config=config)
    ///     >>> machine.online_pages(1 << 16, 1 << 15)
    ///     >>> machine.zones[0, "DMA32"].spanned
    ///     94208
    ///     >>> machine.offline_pages(1 << 16, 1 << 15)
    #[pyo3(
        signature = (start_pfn, nr_pages, nid=NodeArg(Some(0)), *, cpu=None),
        text_signature = "($self, start_pfn, nr_pages, nid=0, *, cpu=None)"
    )]
    fn online_pages(
        &self,
        py: Python<'_>,
        start_pfn: Count,
        nr_pages: Count,
        nid: NodeArg,
        cpu: Option<Count>,
    ) -> PyResult<()> {
        let cpu = self.cpu(cpu)?;
        let nid = u32::try_from(nid.0.unwrap_or(0)).unwrap_or(u32::MAX);
        py.detach(|| self.machine.online_pages(cpu, start_pfn.0, nr_pages.0, nid)).map_err(hotplug_error)
    }

    /// Remove memory sections whose pages are all free.
    ///
    /// Args:
    ///     start_pfn: First pfn, a multiple of the section size.
    ///     nr_pages: Number of pages, a multiple of the section size.
    ///     cpu: The cpu that does it; its counters and lists are used.
    ///
    /// Raises:
    ///     ConfigError: The kernel was configured without memory isolation.
    ///     RangeBusyError: A page is in use; carries ``.pfn``. Nothing changed.
    ///     ValueError: Not whole sections, not all memory of one zone, or all memory of it; no such
    ///         cpu.
    ///
    /// Concurrency: Others may allocate and free meanwhile; one hotplug call at a time.
    ///
    /// Source: mm/memory_hotplug.c, ``offline_pages`` (without migration).
    #[pyo3(signature = (start_pfn, nr_pages, *, cpu=None))]
    fn offline_pages(&self, py: Python<'_>, start_pfn: Count, nr_pages: Count, cpu: Option<Count>) -> PyResult<()> {
        let cpu = self.cpu(cpu)?;
        py.detach(|| self.machine.offline_pages(cpu, start_pfn.0, nr_pages.0)).map_err(hotplug_error)
    }

    /// Take a free page away for good, as after a hardware error: its block is split around it.
    ///
    /// Args:
    ///     pfn: The page.
    ///     cpu: The cpu that does it; its counters and lists are used.
    ///
    /// Returns:
    ///     bool: False if the page is not in a free block; nothing changed then.
    ///
    /// Raises:
    ///     ValueError: No such cpu.
    ///
    /// Source: mm/page_alloc.c, ``take_page_off_buddy``.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> machine.take_page_off_buddy(0x2005)
    ///     True
    ///     >>> [int(pfn) for pfn in machine.zones[0, "DMA32"].free_list(0, 1)]
    ///     [8196]
    ///     >>> machine.put_page_back_buddy(0x2005)
    ///     True
    #[pyo3(signature = (pfn, *, cpu=None))]
    fn take_page_off_buddy(&self, pfn: PfnArg, cpu: Option<Count>) -> PyResult<bool> {
        Ok(self.machine.take_page_off_buddy(self.cpu(cpu)?, pfn.0))
    }

    /// Give a page back that ``take_page_off_buddy`` took.
    ///
    /// Args:
    ///     pfn: The page.
    ///     cpu: The cpu that does it; its counters and lists are used.
    ///
    /// Returns:
    ///     bool: False if it was not taken.
    ///
    /// Raises:
    ///     ValueError: No such cpu.
    ///
    /// Source: mm/page_alloc.c, ``put_page_back_buddy``.
    #[pyo3(signature = (pfn, *, cpu=None))]
    fn put_page_back_buddy(&self, pfn: PfnArg, cpu: Option<Count>) -> PyResult<bool> {
        Ok(self.machine.put_page_back_buddy(self.cpu(cpu)?, pfn.0))
    }

    /// Do the periodic work of one cpu: fold its counter differentials; return a batch of pages of
    /// remote nodes to them after the third time without activity.
    ///
    /// Args:
    ///     cpu: The cpu; by default all online cpus, ascending.
    ///     pagesets: False leaves remote pages alone, as a cpu that goes idle does.
    ///
    /// Raises:
    ///     ValueError: No such cpu.
    ///
    /// Concurrency: A cpu that somebody is using at this moment is left out.
    ///
    /// Source: mm/vmstat.c, ``refresh_cpu_vm_stats``.
    #[pyo3(signature = (cpu=None, *, pagesets=true))]
    fn refresh_vm_stats(&self, cpu: Option<Count>, pagesets: bool) -> PyResult<()> {
        match self.cpu(cpu)? {
            CpuChoice::Fixed(cpu) => {
                self.machine.refresh_cpu_vm_stats(cpu, pagesets);
            }
            CpuChoice::Current => {
                for cpu in 0..self.machine.nr_online_cpus() as usize {
                    self.machine.refresh_cpu_vm_stats(cpu, pagesets);
                }
            }
        }
        Ok(())
    }
}
