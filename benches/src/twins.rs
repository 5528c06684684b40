//! A machine of the engine and zones of the C variant with the same memory and the same settings.

use crate::ffi::{CZone, Config as CConfig, Flavour};
use core::sync::atomic::Ordering::Relaxed;
use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::config::Config;
use pagebuddy_core::error::BootError;
use pagebuddy_core::layout::Topology;
use pagebuddy_core::memblock::Memblock;
use pagebuddy_core::zone::Zone;

const MIB: u64 = 1 << 20;
const PAGE_SHIFT: u32 = 12;

/// First pfn of the memory: the first MiB is left out, as on real machines, so that the lowest
/// blocks are smaller than the largest order.
const START_PFN: u64 = MIB >> PAGE_SHIFT;

/// A machine of the engine with one populated zone, Normal, which holds all of its memory.
pub struct Machine {
    /// The engine.
    pub allocator: PageAllocator,
}

/// What the twins look like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Size of the memory.
    pub mib: u64,
    /// Number of cpus.
    pub nr_cpus: usize,
}

impl Machine {
    /// Boots the engine.
    pub fn boot(shape: Shape) -> Result<Machine, BootError> {
        let config = Config { zone_dma: false, zone_dma32: false, ..Config::default() };
        let mut memblock = Memblock::new();
        memblock
            .add_node(START_PFN << PAGE_SHIFT, shape.mib * MIB - (START_PFN << PAGE_SHIFT), Some(0), 0)
            .map_err(|_| BootError::MemoryMap("the memory map cannot be built"))?;
        let allocator = PageAllocator::boot_late(&config, &Topology::single_node(shape.nr_cpus), &mut memblock)?;
        Ok(Machine { allocator })
    }

    /// The populated zone.
    ///
    /// # Panics
    /// Never: boot fails without one.
    #[inline(always)]
    pub fn zone(&self) -> Zone<'_> {
        self.allocator.zone_by_number(0).expect("a booted machine has a zone")
    }

    /// The settings of a C zone that is to decide like this machine.
    pub fn c_config(&self, huge_pages: bool) -> CConfig {
        let zone = self.zone();
        let extent = zone.extent();
        CConfig {
            start_pfn: extent.start_pfn,
            end_pfn: extent.start_pfn + extent.spanned,
            watermark: core::array::from_fn(|which| zone.raw_watermark(which)),
            nr_cpus: self.allocator.nr_cpus() as u32,
            pcp_high: zone.shared.pageset_high.load(Relaxed),
            pcp_batch: zone.shared.pageset_batch.load(Relaxed),
            stat_threshold: zone.cpu_zones[0].stat_threshold.load(Relaxed) as u32,
            watermark_boost_factor: zone.machine.watermark_boost_factor.load(Relaxed) as u32,
            huge_pages: huge_pages.into(),
        }
    }

    /// A C zone that decides like this machine.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn c_zone<F: Flavour>(&self, huge_pages: bool) -> CZone<F> {
        CZone::new(self.c_config(huge_pages)).expect("memory for the C zone's page descriptors")
    }
}
