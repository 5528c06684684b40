//! `Zone`, `ZoneTable` and `Pcp`: zones, looked at while they work.

use crate::arguments::{Count, MigrateTypeArg, Order};
use crate::python::{self, enum_member};
use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::counters::NumaEvent;
use pagebuddy_core::state::PcpState;
use pagebuddy_core::types::{MIGRATE_PCPTYPES, MigrateType, Pfn};
use pagebuddy_core::zone_view::ZoneView;
use pyo3::exceptions::{PyIndexError, PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyString, PyTuple};
use std::sync::Arc;

/// A zone with memory, as it is at the moment of each question.
///
/// Obtained from ``PageAllocator.zones`` or ``Node.zones``; keeps the allocator alive.
///
/// Concurrency: every attribute is a racy view while others allocate, and exact while nobody does.
///
/// Source: include/linux/mmzone.h, ``struct zone``.
///
/// Example:
///     >>> from pagebuddy import PageAllocator
///     >>> zone = PageAllocator.simple("1G").zones[0, "DMA32"]
///     >>> zone
///     <Zone node=0 DMA32 managed=249856>
///     >>> zone.start_pfn
///     4096
#[pyclass(frozen, skip_from_py_object, name = "Zone", module = "pagebuddy")]
#[derive(Clone)]
pub struct PyZone {
    pub machine: Arc<PageAllocator>,
    pub number: usize,
}

impl PyZone {
    fn zone(&self) -> ZoneView<'_> {
        self.machine.zone_view(self.number).expect("a zone's number is below nr_zones and zones are never removed")
    }

    fn key(&self) -> (u32, &'static str) {
        (self.zone().node(), self.zone().kind().name())
    }

    fn order(&self, order: Order) -> PyResult<u32> {
        let max_order = self.machine.config().max_order;
        if order.0 < max_order {
            return Ok(order.0);
        }
        Err(PyValueError::new_err(format!("an order must be below MAX_ORDER ({max_order})")))
    }
}

#[pymethods]
impl PyZone {
    /// Node id.
    #[getter]
    fn nid(&self) -> u32 {
        self.zone().node()
    }

