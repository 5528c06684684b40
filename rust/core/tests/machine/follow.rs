//! What makes a machine agree with another one's trace.

use super::*;
use pagebuddy_core::error::BadPageReason;
use pagebuddy_core::follow::Whereabouts;
use pagebuddy_core::state::{PcpState, ZoneState};
use pagebuddy_core::types::{MigrateType, NR_MIGRATETYPES};

const UNMOVABLE: MigrateType = MigrateType::Unmovable;
const MOVABLE: MigrateType = MigrateType::Movable;

fn zone_at(machine: &PageAllocator, pfn: Pfn) -> ZoneState {
    let zones = machine.state().zones;
    let zone = zones
        .into_iter()
        .find(|zone| (zone.extent.start_pfn..zone.extent.start_pfn + zone.extent.spanned).contains(&pfn));
    zone.expect("a zone")
}

fn pcp_at(machine: &PageAllocator, pfn: Pfn) -> PcpState {
    zone_at(machine, pfn).pcp.swap_remove(0)
}

/// A free block of this order or a larger one.
fn free_block(machine: &PageAllocator, order: u32) -> (Pfn, u32) {
    let zone = machine.zone_views().last().expect("a zone");
    let found = (order..11).find_map(|order| Some((*zone.free_list(order, MOVABLE).first()?, order)));
    found.expect("a free block")
}

#[test]
fn whereabouts_are_those_of_the_block() {
    let machine = machine(&Config::default(), 64);
    let plain = alloc(&machine, Gfp::GFP_KERNEL, 2).unwrap();
    assert_eq!(machine.whereabouts(plain), Whereabouts::Allocated(2));
    assert_eq!(machine.whereabouts(plain + 1), Whereabouts::InUse);
    machine.free_pages(CPU0, plain, 2).unwrap();
    for page in plain..plain + 4 {
        assert_eq!(machine.whereabouts(page), Whereabouts::Pcp);
    }
    machine.drain_all(None);
    for page in plain..plain + 4 {
        assert_eq!(machine.whereabouts(page), Whereabouts::Free);
    }
    let poisoned = free_block(&machine, 3).0 + 5;
    assert!(machine.take_page_off_buddy(CPU0, poisoned));
    for nowhere in [poisoned, 0, machine.end_pfn(), u64::MAX] {
        assert_eq!(machine.whereabouts(nowhere), Whereabouts::Nowhere);
    }
}

#[test]
fn pages_in_use_are_adopted_as_a_block_of_their_own() {
    let machine = machine(&Config::default(), 64);
    let block = alloc(&machine, Gfp::GFP_KERNEL, 4).unwrap();
    machine.set_movable(block, 4, true);
    machine.adopt_block(block + 4, 2).unwrap();
    let orders: Vec<Whereabouts> = (block..block + 16).map(|page| machine.whereabouts(page)).collect();
    for (i, found) in orders.into_iter().enumerate() {
        let expected = match i {
            4 => Whereabouts::Allocated(2),
            5..8 => Whereabouts::InUse,
            // The rest of the block that they were part of are single pages.
            _ => Whereabouts::Allocated(0),
        };
        assert_eq!(found, expected, "page {i}");
        assert!(machine.page_report(block + i as u64).is_movable, "page {i}");
    }
    machine.free_pages(CPU0, block + 4, 2).unwrap();
    // Single pages become one block, too.
    machine.adopt_block(block + 8, 3).unwrap();
    machine.free_pages(CPU0, block + 8, 3).unwrap();
    machine.validate().unwrap();
}

#[test]
fn only_pages_in_use_are_adopted() {
    let machine = machine(&Config::default(), 64);
    let before = machine.snapshot();
    let (free, _) = free_block(&machine, 10);
    let reason = |pfn, order| machine.adopt_block(pfn, order).map_err(|bad| bad.reason);
    assert_eq!(reason(free, 10), Err(BadPageReason::AlreadyFree));
    assert_eq!(reason(free + 7, 0), Err(BadPageReason::AlreadyFree));
    assert_eq!(reason(free + 1, 1), Err(BadPageReason::Unaligned));
    assert_eq!(reason(free, 11), Err(BadPageReason::OrderOutOfRange));
    assert_eq!(reason(u64::MAX, 0), Err(BadPageReason::OutOfRange));
    assert_eq!(reason(0, 0), Err(BadPageReason::OutOfRange));
    assert!(machine.snapshot() == before);
    let single = alloc(&machine, Gfp::GFP_KERNEL, 0).unwrap();
    machine.free_pages(CPU0, single, 0).unwrap();
    assert_eq!(machine.adopt_block(single, 0).map_err(|bad| bad.reason), Err(BadPageReason::AlreadyFree));
}

