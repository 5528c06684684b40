//! `PageAllocator`: boot, state and what it is made of. The calls that allocate and free are in
//! `allocate`, those that look inside in `look`.

use crate::arguments::Count;
use crate::config::PyConfig;
use crate::convert::{Bytes, Nid};
use crate::errors::{boot_error, image_error, violation_error};
use crate::memblock::PyMemblock;
use crate::pressure::{self, PyRegistration, Registry};
use crate::sysctl::{self, Setting};
use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::config::Config;
use pagebuddy_core::error::BootError;
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::{Geometry, Memblock};
use pagebuddy_core::plain_machine::plain_memblock;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping};
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;

/// The page allocator of one machine.
///
/// Made by ``boot`` from a memory map, by ``simple`` for a plain machine, or by ``restore`` from a
/// snapshot. Driven sequentially it decides like Linux 5.17.9, page for page.
///
/// Concurrency: all methods may be called from any number of threads; none waits for another.
/// Copying and pickling make independent machines (``fork``, ``snapshot``).
///
/// Source: mm/page_alloc.c.
///
/// Example:
///     >>> from pagebuddy import PageAllocator
///     >>> machine = PageAllocator.simple("4G", nr_cpus=2)
///     >>> pfn = machine.alloc_pages(order=2)
///     >>> machine.page(pfn).order
///     2
///     >>> machine.free_pages(pfn, order=2)
///     >>> machine
///     <PageAllocator nodes=1 cpus=2 managed=1040128 stage=late>
#[pyclass(frozen, weakref, name = "PageAllocator", module = "pagebuddy")]
pub struct PyPageAllocator {
    pub machine: Arc<PageAllocator>,
    /// Shrinkers and event callbacks.
    pub hooks: Registry,
}

/// How far a machine is started.
#[derive(Clone, Copy)]
enum Stage {
    /// Memory was handed over, nothing else has happened.
    Early,
    /// Everything.
    Late,
}

impl<'a, 'py> FromPyObject<'a, 'py> for Stage {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<&str>() {
            Ok("early") => Ok(Stage::Early),
            Ok("late") => Ok(Stage::Late),
            Ok(_) => Err(PyValueError::new_err("stage must be \"early\" or \"late\"")),
            Err(_) => Err(PyTypeError::new_err("stage must be text")),
        }
    }
}

/// What a boot needs besides the memory map.
struct BootPlan {
    config: Config,
    nr_cpus: usize,
    cpu_node: Option<Vec<u32>>,
    distance: Vec<Vec<u32>>,
    settings: Vec<Setting>,
    stage: Stage,
}

impl BootPlan {
    /// Boots a machine; on an error the memblock is as it was.
    fn boot(self, memblock: &mut Memblock) -> Result<PageAllocator, BootFailure> {
        let BootPlan { config, nr_cpus, cpu_node, distance, .. } = self;
        let topology = Topology::of_machine(&config, memblock.memory(), nr_cpus, cpu_node, distance)?;
        let mut copy = memblock.clone();
        let machine = match self.stage {
            Stage::Early => PageAllocator::boot_early(&config, &topology, &mut copy)?,
            Stage::Late => PageAllocator::boot_late(&config, &topology, &mut copy)?,
        };
        for setting in self.settings {
            setting.write(&machine).map_err(BootFailure::Setting)?;
        }
        *memblock = copy;
        Ok(machine)
    }
}

/// Why a machine was not booted.
enum BootFailure {
    Boot(BootError),
    Setting(pagebuddy_core::tunables::InvalidValue),
}

impl From<BootError> for BootFailure {
    fn from(error: BootError) -> Self {
        BootFailure::Boot(error)
    }
}

impl From<BootFailure> for PyErr {
    fn from(failure: BootFailure) -> PyErr {
        match failure {
            BootFailure::Boot(error) => boot_error(error),
            BootFailure::Setting(invalid) => PyValueError::new_err(invalid.to_string()),
        }
    }
}

impl PyPageAllocator {
    fn new(machine: PageAllocator) -> Self {
        PyPageAllocator { machine: Arc::new(machine), hooks: Registry::default() }
    }

