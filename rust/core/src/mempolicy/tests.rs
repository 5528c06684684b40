//! Derivation of node sets, and the calls that policies make of requests.

use super::PolicyMode::{Bind, Default as None_, Interleave, Local, Preferred, PreferredMany};
use super::*;

const NORMAL: usize = 2;
const MOVABLE: usize = 3;

fn context() -> PolicyContext {
    PolicyContext {
        local: 1,
        is_in_interrupt: false,
        allowed_nodes: 0b1111,
        nodes_with_normal_memory: 0b0111,
        policy_zone: NORMAL,
        movable_zone_index: MOVABLE,
    }
}

fn policy(mode: PolicyMode, nodes: u64) -> MemPolicy {
    MemPolicy::new(mode, 0, nodes, 0b1111).unwrap()
}

fn attempt(gfp: Gfp, nid: u32, nodemask: Option<u64>) -> Attempt {
    Attempt { gfp, nid, nodemask }
}

#[test]
fn nodes_are_reduced_to_usable_ones() {
    let derived = |mode, flags, nodes| {
        let policy = MemPolicy::new(mode, flags, nodes, 0b1010)?;
        Ok((policy.mode, policy.nodes))
    };
    assert_eq!(derived(None_, 0, 0), Ok((None_, 0)));
    assert_eq!(derived(Local, 0, 0), Ok((Local, 0)));
    assert_eq!(derived(Preferred, 0, 0), Ok((Local, 0)));
    assert_eq!(derived(Preferred, 0, 0b1110), Ok((Preferred, 0b0010)));
    assert_eq!(derived(Bind, MPOL_F_STATIC_NODES, 0b1100), Ok((Bind, 0b1000)));
    assert_eq!(derived(Interleave, MPOL_F_RELATIVE_NODES, 0b0110), Ok((Interleave, 0b1010)));
    assert_eq!(derived(PreferredMany, MPOL_F_RELATIVE_NODES, 0b0100), Ok((PreferredMany, 0b0010)));

    assert_eq!(derived(None_, 0, 1), Err(PolicyError::UnexpectedNodes));
    assert_eq!(derived(Local, 0, 2), Err(PolicyError::UnexpectedNodes));
    assert_eq!(derived(Local, MPOL_F_STATIC_NODES, 0), Err(PolicyError::UnexpectedFlags));
    assert_eq!(derived(Preferred, MPOL_F_RELATIVE_NODES, 0), Err(PolicyError::UnexpectedFlags));
    for mode in [Bind, Interleave, PreferredMany] {
        assert_eq!(derived(mode, 0, 0), Err(PolicyError::NoNodes));
        assert_eq!(derived(mode, 0, 0b0101), Err(PolicyError::NoUsableNode));
    }
    assert_eq!(derived(Preferred, 0, 1 << 63), Err(PolicyError::NoUsableNode));
    assert_eq!(derived(Bind, MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES, 2), Err(PolicyError::StaticAndRelative));
    assert_eq!(derived(Bind, 1, 2), Err(PolicyError::UnknownFlags));
}

#[test]
fn mode_numbers() {
    for (number, mode) in PolicyMode::ALL.into_iter().enumerate() {
        assert_eq!(PolicyMode::from_number(number as u32), Some(mode));
        assert_eq!(mode as usize, number);
    }
    assert_eq!(PolicyMode::from_number(6), None);
}

#[test]
fn the_default_is_the_local_node() {
    let calls = |mode| policy(mode, 0).alloc_pages(&context(), &mut 0, Gfp::GFP_KERNEL, NORMAL);
    assert_eq!(calls(None_), Attempts::once(Gfp::GFP_KERNEL, 1, None));
    assert_eq!(calls(Local), calls(None_));
}

#[test]
fn preferred_names_the_zonelist_only() {
    let calls = policy(Preferred, 0b1100).alloc_pages(&context(), &mut 0, Gfp::GFP_KERNEL, NORMAL);
    assert_eq!(calls, Attempts::once(Gfp::GFP_KERNEL, 2, None));
}

