//! The boot memory allocator (mm/memblock.c).

/// One region of a memblock list: bytes, flags and node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
