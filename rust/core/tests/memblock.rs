//! The boot memory allocator: the rules one by one.

use pagebuddy_core::memblock::{
    FLAG_DRIVER_MANAGED, FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP, FreeBlocks, FreeRange, Geometry, ListKind, Memblock,
    MemblockError, MemblockImage, PfnRange, PfnSpan, Region, Resize,
};

const NONE: u64 = u64::MAX;
const MIB: u64 = 1 << 20;

fn region(base: u64, end: u64, nid: Option<u32>, flags: u32) -> Region {
    Region { base, size: end - base, nid, flags }
}

/// Memory of one node, without flags.
fn with_memory(ranges: &[(u64, u64)]) -> Memblock {
    let mut m = Memblock::new();
    for &(base, end) in ranges {
        m.add_node(base, end - base, Some(0), 0).expect("room");
    }
    m
}

fn free(m: &Memblock) -> Vec<(u64, u64)> {
    m.for_each_free_mem_range(None, 0).map(|r| (r.start, r.end)).collect()
}

#[test]
fn add_fills_gaps_and_merges() {
    let mut m = with_memory(&[(0x1000, 0x3000), (0x5000, 0x6000)]);
    m.add_node(0x2000, 0x5000, Some(0), 0).expect("room");
    assert_eq!(m.memory(), [region(0x1000, 0x7000, Some(0), 0)]);
    assert_eq!(m.phys_mem_size(), 0x6000);
}

#[test]
fn add_keeps_what_is_covered() {
    let mut m = with_memory(&[(10, 20)]);
    m.add_node(0, 30, Some(1), FLAG_HOTPLUG).expect("room");
    let hotplug = |base, end| region(base, end, Some(1), FLAG_HOTPLUG);
    assert_eq!(m.memory(), [hotplug(0, 10), region(10, 20, Some(0), 0), hotplug(20, 30)]);
}

#[test]
fn remove_splits_and_removing_nothing_is_fine() {
    let mut m = with_memory(&[(0, 100)]);
    m.remove(200, 50).expect("a no-op");
    m.remove(40, 20).expect("room");
    assert_eq!(m.memory(), [region(0, 40, Some(0), 0), region(60, 100, Some(0), 0)]);
    m.remove(0, NONE).expect("room");
    assert!(m.memory().is_empty());
    assert_eq!((m.phys_mem_size(), m.start_of_dram(), m.end_of_dram()), (0, 0, 0));
}

#[test]
fn sizes_are_capped_at_the_last_address() {
    let mut m = Memblock::new();
    m.add(NONE, 5).expect("nothing left after capping");
    m.add(7, 0).expect("nothing to add");
    assert!(m.memory().is_empty());
    m.add(NONE - 10, NONE).expect("room");
    assert_eq!(m.memory(), [region(NONE - 10, NONE, None, 0)]);
    assert!(!m.is_memory(NONE));
    assert!(m.is_memory(NONE - 1));
}

#[test]
fn flags_split_and_merge_back() {
    let mut m = with_memory(&[(0, 100)]);
    m.mark_nomap(10, 10).expect("room");
    assert_eq!(m.memory().len(), 3);
    assert!(m.is_memory(15) && !m.is_map_memory(15));
    m.clear_nomap(0, 100).expect("room");
    assert_eq!(m.memory(), [region(0, 100, Some(0), 0)]);
    assert!(!m.some_mirror());
    m.mark_mirror(0, 0).expect("a no-op");
    assert!(m.some_mirror());
}

#[test]
fn set_node_works_on_both_lists() {
    let mut m = with_memory(&[(0, 100)]);
    m.reserve(0, 50).expect("room");
    m.set_node(20, 10, ListKind::Memory, Some(3)).expect("room");
    m.set_node(20, 10, ListKind::Reserved, Some(3)).expect("room");
    assert_eq!(m.memory()[1], region(20, 30, Some(3), 0));
    assert_eq!(m.reserved()[1], region(20, 30, Some(3), 0));
    // Touching reservations leave an empty gap inside memory only where no memory border is.
    assert_eq!(free(&m), [(50, 100)]);
    m.set_node(0, NONE, ListKind::Memory, None).expect("room");
    assert_eq!(m.memory(), [region(0, 100, None, 0)]);
    assert_eq!(free(&m), [(20, 20), (30, 30), (50, 100)]);
}