    /// Name as the kernel prints it: ``"DMA"``, ``"DMA32"``, ``"Normal"`` or ``"Movable"``.
    #[getter]
    fn name(&self) -> &'static str {
        self.zone().kind().name()
    }

    /// Zone index in the kernel's configuration.
    #[getter]
    fn index(&self) -> usize {
        self.zone().index()
    }

    /// First pfn.
    #[getter]
    fn start_pfn(&self) -> u64 {
        self.zone().extent().start_pfn
    }

    /// One past the last pfn.
    #[getter]
    fn end_pfn(&self) -> u64 {
        let extent = self.zone().extent();
        extent.start_pfn + extent.spanned
    }

    /// Pages from the first to the last, holes included.
    #[getter]
    fn spanned(&self) -> u64 {
        self.zone().extent().spanned
    }

    /// Pages that exist.
    #[getter]
    fn present(&self) -> u64 {
        self.zone().extent().present
    }

    /// Pages that were handed to the allocator.
    #[getter]
    fn managed(&self) -> u64 {
        self.zone().managed()
    }

    /// Watermarks ``(min, low, high)`` in pages, as a named tuple, without the boost.
    #[getter]
    fn watermarks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let marks = self.zone().watermarks();
        python::WATERMARKS.get(py)?.call1((marks[0], marks[1], marks[2]))
    }

    /// What is added to every watermark at present, in pages (``watermark_boost``).
    #[getter]
    fn boost(&self) -> u64 {
        self.zone().boost()
    }

    /// Pages kept from requests that could use a higher zone, by the request's highest zone index.
    #[getter]
    fn lowmem_reserve<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.zone().lowmem_reserves())
    }

    /// Pages in HighAtomic pageblocks.
    #[getter]
    fn nr_reserved_highatomic(&self) -> u64 {
        self.zone().nr_reserved_highatomic()
    }

    /// Isolated pageblocks.
    #[getter]
    fn nr_isolate_pageblock(&self) -> u32 {
        self.zone().nr_isolate_pageblock()
    }

    /// Free pages as decisions see them: the approximate counter ``NR_FREE_PAGES``.
    #[getter]
    fn nr_free_pages(&self) -> i64 {
        self.zone().nr_free_pages()
    }

    /// The zone's counters by name: ``nr_free_pages`` (approximate), ``nr_free_pages_snapshot``
    /// (with the differentials of all cpus), ``nr_free_cma``, ``pgalloc``, ``pgfree`` (events,
    /// in pages) and the NUMA events ``numa_hit``, ``numa_miss``, ``numa_foreign``,
    /// ``numa_interleave``, ``numa_local``, ``numa_other``.
    #[getter]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let zone = self.zone();
        let counters = PyDict::new(py);
        counters.set_item("nr_free_pages", zone.nr_free_pages())?;
        counters.set_item("nr_free_pages_snapshot", zone.nr_free_pages_snapshot())?;
        counters.set_item("nr_free_cma", zone.nr_free_cma())?;
        let (pgalloc, pgfree) = zone.vm_events();
        counters.set_item("pgalloc", pgalloc)?;
        counters.set_item("pgfree", pgfree)?;
        for (name, event) in [
            ("numa_hit", NumaEvent::Hit),
            ("numa_miss", NumaEvent::Miss),
            ("numa_foreign", NumaEvent::Foreign),
            ("numa_interleave", NumaEvent::InterleaveHit),
            ("numa_local", NumaEvent::Local),
            ("numa_other", NumaEvent::Other),
        ] {
            counters.set_item(name, zone.numa_events(event))?;
        }
        Ok(counters)
    }

    /// First pfns of the blocks on a free list, in list order.
    ///
    /// Args:
    ///     order: Below ``MAX_ORDER``.
    ///     migratetype: A ``MigrateType``.
    ///
    /// Returns:
    ///     list[int]: The head, which is taken next, comes first.
    ///
    /// Raises:
    ///     ValueError: No such list.
    ///
    /// Concurrency: a racy view; takes no lock.
    ///
    /// Source: include/linux/mmzone.h, ``free_area[order].free_list[migratetype]``.
    ///
    /// Example:
    ///     >>> from pagebuddy import MigrateType, PageAllocator
    ///     >>> zone = PageAllocator.simple("64M").zones[0, "DMA"]
    ///     >>> [hex(pfn) for pfn in zone.free_list(10, MigrateType.MOVABLE)]
    ///     ['0x400', '0x800', '0xc00']
    fn free_list(&self, order: Order, migratetype: MigrateTypeArg) -> PyResult<Vec<Pfn>> {
        Ok(self.zone().free_list(self.order(order)?, migratetype.0))
    }

    /// Number of free blocks, by order and migratetype.
    ///
    /// Returns:
    ///     numpy.ndarray: ``uint64``, shape ``(MAX_ORDER, 6)``; the columns are the ``MigrateType``
    ///     numbers. A copy.
    fn free_area_counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let counts = self.zone().free_area_counts();
        python::uint64_array(py, &counts)?.call_method1("reshape", ((-1, MigrateType::ALL.len()),))
    }

    /// One cpu's page lists of this zone.
    ///
    /// Raises:
    ///     ValueError: No such cpu.
    ///
    /// Example:
    ///     >>> from pagebuddy import MigrateType, PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> pfn = machine.alloc_pages(cpu=0)
    ///     >>> machine.zones[0, "DMA32"].pcp(0)
    ///     <Pcp cpu=0 count=0 high=227 batch=1>
    fn pcp(&self, cpu: Count) -> PyResult<PyPcp> {
        let state = usize::try_from(cpu.0).ok().and_then(|cpu| self.zone().pcp(cpu)).ok_or_else(|| {
            let last = self.machine.nr_cpus() - 1;
            PyValueError::new_err(format!("cpus are 0 to {last}"))
        })?;
        Ok(PyPcp { state, pageblock_order: self.machine.config().pageblock_order })
    }

    /// Why a request of an order would fail, in thousandths: towards 0 for lack of memory, towards
    /// 1000 for fragmentation; -1000 if it would succeed.
    ///
    /// Source: mm/vmstat.c, ``fragmentation_index``.
    fn extfrag_index(&self, order: Order) -> PyResult<i32> {
        Ok(self.zone().contig_page_info(self.order(order)?).extfrag_index())
    }

    /// Share of the free pages that a request of the order cannot use, in thousandths.
    ///
    /// Source: mm/vmstat.c, ``unusable_free_index``.
    fn unusable_index(&self, order: Order) -> PyResult<u32> {
        Ok(self.zone().contig_page_info(self.order(order)?).unusable_index())
    }

    fn __repr__(&self) -> String {
        let (nid, name) = self.key();
        format!("<Zone node={nid} {name} managed={}>", self.zone().managed())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<PyZone>().is_ok_and(|other| {
            let other = other.get();
            Arc::ptr_eq(&self.machine, &other.machine) && self.number == other.number
        })
    }

    fn __hash__(&self) -> u64 {
        Arc::as_ptr(&self.machine) as u64 ^ (self.number as u64) << 56
    }
}

