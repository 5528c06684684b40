//! One region of a memblock list, its flags, and which regions a walk looks at.

/// One region of a memblock list (include/linux/memblock.h, `struct memblock_region`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// First byte.
    pub base: u64,
    /// Size in bytes.
    pub size: u64,
    /// Node id; `None` stands for the kernel's "no node" (`MAX_NUMNODES`).
    pub nid: Option<u32>,
    /// `FLAG_*` bits.
    pub flags: u32,
}

/// Hotpluggable memory (`MEMBLOCK_HOTPLUG`).
pub const FLAG_HOTPLUG: u32 = 1;
/// Mirrored memory (`MEMBLOCK_MIRROR`).
pub const FLAG_MIRROR: u32 = 2;
/// Memory without a kernel mapping (`MEMBLOCK_NOMAP`).
pub const FLAG_NOMAP: u32 = 4;
/// Memory managed by a driver (`MEMBLOCK_DRIVER_MANAGED`).
pub const FLAG_DRIVER_MANAGED: u32 = 8;
/// All flags there are.
pub const FLAGS_ALL: u32 = FLAG_HOTPLUG | FLAG_MIRROR | FLAG_NOMAP | FLAG_DRIVER_MANAGED;

impl Region {
    /// First byte after the region; the last address of all can never be inside one.
    pub const fn end(&self) -> u64 {
        self.base.saturating_add(self.size)
    }

    /// Whether the address lies inside.
    pub const fn contains(&self, addr: u64) -> bool {
        self.base <= addr && addr < self.end()
    }

    /// Whether this region and the one after it are kept as one (`memblock_merge_regions`).
    pub(super) fn continues_in(&self, next: &Region) -> bool {
        self.end() == next.base && self.nid == next.nid && self.flags == next.flags
    }
}

/// The two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// Memory that exists (`memblock.memory`).
    Memory,
    /// Memory that is taken (`memblock.reserved`).
    Reserved,
}

impl ListKind {
    /// The list's name in the kernel.
    pub const fn name(self) -> &'static str {
        match self {
            ListKind::Memory => "memory",
            ListKind::Reserved => "reserved",
        }
    }
}

/// Which memory regions a walk looks at (mm/memblock.c, `should_skip_region`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionFilter {
    /// Only regions of this node; `None`: any (`NUMA_NO_NODE`).
    pub nid: Option<u32>,
    /// Flags the caller asks for or tolerates.
    pub flags: u32,
    /// Whether the boot parameter `movable_node` withholds hotpluggable memory.
    pub movable_node: bool,
}

impl RegionFilter {
    /// Whether a memory region is looked at.
    pub fn admits(&self, region: &Region) -> bool {
        let lacks = |flag| region.flags & flag == 0;
        let asked = |flag| self.flags & flag != 0;
        (self.nid.is_none() || self.nid == region.nid)
            && (lacks(FLAG_HOTPLUG) || !self.movable_node || asked(FLAG_HOTPLUG))
            && (!asked(FLAG_MIRROR) || !lacks(FLAG_MIRROR))
            && (lacks(FLAG_NOMAP) || asked(FLAG_NOMAP))
            && (lacks(FLAG_DRIVER_MANAGED) || asked(FLAG_DRIVER_MANAGED))
    }
}
