//! `Memblock` and `MemblockRegion`: the boot memory allocator.
//!
//! The lock is held for one operation of the core and never while the interpreter runs, so it can
//! neither deadlock nor be held across a garbage collection.

use crate::convert::{Bytes, Nid, RegionFlags};
use crate::errors::{MemblockError, MemblockNoMemoryError, map_error, memblock_error};
use crate::text_source::TextSource;
use pagebuddy_core::memblock as core;
use pagebuddy_core::memblock::{Geometry, ListKind, Memblock, MemblockImage, Resize};
use pagebuddy_replay::memory_map;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One region of a memblock list: bytes, node and flags. Immutable.
///
/// Source: include/linux/memblock.h, ``struct memblock_region``.
///
/// Example:
///     >>> from pagebuddy import MemblockRegion
///     >>> MemblockRegion(0x1000, 0x2000, nid=1)
///     <MemblockRegion [0x1000-0x2fff] nid=1>
#[pyclass(frozen, eq, hash, skip_from_py_object, name = "MemblockRegion", module = "pagebuddy")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PyMemblockRegion {
    region: core::Region,
}

#[pymethods]
impl PyMemblockRegion {
    #[new]
    #[pyo3(signature = (base, size, nid=None, flags=RegionFlags(0)), text_signature = "(base, size, nid=None, flags=0)")]
    fn new(base: Bytes, size: Bytes, nid: Option<Nid>, flags: RegionFlags) -> PyResult<Self> {
        if base.0.checked_add(size.0).is_none() {
            return Err(MemblockError::new_err("the region reaches past the last address"));
        }
        Ok(core::Region { base: base.0, size: size.0, nid: nid.map(|nid| nid.0), flags: flags.0 }.into())
    }

    /// First byte.
    #[getter]
    fn base(&self) -> u64 {
        self.region.base
    }

    /// Size in bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.region.size
    }

    /// First byte after the region.
    #[getter]
    fn end(&self) -> u64 {
        self.region.end()
    }

    /// Node id; ``None`` for no node.
    #[getter]
    fn nid(&self) -> Option<u32> {
        self.region.nid
    }

    /// ``MemblockFlag`` bits as an integer.
    #[getter]
    fn flags(&self) -> u32 {
        self.region.flags
    }

    fn __repr__(&self) -> String {
        let core::Region { base, size, nid, flags } = self.region;
        let range = match size.checked_sub(1) {
            Some(reach) => format!("[{base:#x}-{:#x}]", base + reach),
            None => format!("[{base:#x}, empty]"),
        };
        let nid = nid.map_or("None".to_owned(), |nid| nid.to_string());
        let names = [
            (core::FLAG_HOTPLUG, "HOTPLUG"),
            (core::FLAG_MIRROR, "MIRROR"),
            (core::FLAG_NOMAP, "NOMAP"),
            (core::FLAG_DRIVER_MANAGED, "DRIVER_MANAGED"),
        ];
        let set: Vec<&str> = names.into_iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| name).collect();
        let flags = if set.is_empty() { String::new() } else { format!(" flags={}", set.join("|")) };
        format!("<MemblockRegion {range} nid={nid}{flags}>")
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (u64, u64, Option<u32>, u32)) {
        let core::Region { base, size, nid, flags } = slf.get().region;
        (slf.get_type(), (base, size, nid, flags))
    }
}

impl From<core::Region> for PyMemblockRegion {
    fn from(region: core::Region) -> Self {
        PyMemblockRegion { region }
    }
}

/// The boot memory allocator: what memory exists and what of it is taken.
///
/// Addresses and sizes are integers or text such as ``"512M"``. As in the kernel a range is cut off
/// at the last address, and what is left of an empty range is a successful no-op. Adding does not
/// change what is already there; removing what is not there does nothing.
///
/// Args:
///     page_size: Bytes in a page, 4096 to 65536.
///     resize: What happens when a list has its first 128 regions: ``"elsewhere"`` lets it grow and
///         take no memory, ``"in_memory"`` does as the kernel does and puts the list into free
///         memory, which is reserved for it, ``"refused"`` raises ``MemblockNoMemoryError``, as
///         the kernel does before ``allow_resize()``.
///
/// After the hand-over to the page allocator it is sealed: calls that would change it raise
/// ``MemblockDiscardedError``, all others still answer.
///
/// Concurrency: any number of threads; each call is atomic.
///
/// Source: mm/memblock.c.
///
/// Example:
///     >>> from pagebuddy import Memblock
///     >>> m = Memblock()
///     >>> m.add("1M", "127M")
///     >>> m.reserve("1M", "16M")
///     >>> hex(m.alloc("4K", align="4K"))
///     '0x7fff000'
///     >>> m
///     <Memblock memory=130048K in 1 region, reserved=16388K in 2 regions>
#[pyclass(frozen, name = "Memblock", module = "pagebuddy")]
pub struct PyMemblock {
    inner: Mutex<Memblock>,
}