#[test]
fn marked_pages_count_as_movable() {
    let machine = machine(&Config::default(), 64);
    let block = alloc(&machine, Gfp::GFP_KERNEL, 1).unwrap();
    machine.set_movable(block, 1, true);
    assert!(machine.page_report(block).is_movable && machine.page_report(block + 1).is_movable);
    machine.set_movable(u64::MAX, 0, true);
    machine.set_movable(block, 11, true);
    let free = free_block(&machine, 10).0;
    machine.set_movable(free, 0, true);
    assert!(!machine.page_report(free).is_movable, "nobody has it");
    machine.set_movable(block, 1, false);
    machine.free_pages(CPU0, block, 1).unwrap();
    assert!(!machine.page_report(block).is_movable && !machine.page_report(block + 1).is_movable);
    let single = alloc(&machine, Gfp::GFP_KERNEL, 0).unwrap();
    machine.set_movable(single, 0, true);
    machine.free_pages(CPU0, single, 0).unwrap();
    assert!(!machine.page_report(single).is_movable);
}

#[test]
fn a_bulk_allocation_takes_the_head_of_the_list_and_refills_it() {
    let machine = machine(&Config::default(), 64);
    let twin = machine.fork().unwrap();
    let anywhere = free_block(&machine, 10).0;
    assert_eq!(machine.pcp_head(0, anywhere, 0, UNMOVABLE), None);
    let batch = pcp_at(&machine, anywhere).batch;
    // Empty: refilled, as an allocation of one page does.
    let first = machine.take_from_pcp(0, anywhere, UNMOVABLE).unwrap();
    assert_eq!(first, alloc(&twin, Gfp::GFP_KERNEL, 0).unwrap());
    assert_eq!(machine.pcp_count(0, anywhere), batch - 1);
    assert!(batch > 1);
    for _ in 1..batch {
        let head = machine.pcp_head(0, anywhere, 0, UNMOVABLE);
        let expected = alloc(&twin, Gfp::GFP_KERNEL, 0).ok();
        assert!(expected.is_some());
        assert_eq!((head, machine.take_from_pcp(0, anywhere, UNMOVABLE)), (expected, expected));
    }
    assert_eq!(machine.whereabouts(first), Whereabouts::Allocated(0));
    assert_eq!(machine.pcp_head(0, anywhere, 0, MOVABLE), None, "of another type");
    for (cpu, pfn, order, mt) in [
        (1, anywhere, 0, UNMOVABLE),
        (0, u64::MAX, 0, UNMOVABLE),
        (0, anywhere, 4, UNMOVABLE),
        (0, anywhere, 0, MigrateType::Isolate),
    ] {
        assert_eq!(machine.pcp_head(cpu, pfn, order, mt), None);
    }
    assert_eq!((machine.pcp_count(1, anywhere), machine.take_from_pcp(1, anywhere, UNMOVABLE)), (0, None));
    machine.validate().unwrap();
}

#[test]
fn lists_are_drained_wholly_or_by_a_batch() {
    let machine = machine(&Config::default(), 256);
    let pages: Vec<Pfn> = (0..200).map(|_| alloc(&machine, Gfp::GFP_HIGHUSER_MOVABLE, 0).unwrap()).collect();
    let batch = pcp_at(&machine, pages[0]).batch;
    for pfn in &pages {
        machine.free_pages(CPU0, *pfn, 0).unwrap();
    }
    let count = machine.pcp_count(0, pages[0]);
    assert!(count > batch);
    machine.drain_pcp(0, pages[0], true);
    assert_eq!(machine.pcp_count(0, pages[0]), count - batch);
    machine.drain_pcp(1, pages[0], false);
    machine.drain_pcp(0, u64::MAX, false);
    assert_eq!(machine.pcp_count(0, pages[0]), count - batch);
    machine.drain_pcp(0, pages[0], false);
    assert_eq!(machine.pcp_count(0, pages[0]), 0);
    machine.validate().unwrap();
}

#[test]
fn blocks_are_put_at_either_end_of_a_list_without_a_drain() {
    let machine = machine(&Config::default(), 64);
    let pages: Vec<Pfn> = (0..3).map(|_| alloc(&machine, Gfp::GFP_KERNEL, 0).unwrap()).collect();
    machine.drain_all(None);
    assert!(machine.put_on_pcp(0, pages[0], 0, MOVABLE, false));
    assert!(machine.put_on_pcp(0, pages[1], 0, MOVABLE, true));
    assert!(machine.put_on_pcp(0, pages[2], 0, MOVABLE, false));
    assert_eq!(pcp_at(&machine, pages[0]).lists[MOVABLE as usize], [pages[2], pages[0], pages[1]]);
    assert_eq!(machine.pcp_head(0, pages[0], 0, MOVABLE), Some(pages[2]));
    assert!(!machine.put_on_pcp(0, pages[0], 0, MOVABLE, false), "it is there already");
    let large = alloc(&machine, Gfp::GFP_KERNEL, 4).unwrap();
    assert!(!machine.put_on_pcp(0, large, 4, MOVABLE, false), "no list of this order");
    assert!(!machine.put_on_pcp(0, large, 3, MOVABLE, false), "no block of this order");
    let small = alloc(&machine, Gfp::GFP_KERNEL, 0).unwrap();
    assert!(!machine.put_on_pcp(0, small, 0, MigrateType::Isolate, false), "no list of this type");
    assert!(!machine.put_on_pcp(1, small, 0, MOVABLE, false), "no such cpu");
    machine.validate().unwrap();
}