#[test]
fn free_ranges_never_span_regions_and_reverse_exactly() {
    let mut m = with_memory(&[(0, 100), (200, 300)]);
    m.add_node(100, 50, Some(1), 0).expect("room");
    m.reserve(40, 20).expect("room");
    m.reserve(290, 100).expect("room");
    assert_eq!(free(&m), [(0, 40), (60, 100), (100, 150), (200, 290)]);
    let forward: Vec<FreeRange> = m.for_each_free_mem_range(None, 0).collect();
    let mut backward: Vec<FreeRange> = m.for_each_free_mem_range_reverse(None, 0).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    let node1: Vec<FreeRange> = m.for_each_free_mem_range(Some(1), 0).collect();
    assert_eq!(node1, [FreeRange { start: 100, end: 150, nid: Some(1) }]);
}

#[test]
fn flags_decide_which_memory_is_eligible() {
    let mut m = Memblock::new();
    for (index, flags) in [0, FLAG_HOTPLUG, FLAG_MIRROR, FLAG_NOMAP, FLAG_DRIVER_MANAGED].into_iter().enumerate() {
        m.add_node(index as u64 * 10, 10, Some(0), flags).expect("room");
    }
    let starts = |m: &Memblock, flags| m.for_each_free_mem_range(None, flags).map(|r| r.start / 10).collect::<Vec<_>>();
    assert_eq!(starts(&m, 0), [0, 1, 2]);
    assert_eq!(starts(&m, FLAG_MIRROR), [2]);
    assert_eq!(starts(&m, FLAG_NOMAP), [0, 1, 2, 3]);
    assert_eq!(starts(&m, FLAG_DRIVER_MANAGED), [0, 1, 2, 4]);
    m.set_movable_node(true).expect("open");
    assert_eq!(starts(&m, 0), [0, 2]);
    assert_eq!(starts(&m, FLAG_HOTPLUG), [0, 1, 2]);
    assert_eq!(m.for_each_mem_range().count(), 4);
}

#[test]
fn empty_lists_yield_the_dummy() {
    let m = Memblock::new();
    assert_eq!(m.for_each_mem_range().collect::<Vec<_>>(), [(0, 0)]);
    assert_eq!(m.for_each_reserved_mem_range().collect::<Vec<_>>(), [(0, 0)]);
    assert!(free(&m).is_empty());
    assert_eq!(m.for_each_mem_pfn_range(None).count(), 0);
}

#[test]
fn pfn_ranges_round_inward_and_keep_nomap() {
    let mut m = with_memory(&[(100, 0x3fff), (0x5001, 0x5fff)]);
    m.add_node(0x8000, 0x1000, Some(2), FLAG_NOMAP).expect("room");
    let pages: Vec<PfnRange> = m.for_each_mem_pfn_range(None).collect();
    assert_eq!(pages, [PfnRange { start: 1, end: 3, nid: Some(0) }, PfnRange { start: 8, end: 9, nid: Some(2) }]);
    assert_eq!(m.for_each_mem_pfn_range(Some(2)).count(), 1);
    assert_eq!(m.search_pfn_nid(1), Some(PfnRange { start: 0, end: 3, nid: Some(0) }));
    assert_eq!(m.search_pfn_nid(7), None);
}

