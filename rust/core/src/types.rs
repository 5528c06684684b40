//! Small vocabulary types, named as the kernel names them.

/// Page frame number.
pub type Pfn = u64;

/// Page frame numbers of memory must be below this (4 PiB of 4 KiB pages).
pub const MAX_PFN: Pfn = 1 << 40;

/// Number of orders the engine is built for: orders are `0..MAX_ORDER`.
///
/// include/linux/mmzone.h, `MAX_ORDER`. A [`crate::config::Config`] may use fewer.
pub const MAX_ORDER: usize = 11;

/// Migratetypes the engine keeps lists for, CMA and Isolate included.
pub const NR_MIGRATETYPES: usize = 6;

/// Migratetypes that have per-cpu lists (Unmovable, Movable, Reclaimable).
pub const MIGRATE_PCPTYPES: usize = 3;

/// Upper bound of zones per node in any configuration: DMA, DMA32, Normal, Movable.
pub const MAX_NR_ZONES: usize = 4;

/// Node ids the engine is built for are below this (include/linux/numa.h, `MAX_NUMNODES`).
pub const MAX_NUMNODES: u32 = 64;

/// Cpus the engine is built for (include/linux/threads.h, `NR_CPUS`).
pub const MAX_NR_CPUS: usize = 4096;

/// "Any node" in queries (include/linux/numa.h, `NUMA_NO_NODE`).
pub const NUMA_NO_NODE: i32 = -1;

/// Migratetype of a free list or a pageblock (include/linux/mmzone.h).
///
/// The numbers are those of a kernel with CMA and memory isolation. A kernel without CMA numbers
/// `Isolate` 4; [`crate::config::Config`] converts at the edges, the engine always uses these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MigrateType {
    /// Kernel memory that cannot move.
    Unmovable = 0,
    /// Page cache, anonymous memory and everything else that can be migrated.
    Movable = 1,
    /// Kernel memory that reclaim can free.
    Reclaimable = 2,
    /// Pageblocks reserved for high-order atomic requests.
    HighAtomic = 3,
    /// Contiguous memory allocator areas.
    Cma = 4,
    /// Isolated pageblocks: nothing is allocated from them.
    Isolate = 5,
}

impl MigrateType {
    /// All migratetypes in numeric order.
    pub const ALL: [MigrateType; NR_MIGRATETYPES] = [
        MigrateType::Unmovable,
        MigrateType::Movable,
        MigrateType::Reclaimable,
        MigrateType::HighAtomic,
        MigrateType::Cma,
        MigrateType::Isolate,
    ];

    /// The migratetype with this number, if there is one.
    pub const fn from_index(index: usize) -> Option<MigrateType> {
        // Not a look into `ALL`: this is compiled to a comparison.
        match index {
            0 => Some(MigrateType::Unmovable),
            1 => Some(MigrateType::Movable),
            2 => Some(MigrateType::Reclaimable),
            3 => Some(MigrateType::HighAtomic),
            4 => Some(MigrateType::Cma),
            5 => Some(MigrateType::Isolate),
            _ => None,
        }
    }

    /// Its number, usable as an array index.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name as /proc/pagetypeinfo prints it.
    pub const fn name(self) -> &'static str {
        match self {
            MigrateType::Unmovable => "Unmovable",
            MigrateType::Movable => "Movable",
            MigrateType::Reclaimable => "Reclaimable",
            MigrateType::HighAtomic => "HighAtomic",
            MigrateType::Cma => "CMA",
            MigrateType::Isolate => "Isolate",
        }
    }
}

/// Kind of a zone, independent of its index in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ZoneKind {
    /// Memory below 16 MiB.
    Dma = 0,
    /// Memory below 4 GiB.
    Dma32 = 1,
    /// Ordinary memory.
    Normal = 2,
    /// Memory for movable allocations only.
    Movable = 3,
}

impl ZoneKind {
    /// Name as the kernel prints it (mm/page_alloc.c, `zone_names`).
    pub const fn name(self) -> &'static str {
        match self {
            ZoneKind::Dma => "DMA",
            ZoneKind::Dma32 => "DMA32",
            ZoneKind::Normal => "Normal",
            ZoneKind::Movable => "Movable",
        }
    }

    /// The zone kind with this number, if there is one.
    pub const fn from_index(index: usize) -> Option<ZoneKind> {
        match index {
            0 => Some(ZoneKind::Dma),
            1 => Some(ZoneKind::Dma32),
            2 => Some(ZoneKind::Normal),
            3 => Some(ZoneKind::Movable),
            _ => None,
        }
    }
}
