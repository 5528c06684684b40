//! `Config`: the options of the modelled kernel.

use crate::arguments::{Count, Small};
use crate::convert::Bytes;
use crate::errors::boot_error;
use pagebuddy_core::config::{Config, CoreSize};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString, PyTuple, PyType};

/// Options that the allocator's decisions depend on. Immutable.
///
/// The default is the kernel of the recordings: Linux 5.17.9 for x86-64 with SMP, NUMA,
/// transparent huge pages and compaction, without CMA and memory isolation.
///
/// Args:
///     page_shift: log2 of the page size in bytes, 12 to 16.
///     MAX_ORDER: Orders are below this, 2 to 11.
///     pageblock_order: log2 of the pages in a pageblock, 1 to ``MAX_ORDER - 1``.
///     section_size_bits: log2 of the bytes in a memory section.
///     smp: Per-cpu counter differentials exist (``CONFIG_SMP``).
///     numa: Several nodes are possible (``CONFIG_NUMA``).
///     thp: Transparent huge pages: per-cpu lists for blocks of pageblock order exist.
///     compaction: Direct compaction exists (``CONFIG_COMPACTION``).
///     cma: The contiguous memory allocator exists (``CONFIG_CMA``).
///     memory_isolation: Pageblocks can be isolated; on if ``cma`` is.
///     zone_dma: Zone DMA exists.
///     zone_dma32: Zone DMA32 exists.
///     max_numnodes: Node ids are below this, at most 64; 1 without ``numa``.
///     kernelcore: Boot parameter: bytes (an integer or text such as ``"512M"``), ``"30%"`` or
///         ``"mirror"``.
///     movablecore: Boot parameter: bytes or a percentage.
///     movable_node: Boot parameter: hotpluggable memory is movable.
///     max_possible_pfn: One past the highest pfn that can be added later; 0 for none.
///
/// Raises:
///     ConfigError: An option is out of range or contradicts another.
///
/// Source: mm/Kconfig, include/linux/mmzone.h; Documentation/admin-guide/kernel-parameters.txt.
///
/// Example:
///     >>> from pagebuddy import Config
///     >>> Config(MAX_ORDER=10, kernelcore="30%")
///     Config(MAX_ORDER=10, kernelcore='30%')
///     >>> Config().pageblock_order
///     9
#[pyclass(frozen, eq, skip_from_py_object, name = "Config", module = "pagebuddy")]
#[derive(Clone, Copy, PartialEq)]
pub struct PyConfig {
    pub config: Config,
}

/// A `kernelcore=` or `movablecore=` parameter.
struct CoreArg {
    size: CoreBytes,
    mirror: bool,
}

enum CoreBytes {
    None,
    Bytes(u64),
    Percent(u64),
}

impl<'a, 'py> FromPyObject<'a, 'py> for CoreArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let of_size = |size| CoreArg { size, mirror: false };
        if object.is_none() {
            return Ok(of_size(CoreBytes::None));
        }
        if let Ok(text) = object.cast::<PyString>() {
            let text = text.to_cow()?;
            if text.trim() == "mirror" {
                return Ok(CoreArg { size: CoreBytes::None, mirror: true });
            }
            if let Some(percent) = text.trim().strip_suffix('%') {
                let is_digits = percent.bytes().all(|digit| digit.is_ascii_digit());
                let percent = percent.parse().ok().filter(|percent| is_digits && *percent <= 100);
                let percent = percent.ok_or_else(|| PyValueError::new_err("a percentage is 0% to 100%"))?;
                return Ok(of_size(CoreBytes::Percent(percent)));
            }
        }
        if object.is_instance_of::<pyo3::types::PyBool>() {
            return Err(PyTypeError::new_err("a size must be an integer or text, not bool"));
        }
        object.extract::<Bytes>().map(|bytes| of_size(CoreBytes::Bytes(bytes.0)))
    }
}

impl CoreArg {
    /// Bytes are rounded down to pages, as the kernel does.
    fn in_pages(&self, page_shift: u32) -> CoreSize {
        match self.size {
            CoreBytes::None => CoreSize::None,
            CoreBytes::Bytes(bytes) => CoreSize::Pages(bytes.checked_shr(page_shift).unwrap_or(0)),
            CoreBytes::Percent(percent) => CoreSize::Percent(percent),
        }
    }
}