#[test]
fn range_queries_follow_the_kernel() {
    let mut m = with_memory(&[(0, 100)]);
    m.add_node(100, 100, Some(1), 0).expect("room");
    assert!(m.is_region_memory(50, 50));
    assert!(!m.is_region_memory(50, 51), "touching regions are not joined");
    assert!(m.is_region_memory(50, 0));
    assert!(!m.is_region_memory(200, 0));
    m.reserve(10, 10).expect("room");
    assert!(m.is_region_reserved(0, 11) && !m.is_region_reserved(0, 10));
    assert!(m.is_region_reserved(15, 0) && !m.is_region_reserved(10, 0));
    assert!(m.overlaps_region(ListKind::Memory, 199, NONE));
    assert!(!m.overlaps_region(ListKind::Memory, 200, NONE));
}

#[test]
fn top_down_takes_the_highest_place_and_reserves_the_exact_size() {
    let mut m = with_memory(&[(0x1000, 0x9f000), (0x10_0000, 0x18_0000)]);
    m.set_current_limit(0x18_0000).expect("open");
    assert_eq!(m.alloc(0x2800, 0x1000), Ok(0x17_d000));
    assert_eq!(m.reserved(), [region(0x17_d000, 0x17_f800, None, 0)]);
}

#[test]
fn bottom_up_takes_the_lowest_place_but_never_the_first_page() {
    let mut m = with_memory(&[(0, MIB)]);
    m.set_bottom_up(true).expect("open");
    assert_eq!(m.alloc(10, 0), Ok(4096));
    assert_eq!(m.alloc(10, 0), Ok(4096 + 64));
    assert_eq!(m.alloc(10, 8), Ok(4096 + 16));
    assert_eq!(m.alloc_from(10, 0x1000, 0x8001), Ok(0x9000));
    assert_eq!(m.alloc_from(10, 0x1000, 2 * MIB), Ok(0x2000), "rather below the minimum than not at all");
}

#[test]
fn nodes_are_preferred_or_required() {
    let mut m = with_memory(&[(MIB, 2 * MIB)]);
    m.add_node(2 * MIB, MIB, Some(1), 0).expect("room");
    assert_eq!(m.alloc_node(MIB, 4096, Some(0)), Ok(MIB));
    assert_eq!(m.alloc_exact_nid_raw(4096, 4096, 0, 0, Some(0)), Err(MemblockError::NoMemory));
    assert_eq!(m.alloc_node(4096, 4096, Some(0)), Ok(3 * MIB - 4096));
    assert_eq!(m.alloc_node(2 * MIB, 4096, Some(0)), Err(MemblockError::NoMemory));
}

#[test]
fn mirrored_memory_comes_first() {
    let mut m = with_memory(&[(MIB, 4 * MIB)]);
    m.mark_mirror(MIB, 4096).expect("room");
    assert_eq!(m.alloc(4096, 4096), Ok(MIB));
    assert_eq!(m.alloc(4096, 4096), Ok(4 * MIB - 4096));
}

#[test]
fn low_allocations_stay_low() {
    let mut m = with_memory(&[(MIB, 2 * MIB), (8 << 30, 9 << 30)]);
    assert_eq!(m.alloc_low(4096, 4096), Ok(2 * MIB - 4096));
    assert_eq!(m.alloc(4096, 4096), Ok((9 << 30) - 4096));
    assert_eq!(m.phys_alloc_range(4096, 4096, 0, 2 * MIB), Ok(2 * MIB - 8192));
    assert_eq!(m.phys_alloc_range(2 * MIB, 4096, 0, 2 * MIB), Err(MemblockError::NoMemory));
}

#[test]
fn bad_alignments_are_refused() {
    let mut m = with_memory(&[(0, MIB)]);
    let before = m.clone();
    assert_eq!(m.alloc(4096, 3), Err(MemblockError::BadAlign));
    assert_eq!(m.trim_memory(0), Err(MemblockError::BadAlign));
    assert_eq!(m.find_in_range_node(1, 0, 0, 0, None, 0), Err(MemblockError::BadAlign));
    assert_eq!(m, before);
    assert_eq!(m.alloc(1, 1 << 63), Err(MemblockError::NoMemory));
}