/// The page lists of one cpu in one zone, as they were when asked for.
///
/// Source: include/linux/mmzone.h, ``struct per_cpu_pages``.
#[pyclass(frozen, name = "Pcp", module = "pagebuddy")]
pub struct PyPcp {
    state: PcpState,
    pageblock_order: u32,
}

#[pymethods]
impl PyPcp {
    /// The cpu.
    #[getter]
    fn cpu(&self) -> usize {
        self.state.cpu
    }

    /// Pages on all lists together.
    #[getter]
    fn count(&self) -> u64 {
        self.state.count
    }

    /// Above this many pages a free returns pages to the zone.
    #[getter]
    fn high(&self) -> u64 {
        self.state.high
    }

    /// How many pages move between the lists and the zone at once.
    #[getter]
    fn batch(&self) -> u64 {
        self.state.batch
    }

    /// Doubles the pages returned by successive frees (``free_factor``).
    #[getter]
    fn free_factor(&self) -> u32 {
        self.state.free_factor
    }

    /// All lists of first pfns, head first; index ``migratetype + 3 * order``, the last three hold
    /// blocks of pageblock order.
    #[getter]
    fn lists(&self) -> Vec<Vec<Pfn>> {
        self.state.lists.clone()
    }

    /// First pfns of a list, head first.
    ///
    /// Args:
    ///     order: 0 to 3 or, with transparent huge pages, the pageblock order.
    ///     migratetype: Unmovable, Movable or Reclaimable.
    ///
    /// Raises:
    ///     ValueError: No such list.
    fn list(&self, order: Order, migratetype: MigrateTypeArg) -> PyResult<Vec<Pfn>> {
        let row = match order.0 {
            order @ 0..4 => Some(order as usize),
            order if order == self.pageblock_order => Some(4),
            _ => None,
        };
        let column = Some(migratetype.0.index()).filter(|index| *index < MIGRATE_PCPTYPES);
        let list = row.zip(column).and_then(|(row, column)| self.state.lists.get(row * MIGRATE_PCPTYPES + column));
        list.cloned().ok_or_else(|| PyValueError::new_err("no per-cpu list has this order and migratetype"))
    }

    fn __repr__(&self) -> String {
        let PcpState { cpu, count, high, batch, .. } = self.state;
        format!("<Pcp cpu={cpu} count={count} high={high} batch={batch}>")
    }
}

/// The zones with memory, of a machine or of one node: a sequence that also answers to keys.
///
/// ``zones[i]`` is the i-th zone, ``zones[nid, name]`` the one of a node, ``zones[name]`` the only
/// one of that name. Order: ascending node, then zone index.
///
/// Example:
///     >>> from pagebuddy import PageAllocator
///     >>> zones = PageAllocator.simple("8G").zones
///     >>> [zone.name for zone in zones]
///     ['DMA', 'DMA32', 'Normal']
///     >>> zones[0, "Normal"] == zones["Normal"] == zones[2]
///     True
#[pyclass(frozen, sequence, name = "ZoneTable", module = "pagebuddy")]
pub struct PyZoneTable {
    zones: Vec<PyZone>,
}

