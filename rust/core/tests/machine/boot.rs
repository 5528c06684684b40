//! Booting from memory maps that are out of the ordinary.

use super::*;
use pagebuddy_core::memblock::FLAG_MIRROR;
use pagebuddy_core::types::ZoneKind;

const GIB: u64 = 1 << 30;

#[test]
fn mirrored_memory_and_the_rest_never_share_a_zone_above_4_gib() {
    let config = Config { kernelcore_mirror: true, ..Config::default() };
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, GIB - MIB, Some(0), FLAG_MIRROR).unwrap();
    for (i, flags) in [(4, FLAG_MIRROR), (5, 0), (6, FLAG_MIRROR), (7, 0)] {
        memblock.add_node(i * GIB, GIB, Some(0), flags).unwrap();
    }
    let machine = PageAllocator::boot_late(&config, &Topology::single_node(1), &mut memblock).unwrap();
    machine.validate().unwrap();
    for zone in machine.state().zones {
        let gib_of_block = |pfn: &u64| pfn >> 18;
        let expected: &[u64] = match zone.kind {
            ZoneKind::Normal => &[4, 6],
            ZoneKind::Movable => &[5, 7],
            ZoneKind::Dma | ZoneKind::Dma32 => &[0],
        };
        let mut found: Vec<u64> = zone.free_lists.iter().flatten().map(gib_of_block).collect();
        found.dedup();
        assert_eq!(found, expected, "{:?}", zone.kind);
        assert_eq!(zone.managed, zone.extent.present, "{:?}", zone.kind);
    }
}

#[test]
fn memory_without_a_mapping_is_reserved() {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, 63 * MIB, Some(0), 0).unwrap();
    memblock.mark_nomap(16 * MIB, MIB).unwrap();
    let machine = PageAllocator::boot_early(&Config::default(), &Topology::single_node(1), &mut memblock).unwrap();
    assert_eq!(nr_free(&machine), 62 << 8);
    let inside = (16 * MIB) >> 12;
    assert_eq!(
        machine.free_pages(CPU0, inside, 0).unwrap_err().to_string(),
        "bad page pfn 0x1000: the page is reserved and was never handed out"
    );
    machine.validate().unwrap();
}

#[test]
fn a_snapshot_is_the_same_machine() {
    let machine = machine(&Config::default(), 64);
    let held: Vec<_> = (0..2000).map(|i| alloc(&machine, Gfp::GFP_KERNEL, i % 4).unwrap()).collect();
    let copy = PageAllocator::restore(&machine.snapshot()).unwrap();
    let fork = machine.fork().unwrap();
    assert_eq!(copy.state(), machine.state());
    assert_eq!(fork.state(), machine.state());
    for (i, pfn) in held.iter().enumerate() {
        machine.free_pages(CPU0, *pfn, i as u32 % 4).unwrap();
    }
    assert_ne!(copy.state(), machine.state(), "copies are independent");
    for (i, pfn) in held.iter().enumerate() {
        copy.free_pages(CPU0, *pfn, i as u32 % 4).unwrap();
    }
    assert_eq!(copy.state(), machine.state(), "and decide alike");
    let loaded = PageAllocator::from_state(&machine.state()).unwrap();
    assert_eq!(loaded.state(), machine.state());
}
