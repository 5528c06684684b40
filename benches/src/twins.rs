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

/// A machine of the engine. Every node has one populated zone, Normal, which holds all of its
/// memory.
pub struct Machine {
    /// The engine.
    pub allocator: PageAllocator,
}

/// What the twins look like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Size of the memory.
    pub mib: u64,
    /// Number of cpus; they go round the nodes.
    pub nr_cpus: usize,
    /// Number of nodes, over which memory is spread evenly.
    pub nr_nodes: u32,
}

impl Machine {
    /// Boots the engine.
    pub fn boot(shape: Shape) -> Result<Machine, BootError> {
        let config = Config { zone_dma: false, zone_dma32: false, ..Config::default() };
        let mut memblock = Memblock::new();
        let share = shape.mib / u64::from(shape.nr_nodes) * MIB;
        for nid in 0..shape.nr_nodes {
            let start = (u64::from(nid) * share).max(START_PFN << PAGE_SHIFT);
            let size = u64::from(nid + 1) * share - start;
            let added = memblock.add_node(start, size, Some(nid), 0);
            added.map_err(|_| BootError::MemoryMap("the memory map cannot be built"))?;
        }
        let topology = Topology::of_machine(&config, memblock.memory(), shape.nr_cpus, None, Vec::new())?;
        let allocator = PageAllocator::boot_late(&config, &topology, &mut memblock)?;
        Ok(Machine { allocator })
    }

    /// The populated zones, node by node.
    pub fn zones(&self) -> impl Iterator<Item = Zone<'_>> {
        self.allocator.populated_zone_numbers().into_iter().filter_map(|number| self.allocator.zone_by_number(number))
    }

    /// The populated zone of the first node.
    ///
    /// # Panics
    /// Never: boot fails without one.
    #[inline(always)]
    pub fn zone(&self) -> Zone<'_> {
        self.allocator.zone_by_number(0).expect("a booted machine has a zone")
    }

    /// The settings of a C zone that is to decide like this one.
    fn c_config(&self, zone: Zone<'_>, huge_pages: bool) -> CConfig {
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

    /// C zones that decide like those of this machine.
    ///
    /// # Panics
    /// If there is no memory for them.
    pub fn c_zones<F: Flavour>(&self, huge_pages: bool) -> Vec<CZone<F>> {
        let c_zone = |zone| CZone::new(self.c_config(zone, huge_pages)).expect("memory for C's page descriptors");
        self.zones().map(c_zone).collect()
    }

    /// A C zone that decides like that of the first node.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn c_zone<F: Flavour>(&self, huge_pages: bool) -> CZone<F> {
        CZone::new(self.c_config(self.zone(), huge_pages)).expect("memory for the C zone's page descriptors")
    }
}