impl From<Memblock> for PyMemblock {
    fn from(memblock: Memblock) -> Self {
        PyMemblock { inner: Mutex::new(memblock) }
    }
}

impl PyMemblock {
    /// The memblock, locked. Do not call into the interpreter while holding it.
    pub fn lock(&self) -> MutexGuard<'_, Memblock> {
        // No operation of the core leaves a memblock half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, operation: impl FnOnce(&mut Memblock) -> Result<(), core::MemblockError>) -> PyResult<()> {
        let result = operation(&mut self.lock());
        result.map_err(memblock_error)
    }

    fn allocate(
        &self,
        size: Bytes,
        align: Bytes,
        nid: Option<Nid>,
        operation: impl FnOnce(&mut Memblock, u64, u64, Option<u32>) -> Result<u64, core::MemblockError>,
    ) -> PyResult<u64> {
        if size.0 == 0 {
            return Err(MemblockError::new_err("cannot allocate 0 bytes"));
        }
        let nid = nid.map(|nid| nid.0);
        let result = operation(&mut self.lock(), size.0, align.0, nid);
        result.map_err(|error| match error {
            core::MemblockError::NoMemory => {
                let node = nid.map_or(String::new(), |nid| format!(" for node {nid}"));
                let aligned = if align.0 == 0 { String::new() } else { format!(" aligned to {}", align.0) };
                let message = format!("no room for {} bytes{aligned}{node}", size.0);
                MemblockNoMemoryError::new_err((message, size.0, align.0, nid))
            }
            error => memblock_error(error),
        })
    }

    /// A list's regions as a tuple of `MemblockRegion`.
    fn regions<'py>(&self, py: Python<'py>, list: ListKind) -> PyResult<Bound<'py, PyTuple>> {
        let regions = self.lock().regions(list).to_vec();
        PyTuple::new(py, regions.into_iter().map(PyMemblockRegion::from))
    }
}

fn geometry(page_size: Bytes) -> PyResult<Geometry> {
    if !page_size.0.is_power_of_two() || !(4096..=65536).contains(&page_size.0) {
        return Err(MemblockError::new_err("page_size must be a power of two from 4096 to 65536"));
    }
    Ok(Geometry { page_shift: page_size.0.trailing_zeros(), ..Geometry::default() })
}

fn resize_mode(name: &str) -> PyResult<Resize> {
    match name {
        "elsewhere" => Ok(Resize::Elsewhere),
        "in_memory" => Ok(Resize::InMemory),
        "refused" => Ok(Resize::Refused),
        _ => Err(MemblockError::new_err("resize must be 'elsewhere', 'in_memory' or 'refused'")),
    }
}

fn list_kind(name: &str) -> PyResult<ListKind> {
    match name {
        "memory" => Ok(ListKind::Memory),
        "reserved" => Ok(ListKind::Reserved),
        _ => Err(MemblockError::new_err("the list must be 'memory' or 'reserved'")),
    }
}

const PAGE_SIZE: Bytes = Bytes(4096);
const NO_FLAGS: RegionFlags = RegionFlags(0);
const ZERO: Bytes = Bytes(0);

#[pymethods]
impl PyMemblock {
    #[new]
    #[pyo3(signature = (*, page_size=PAGE_SIZE, resize="elsewhere"), text_signature = "(*, page_size=4096, resize='elsewhere')")]
    fn new(page_size: Bytes, resize: &str) -> PyResult<Self> {
        let mut memblock = Memblock::with_geometry(geometry(page_size)?).map_err(memblock_error)?;
        memblock.set_resize(resize_mode(resize)?).map_err(memblock_error)?;
        Ok(memblock.into())
    }