    /// The machine tells of fallbacks only while somebody listens.
    pub fn update_fallback_listeners(&self) {
        self.machine.tell_fallbacks(self.hooks.listens_to_fallbacks());
    }

    /// The cpu of an optional argument.
    #[inline]
    pub fn cpu(&self, cpu: Option<Count>) -> PyResult<CpuChoice> {
        match cpu {
            None => Ok(CpuChoice::Current),
            Some(cpu) => self.online_cpu(cpu).ok_or_else(|| self.no_such_cpu()),
        }
    }

    /// A cpu by its number, if it is online.
    #[inline]
    pub fn online_cpu(&self, cpu: Count) -> Option<CpuChoice> {
        let cpu = usize::try_from(cpu.0).ok().filter(|cpu| self.machine.is_cpu_online(*cpu))?;
        Some(CpuChoice::Fixed(cpu))
    }

    #[cold]
    fn no_such_cpu(&self) -> PyErr {
        let last = self.machine.nr_online_cpus() - 1;
        let early = if self.machine.is_late() { "" } else { "; the others come online in the late stage" };
        PyValueError::new_err(format!("online cpus are 0 to {last}{early}"))
    }
}

#[pymethods]
impl PyPageAllocator {
    /// Boot a machine from its memory map.
    ///
    /// Does what the kernel does from ``memblock_free_all`` to the end of its start-up. Afterwards
    /// the memblock is sealed; after an error it is as it was.
    ///
    /// Args:
    ///     memblock: The memory that exists and what of it is reserved.
    ///     nr_cpus: Number of cpus, 1 to 4096; by default one per entry of ``cpu_node``, else 1.
    ///     cpu_node: The node of every cpu; by default cpus go round the nodes.
    ///     node_distance: Distances between the online nodes, in ascending order of node id, 10 on
    ///         the diagonal; by default 20 between any two nodes.
    ///     config: The kernel's options.
    ///     sysctl: Values for files of /proc/sys/vm by name, written in order after the start-up.
    ///     stage: ``"late"`` for a machine that has started up; ``"early"`` stops right after the
    ///         hand-over of memory: one cpu is online, watermarks are 0, per-cpu lists keep nothing.
    ///
    /// Returns:
    ///     PageAllocator: The machine.
    ///
    /// Raises:
    ///     ConfigError: Options, memory map or topology do not fit.
    ///     MemblockDiscardedError: The memblock was handed over before.
    ///     MemoryError: The page descriptors do not fit into the address space.
    ///     ValueError: A setting that the kernel refuses.
    ///
    /// Concurrency: Other threads go on meanwhile.
    ///
    /// Source: mm/memblock.c, ``memblock_free_all``; mm/page_alloc.c, ``free_area_init``,
    /// ``page_alloc_init_late``, ``init_per_zone_wmark_min``.
    ///
    /// Example:
    ///     >>> from pagebuddy import Memblock, PageAllocator
    ///     >>> memblock = Memblock()
    ///     >>> memblock.add("1M", "255M")
    ///     >>> memblock.reserve("16M", "8M")
    ///     >>> print(PageAllocator.boot(memblock).buddyinfo(), end="")
    ///     Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3
    ///     Node 0, zone    DMA32      0      0      0      0      0      0      0      0      0      0     58
    #[staticmethod]
    #[pyo3(
        signature = (
            memblock, *, nr_cpus=None, cpu_node=None, node_distance=None, config=None, sysctl=None, stage=Stage::Late
        ),
        text_signature = "(memblock, *, nr_cpus=None, cpu_node=None, node_distance=None, config=None, sysctl=None, \
            stage='late')"
    )]
    #[expect(clippy::too_many_arguments, reason = "one per part of the machine")]
    fn boot(
        py: Python<'_>,
        memblock: &Bound<'_, PyMemblock>,
        nr_cpus: Option<Count>,
        cpu_node: Option<Vec<Nid>>,
        node_distance: Option<Vec<Vec<Count>>>,
        config: Option<&Bound<'_, PyConfig>>,
        sysctl: Option<&Bound<'_, PyMapping>>,
        stage: Stage,
    ) -> PyResult<Self> {
        let cpu_node: Option<Vec<u32>> = cpu_node.map(|nodes| nodes.into_iter().map(|nid| nid.0).collect());
        let nr_cpus = nr_cpus.map_or_else(|| cpu_node.as_ref().map_or(1, |nodes| nodes.len() as u64), |nr| nr.0);
        // A distance that is too large is refused by the topology, whatever its value.
        let to_distance = |row: Vec<Count>| row.into_iter().map(|d| u32::try_from(d.0).unwrap_or(u32::MAX)).collect();
        let plan = BootPlan {
            config: config.map_or_else(Config::default, |config| config.get().config),
            nr_cpus: usize::try_from(nr_cpus).unwrap_or(usize::MAX),
            cpu_node,
            distance: node_distance.unwrap_or_default().into_iter().map(to_distance).collect(),
            settings: sysctl::settings(sysctl, matches!(stage, Stage::Late))?,
            stage,
        };
        let memblock = memblock.get();
        if memblock.lock().is_discarded() {
            return Err(crate::errors::memblock_error(pagebuddy_core::memblock::MemblockError::Discarded));
        }
        let machine = py.detach(|| plan.boot(&mut memblock.lock()))?;
        Ok(Self::new(machine))
    }

    /// Boot a plain x86-64 machine.
    ///
    /// Memory is [4 KiB, 636 KiB) and [1 MiB, 3 GiB), the rest begins at 4 GiB; the first MiB and
    /// a kernel image at 16 MiB are reserved.
    ///
    /// Args:
    ///     size: Bytes of memory, from 32 MiB per node to 64 TiB.
    ///     nr_cpus: Number of cpus; they go round the nodes.
    ///     nodes: Number of nodes, over which memory is spread evenly.
    ///     config: The kernel's options.
    ///     stage: See ``boot``.
    ///
    /// Returns:
    ///     PageAllocator: The machine.
    ///
    /// Raises:
    ///     ConfigError: No such machine is possible.
    ///     MemoryError: The page descriptors do not fit into the address space.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> PageAllocator.simple("8G", nr_cpus=4, nodes=2).nodes[1].cpus
    ///     [1, 3]
    #[staticmethod]
    #[pyo3(
        signature = (size=Bytes(4 << 30), *, nr_cpus=Count(1), nodes=Count(1), config=None, stage=Stage::Late),
        text_signature = "(size='4G', *, nr_cpus=1, nodes=1, config=None, stage='late')"
    )]
    fn simple(
        py: Python<'_>,
        size: Bytes,
        nr_cpus: Count,
        nodes: Count,
        config: Option<&Bound<'_, PyConfig>>,
        stage: Stage,
    ) -> PyResult<Self> {
        let config = config.map_or_else(Config::default, |config| config.get().config);
        let plan = BootPlan {
            config,
            nr_cpus: usize::try_from(nr_cpus.0).unwrap_or(usize::MAX),
            cpu_node: None,
            distance: Vec::new(),
            settings: Vec::new(),
            stage,
        };
        let geometry = Geometry { page_shift: config.page_shift, max_order: config.max_order, ..Geometry::default() };
        // More nodes than a number holds are more than memory suffices for.
        let nodes = u32::try_from(nodes.0).unwrap_or(u32::MAX);
        let machine = py.detach(|| {
            let mut memblock = plain_memblock(size.0, nodes, geometry)?;
            plan.boot(&mut memblock)
        })?;
        Ok(Self::new(machine))
    }

    /// The kernel's options.
    #[getter]
    fn config(&self) -> PyConfig {
        PyConfig { config: *self.machine.config() }
    }

    /// Number of cpus.
    #[getter]
    fn nr_cpus(&self) -> usize {
        self.machine.nr_cpus()
    }

    /// Number of online cpus; they are ``range(nr_online_cpus)``.
    #[getter]
    fn nr_online_cpus(&self) -> u32 {
        self.machine.nr_online_cpus()
    }

    /// How far the machine has started: ``"early"`` or ``"late"``.
    #[getter]
    fn stage(&self) -> &'static str {
        if self.machine.is_late() { "late" } else { "early" }
    }

    /// Values of the files in /proc/sys/vm by name; ``lowmem_reserve_ratio`` is a tuple.
    #[getter]
    fn sysctl<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        sysctl::values(py, &self.machine)
    }

    /// Write to a file in /proc/sys/vm; watermarks and per-cpu lists follow as in the kernel.
    ///
    /// Args:
    ///     name: ``"min_free_kbytes"``, ``"watermark_scale_factor"``, ``"watermark_boost_factor"``,
    ///         ``"lowmem_reserve_ratio"`` or ``"percpu_pagelist_high_fraction"``.
    ///     value: An integer, or one integer per zone index for ``lowmem_reserve_ratio``.
    ///
    /// Raises:
    ///     ValueError: No such file, or a value that the kernel refuses; nothing changed.
    ///
    /// Source: mm/page_alloc.c, ``min_free_kbytes_sysctl_handler`` and others.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("1G")
    ///     >>> machine.write_sysctl("min_free_kbytes", 8192)
    ///     >>> machine.zones[0, "DMA32"].watermarks
    ///     Watermarks(min=2017, low=2521, high=3025)
    fn write_sysctl(&self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let setting = Setting::new(name, value)?;
        setting.write(&self.machine).map_err(|invalid| PyValueError::new_err(invalid.to_string()))
    }

    /// Recount every invariant.
    ///
    /// Raises:
    ///     CorruptionError: The first invariant that does not hold, with ``.pfn`` and ``.zone``.
    ///
    /// Concurrency: Meaningful only while nobody allocates or frees; other threads go on.
    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.machine.validate()).map_err(|violation| {
            let number = self.machine.zone_number(violation.nid, violation.zone);
            let zone = number.and_then(|number| self.machine.zone_view(number));
            violation_error(py, &violation, zone.map_or("?", |zone| zone.kind().name()))
        })
    }

    /// The whole machine as bytes: sparse, versioned and with a checksum.
    ///
    /// Returns:
    ///     bytes: For ``restore``.
    ///
    /// Concurrency: Exact if nobody allocates or frees meanwhile; other threads go on.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> twin = PageAllocator.restore(machine.snapshot())
    ///     >>> twin.alloc_pages() == machine.alloc_pages()
    ///     True
    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| self.machine.snapshot());
        PyBytes::new(py, &bytes)
    }

    /// The machine of a snapshot.
    ///
    /// Args:
    ///     state: What ``snapshot`` returned, as any bytes-like object.
    ///
    /// Raises:
    ///     SnapshotError: The bytes are damaged, of another version or no snapshot.
    ///     MemoryError: The page descriptors do not fit into the address space.
    #[staticmethod]
    fn restore(py: Python<'_>, state: &Bound<'_, PyAny>) -> PyResult<Self> {
        let wrong_type = |_| PyTypeError::new_err("a snapshot is a bytes-like object");
        let bytes = PyBuffer::<u8>::get(state).map_err(wrong_type)?.to_vec(py)?;
        py.detach(|| PageAllocator::restore(&bytes)).map(Self::new).map_err(image_error)
    }

    /// An independent copy of the machine, to try things on.
    ///
    /// Concurrency: Exact if nobody allocates or frees meanwhile; other threads go on.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> before = machine.snapshot()
    ///     >>> pfns = machine.fork().alloc_pages_bulk(1000)
    ///     >>> machine.snapshot() == before
    ///     True
    fn fork(&self, py: Python<'_>) -> PyResult<Self> {
        py.detach(|| self.machine.fork()).map(Self::new).map_err(boot_error)
    }

    /// Register a shrinker: something that can free pages when memory runs short.
    ///
    /// It is called where the kernel would reclaim: in the background when a request has failed at
    /// the low watermark, until the high watermark is reached, and directly before a request that
    /// may reclaim is tried again. It is called in the thread of the request and may allocate (it
    /// is served from the reserves and never reclaims itself), free, register and unregister.
    ///
    /// Args:
    ///     scan: Called with a ``ShrinkControl``; frees pages with the freeing functions and
    ///         returns how many. A claim counts only as far as there is more free memory than before.
    ///         An exception is reported through ``sys.unraisablehook`` and counts as 0.
    ///     count: Called with a node id; returns how many pages ``scan`` could free there. Without
    ///         it the slow path assumes none and gives up earlier.
    ///
    /// Returns:
    ///     Registration: ``unregister()`` it, or use it in a ``with`` statement.
    ///
    /// Raises:
    ///     TypeError: Not callable.
    ///
    /// Concurrency: Threads whose requests run short call it at the same time. Copies of the
    /// machine (``fork``, ``restore``) have no callbacks.
    ///
    /// Source: mm/vmscan.c, ``register_shrinker``, ``balance_pgdat``, ``try_to_free_pages``.
    ///
    /// Example:
    ///     >>> from pagebuddy import PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> cache = []
    ///     >>> def scan(control):
    ///     ...     freed = [cache.pop(0) for _ in range(min(control.nr_to_scan, len(cache)))]
    ///     ...     machine.free_pages_bulk(freed)
    ///     ...     return len(freed)
    ///     >>> with machine.register_shrinker(scan):
    ///     ...     for _ in range(50_000):
    ///     ...         cache.append(machine.alloc_pages())
    ///     >>> len(cache) < 16384
    ///     True
    #[pyo3(signature = (scan, *, count=None), text_signature = "($self, scan, *, count=None)")]
    fn register_shrinker(
        slf: &Bound<'_, Self>,
        scan: &Bound<'_, PyAny>,
        count: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyRegistration> {
        pressure::register_shrinker(slf, scan, count)
    }

    /// Be told when memory runs short and when blocks change their migratetype.
    ///
    /// Args:
    ///     callback: Called with a ``PressureEvent``. Its answer matters for two kinds: something
    ///         true says that ``"direct_compact"`` made a block, or that ``"out_of_memory"`` freed
    ///         memory; the request is then tried again. Exceptions are reported through
    ///         ``sys.unraisablehook``.
    ///     kinds: Kinds to be told of; by default all: ``"wake_kswapd"``, ``"boosted"``,
    ///         ``"fallback"``, ``"direct_reclaim"``, ``"direct_compact"``, ``"out_of_memory"``.
    ///
    /// Returns:
    ///     Registration: ``unregister()`` it, or use it in a ``with`` statement.
    ///
    /// Raises:
    ///     TypeError: Not callable.
    ///     ValueError: No such kind.
    ///
    /// Concurrency: Called in the thread of the request, possibly by several threads at once.
    ///
    /// Example:
    ///     >>> from pagebuddy import GFP_HIGHUSER_MOVABLE, PageAllocator
    ///     >>> machine = PageAllocator.simple("64M")
    ///     >>> with machine.on_event(print, kinds=["fallback"]):
    ///     ...     _ = machine.alloc_pages()
    ///     <PressureEvent fallback nid=0 zone=1 order=0 fallback_order=10 pfn=0x1400>
    #[pyo3(signature = (callback, *, kinds=None), text_signature = "($self, callback, *, kinds=None)")]
    fn on_event(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        kinds: Option<Vec<String>>,
    ) -> PyResult<PyRegistration> {
        pressure::on_event(slf, callback, kinds)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hooks.traverse(&visit)
    }

    fn __clear__(&self) {
        self.hooks.clear();
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        self.fork(py)
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.fork(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((slf.get_type().getattr("restore")?, (slf.get().snapshot(slf.py()),)))
    }

    fn __repr__(&self) -> String {
        let managed: u64 = self.machine.zone_views().map(|zone| zone.managed()).sum();
        let nodes = self.machine.node_ids().len();
        format!("<PageAllocator nodes={nodes} cpus={} managed={managed} stage={}>", self.nr_cpus(), self.stage())
    }
}