#[test]
fn a_full_list_refuses_until_it_may_grow() {
    let mut m = Memblock::new();
    m.add_node(64 * MIB, 64 * MIB, Some(0), 0).expect("room");
    for index in 0..128 {
        m.reserve(index * 16, 8).expect("room");
    }
    let before = m.clone();
    assert_eq!(m.reserve(4096, 8), Err(MemblockError::NoMemory));
    assert_eq!(m.phys_free(1 << 40, 8), Err(MemblockError::NoMemory), "room for two is asked for, needed or not");
    assert_eq!(m.alloc(4096, 4096), Err(MemblockError::NoMemory), "found, but not to be reserved");
    assert_eq!(m.free(Some(0), 8), Ok(()), "the result is ignored");
    assert_eq!(m.phys_free(NONE, 8), Ok(()), "nothing left of the range");
    assert_eq!(m, before);

    m.allow_resize().expect("open");
    m.reserve(4096, 8).expect("grows");
    let [growth] = m.array_growths() else { panic!("one growth: {:?}", m.array_growths()) };
    assert_eq!((growth.list, growth.capacity, growth.size_bytes), (ListKind::Reserved, 256, 8192));
    assert_eq!(growth.addr, 128 * MIB - 8192);
    assert!(m.is_region_reserved(growth.addr, growth.size_bytes));
    assert_eq!(m.reserved().len(), 130);
}

#[test]
fn thousands_of_regions_work() {
    let mut m = Memblock::new();
    m.add_node(1 << 40, 1 << 30, Some(0), 0).expect("room");
    m.allow_resize().expect("open");
    let nr = 20_000u64;
    for index in 0..nr {
        // Not in address order.
        let place = (index * 7919) % nr;
        m.add_node(place * 0x4000, 0x2000, Some((place % 2) as u32), 0).expect("grows");
    }
    for index in 0..nr {
        m.reserve((index * 7919) % nr * 0x4000 + 0x1000, 0x800).expect("grows");
    }
    assert_eq!(m.memory().len() as u64, nr + 1);
    assert_eq!(m.capacity(ListKind::Memory), 32768);
    // Each list holds the array it has now, and gave every earlier one back.
    for list in [ListKind::Memory, ListKind::Reserved] {
        let arrays: Vec<_> = m.array_growths().iter().filter(|growth| growth.list == list).collect();
        assert_eq!(arrays.len(), 8, "from 128 to 32768 regions");
        let last = arrays[7];
        assert!(m.reserved().iter().any(|r| r.base <= last.addr && last.addr + last.size_bytes <= r.end()));
    }
    let taken = m.reserved().iter().filter(|r| r.base >= 1 << 40).map(|r| r.size).sum::<u64>();
    assert_eq!(taken, 2 * 32768 * 24, "only the present arrays are reserved up there");
    let free: u64 = m.for_each_free_mem_range(None, 0).map(|r| r.end - r.start).sum();
    assert_eq!(free, m.phys_mem_size() - m.reserved_size());
}

#[test]
fn lists_may_grow_without_taking_memory() {
    let mut m = Memblock::new();
    m.set_resize(Resize::Elsewhere).expect("open");
    for index in 0..1000 {
        m.reserve_node(index * 16, 8, Some(1)).expect("grows");
    }
    assert_eq!((m.reserved().len(), m.capacity(ListKind::Reserved)), (1000, 1024));
    assert_eq!(m.reserved()[0], region(0, 8, Some(1), 0));
    assert!(m.array_growths().is_empty());
    assert!(!m.can_resize());
}

#[test]
fn given_lists_are_taken_as_they_are() {
    let memory: Vec<Region> = (0..300).map(|i| region(i * 10, i * 10 + 10, Some(0), 0)).collect();
    let from = |memory: &[Region]| Memblock::from_regions(Geometry::default(), memory.to_vec(), Vec::new());
    let mut m = from(&memory).expect("in order");
    assert_eq!(m.memory(), memory);
    assert_eq!((m.capacity(ListKind::Memory), m.phys_mem_size()), (512, 3000));
    m.mark_nomap(0, 10).expect("merges");
    assert_eq!(m.memory().len(), 2);
    let bad = Err(MemblockError::BadRegions);
    assert_eq!(from(&[memory[1], memory[0]]), bad);
    assert_eq!(from(&[memory[0], memory[0]]), bad);
    assert_eq!(from(&[region(5, 5, None, 0)]), bad);
    assert_eq!(from(&[Region { base: 1, size: NONE, nid: None, flags: 0 }]), bad);
}