#[test]
fn released_blocks_go_to_the_free_list_of_the_type_that_is_told() {
    let machine = machine(&Config::default(), 64);
    let pages: Vec<Pfn> = (0..2).map(|_| alloc(&machine, Gfp::GFP_KERNEL, 0).unwrap()).collect();
    assert!(machine.release_block(0, pages[0], 0, MOVABLE));
    let list = &zone_at(&machine, pages[0]).free_lists[MOVABLE as usize];
    assert_eq!(list.first(), Some(&pages[0]), "its pageblock is Unmovable");
    assert!(!machine.release_block(0, pages[0], 0, MOVABLE), "it is free");
    assert!(!machine.release_block(0, pages[1], 1, MOVABLE), "of another order");
    assert!(!machine.release_block(1, pages[1], 0, MOVABLE), "no such cpu");
    assert!(!machine.release_block(0, u64::MAX, 0, MOVABLE), "no such page");
}

#[test]
fn blocks_are_seized_out_of_free_blocks_like_hwpoisoned_pages() {
    let machine = machine(&Config::default(), 64);
    let free_before = nr_free(&machine);
    let (block, order) = free_block(&machine, 10);
    assert_eq!(order, 10);
    let wanted = block + 5 * 8;
    assert!(machine.seize_block(0, wanted, 3));
    assert_eq!(machine.whereabouts(wanted), Whereabouts::Allocated(3));
    assert_eq!(nr_free(&machine), free_before - 8);
    // Halves go to the fronts of their lists: page 40 is in the lower half of 1024, of 512, ...
    let lists = zone_at(&machine, block).free_lists;
    let heads = [(9, 512), (8, 256), (7, 128), (6, 64), (5, 0), (4, 48), (3, 32)];
    for (order, offset) in heads {
        assert_eq!(lists[order * NR_MIGRATETYPES + MOVABLE as usize].first(), Some(&(block + offset)), "order {order}");
    }
    assert!(!machine.seize_block(0, wanted, 3), "in use");
    assert!(!machine.seize_block(0, wanted + 1, 0), "in use");
    assert!(!machine.seize_block(0, block, 9), "not wholly free");
    assert!(!machine.seize_block(0, block + 513, 1), "unaligned");
    assert!(!machine.seize_block(0, block, 11) && !machine.seize_block(0, u64::MAX, 0));
    machine.validate().unwrap();
    machine.free_pages(CPU0, wanted, 3).unwrap();
    machine.drain_all(None);
    assert_eq!(machine.page_report(block).block, Some((block, 10)));
}

#[test]
fn blocks_are_seized_from_the_lists_of_any_cpu() {
    let mut memblock = Memblock::new();
    memblock.add_node(MIB, 63 * MIB, Some(0), 0).unwrap();
    let machine = PageAllocator::boot_late(&Config::default(), &Topology::single_node(2), &mut memblock).unwrap();
    let pages: Vec<Pfn> = (0..8).map(|_| alloc(&machine, Gfp::GFP_KERNEL, 0).unwrap()).collect();
    let pair = alloc(&machine, Gfp::GFP_KERNEL, 1).unwrap();
    for pfn in &pages {
        machine.free_pages(CpuChoice::Fixed(1), *pfn, 0).unwrap();
    }
    machine.free_pages(CpuChoice::Fixed(1), pair, 1).unwrap();
    let mut listed = zone_at(&machine, pair).pcp[1].lists[0].clone();
    // From the middle, the front and the back.
    for at in [3, 0, listed.len() - 3] {
        let pfn = listed.remove(at);
        assert!(machine.seize_block(0, pfn, 0));
        assert_eq!(machine.whereabouts(pfn), Whereabouts::Allocated(0));
        assert_eq!(zone_at(&machine, pair).pcp[1].lists[0], listed);
    }
    assert!(!machine.seize_block(0, pair, 0), "part of a larger block on a list");
    assert!(machine.seize_block(0, pair, 1));
    assert_eq!(machine.whereabouts(pair), Whereabouts::Allocated(1));
    machine.validate().unwrap();
}
