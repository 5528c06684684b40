//! Where every page is, after all workers are gone.

use crate::board::{Board, Id};
use crate::work::{MOST_HELD, MOST_IN_BULK, NR_CPUS, NR_PAGES};
use pagebuddy_core::allocator::{CpuChoice, PageAllocator};
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::page_alloc::AllocRequest;
use pagebuddy_core::page_state::PageState;
use pagebuddy_core::pressure::NoHooks;
use pagebuddy_core::types::MigrateType;
use std::collections::BTreeSet;

/// Largest order.
const TOP: usize = 10;

/// Most pages that one operation has in its hands: a block of the largest order that it splits or
/// merges, and the elements of a split register that it spills. The pages that a drain took off its
/// list and did not free yet lie in the block that it merges.
const MOST_IN_FLIGHT: u64 = (1 << TOP) + ((1 << TOP) - 1);

/// Somebody who was killed.
#[derive(Clone, Copy, Debug)]
pub struct Dead {
    /// As the board knows it.
    pub id: Id,
    /// As leases name it.
    pub pid: u32,
}

/// Pages that the dead took along.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    /// Allocated and marked as owned.
    pub held: u64,
    /// On the per-cpu lists of slots they had leased.
    pub listed: u64,
    /// In the hands of the operation they were in.
    pub in_flight: u64,
}

/// All free blocks, whatever list they are in.
pub fn free_blocks(machine: &PageAllocator) -> BTreeSet<(u64, usize)> {
    let mut blocks = BTreeSet::new();
    for zone in machine.state().zones {
        for order in 0..=TOP {
            for mt in MigrateType::ALL {
                blocks.extend(zone.free_list(order, mt).iter().map(|pfn| (*pfn, order)));
            }
        }
    }
    blocks
}

fn pages(blocks: &BTreeSet<(u64, usize)>) -> impl Iterator<Item = u64> {
    blocks.iter().flat_map(|(first, order)| *first..first + (1 << order))
}

/// Pages on the per-cpu lists of the cpus that nobody has leased. (Whoever looks at the state of a
/// machine empties its spare slots.)
fn listed_pages(machine: &PageAllocator) -> Vec<u64> {
    let mut listed = Vec::new();
    for cpu in (0..NR_CPUS).filter(|cpu| machine.lease_holder(*cpu).is_none()) {
        for zone in machine.zone_views() {
            let lists = zone.pcp(cpu).expect("a cpu slot").lists;
            for (index, list) in lists.iter().enumerate() {
                let order = if index < 12 { index / 3 } else { 9 };
                listed.extend(list.iter().flat_map(|first| *first..first + (1 << order)));
            }
        }
    }
    listed
}

/// Nobody was killed: nothing is missing, and everything is merged again as it was.
pub fn settle_without_dead(machine: &PageAllocator, board: &Board, whole: &BTreeSet<(u64, usize)>) {
    let owned = (0..NR_PAGES).find(|page| board.owner(*page) != 0);
    assert_eq!(owned, None, "everybody freed everything, but this page is owned");
    machine.drain_all(None);
    machine.validate().unwrap_or_else(|violation| panic!("{violation}"));
    assert!(free_blocks(machine) == *whole, "not merged as before");
}

/// Some were killed: only what was in their hands is missing, and the machine works.
pub fn settle_with_dead(machine: &PageAllocator, board: &Board, whole: &BTreeSet<(u64, usize)>, dead: &[Dead]) -> Lost {
    for slot in 0..machine.nr_slots() {
        let holder = machine.lease_holder(slot);
        let is_dead = |pid: u32| dead.iter().any(|dead| dead.pid == pid);
        assert!(holder.is_none_or(is_dead), "slot {slot} is leased by {holder:?}, who is done");
    }
    machine.validate_free_lists().unwrap_or_else(|violation| panic!("{violation}"));
    let mut places = vec!["nowhere"; NR_PAGES as usize];
    let mut put = |page: u64, place: &'static str| {
        let before = std::mem::replace(&mut places[page as usize], place);
        assert_eq!(before, "nowhere", "page {page:#x} is also {place}");
    };
    pages(&free_blocks(machine)).for_each(|page| put(page, "free"));
    listed_pages(machine).into_iter().for_each(|page| put(page, "on a list"));
    let mut lost = Lost::default();
    for page in (0..NR_PAGES).filter(|page| board.owner(*page) != 0) {
        put(page, "owned");
        lost.held += 1;
        let owner = board.owner(page);
        assert!(dead.iter().any(|dead| dead.id == owner), "page {page:#x} is owned by {owner}, who freed everything");
    }
    for page in pages(whole).filter(|page| places[*page as usize] == "nowhere") {
        match machine.page_report(page).state {
            PageState::Pcp => lost.listed += 1,
            PageState::Allocated | PageState::Used | PageState::Reserved => lost.in_flight += 1,
            state => panic!("page {page:#x} is {state:?}, but in no list"),
        }
    }
    let nr_dead = dead.len() as u64;
    assert!(lost.held <= nr_dead * MOST_HELD, "{lost:?} by {nr_dead}");
    assert!(lost.in_flight <= nr_dead * MOST_IN_FLIGHT.max(MOST_IN_BULK as u64), "{lost:?} by {nr_dead}");
    let nr_slots_lost = (0..machine.nr_slots()).filter(|slot| machine.lease_holder(*slot).is_some()).count();
    assert!(nr_slots_lost > 0 || lost.listed == 0, "{lost:?}, but every slot is free");
    use_up(machine, &places);
    lost
}

/// Allocates every page there is, one by one, and frees them.
fn use_up(machine: &PageAllocator, places: &[&str]) {
    let is_there = |page: u64| ["free", "on a list"].contains(&places[page as usize]);
    let nr_there = (0..NR_PAGES).filter(|page| is_there(*page)).count();
    let in_reserve: u64 = machine
        .zone_views()
        .flat_map(|zone| {
            (0..=TOP as u32).map(move |order| (zone.free_list(order, MigrateType::HighAtomic).len() as u64) << order)
        })
        .sum();
    let gfp = Gfp(Gfp::GFP_HIGHUSER_MOVABLE.0 | Gfp::MEMALLOC.0);
    let mut taken = BTreeSet::new();
    while let Ok(page) =
        machine.alloc_pages(CpuChoice::Current, AllocRequest { gfp, order: 0, nid: 0, nodemask: None }, &NoHooks)
    {
        assert!(is_there(page), "page {page:#x} was {}, but it was handed out", places[page as usize]);
        assert!(taken.insert(page), "page {page:#x} was handed out twice");
    }
    // Lists of cpus that this thread did not come by keep what they have.
    let kept = listed_pages(machine).len();
    assert!(
        taken.len() + kept + in_reserve as usize >= nr_there,
        "{nr_there} pages are free, {} were handed out, {kept} are listed, {in_reserve} reserved",
        taken.len()
    );
    for page in taken {
        machine.free_pages(CpuChoice::Current, page, 0).expect("a page that was allocated");
    }
    machine.drain_all(None);
    machine.validate_free_lists().unwrap_or_else(|violation| panic!("{violation}"));
    assert_eq!(pages(&free_blocks(machine)).count() + listed_pages(machine).len(), nr_there, "free pages after all");
}
