//! The memory map of a plain x86-64 machine, for those who have no particular one in mind.

use crate::error::BootError;
use crate::memblock::{Geometry, Memblock};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// End of conventional memory, where the firmware's data area begins.
const CONVENTIONAL_END: u64 = 0x9f000;
/// Memory above this lies behind the hole for devices, from 4 GiB on.
const LOW_MEMORY_END: u64 = 3 * GIB;
/// Where the kernel's image is loaded.
const KERNEL_BASE: u64 = 16 * MIB;
/// Nodes begin at multiples of this.
const NODE_ALIGN: u64 = 4 * MIB;
/// Smaller machines have no room for a kernel.
const SMALLEST: u64 = 32 * MIB;
/// Larger machines have pfns that no zone can hold.
const LARGEST: u64 = 1 << 46;

/// Memory of a machine of `size` bytes whose memory is spread evenly over `nodes` nodes.
///
/// Memory is [4 KiB, 636 KiB) and [1 MiB, 3 GiB), the rest follows from 4 GiB on; the first
/// MiB and a kernel image from 16 MiB on are reserved.
pub fn plain_memblock(size: u64, nodes: u32, geometry: Geometry) -> Result<Memblock, BootError> {
    if !(SMALLEST..=LARGEST).contains(&size) {
        return Err(BootError::MemoryMap("a plain machine has 32 MiB to 64 TiB of memory"));
    }
    if nodes == 0 || u64::from(nodes) * 2 * KERNEL_BASE > size {
        return Err(BootError::Topology("a plain machine has at least one node and 32 MiB of memory per node"));
    }
    let map_error = |_| BootError::MemoryMap("the memory map cannot be built");
    let mut memblock = Memblock::with_geometry(geometry).map_err(map_error)?;
    let size = size / (4 * KIB) * (4 * KIB);
    let share = (size / u64::from(nodes)).next_multiple_of(NODE_ALIGN);
    for nid in 0..nodes {
        let start = share * u64::from(nid);
        let end = if nid + 1 == nodes { size } else { share * (u64::from(nid) + 1) };
        for (start, end) in [(start, end.min(LOW_MEMORY_END)), (start.max(LOW_MEMORY_END), end)] {
            let Some(size) = end.checked_sub(start).filter(|size| *size > 0) else { continue };
            let base = if start >= LOW_MEMORY_END { start - LOW_MEMORY_END + 4 * GIB } else { start };
            memblock.add_node(base, size, Some(nid), 0).map_err(map_error)?;
        }
    }
    // Page 0 and the firmware's data area are no memory.
    memblock.remove(0, 4 * KIB).map_err(map_error)?;
    memblock.remove(CONVENTIONAL_END, MIB - CONVENTIONAL_END).map_err(map_error)?;
    memblock.reserve(0, MIB).map_err(map_error)?;
    memblock.reserve(KERNEL_BASE, kernel_size(size)).map_err(map_error)?;
    Ok(memblock)
}

/// Bytes of the kernel's image: a sixteenth of a small machine.
fn kernel_size(size: u64) -> u64 {
    (size / 16).clamp(2 * MIB, 32 * MIB) / MIB * MIB
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(size: u64, nodes: u32) -> Vec<(u64, u64, Option<u32>)> {
        let memblock = plain_memblock(size, nodes, Geometry::default()).unwrap();
        memblock.memory().iter().map(|region| (region.base, region.end(), region.nid)).collect()
    }

    #[test]
    fn memory_above_three_gib_lies_behind_the_device_hole() {
        let conventional = (0x1000, 0x9f000, Some(0));
        assert_eq!(map(GIB, 1), [conventional, (MIB, GIB, Some(0))]);
        assert_eq!(map(8 * GIB, 1), [conventional, (MIB, 3 * GIB, Some(0)), (4 * GIB, 9 * GIB, Some(0))]);
        let two = [conventional, (MIB, 2 * GIB, Some(0)), (2 * GIB, 3 * GIB, Some(1)), (4 * GIB, 5 * GIB, Some(1))];
        assert_eq!(map(4 * GIB, 2), two);
    }

    #[test]
    fn nothing_is_lost_and_every_node_has_memory() {
        for (size, nodes) in [(SMALLEST, 1), (96 * MIB + 4096, 3), (7 * GIB, 5), (LARGEST, 64)] {
            let regions = map(size, nodes);
            let holes = 0x1000 + MIB - CONVENTIONAL_END;
            assert_eq!(regions.iter().map(|(start, end, _)| end - start).sum::<u64>(), size - holes, "{size}");
            assert!((0..nodes).all(|nid| regions.iter().any(|region| region.2 == Some(nid))), "{size}");
        }
    }

    #[test]
    fn impossible_machines_are_refused() {
        for (size, nodes) in [(0, 1), (SMALLEST - 1, 1), (LARGEST + 1, 1), (u64::MAX, 1), (SMALLEST, 0), (SMALLEST, 2)]
        {
            assert!(plain_memblock(size, nodes, Geometry::default()).is_err(), "{size} {nodes}");
        }
    }
}