    /// Read /proc/iomem, or a copy of it.
    ///
    /// "System RAM" is memory (node 0), what lies in it (kernel image, crash kernel) is reserved.
    ///
    /// Args:
    ///     path_or_text: A path, or the text itself.
    ///     page_size: Bytes in a page.
    ///
    /// Raises:
    ///     MemoryMapError: It is not such a text (``.line``, ``.reason``), or shows only zeros
    ///         because the reader had no privilege.
    ///     OSError: The file cannot be read.
    #[classmethod]
    #[pyo3(signature = (path_or_text="/proc/iomem".into(), *, page_size=PAGE_SIZE),
           text_signature = "(path_or_text='/proc/iomem', *, page_size=4096)")]
    fn from_iomem(cls: &Bound<'_, PyType>, path_or_text: TextSource, page_size: Bytes) -> PyResult<Self> {
        let geometry = geometry(page_size)?;
        let text = path_or_text.read(cls.py())?;
        let map = cls.py().detach(|| memory_map::parse_iomem(&text, geometry));
        map.map(Self::from).map_err(|error| map_error(&error))
    }

    /// Read a boot log: the e820 map or the node ranges, and what else it says about memory.
    ///
    /// A log written with ``memblock=debug`` gives the reservations too; a plain one knows few.
    ///
    /// Args:
    ///     path_or_text: A path, or the text itself, with any prefix before its lines.
    ///     page_size: Bytes in a page.
    ///
    /// Raises:
    ///     MemoryMapError: There is no memory map in the log, or a line of it is damaged (``.line``).
    ///     OSError: The file cannot be read.
    #[classmethod]
    #[pyo3(signature = (path_or_text, *, page_size=PAGE_SIZE), text_signature = "(path_or_text, *, page_size=4096)")]
    fn from_dmesg(cls: &Bound<'_, PyType>, path_or_text: TextSource, page_size: Bytes) -> PyResult<Self> {
        let geometry = geometry(page_size)?;
        let text = path_or_text.read(cls.py())?;
        let map = cls.py().detach(|| memory_map::parse_dmesg(&text, geometry));
        map.map(Self::from).map_err(|error| map_error(&error))
    }

    /// Read /sys/kernel/debug/memblock/memory and reserved.
    ///
    /// Args:
    ///     memory: Path or text of the first file.
    ///     reserved: Path or text of the second.
    ///     page_size: Bytes in a page.
    ///
    /// Raises:
    ///     MemoryMapError: A line is damaged (``.line``), or there is no memory.
    ///     OSError: A file cannot be read.
    #[classmethod]
    #[pyo3(signature = (memory="/sys/kernel/debug/memblock/memory".into(),
                        reserved="/sys/kernel/debug/memblock/reserved".into(), *, page_size=PAGE_SIZE),
           text_signature = "(memory='/sys/kernel/debug/memblock/memory', reserved='/sys/kernel/debug/memblock/reserved', *, page_size=4096)")]
    fn from_debugfs(
        cls: &Bound<'_, PyType>,
        memory: TextSource,
        reserved: TextSource,
        page_size: Bytes,
    ) -> PyResult<Self> {
        let geometry = geometry(page_size)?;
        let (memory, reserved) = (memory.read(cls.py())?, reserved.read(cls.py())?);
        let map = cls.py().detach(|| memory_map::parse_debugfs(&memory, &reserved, geometry));
        map.map(Self::from).map_err(|error| map_error(&error))
    }

    /// Add memory (``memblock_add_node``). What is already there keeps its node and flags.
    #[pyo3(signature = (base, size, nid=Some(Nid(0)), flags=NO_FLAGS), text_signature = "($self, base, size, nid=0, flags=0)")]
    fn add(&self, base: Bytes, size: Bytes, nid: Option<Nid>, flags: RegionFlags) -> PyResult<()> {
        self.change(|m| m.add_node(base.0, size.0, nid.map(|nid| nid.0), flags.0))
    }

    /// Remove memory (``memblock_remove``).
    fn remove(&self, base: Bytes, size: Bytes) -> PyResult<()> {
        self.change(|m| m.remove(base.0, size.0))
    }

    /// Take a range, whether or not memory is there (``memblock_reserve``).
    ///
    /// Taking what is taken is no error. ``nid`` is for what was not taken before.
    #[pyo3(signature = (base, size, nid=None))]
    fn reserve(&self, base: Bytes, size: Bytes, nid: Option<Nid>) -> PyResult<()> {
        self.change(|m| m.reserve_node(base.0, size.0, nid.map(|nid| nid.0)))
    }

    /// Give a range back (``memblock_phys_free``).
    fn free(&self, base: Bytes, size: Bytes) -> PyResult<()> {
        self.change(|m| m.phys_free(base.0, size.0))
    }

    /// Find free memory, reserve it and return its address (``memblock_alloc_try_nid``).
    ///
    /// The highest place below the limits is taken, or the lowest if ``bottom_up`` is set; never
    /// the first page.
    ///
    /// Args:
    ///     size: Bytes, at least 1; not rounded.
    ///     align: A power of two; 0 is a cache line, 64.
    ///     nid: The node to try first; ``None``: any.
    ///     min_addr: Where to stay above if possible; when nothing is found the search is repeated
    ///         without it.
    ///     max_addr: Where to stay below; 0: ``current_limit``.
    ///     exact_nid: Rather fail than take memory of another node.
    ///
    /// Raises:
    ///     MemblockNoMemoryError: A ``MemoryError`` with ``.size .align .nid``.
    #[pyo3(signature = (size, align=ZERO, nid=None, *, min_addr=ZERO, max_addr=ZERO, exact_nid=false),
           text_signature = "($self, size, align=0, nid=None, *, min_addr=0, max_addr=0, exact_nid=False)")]
    fn alloc(
        &self,
        size: Bytes,
        align: Bytes,
        nid: Option<Nid>,
        min_addr: Bytes,
        max_addr: Bytes,
        exact_nid: bool,
    ) -> PyResult<u64> {
        self.allocate(size, align, nid, |m, size, align, nid| {
            if exact_nid {
                m.alloc_exact_nid_raw(size, align, min_addr.0, max_addr.0, nid)
            } else {
                m.alloc_try_nid(size, align, min_addr.0, max_addr.0, nid)
            }
        })
    }

    /// Like ``alloc``, strictly within ``[start, end)`` (``memblock_alloc_range_nid``).
    ///
    /// An ``end`` of 0 is ``current_limit``; any other may lie above it.
    #[pyo3(signature = (size, align=ZERO, start=ZERO, end=ZERO, nid=None, *, exact_nid=false),
           text_signature = "($self, size, align=0, start=0, end=0, nid=None, *, exact_nid=False)")]
    fn alloc_range(
        &self,
        size: Bytes,
        align: Bytes,
        start: Bytes,
        end: Bytes,
        nid: Option<Nid>,
        exact_nid: bool,
    ) -> PyResult<u64> {
        self.allocate(size, align, nid, |m, size, align, nid| {
            m.alloc_range_nid(size, align, start.0, end.0, nid, exact_nid)
        })
    }

    /// Flag memory as hotpluggable (``memblock_mark_hotplug``).
    fn mark_hotplug(&self, base: Bytes, size: Bytes) -> PyResult<()> {
        self.change(|m| m.mark_hotplug(base.0, size.0))
    }

    /// Take the hotpluggable flag away (``memblock_clear_hotplug``).
    fn clear_hotplug(&self, base: Bytes, size: Bytes) -> PyResult<()> {
        self.change(|m| m.clear_hotplug(base.0, size.0))
    }

    /// Flag memory as mirrored; from now on such memory is preferred (``memblock_mark_mirror``).
    fn mark_mirror(&self, base: Bytes, size: Bytes) -> PyResult<()> {
        self.change(|m| m.mark_mirror(base.0, size.0))
    }

    /// Flag memory as not mapped by the kernel (``memblock_mark_nomap``).
    fn mark_nomap(&self, base: Bytes, size: Bytes) -> PyResult<()> {
        self.change(|m| m.mark_nomap(base.0, size.0))
    }

    /// Take the not-mapped flag away (``memblock_clear_nomap``).
    fn clear_nomap(&self, base: Bytes, size: Bytes) -> PyResult<()> {
        self.change(|m| m.clear_nomap(base.0, size.0))
    }

    /// Set the node of a range in the ``"memory"`` or ``"reserved"`` list (``memblock_set_node``).
    #[pyo3(signature = (base, size, nid, list="memory"))]
    fn set_node(&self, base: Bytes, size: Bytes, nid: Option<Nid>, list: &str) -> PyResult<()> {
        let list = list_kind(list)?;
        self.change(|m| m.set_node(base.0, size.0, list, nid.map(|nid| nid.0)))
    }

    /// Cut every memory region to multiples of ``align`` (``memblock_trim_memory``).
    fn trim_memory(&self, align: Bytes) -> PyResult<()> {
        self.change(|m| m.trim_memory(align.0))
    }

    /// Keep the first ``limit`` bytes of memory (``memblock_enforce_memory_limit``). 0: no limit.
    fn enforce_memory_limit(&self, limit: Bytes) -> PyResult<()> {
        self.change(|m| m.enforce_memory_limit(limit.0))
    }

    /// Keep what lies in a range, and not-mapped memory (``memblock_cap_memory_range``).
    fn cap_memory_range(&self, base: Bytes, size: Bytes) -> PyResult<()> {
        self.change(|m| m.cap_memory_range(base.0, size.0))
    }

    /// Keep the first ``limit`` bytes, and not-mapped memory (``memblock_mem_limit_remove_map``).
    fn mem_limit_remove_map(&self, limit: Bytes) -> PyResult<()> {
        self.change(|m| m.mem_limit_remove_map(limit.0))
    }

    /// Let full lists grow in memory from now on (``memblock_allow_resize``).
    fn allow_resize(&self) -> PyResult<()> {
        self.change(Memblock::allow_resize)
    }

    /// Seal it, as a kernel does that needs it no more (``memblock_discard``).
    ///
    /// Returns:
    ///     list[int]: Pages that held lists grown in memory and can be freed now, in order.
    fn discard(&self) -> PyResult<Vec<u64>> {
        let result = self.lock().discard();
        result.map_err(memblock_error)
    }

    /// The memory that exists, in order of address: a tuple of ``MemblockRegion``.
    #[getter]
    fn memory<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.regions(py, ListKind::Memory)
    }

    /// What is taken, in order of address: a tuple of ``MemblockRegion``.
    #[getter]
    fn reserved<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.regions(py, ListKind::Reserved)
    }

    /// Free memory in order of address (``for_each_free_mem_range``).
    ///
    /// Args:
    ///     nid: Only memory of this node.
    ///     flags: Kinds of memory to include (NOMAP, DRIVER_MANAGED, HOTPLUG where it is withheld)
    ///         or to require (MIRROR).
    ///
    /// Returns:
    ///     list[MemblockRegion]: Ranges with the node and flags of the memory they are part of; none
    ///         spans two memory regions.
    #[pyo3(signature = (nid=None, flags=NO_FLAGS), text_signature = "($self, nid=None, flags=0)")]
    fn free_ranges(&self, nid: Option<Nid>, flags: RegionFlags) -> Vec<PyMemblockRegion> {
        let memblock = self.lock();
        let ranges = memblock.for_each_free_mem_range(nid.map(|nid| nid.0), flags.0);
        // Between touching reservations there are empty ranges.
        ranges
            .filter(|range| range.start < range.end)
            .map(|range| {
                let flags = memblock.region_at(range.start).map_or(0, |region| region.flags);
                core::Region { base: range.start, size: range.end - range.start, nid: range.nid, flags }.into()
            })
            .collect()
    }

    /// Whole pages of memory: ``(start_pfn, end_pfn, nid)`` (``for_each_mem_pfn_range``).
    #[pyo3(signature = (nid=None))]
    fn pfn_ranges(&self, nid: Option<Nid>) -> Vec<(u64, u64, Option<u32>)> {
        let memblock = self.lock();
        memblock.for_each_mem_pfn_range(nid.map(|nid| nid.0)).map(|range| (range.start, range.end, range.nid)).collect()
    }

    /// Whether an address is memory (``memblock_is_memory``).
    fn is_memory(&self, addr: Bytes) -> bool {
        self.lock().is_memory(addr.0)
    }

    /// Whether an address is memory that the kernel maps (``memblock_is_map_memory``).
    fn is_map_memory(&self, addr: Bytes) -> bool {
        self.lock().is_map_memory(addr.0)
    }

    /// Whether an address is taken (``memblock_is_reserved``).
    fn is_reserved(&self, addr: Bytes) -> bool {
        self.lock().is_reserved(addr.0)
    }

    /// Whether one memory region holds the whole range (``memblock_is_region_memory``).
    fn is_region_memory(&self, base: Bytes, size: Bytes) -> bool {
        self.lock().is_region_memory(base.0, size.0)
    }

    /// Whether any part of the range is taken (``memblock_is_region_reserved``).
    fn is_region_reserved(&self, base: Bytes, size: Bytes) -> bool {
        self.lock().is_region_reserved(base.0, size.0)
    }

    /// The kernel's counter of memory, in bytes (``memblock_phys_mem_size``).
    #[getter]
    fn phys_mem_size(&self) -> u64 {
        self.lock().phys_mem_size()
    }

    /// The kernel's counter of what is taken, in bytes (``memblock_reserved_size``).
    #[getter]
    fn reserved_size(&self) -> u64 {
        self.lock().reserved_size()
    }

    /// First byte of memory, 0 if there is none (``memblock_start_of_DRAM``).
    #[getter]
    fn start_of_dram(&self) -> u64 {
        self.lock().start_of_dram()
    }

    /// First byte after memory, 0 if there is none (``memblock_end_of_DRAM``).
    #[getter]
    fn end_of_dram(&self) -> u64 {
        self.lock().end_of_dram()
    }

    /// Where ``alloc`` stops to look; 2**64-1 at first (``memblock_set_current_limit``).
    #[getter]
    fn current_limit(&self) -> u64 {
        self.lock().current_limit()
    }

    #[setter]
    fn set_current_limit(&self, limit: Bytes) -> PyResult<()> {
        self.change(|m| m.set_current_limit(limit.0))
    }

    /// Whether the lowest place is taken instead of the highest (``memblock_set_bottom_up``).
    #[getter]
    fn bottom_up(&self) -> bool {
        self.lock().bottom_up()
    }

    #[setter]
    fn set_bottom_up(&self, bottom_up: bool) -> PyResult<()> {
        self.change(|m| m.set_bottom_up(bottom_up))
    }

    /// Whether hotpluggable memory is withheld (boot parameter ``movable_node``).
    #[getter]
    fn movable_node(&self) -> bool {
        self.lock().movable_node()
    }

    #[setter]
    fn set_movable_node(&self, movable_node: bool) -> PyResult<()> {
        self.change(|m| m.set_movable_node(movable_node))
    }

    /// Whether mirrored memory is preferred: after any ``mark_mirror``.
    #[getter]
    fn some_mirror(&self) -> bool {
        self.lock().some_mirror()
    }

    /// What happens when a list is full: ``"elsewhere"``, ``"in_memory"`` or ``"refused"``.
    #[getter]
    fn resize(&self) -> &'static str {
        match self.lock().resize() {
            Resize::Elsewhere => "elsewhere",
            Resize::InMemory => "in_memory",
            Resize::Refused => "refused",
        }
    }

    /// Bytes in a page.
    #[getter]
    fn page_size(&self) -> u64 {
        self.lock().geometry().page_size()
    }

    /// Whether memory was handed over and nothing can change any more.
    #[getter]
    fn discarded(&self) -> bool {
        self.lock().is_discarded()
    }

    /// An independent copy, sealed if this one is.
    fn copy(&self) -> Self {
        self.lock().clone().into()
    }

    fn __copy__(&self) -> Self {
        self.copy()
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        self.copy()
    }

    /// The kernel's "MEMBLOCK configuration".
    fn __str__(&self) -> String {
        let mut dump = self.lock().to_string();
        dump.truncate(dump.trim_end().len());
        dump
    }

    fn __repr__(&self) -> String {
        let memblock = self.lock();
        let part = |list| {
            let nr = memblock.regions(list).len();
            let kib = memblock.regions(list).iter().fold(0u64, |sum, region| sum.saturating_add(region.size)) >> 10;
            format!("{}={kib}K in {nr} region{}", list.name(), if nr == 1 { "" } else { "s" })
        };
        let sealed = if memblock.is_discarded() { ", discarded" } else { "" };
        format!("<Memblock {}, {}{sealed}>", part(ListKind::Memory), part(ListKind::Reserved))
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> bool {
        // One lock at a time: two threads may compare the same two the other way round.
        slf.is(other) || {
            let mine = slf.get().lock().clone();
            mine == *other.get().lock()
        }
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let image = slf.get().lock().to_image().to_bytes();
        let restore = slf.get_type().getattr("_from_image")?;
        Ok((restore, (PyBytes::new(slf.py(), &image),)))
    }

    /// The counterpart of pickling.
    #[staticmethod]
    fn _from_image(image: &[u8]) -> PyResult<Self> {
        let image = MemblockImage::from_bytes(image)
            .ok_or_else(|| MemblockError::new_err("these bytes are not a pickled Memblock"))?;
        Memblock::from_image(image).map(Self::from).map_err(memblock_error)
    }
}
