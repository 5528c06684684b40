//! Contiguous ranges and hardware poison (spec 13.12, 13.13).

use super::*;
use pagebuddy_core::isolation::RangeError;
use pagebuddy_core::types::MigrateType;

#[test]
fn a_free_range_is_allocated_page_by_page() {
    let machine = machine(&Config { memory_isolation: true, ..Config::default() }, 64);
    let before = nr_free(&machine);
    let (start, end) = (8192 + 100, 8192 + 3000);
    machine.alloc_contig_range(CPU0, start, end, MigrateType::Movable).unwrap();
    assert_eq!(nr_free(&machine), before - (end - start));
    machine.validate().unwrap();
    assert!(matches!(machine.alloc_contig_range(CPU0, start, end, MigrateType::Movable), Err(RangeError::Busy(_))));
    assert_eq!(machine.alloc_contig_range(CPU0, 5, 5, MigrateType::Movable), Err(RangeError::Invalid));
    for pfn in start..end {
        machine.free_pages(CPU0, pfn, 0).unwrap();
    }
    machine.drain_all(None);
    assert_eq!(nr_free(&machine), before);
    assert!(machine.state().zones.iter().all(|zone| zone.nr_isolate_pageblock == 0));
    machine.validate().unwrap();
}

#[test]
fn a_poisoned_page_leaves_its_block_in_pieces() {
    let machine = machine(&Config::default(), 64);
    let fresh = machine.state();
    let zone = fresh.zones.last().unwrap();
    let block = zone.free_list(10, MigrateType::Movable)[3];
    let page = block + 5;
    assert!(machine.take_page_off_buddy(CPU0, page));
    assert!(!machine.take_page_off_buddy(CPU0, page), "it is not free any more");
    let state = machine.state();
    let zone = state.zones.last().unwrap();
    // The example of the specification: page 5 of (0,3) leaves (0,2), (6,1), (4,0).
    assert_eq!(zone.free_list(2, MigrateType::Movable)[0], block);
    assert_eq!(zone.free_list(1, MigrateType::Movable)[0], block + 6);
    assert_eq!(zone.free_list(0, MigrateType::Movable)[0], block + 4);
    assert!(machine.free_pages(CPU0, page, 0).is_err());
    machine.validate().unwrap();
    assert!(machine.put_page_back_buddy(CPU0, page));
    assert!(!machine.put_page_back_buddy(CPU0, page));
    assert!(machine.state().zones.last().unwrap().free_list(10, MigrateType::Movable).contains(&block));
    machine.validate().unwrap();
}