#[test]
fn images_are_complete_and_checked() {
    let mut m = with_memory(&[(0, 0x5001), (MIB, 64 * MIB)]);
    m.mark_nomap(0x4000, 0x1001).expect("room");
    m.cap_memory_range(0, 0x4800).expect("open");
    m.add(MIB, 64 * MIB).expect("room");
    m.trim_memory(2).expect("a power of two");
    m.allow_resize().expect("open");
    for index in 0..200 {
        m.reserve(index * 16, 8).expect("grows");
    }
    m.set_bottom_up(true).expect("open");
    m.mark_mirror(0, 16).expect("room");
    let image = m.to_image();
    let mut again = Memblock::from_image(image.clone()).expect("its own image");
    assert_eq!(again, m);
    assert_eq!(again.alloc(1 << 12, 1 << 12), m.alloc(1 << 12, 1 << 12));
    assert_eq!((again.discard(), &again), (m.discard(), &m));

    let bytes = image.to_bytes();
    assert_eq!(MemblockImage::from_bytes(&bytes).as_ref(), Some(&image));
    for length in 0..bytes.len() {
        assert_eq!(MemblockImage::from_bytes(&bytes[..length]), None);
    }
    assert_eq!(MemblockImage::from_bytes(&[&bytes[..], &[0]].concat()), None);

    let mut bad = image.clone();
    bad.geometry.page_shift = 1;
    assert_eq!(Memblock::from_image(bad), Err(MemblockError::Geometry));
    for capacity in [0, 100, 128, 384, usize::MAX] {
        let mut bad = image.clone();
        bad.reserved.capacity = capacity;
        assert_eq!(Memblock::from_image(bad), Err(MemblockError::BadRegions), "{capacity}");
    }
    let mut bad = image.clone();
    bad.memory.regions.reverse();
    assert_eq!(Memblock::from_image(bad), Err(MemblockError::BadRegions));
}

#[test]
fn an_array_that_cannot_be_reserved_is_an_error_and_no_change() {
    // One free page-aligned place only: the memory list's array fits, the reserved list, full too,
    // finds none for its own.
    let mut m = Memblock::new();
    m.allow_resize().expect("open");
    for index in 0..127 {
        m.add_node(index * 4, 2, Some(0), 0).expect("room");
    }
    m.add_node(MIB, 8192, Some(0), 0).expect("room");
    for index in 0..128 {
        m.reserve(2 * MIB + index * 4, 2).expect("room");
    }
    let before = m.clone();
    assert_eq!(m.add_node(4 * MIB, 2, Some(0), 0), Err(MemblockError::ArrayReservation));
    assert_eq!(m, before);
}

#[test]
fn trimming_keeps_the_counter_of_what_was_shrunk() {
    let mut m = with_memory(&[(100, 0x3100), (0x5001, 0x5fff), (0x8000, 0x9000)]);
    let before = m.phys_mem_size();
    m.trim_memory(4096).expect("a power of two");
    assert_eq!(m.memory(), [region(0x1000, 0x3000, Some(0), 0), region(0x8000, 0x9000, Some(0), 0)]);
    assert_eq!(m.phys_mem_size(), before - (0x5fff - 0x5001));
    m.remove(0, NONE).expect("room");
    m.add(0, 10).expect("room");
    assert_eq!(m.phys_mem_size(), 10, "the first region sets the counter");
    m.add_node(NONE - 5, 5, Some(0), 0).expect("room");
    m.trim_memory(1 << 63).expect("a power of two");
    assert!(m.memory().is_empty());
}

