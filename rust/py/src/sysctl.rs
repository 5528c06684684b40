//! Values for the files in /proc/sys/vm.

use crate::allocator::PyPageAllocator;
use crate::arguments::Signed;
use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::tunables::{InvalidValue, Sysctl};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple};

/// A value on its way into a file.
pub struct Setting {
    file: Sysctl,
    values: Vec<i64>,
}

impl Setting {
    /// A value for the file with this name: an integer or a sequence of integers.
    pub fn new(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let file = Sysctl::ALL.into_iter().find(|file| file.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Sysctl::ALL.into_iter().map(Sysctl::name).collect();
            PyValueError::new_err(format!("no such file in /proc/sys/vm; there are {}", names.join(", ")))
        })?;
        let values = match value.try_iter() {
            Ok(items) if !value.is_instance_of::<PyString>() => {
                items.map(|item| item?.extract::<Signed>().map(|value| value.0)).collect::<PyResult<_>>()?
            }
            _ => vec![value.extract::<Signed>()?.0],
        };
        Ok(Setting { file, values })
    }

    /// Writes the value.
    pub fn write(&self, machine: &PageAllocator) -> Result<(), InvalidValue> {
        machine.write_sysctl(self.file, &self.values)
    }
}

/// The settings of a mapping, in its order.
pub fn settings(sysctl: Option<&Bound<'_, PyMapping>>, is_late: bool) -> PyResult<Vec<Setting>> {
    let Some(sysctl) = sysctl else { return Ok(Vec::new()) };
    if !is_late && !sysctl.is_empty()? {
        return Err(PyValueError::new_err("an early machine has no /proc/sys: sysctl needs stage=\"late\""));
    }
    let to_setting = |item: Bound<'_, PyAny>| {
        let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
        Setting::new(&name, &value)
    };
    sysctl.items()?.iter().map(to_setting).collect()
}

/// Name and value of every file.
pub fn values<'py>(py: Python<'py>, machine: &PageAllocator) -> PyResult<Bound<'py, PyDict>> {
    let values = PyDict::new(py);
    for file in Sysctl::ALL {
        let numbers = machine.read_sysctl(file);
        match numbers.as_slice() {
            [number] if file != Sysctl::LowmemReserveRatio => values.set_item(file.name(), number)?,
            numbers => values.set_item(file.name(), PyTuple::new(py, numbers)?)?,
        }
    }
    Ok(values)
}

/// Writes a value to a file; what the kernel refuses is a `ValueError`.
fn assign(machine: &PageAllocator, file: Sysctl, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let setting = Setting::new(file.name(), value)?;
    setting.write(machine).map_err(|invalid| PyValueError::new_err(invalid.to_string()))
}

/// The one value of a file.
fn single(machine: &PageAllocator, file: Sysctl) -> i64 {
    machine.read_sysctl(file).first().copied().unwrap_or_default()
}

#[pymethods]
impl PyPageAllocator {
    /// Kilobytes that reclaim keeps free; setting it recomputes watermarks and per-cpu lists.
    #[getter]
    fn min_free_kbytes(&self) -> i64 {
        single(&self.machine, Sysctl::MinFreeKbytes)
    }

    #[setter]
    fn set_min_free_kbytes(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(&self.machine, Sysctl::MinFreeKbytes, value)
    }

    /// Distance between the watermarks in ten-thousandths of a zone, 1 to 3000.
    #[getter]
    fn watermark_scale_factor(&self) -> i64 {
        single(&self.machine, Sysctl::WatermarkScaleFactor)
    }

    #[setter]
    fn set_watermark_scale_factor(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(&self.machine, Sysctl::WatermarkScaleFactor, value)
    }

    /// Limit of a watermark boost in ten-thousandths of the high watermark; 0 for none.
    #[getter]
    fn watermark_boost_factor(&self) -> i64 {
        single(&self.machine, Sysctl::WatermarkBoostFactor)
    }

    #[setter]
    fn set_watermark_boost_factor(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(&self.machine, Sysctl::WatermarkBoostFactor, value)
    }

    /// One value per zone index; what lower zones keep from requests that could use higher ones.
    #[getter]
    fn lowmem_reserve_ratio<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.machine.read_sysctl(Sysctl::LowmemReserveRatio))
    }

    #[setter]
    fn set_lowmem_reserve_ratio(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(&self.machine, Sysctl::LowmemReserveRatio, value)
    }

    /// Share of a zone that its per-cpu lists may hold, 0 or from 8 on.
    #[getter]
    fn percpu_pagelist_high_fraction(&self) -> i64 {
        single(&self.machine, Sysctl::PercpuPagelistHighFraction)
    }

    #[setter]
    fn set_percpu_pagelist_high_fraction(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(&self.machine, Sysctl::PercpuPagelistHighFraction, value)
    }
}