#[test]
fn bind_applies_from_the_policy_zone_up() {
    let nodemask = |nodes, highest| policy(Bind, nodes).policy_nodemask(&context(), highest);
    assert_eq!(nodemask(0b0101, NORMAL), Some(0b0101));
    assert_eq!(nodemask(0b0101, MOVABLE), Some(0b0101));
    assert_eq!(nodemask(0b0101, 1), None);
    // Node 3 has movable memory only.
    assert_eq!(nodemask(0b1000, NORMAL), None);
    assert_eq!(nodemask(0b1000, MOVABLE), Some(0b1000));
    assert_eq!(nodemask(0b1001, NORMAL), Some(0b1001));
    let elsewhere = PolicyContext { allowed_nodes: 0b0010, ..context() };
    assert_eq!(policy(Bind, 0b0101).policy_nodemask(&elsewhere, NORMAL), None);
    // The walk begins at the local node's list, or the home node's.
    let bound = policy(Bind, 0b0101);
    let calls = bound.alloc_pages(&context(), &mut 0, Gfp::GFP_KERNEL, NORMAL);
    assert_eq!(calls, Attempts::once(Gfp::GFP_KERNEL, 1, Some(0b0101)));
    assert_eq!(bound.with_home_node(Some(2)).unwrap().policy_node(1), 2);
    assert_eq!(policy(Preferred, 1).with_home_node(Some(2)), Err(PolicyError::UnexpectedHomeNode));
}

#[test]
fn preferred_many_tries_twice() {
    let gfp = Gfp::GFP_KERNEL | Gfp::NOFAIL;
    let calls = policy(PreferredMany, 0b1100).alloc_pages(&context(), &mut 0, gfp, NORMAL);
    assert_eq!(calls.first, attempt(Gfp(0x28c0), 1, Some(0b1100)));
    assert_eq!(calls.second, Some(attempt(gfp, 1, None)));
}

#[test]
fn interleaving_takes_turns() {
    let interleave = policy(Interleave, 0b1101);
    let mut il_prev = MemPolicy::initial_il_prev(8);
    let mut next = || {
        let calls = interleave.alloc_pages(&context(), &mut il_prev, Gfp::GFP_KERNEL, NORMAL);
        assert!(calls.is_interleaved && calls.second.is_none() && calls.first.nodemask.is_none());
        calls.first.nid
    };
    assert_eq!([(); 5].map(|()| next()), [0, 2, 3, 0, 2]);
}

#[test]
fn this_node_and_interrupts_ignore_the_policy() {
    let mut il_prev = 5;
    for mode in [Bind, Interleave, Preferred, PreferredMany] {
        let policy = policy(mode, 0b0100);
        let gfp = Gfp::GFP_KERNEL | Gfp::THISNODE;
        assert_eq!(policy.alloc_pages(&context(), &mut il_prev, gfp, NORMAL), Attempts::once(gfp, 1, None));
        let interrupted = PolicyContext { is_in_interrupt: true, ..context() };
        let calls = policy.alloc_pages(&interrupted, &mut il_prev, Gfp::GFP_ATOMIC, NORMAL);
        assert_eq!(calls, Attempts::once(Gfp::GFP_ATOMIC, 1, None));
        assert_eq!(policy.slab_node(&interrupted, &mut il_prev, |_| Some(3)), 1);
    }
    assert_eq!(il_prev, 5);
}

fn mapped(vm_pgoff: u64, offset_bytes: u64) -> VmaRequest {
    let at = Some(MappedAt { vm_pgoff, offset_bytes });
    VmaRequest { gfp: Gfp::GFP_HIGHUSER_MOVABLE, order: 0, at, hugepage: false, page_shift: 12 }
}

#[test]
fn mapped_pages_are_interleaved_by_their_offset() {
    let interleave = policy(Interleave, 0b1101);
    let mut il_prev = 0;
    let mut node = |request| interleave.alloc_pages_vma(&context(), &mut il_prev, request, MOVABLE).first.nid;
    assert_eq!([0, 1, 2, 3].map(|page| node(mapped(0, page << 12))), [0, 2, 3, 0]);
    assert_eq!(node(mapped(1, 0x1fff)), 3);
    let order_9 = |request| VmaRequest { order: 9, ..request };
    assert_eq!(node(order_9(mapped(513, 0))), 2);
    assert_eq!(node(order_9(mapped(511, (2 << 21) - 1))), 2);
    node(mapped(u64::MAX, u64::MAX));
    node(VmaRequest { order: u32::MAX, ..mapped(u64::MAX, u64::MAX) });
    // Without a mapping it is the task's turn.
    assert_eq!(node(VmaRequest { at: None, ..mapped(0, 0) }), 2);
    assert_eq!(il_prev, 2);
    let empty = MemPolicy { nodes: 0, ..interleave };
    assert_eq!(empty.alloc_pages_vma(&context(), &mut 0, mapped(7, 0), MOVABLE).first.nid, 1);
    assert_eq!(empty.alloc_pages(&context(), &mut 0, Gfp::NONE, NORMAL).first.nid, 1);
}