#[test]
fn memory_limits_cut_the_top() {
    let mut m = with_memory(&[(0, 100), (200, 300)]);
    m.reserve(240, 100).expect("room");
    let whole = m.clone();
    m.enforce_memory_limit(0).expect("a no-op");
    m.enforce_memory_limit(201).expect("more than there is");
    assert_eq!(m, whole);
    m.enforce_memory_limit(150).expect("open");
    assert_eq!(m.memory(), [region(0, 100, Some(0), 0), region(200, 250, Some(0), 0)]);
    assert_eq!(m.reserved(), [region(240, 250, None, 0)]);
}

#[test]
fn capping_keeps_nomap_in_pieces_and_merges_later() {
    let mut m = with_memory(&[(0, 100), (200, 300)]);
    m.mark_nomap(200, 100).expect("room");
    m.reserve(0, 300).expect("room");
    m.cap_memory_range(50, 200).expect("open");
    let nomap = |base, end| region(base, end, Some(0), FLAG_NOMAP);
    assert_eq!(m.memory(), [region(50, 100, Some(0), 0), nomap(200, 250), nomap(250, 300)]);
    assert_eq!(m.reserved(), [region(50, 250, None, 0)]);
    // An add that inserts nothing does not merge; a change does, even of an empty range.
    m.add(60, 10).expect("a no-op");
    assert_eq!(m.memory().len(), 3);
    m.clear_hotplug(0, 0).expect("merges");
    assert_eq!(m.memory(), [region(50, 100, Some(0), 0), nomap(200, 300)]);
    m.mem_limit_remove_map(10).expect("open");
    assert_eq!(m.memory(), [region(50, 60, Some(0), 0), nomap(200, 300)]);
}

#[test]
fn a_cap_that_wraps_drops_reservations_above_the_wrapped_address() {
    let mut m = with_memory(&[(0, 100)]);
    m.reserve(0, 1000).expect("room");
    m.cap_memory_range(20, NONE - 9).expect("open");
    assert_eq!(m.memory(), [region(20, 100, Some(0), 0)]);
    assert_eq!(m.reserved(), []);
}

#[test]
fn free_blocks_are_the_largest_that_fit() {
    let blocks = |start, end| FreeBlocks::new(PfnSpan { start, end }, 11).collect::<Vec<_>>();
    assert_eq!(
        blocks(1, 0x9f),
        [(1, 0), (2, 1), (4, 2), (8, 3), (16, 4), (32, 5), (64, 6), (128, 4), (144, 3), (152, 2), (156, 1), (158, 0)]
    );
    assert_eq!(blocks(0, 4096).len(), 4);
    assert_eq!(blocks(0, 3), [(0, 1), (2, 0)]);
    assert!(blocks(5, 5).is_empty());
    assert_eq!(blocks(0x5003, 0x5400).len(), 9);
}

