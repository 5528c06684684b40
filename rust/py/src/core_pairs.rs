//! For benchmarks: what the core does in a pair of calls, without the interpreter.

use crate::allocator::PyPageAllocator;
use crate::arguments::Count;
use pagebuddy_core::allocator::CpuChoice;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::page_alloc::AllocRequest;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use std::hint::black_box;

/// Does as often as said what ``machine.free_pages(machine.alloc_pages())`` asks the core for.
///
/// Not part of the interface; benchmarks measure the cost of calls by it.
#[pyfunction(name = "_core_pairs")]
pub fn core_pairs(machine: &Bound<'_, PyPageAllocator>, nr_pairs: Count) -> PyResult<()> {
    let PyPageAllocator { machine, hooks } = machine.get();
    for _ in 0..nr_pairs.0 {
        let cpu = black_box(CpuChoice::Current);
        let nid = machine.node_of_cpu(cpu);
        let request = black_box(AllocRequest { gfp: Gfp::GFP_KERNEL, order: 0, nid, nodemask: None });
        let pfn =
            machine.alloc_pages(cpu, request, hooks).map_err(|error| PyMemoryError::new_err(error.to_string()))?;
        machine.free_pages(cpu, black_box(pfn), 0).map_err(crate::errors::bad_page)?;
    }
    Ok(())
}