impl PyZoneTable {
    /// The zones with these numbers.
    pub fn new(machine: &Arc<PageAllocator>, numbers: impl IntoIterator<Item = usize>) -> Self {
        let zone = |number| PyZone { machine: Arc::clone(machine), number };
        PyZoneTable { zones: numbers.into_iter().map(zone).collect() }
    }

    /// The zones of one node, or of all.
    pub fn of_node(machine: &Arc<PageAllocator>, nid: Option<u32>) -> Self {
        let in_node = |number: &usize| {
            let zone = machine.zone_view(*number);
            nid.is_none_or(|nid| zone.is_some_and(|zone| zone.node() == nid))
        };
        Self::new(machine, machine.populated_zone_numbers().into_iter().filter(in_node))
    }

    fn find(&self, nid: Option<u32>, name: &str) -> Result<&PyZone, &'static str> {
        let mut found = self.zones.iter().filter(|zone| {
            let (zone_nid, zone_name) = zone.key();
            zone_name == name && nid.is_none_or(|nid| nid == zone_nid)
        });
        match (found.next(), found.next()) {
            (Some(zone), None) => Ok(zone),
            (None, _) => Err("no such zone"),
            (Some(_), Some(_)) => Err("several nodes have such a zone: name the node too"),
        }
    }
}

#[pymethods]
impl PyZoneTable {
    fn __len__(&self) -> usize {
        self.zones.len()
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<PyZone> {
        let missing = |why: &str| key.repr().map(|key| PyKeyError::new_err(format!("{key}: {why}")));
        if let Ok(name) = key.cast::<PyString>() {
            return match self.find(None, &name.to_cow()?) {
                Ok(zone) => Ok(zone.clone()),
                Err(why) => Err(missing(why)?),
            };
        }
        if let Ok(pair) = key.cast::<PyTuple>() {
            let Ok((nid, name)) = pair.extract::<(i64, String)>() else {
                return Err(PyTypeError::new_err("a zone's key is its node id and its name"));
            };
            return match u32::try_from(nid).map_err(|_| "no such zone").and_then(|nid| self.find(Some(nid), &name)) {
                Ok(zone) => Ok(zone.clone()),
                Err(why) => Err(missing(why)?),
            };
        }
        let Ok(position) = key.extract::<isize>() else {
            return Err(PyTypeError::new_err("zones are found by position, by name, or by node and name"));
        };
        let position = if position < 0 { position.checked_add_unsigned(self.zones.len()) } else { Some(position) };
        let zone = position.and_then(|at| self.zones.get(usize::try_from(at).ok()?));
        zone.cloned().ok_or_else(|| PyIndexError::new_err("zone position out of range"))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> bool {
        if let Ok(zone) = key.cast::<PyZone>() {
            return self.zones.iter().any(|own| own.__eq__(zone.as_any()));
        }
        match key.extract::<(i64, String)>() {
            Ok((nid, name)) => u32::try_from(nid).is_ok_and(|nid| self.find(Some(nid), &name).is_ok()),
            Err(_) => key.extract::<String>().is_ok_and(|name| self.zones.iter().any(|zone| zone.key().1 == name)),
        }
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, self.zones.iter().cloned())?.try_iter()
    }

    fn __repr__(&self) -> String {
        let names: Vec<String> = self.zones.iter().map(|zone| format!("{}:{}", zone.key().0, zone.key().1)).collect();
        format!("<ZoneTable {}>", names.join(" "))
    }
}

/// The `MigrateType` member of a migratetype.
pub fn migratetype_member<'py>(py: Python<'py>, mt: MigrateType) -> PyResult<Bound<'py, PyAny>> {
    enum_member(py, &python::MIGRATE_TYPE, mt.index())
}