#[test]
fn huge_pages_are_wanted_nearby_first() {
    let calls = |policy: MemPolicy, gfp| {
        let request = VmaRequest { gfp, order: 9, hugepage: true, ..mapped(0, 0) };
        policy.alloc_pages_vma(&context(), &mut 0, request, MOVABLE)
    };
    let light = Gfp::GFP_TRANSHUGE_LIGHT;
    let nearby = light | Gfp::THISNODE | Gfp::NORETRY;
    assert_eq!(calls(policy(None_, 0), light), Attempts::once(nearby, 1, None));
    assert_eq!(calls(policy(Preferred, 0b0100), light), Attempts::once(nearby, 2, None));
    assert_eq!(calls(policy(Bind, 0b0110), light), Attempts::once(nearby, 1, None));
    assert_eq!(calls(policy(Bind, 0b0100), light), Attempts::once(light, 1, Some(0b0100)));
    let reclaiming = calls(policy(Bind, 0b0110), Gfp::GFP_TRANSHUGE);
    assert_eq!(reclaiming.first, attempt(Gfp::GFP_TRANSHUGE | Gfp::THISNODE | Gfp::NORETRY, 1, None));
    assert_eq!(reclaiming.second, Some(attempt(Gfp::GFP_TRANSHUGE, 1, Some(0b0110))));
}

#[test]
fn bulk_requests_are_shared_out() {
    let mut il_prev = 2;
    let bulk = |policy: MemPolicy, il_prev: &mut u32, nr_pages| {
        policy.alloc_pages_bulk(&context(), il_prev, Gfp::GFP_KERNEL, NORMAL, nr_pages)
    };
    let BulkAttempts::Shares(shares) = bulk(policy(Interleave, 0b1101), &mut il_prev, 11) else {
        panic!("interleaving shares out");
    };
    let shares: Vec<(u32, u64)> = shares.iter().map(|(attempt, nr_pages)| (attempt.nid, *nr_pages)).collect();
    assert_eq!((shares, il_prev), (vec![(3, 4), (0, 4), (2, 3)], 2));

    let many = bulk(policy(PreferredMany, 0b1100), &mut il_prev, 5);
    let first = attempt(Gfp(0x28c0), 1, Some(0b1100));
    assert_eq!(many, BulkAttempts::UntilFull(first, Some(attempt(Gfp::GFP_KERNEL, 1, None))));
    let bound = bulk(policy(Bind, 0b0101), &mut il_prev, 5);
    assert_eq!(bound, BulkAttempts::UntilFull(attempt(Gfp::GFP_KERNEL, 1, Some(0b0101)), None));
}

#[test]
fn slab_nodes() {
    let node = |policy: MemPolicy, il_prev: &mut u32| {
        policy.slab_node(&context(), il_prev, |nodes| (nodes == 0b1100).then_some(3))
    };
    let mut il_prev = 0;
    assert_eq!(node(policy(None_, 0), &mut il_prev), 1);
    assert_eq!(node(policy(Local, 0), &mut il_prev), 1);
    assert_eq!(node(policy(Preferred, 0b0100), &mut il_prev), 2);
    assert_eq!(node(policy(Bind, 0b1100), &mut il_prev), 3);
    assert_eq!(node(policy(PreferredMany, 0b0100), &mut il_prev), 1, "no zone up to Normal");
    assert_eq!(node(policy(Interleave, 0b1101), &mut il_prev), 2);
    assert_eq!(il_prev, 2);
}

#[test]
fn the_boot_task_interleaves_over_large_nodes() {
    let nodes = |present: &[u64]| {
        let nodes = (0..).zip(present.iter().copied());
        MemPolicy::boot_interleave(nodes, 12).nodes
    };
    assert_eq!(nodes(&[4096, 4095, 8000]), 0b101);
    assert_eq!(nodes(&[100, 4095, 4095]), 0b010);
}