#[test]
fn hand_over_plans_and_discard_seals() {
    let mut m = with_memory(&[(0, 0x5000)]);
    m.mark_nomap(0x4000, 0x800).expect("room");
    m.mark_hotplug(0, 0x1000).expect("room");
    m.set_movable_node(true).expect("open");
    m.reserve(0x1800, 0x100).expect("room");
    let plan = m.free_all(100).expect("open");
    assert_eq!(plan.reserved_ranges().collect::<Vec<_>>(), [(0x1800, 0x1900), (0x4000, 0x4800)]);
    assert_eq!(plan.free_blocks().collect::<Vec<_>>(), [(0, 0), (2, 1)]);
    assert_eq!(plan.nr_pages(), 3);
    assert_eq!(m.hand_over(3).free_blocks().collect::<Vec<_>>(), [(0, 0), (2, 0)]);

    m.reserve(0, 1).expect("still open");
    assert_eq!(m.discard(), Ok(Vec::new()));
    let sealed = m.clone();
    assert!(m.is_discarded());
    let refused = Err(MemblockError::Discarded);
    assert_eq!(m.add(0, 1), refused);
    assert_eq!(m.remove(0, 1), refused);
    assert_eq!(m.reserve(0, 1), refused);
    assert_eq!(m.phys_free(0, 1), refused);
    assert_eq!(m.free(None, 1), refused);
    assert_eq!(m.mark_mirror(0, 1), refused);
    assert_eq!(m.clear_nomap(0, 1), refused);
    assert_eq!(m.set_node(0, 1, ListKind::Memory, None), refused);
    assert_eq!(m.set_bottom_up(true), refused);
    assert_eq!(m.set_current_limit(1), refused);
    assert_eq!(m.allow_resize(), refused);
    assert_eq!(m.set_movable_node(true), refused);
    assert_eq!(m.trim_memory(4096), refused);
    assert_eq!(m.enforce_memory_limit(1), refused);
    assert_eq!(m.cap_memory_range(0, 1), refused);
    assert_eq!(m.mem_limit_remove_map(1), refused);
    assert_eq!(m.alloc(1, 1), Err(MemblockError::Discarded));
    assert_eq!(m.discard(), Err(MemblockError::Discarded));
    assert_eq!(m.free_all(1).map(|_| ()), refused);
    assert_eq!(m, sealed);
}

#[test]
fn discard_gives_grown_arrays_back() {
    let mut m = with_memory(&[(MIB, 2 * MIB)]);
    m.allow_resize().expect("open");
    for index in 0..200 {
        m.reserve(index * 16, 8).expect("grows");
    }
    let first = (2 * MIB - 8192) >> 12;
    assert_eq!(m.discard(), Ok(vec![first, first + 1]));
}

#[test]
fn a_tebibyte_is_planned_without_storing_it() {
    let m = with_memory(&[(0, 1 << 40)]);
    let plan = m.hand_over(u64::MAX);
    assert_eq!(plan.nr_pages(), 1 << 28);
    assert_eq!(plan.free_blocks().count(), 1 << 18);
    // Nor is memory at the very end of the address space handed out from page 0.
    let end = with_memory(&[(NONE - 100, NONE)]);
    assert_eq!(end.hand_over(u64::MAX).nr_pages(), 0);
}

#[test]
fn the_dump_has_the_kernels_layout() {
    let mut m = Memblock::new();
    let empty = m.to_string();
    let mut lines = empty.lines();
    assert_eq!(lines.next(), Some("MEMBLOCK configuration:"));
    assert_eq!(lines.next(), Some(" memory size = 0x0000000000000000 reserved size = 0x0000000000000000"));
    assert_eq!(lines.next(), Some(" memory.cnt  = 0x1"));
    m.add_node(0x1000, 0x9e000, Some(0), 0).expect("room");
    m.add_node(0x10_0000, 0xf00000, Some(1), FLAG_HOTPLUG).expect("room");
    m.reserve(0x2000, 0x1000).expect("room");
    assert_eq!(
        m.to_string(),
        "MEMBLOCK configuration:\n \
         memory size = 0x0000000000f9e000 reserved size = 0x0000000000001000\n \
         memory.cnt  = 0x2\n \
         memory[0x0]\t[0x0000000000001000-0x000000000009efff], 0x000000000009e000 bytes on node 0 flags: 0x0\n \
         memory[0x1]\t[0x0000000000100000-0x0000000000ffffff], 0x0000000000f00000 bytes on node 1 flags: 0x1\n \
         reserved.cnt  = 0x1\n \
         reserved[0x0]\t[0x0000000000002000-0x0000000000002fff], 0x0000000000001000 bytes flags: 0x0\n"
    );
}