#[pymethods]
impl PyConfig {
    #[new]
    #[pyo3(
        signature = (
            *, page_shift=Small(12), MAX_ORDER=Small(11), pageblock_order=Small(9), section_size_bits=Small(27),
            smp=true, numa=true, thp=true, compaction=true, cma=false, memory_isolation=None, zone_dma=true,
            zone_dma32=true, max_numnodes=None, kernelcore=None, movablecore=None, movable_node=false,
            max_possible_pfn=Count(0),
        ),
        text_signature = "(*, page_shift=12, MAX_ORDER=11, pageblock_order=9, section_size_bits=27, smp=True, numa=True, \
            thp=True, compaction=True, cma=False, memory_isolation=None, zone_dma=True, zone_dma32=True, \
            max_numnodes=None, kernelcore=None, movablecore=None, movable_node=False, max_possible_pfn=0)"
    )]
    #[expect(non_snake_case, reason = "MAX_ORDER is the kernel's name")]
    #[expect(clippy::too_many_arguments, reason = "one per option")]
    fn new(
        page_shift: Small,
        MAX_ORDER: Small,
        pageblock_order: Small,
        section_size_bits: Small,
        smp: bool,
        numa: bool,
        thp: bool,
        compaction: bool,
        cma: bool,
        memory_isolation: Option<bool>,
        zone_dma: bool,
        zone_dma32: bool,
        max_numnodes: Option<Small>,
        kernelcore: Option<CoreArg>,
        movablecore: Option<CoreArg>,
        movable_node: bool,
        max_possible_pfn: Count,
    ) -> PyResult<Self> {
        let page_shift = page_shift.0;
        let pages = |core: &Option<CoreArg>| core.as_ref().map_or(CoreSize::None, |core| core.in_pages(page_shift));
        if movablecore.as_ref().is_some_and(|core| core.mirror) {
            return Err(PyValueError::new_err("only kernelcore can be \"mirror\""));
        }
        let config = Config {
            page_shift,
            max_order: MAX_ORDER.0,
            pageblock_order: pageblock_order.0,
            section_size_bits: section_size_bits.0,
            smp,
            numa,
            thp,
            compaction,
            cma,
            memory_isolation: memory_isolation.unwrap_or(cma),
            zone_dma,
            zone_dma32,
            max_numnodes: max_numnodes.map_or(if numa { Config::default().max_numnodes } else { 1 }, |nr| nr.0),
            kernelcore: pages(&kernelcore),
            kernelcore_mirror: kernelcore.is_some_and(|core| core.mirror),
            movablecore: pages(&movablecore),
            movable_node,
            max_possible_pfn: max_possible_pfn.0,
        };
        config.validate().map_err(boot_error)?;
        Ok(PyConfig { config })
    }

    /// log2 of the page size in bytes.
    #[getter]
    fn page_shift(&self) -> u32 {
        self.config.page_shift
    }

    /// Bytes in a page.
    #[getter]
    fn page_size(&self) -> u64 {
        self.config.page_size()
    }

    /// Orders are below this.
    #[getter(MAX_ORDER)]
    fn max_order(&self) -> u32 {
        self.config.max_order
    }

    /// log2 of the pages in a pageblock.
    #[getter]
    fn pageblock_order(&self) -> u32 {
        self.config.pageblock_order
    }

    /// log2 of the bytes in a memory section.
    #[getter]
    fn section_size_bits(&self) -> u32 {
        self.config.section_size_bits
    }

    /// Whether per-cpu counter differentials exist.
    #[getter]
    fn smp(&self) -> bool {
        self.config.smp
    }

    /// Whether several nodes are possible.
    #[getter]
    fn numa(&self) -> bool {
        self.config.numa
    }

    /// Whether per-cpu lists for blocks of pageblock order exist.
    #[getter]
    fn thp(&self) -> bool {
        self.config.thp
    }

    /// Whether direct compaction exists.
    #[getter]
    fn compaction(&self) -> bool {
        self.config.compaction
    }

    /// Whether the contiguous memory allocator exists.
    #[getter]
    fn cma(&self) -> bool {
        self.config.cma
    }

    /// Whether pageblocks can be isolated.
    #[getter]
    fn memory_isolation(&self) -> bool {
        self.config.memory_isolation
    }

    /// Whether zone DMA exists.
    #[getter]
    fn zone_dma(&self) -> bool {
        self.config.zone_dma
    }

    /// Whether zone DMA32 exists.
    #[getter]
    fn zone_dma32(&self) -> bool {
        self.config.zone_dma32
    }

    /// Node ids are below this.
    #[getter]
    fn max_numnodes(&self) -> u32 {
        self.config.max_numnodes
    }

    /// Memory that cannot be in zone Movable: bytes, a percentage, ``"mirror"`` or ``None``.
    #[getter]
    fn kernelcore<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        if self.config.kernelcore_mirror {
            return Some(PyString::new(py, "mirror").into_any());
        }
        self.core_size(py, self.config.kernelcore)
    }

    /// Memory for zone Movable: bytes, a percentage or ``None``.
    #[getter]
    fn movablecore<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.core_size(py, self.config.movablecore)
    }

    /// Whether hotpluggable memory is movable.
    #[getter]
    fn movable_node(&self) -> bool {
        self.config.movable_node
    }

    /// One past the highest pfn that can be added later; 0 for none.
    #[getter]
    fn max_possible_pfn(&self) -> u64 {
        self.config.max_possible_pfn
    }

    /// Names of the zones in the order of zone indices.
    #[getter]
    fn zone_names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let names: Vec<&str> = self.config.zone_kinds().map(|kind| kind.name()).collect();
        PyTuple::new(py, names)
    }

    /// The same options with some of them changed.
    ///
    /// Example:
    ///     >>> from pagebuddy import Config
    ///     >>> Config(cma=True).replace(cma=False).memory_isolation
    ///     True
    #[pyo3(signature = (**changes))]
    fn replace<'py>(slf: &Bound<'py, Self>, changes: Option<&Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        let options = PyDict::new(slf.py());
        for name in OPTIONS {
            options.set_item(name, slf.getattr(name)?)?;
        }
        if let Some(changes) = changes {
            options.update(changes.as_mapping())?;
        }
        slf.get_type().call((), Some(&options))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let defaults = Bound::new(slf.py(), PyConfig { config: Config::default() })?;
        let mut parts = Vec::new();
        for name in OPTIONS {
            let value = slf.getattr(name)?;
            if !value.eq(defaults.getattr(name)?)? {
                parts.push(format!("{name}={}", value.repr()?));
            }
        }
        Ok(format!("Config({})", parts.join(", ")))
    }

    fn __hash__(slf: &Bound<'_, Self>) -> PyResult<isize> {
        PyString::new(slf.py(), &Self::__repr__(slf)?).hash()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyTuple>,))> {
        let values = OPTIONS.iter().map(|name| slf.getattr(*name)).collect::<PyResult<Vec<_>>>()?;
        Ok((slf.get_type().getattr("_from_options")?, (PyTuple::new(slf.py(), values)?,)))
    }

    /// The counterpart of pickling: the options in their order.
    #[classmethod]
    fn _from_options<'py>(cls: &Bound<'py, PyType>, values: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let options = PyDict::new(cls.py());
        for (name, value) in OPTIONS.iter().zip(values.iter()) {
            options.set_item(name, value)?;
        }
        cls.call((), Some(&options))
    }
}

impl PyConfig {
    fn core_size<'py>(&self, py: Python<'py>, size: CoreSize) -> Option<Bound<'py, PyAny>> {
        match size {
            CoreSize::None => None,
            CoreSize::Pages(pages) => Some(PyInt::new(py, pages << self.config.page_shift).into_any()),
            CoreSize::Percent(percent) => Some(PyString::new(py, &format!("{percent}%")).into_any()),
        }
    }
}

/// Names of the options.
const OPTIONS: [&str; 17] = [
    "page_shift",
    "MAX_ORDER",
    "pageblock_order",
    "section_size_bits",
    "smp",
    "numa",
    "thp",
    "compaction",
    "cma",
    "memory_isolation",
    "zone_dma",
    "zone_dma32",
    "max_numnodes",
    "kernelcore",
    "movablecore",
    "movable_node",
    "max_possible_pfn",
];
