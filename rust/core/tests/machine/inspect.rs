//! What the machine says about its pages.

use super::{CPU0, alloc, machine, nr_free};
use pagebuddy_core::config::Config;
use pagebuddy_core::error::{BadPage, BadPageReason};
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::page_state::PageState;
use pagebuddy_core::types::Pfn;

#[test]
fn every_page_is_counted_once_and_reports_agree_with_the_walk() {
    let machine = machine(&Config::default(), 64);
    let plain = alloc(&machine, Gfp::GFP_KERNEL, 3).unwrap();
    let compound = alloc(&machine, Gfp::GFP_KERNEL | Gfp::COMP, 4).unwrap();
    let singles: Vec<Pfn> = (0..5).map(|_| alloc(&machine, Gfp::GFP_HIGHUSER_MOVABLE, 0).unwrap()).collect();
    machine.free_pages(CPU0, singles[2], 0).unwrap();
    machine.get_page(singles[0]).unwrap();

    let mut counts = [0u64; 7];
    machine.visit_pages(0, machine.end_pfn(), |pfns, state, order| {
        for pfn in pfns.clone() {
            let report = machine.page_report(pfn);
            assert_eq!((report.state, report.block.map(|block| block.1)), (state, order), "pfn {pfn:#x}");
            assert!(report.block.is_none_or(|(first, order)| (first..first + (1 << order)).contains(&pfn)));
        }
        counts[state as usize] += pfns.end - pfns.start;
    });
    let state = machine.state();
    let on_lists: u64 = state.zones.iter().map(|zone| zone.pages_on_free_lists()).sum();
    let on_pcp: u64 = state.zones.iter().flat_map(|zone| &zone.pcp).map(|pcp| pcp.count).sum();
    assert_eq!(counts[PageState::Buddy as usize], on_lists);
    assert_eq!(counts[PageState::Pcp as usize], on_pcp);
    assert_eq!(counts[PageState::Allocated as usize], 8 + 16 + 4);
    assert_eq!(counts.iter().sum::<u64>(), (64 << 8) - (1 << 8));

    let head = machine.page_report(plain);
    assert_eq!((head.state, head.block, head.refcount), (PageState::Allocated, Some((plain, 3)), 1));
    assert!(!head.is_compound && machine.page_report(compound + 5).is_compound);
    assert_eq!(machine.page_report(compound + 5).refcount, 0);
    assert_eq!(machine.page_report(singles[0]).refcount, 2);
    assert_eq!(machine.page_report(singles[2]).state, PageState::Pcp);
    assert_eq!(machine.page_report(0).state, PageState::Hole);
    assert_eq!(machine.page_report(u64::MAX).state, PageState::Hole);
}

#[test]
fn what_put_page_leaves_behind_is_used() {
    let machine = machine(&Config::default(), 64);
    let plain = alloc(&machine, Gfp::GFP_KERNEL, 2).unwrap();
    machine.put_page(CPU0, plain).unwrap();
    let states: Vec<PageState> = (plain..plain + 4).map(|pfn| machine.page_report(pfn).state).collect();
    assert_eq!(states, [PageState::Pcp, PageState::Used, PageState::Used, PageState::Used]);
}

#[test]
fn tails_of_compound_blocks_stand_for_their_heads() {
    let machine = machine(&Config::default(), 64);
    let before = nr_free(&machine);
    for order in [1, 3, 4, 10] {
        let head = alloc(&machine, Gfp::GFP_KERNEL | Gfp::COMP, order).unwrap();
        let last = head + (1 << order) - 1;
        machine.get_page(last).unwrap();
        assert_eq!(machine.page_report(head).refcount, 2);
        machine.put_page(CPU0, head + (1 << order) / 2).unwrap();
        assert_eq!(machine.page_report(last).block, Some((head, order)));
        machine.put_page(CPU0, last).unwrap();
        assert_eq!(nr_free(&machine), before);
        for pfn in [head, last] {
            let bad = BadPage { pfn, reason: BadPageReason::AlreadyFree };
            assert_eq!((machine.get_page(pfn), machine.put_page(CPU0, pfn)), (Err(bad), Err(bad)));
        }
    }
    let plain = alloc(&machine, Gfp::GFP_KERNEL, 4).unwrap();
    for pfn in plain + 1..plain + 16 {
        let bad = BadPage { pfn, reason: BadPageReason::InteriorOfBlock };
        assert_eq!((machine.get_page(pfn), machine.put_page(CPU0, pfn)), (Err(bad), Err(bad)));
    }
    machine.free_pages(CPU0, plain, 4).unwrap();
    machine.validate().unwrap();
}

#[test]
fn buddyinfo_counts_what_the_lists_hold() {
    let machine = machine(&Config::default(), 64);
    let lines: Vec<String> = machine.buddyinfo().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), machine.nr_zones());
    for (line, zone) in lines.iter().zip(machine.state().zones) {
        let prefix = format!("Node 0, zone {:>8} ", zone.kind.name());
        let counts: Vec<u64> =
            line.strip_prefix(&prefix).unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert_eq!(counts, zone.nr_free);
        assert!(line.ends_with(' '));
    }
}
