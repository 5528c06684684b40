//! Build-time and boot-time options of the modelled kernel.

use crate::error::BootError;
use crate::types::{MAX_NR_ZONES, MAX_NUMNODES, MAX_ORDER, MAX_PFN, MigrateType, NR_MIGRATETYPES, ZoneKind};

/// How much memory a `kernelcore=` or `movablecore=` parameter asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreSize {
    /// Not given.
    None,
    /// A number of pages.
    Pages(u64),
    /// A percentage of all memory, 0 to 100.
    Percent(u64),
}

/// Options of the kernel that the allocator's decisions depend on.
///
/// The default is the configuration of the recorded machines: x86-64, SMP, NUMA, THP, compaction,
/// no CMA, `MAX_ORDER` 11, pageblock order 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// log2 of the page size in bytes (arch/x86, `PAGE_SHIFT`).
    pub page_shift: u32,
    /// Orders are `0..max_order` (include/linux/mmzone.h, `MAX_ORDER`).
    pub max_order: u32,
    /// log2 of the pages in a pageblock (include/linux/pageblock-flags.h).
    pub pageblock_order: u32,
    /// log2 of the bytes in a memory section (arch/x86, `SECTION_SIZE_BITS`).
    pub section_size_bits: u32,
    /// `CONFIG_SMP`: per-cpu counter differentials exist.
    pub smp: bool,
    /// `CONFIG_NUMA`.
    pub numa: bool,
    /// `CONFIG_TRANSPARENT_HUGEPAGE`: per-cpu lists for pageblock-sized blocks exist.
    pub thp: bool,
    /// `CONFIG_COMPACTION`.
    pub compaction: bool,
    /// `CONFIG_CMA`.
    pub cma: bool,
    /// `CONFIG_MEMORY_ISOLATION`.
    pub memory_isolation: bool,
    /// `CONFIG_ZONE_DMA`.
    pub zone_dma: bool,
    /// `CONFIG_ZONE_DMA32`.
    pub zone_dma32: bool,
    /// Node ids are `0..max_numnodes` (`MAX_NUMNODES`).
    pub max_numnodes: u32,
    /// Boot parameter `kernelcore=`.
    pub kernelcore: CoreSize,
    /// Boot parameter `kernelcore=mirror`.
    pub kernelcore_mirror: bool,
    /// Boot parameter `movablecore=`.
    pub movablecore: CoreSize,
    /// Boot parameter `movable_node`.
    pub movable_node: bool,
    /// One past the highest pfn that hot-added memory may have; 0 means that no memory is added
    /// later (mm/memory_hotplug.c, `max_possible_pfn`).
    pub max_possible_pfn: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            page_shift: 12,
            max_order: 11,
            pageblock_order: 9,
            section_size_bits: 27,
            smp: true,
            numa: true,
            thp: true,
            compaction: true,
            cma: false,
            memory_isolation: false,
            zone_dma: true,
            zone_dma32: true,
            max_numnodes: 8,
            kernelcore: CoreSize::None,
            kernelcore_mirror: false,
            movablecore: CoreSize::None,
            movable_node: false,
            max_possible_pfn: 0,
        }
    }
}

impl Config {
    /// Checks that the options fit the engine and each other.
    pub fn validate(&self) -> Result<(), BootError> {
        let fail = |what| Err(BootError::Config(what));
        if !(12..=16).contains(&self.page_shift) {
            return fail("page_shift must be 12 to 16");
        }
        if !(2..=MAX_ORDER as u32).contains(&self.max_order) {
            return fail("MAX_ORDER must be 2 to 11");
        }
        if !(1..self.max_order).contains(&self.pageblock_order) {
            return fail("pageblock_order must be 1 to MAX_ORDER-1");
        }
        if self.section_size_bits < self.page_shift + self.max_order - 1 || self.section_size_bits > 40 {
            return fail("section_size_bits must hold at least one block of the largest order");
        }
        if !(1..=MAX_NUMNODES).contains(&self.max_numnodes) || (!self.numa && self.max_numnodes != 1) {
            return fail("max_numnodes must be 1 to 64, and 1 without numa");
        }
        for core in [self.kernelcore, self.movablecore] {
            if matches!(core, CoreSize::Percent(p) if p > 100) {
                return fail("a kernelcore or movablecore percentage must be 0 to 100");
            }
        }
        if self.max_possible_pfn > MAX_PFN {
            return fail("max_possible_pfn must be at most 2^40");
        }
        if self.cma && !self.memory_isolation {
            return fail("cma needs memory_isolation");
        }
        Ok(())
    }

    /// Zone kinds in zone-index order.
    pub fn zone_kinds(&self) -> impl Iterator<Item = ZoneKind> {
        let (dma, dma32) = (self.zone_dma, self.zone_dma32);
        (0..MAX_NR_ZONES).filter_map(ZoneKind::from_index).filter(move |kind| match kind {
            ZoneKind::Dma => dma,
            ZoneKind::Dma32 => dma32,
            ZoneKind::Normal | ZoneKind::Movable => true,
        })
    }

    /// Number of zones per node (`MAX_NR_ZONES`).
    pub fn nr_zones(&self) -> usize {
        2 + usize::from(self.zone_dma) + usize::from(self.zone_dma32)
    }

    /// Zone index of a kind in this configuration, if it is configured.
    pub fn zone_index(&self, kind: ZoneKind) -> Option<usize> {
        self.zone_kinds().position(|k| k == kind)
    }

    /// Number of migratetypes (`MIGRATE_TYPES`): 4, plus Isolate, plus CMA.
    pub fn migrate_types(&self) -> usize {
        4 + usize::from(self.memory_isolation) + usize::from(self.cma)
    }

    /// The kernel's number of a migratetype in this configuration, if it is configured.
    pub fn migratetype_number(&self, mt: MigrateType) -> Option<usize> {
        match mt {
            MigrateType::Cma => self.cma.then_some(4),
            MigrateType::Isolate => self.memory_isolation.then_some(4 + usize::from(self.cma)),
            _ => Some(mt.index()),
        }
    }

    /// The migratetype with the kernel's number in this configuration.
    pub fn migratetype_from_number(&self, number: usize) -> Option<MigrateType> {
        (0..NR_MIGRATETYPES).filter_map(MigrateType::from_index).find(|mt| self.migratetype_number(*mt) == Some(number))
    }

    /// Pages in a pageblock.
    pub fn pageblock_nr_pages(&self) -> u64 {
        1 << self.pageblock_order
    }

    /// Pages in a block of the largest order (`MAX_ORDER_NR_PAGES`).
    pub fn max_order_nr_pages(&self) -> u64 {
        1 << (self.max_order - 1)
    }

    /// Number of per-cpu lists (`NR_PCP_LISTS`): 12, or 15 with THP.
    pub fn nr_pcp_lists(&self) -> usize {
        if self.thp { 15 } else { 12 }
    }

    /// Bytes in a page (`PAGE_SIZE`).
    pub fn page_size(&self) -> u64 {
        1 << self.page_shift
    }
}