#[test]
fn geometry_is_checked_and_used() {
    for wrong in [
        Geometry { page_shift: 11, ..Geometry::default() },
        Geometry { page_shift: 64, ..Geometry::default() },
        Geometry { init_regions: 0, ..Geometry::default() },
        Geometry { region_bytes: u64::MAX, ..Geometry::default() },
        Geometry { smp_cache_bytes: 0, ..Geometry::default() },
        Geometry { max_order: 0, ..Geometry::default() },
    ] {
        assert_eq!(Memblock::with_geometry(wrong), Err(MemblockError::Geometry));
    }
    let large = Geometry { page_shift: 16, ..Geometry::default() };
    let mut m = Memblock::with_geometry(large).expect("valid");
    m.add(0, MIB).expect("room");
    m.set_bottom_up(true).expect("open");
    assert_eq!(m.alloc(1, 1), Ok(65536), "the first page stays untouched, whatever its size");
    assert_eq!(m.hand_over(u64::MAX).nr_pages(), 15);
}

/// A byte-by-byte model of both lists.
struct Model {
    memory: [Option<(Option<u32>, u32)>; SPAN],
    reserved: [bool; SPAN],
}

const SPAN: usize = 160;

/// Numbers that look random but never change (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn lists_agree_with_a_byte_by_byte_model() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..200 {
        let mut m = Memblock::new();
        let mut model = Model { memory: [None; SPAN], reserved: [false; SPAN] };
        for _ in 0..80 {
            let base = numbers.below(SPAN as u64);
            let size = numbers.below(SPAN as u64 - base + 1).min(40);
            let bytes = base as usize..(base + size) as usize;
            let nid = [None, Some(0), Some(1)][numbers.below(3) as usize];
            match numbers.below(8) {
                0 | 1 => {
                    m.add_node(base, size, nid, 0).expect("room");
                    model.memory[bytes].iter_mut().for_each(|byte| *byte = byte.or(Some((nid, 0))));
                }
                2 => {
                    m.remove(base, size).expect("room");
                    model.memory[bytes].fill(None);
                }
                3 => {
                    m.reserve(base, size).expect("room");
                    model.reserved[bytes].fill(true);
                }
                4 => {
                    m.phys_free(base, size).expect("room");
                    model.reserved[bytes].fill(false);
                }
                5 => {
                    m.mark_nomap(base, size).expect("room");
                    model.memory[bytes].iter_mut().flatten().for_each(|byte| byte.1 |= FLAG_NOMAP);
                }
                6 => {
                    m.clear_nomap(base, size).expect("room");
                    model.memory[bytes].iter_mut().flatten().for_each(|byte| byte.1 &= !FLAG_NOMAP);
                }
                _ => {
                    m.set_node(base, size, ListKind::Memory, nid).expect("room");
                    model.memory[bytes].iter_mut().flatten().for_each(|byte| byte.0 = nid);
                }
            }
            check(&m, &model);
        }
    }
}

fn check(m: &Memblock, model: &Model) {
    let runs = |value_at: &dyn Fn(usize) -> Option<(Option<u32>, u32)>| {
        let mut runs: Vec<Region> = Vec::new();
        for at in 0..SPAN {
            let Some((nid, flags)) = value_at(at) else { continue };
            let at = at as u64;
            match runs.last_mut() {
                Some(last) if last.end() == at && (last.nid, last.flags) == (nid, flags) => last.size += 1,
                _ => runs.push(Region { base: at, size: 1, nid, flags }),
            }
        }
        runs
    };
    assert_eq!(m.memory(), runs(&|at| model.memory[at]));
    assert_eq!(m.reserved(), runs(&|at| model.reserved[at].then_some((None, 0))));
    let nr_bytes = model.memory.iter().flatten().count() as u64;
    assert_eq!(m.phys_mem_size(), nr_bytes);
    let mut free_bytes = [false; SPAN];
    for range in m.for_each_free_mem_range(None, FLAG_NOMAP) {
        free_bytes[range.start as usize..range.end as usize].fill(true);
    }
    for (at, free) in free_bytes.into_iter().enumerate() {
        assert_eq!(free, model.memory[at].is_some() && !model.reserved[at]);
        assert_eq!(m.is_memory(at as u64), model.memory[at].is_some());
        assert_eq!(m.is_reserved(at as u64), model.reserved[at]);
    }
}
