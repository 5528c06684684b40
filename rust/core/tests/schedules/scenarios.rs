//! Small cases for exhaustive search, each around one race.

use crate::explore::Case;
use crate::program::Op::{
    self, Alloc, AllocAny, Bulk, Free, FreeAll, FreeBack, Move, MoveBlock, Spoil, SpoilBlock, Steal, Take, TakeFront,
};
use crate::strategy::Rng;
use crate::world::{AT_HEAD, Hint, World};
use pagebuddy_core::buddy::Buddy;
use pagebuddy_core::free_area::Side;
use pagebuddy_core::word::PageIdx;

/// A named case.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    build: fn(&World) -> Case,
}

impl Scenario {
    /// The case.
    pub fn case(&self, world: &World) -> Case {
        (self.build)(world)
    }

    /// Some bugs need three preemptions; these cases are small enough for that.
    pub fn is_worth_three_preemptions(&self) -> bool {
        ["move_half_of_a_pair", "move_half_of_a_large_pair", "two_pops_of_one"].contains(&self.name)
    }
}

/// Builds a start step by step, sequentially.
struct Setup<'a> {
    buddy: Buddy<'a>,
    held: Vec<Vec<(PageIdx, u32)>>,
    others: Vec<(PageIdx, u32)>,
    hints: Vec<Hint>,
}

impl Setup<'_> {
    /// A hint is wrong.
    fn mislead(&mut self, hint: Hint) {
        self.hints.push(hint);
    }

    /// A fiber allocates a block of list type 0.
    fn alloc(&mut self, fiber: usize, order: u32) {
        let x = self.buddy.take_smallest(order, 0).expect("a free block");
        self.held[fiber].push((x, order));
    }

    /// Nobody who runs allocates a block of list type 0.
    fn reserve(&mut self, order: u32) {
        let x = self.buddy.take_smallest(order, 0).expect("a free block");
        self.others.push((x, order));
    }

    /// Nobody who runs frees that block.
    fn release(&mut self, x: PageIdx, order: u32) {
        let at = self.others.iter().position(|block| *block == (x, order)).expect("a reserved block");
        self.others.remove(at);
        self.buddy.put(x, order, self.buddy.blocks().get(x).index(), Side::Likely);
    }

    /// A reserved block changes hands.
    fn hand_over(&mut self, x: PageIdx, order: u32, fiber: usize) {
        let at = self.others.iter().position(|block| *block == (x, order)).expect("a reserved block");
        self.others.remove(at);
        self.held[fiber].push((x, order));
    }
}

fn build(
    world: &World,
    nr_pages: PageIdx,
    (pageblock_order, types): (u32, &[u8]),
    programs: &[&[Op]],
    steps: impl FnOnce(&mut Setup<'_>),
) -> Case {
    let mut hints = Vec::new();
    let mut start = world.make_start(nr_pages, pageblock_order, types, |buddy| {
        let held = vec![Vec::new(); programs.len()];
        let mut setup = Setup { buddy, held, others: Vec::new(), hints: Vec::new() };
        steps(&mut setup);
        hints = setup.hints;
        (setup.held, setup.others)
    });
    start.hints = hints;
    Case { start, programs: programs.iter().map(|p| p.to_vec()).collect(), leased: true }
}

/// One list type; what the steps leave in lists and registers is free.
fn with(world: &World, nr_pages: PageIdx, programs: &[&[Op]], steps: impl FnOnce(&mut Setup<'_>)) -> Case {
    build(world, nr_pages, (4, &[]), programs, steps)
}

/// Single pages: some held, some freed in the given order, the others in use.
fn pages(world: &World, nr_pages: PageIdx, held: &[&[PageIdx]], freed: &[PageIdx], programs: &[&[Op]]) -> Case {
    misled(world, nr_pages, held, freed, &[], programs)
}

/// The same with wrong hints.
fn misled(
    world: &World,
    nr_pages: PageIdx,
    held: &[&[PageIdx]],
    freed: &[PageIdx],
    hints: &[Hint],
    programs: &[&[Op]],
) -> Case {
    with(world, nr_pages, programs, |setup| {
        (0..nr_pages).for_each(|_| setup.reserve(0));
        for (fiber, own) in held.iter().enumerate() {
            own.iter().for_each(|x| setup.hand_over(*x, 0, fiber));
        }
        freed.iter().for_each(|x| setup.release(*x, 0));
        hints.iter().for_each(|hint| setup.mislead(*hint));
    })
}

const A: Op = Alloc(0, 0);
const F: Op = Free(0);

/// Takes single pages out of the front block of an order of list type 0; the rest goes to type 1.
const fn spoil(k: u32, max: u32) -> Op {
    Spoil { from: (k, 0), order: 0, max, to: 1 }
}

/// All cases. Sixteen pages at most; block (0, top) is the whole zone.
#[rustfmt::skip]
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "free_buddies", build: |w| pages(w, 8, &[&[0], &[1]], &[], &[&[F], &[F]]) },
    Scenario { name: "free_buddies_beside_free", build: |w| pages(w, 8, &[&[0], &[1]], &[2, 3], &[&[F], &[F]]) },
    Scenario { name: "free_four_by_four", build: |w| pages(w, 4, &[&[0], &[1], &[2], &[3]], &[], &[&[F], &[F], &[F], &[F]]) },
    Scenario { name: "free_buddies_and_alloc", build: |w| pages(w, 8, &[&[0], &[1], &[]], &[], &[&[F], &[F], &[A]]) },
    Scenario { name: "two_pops_of_one", build: |w| pages(w, 8, &[&[], &[]], &[3], &[&[A], &[A]]) },
    Scenario { name: "two_pops_and_push", build: |w| pages(w, 8, &[&[], &[], &[6]], &[1, 3], &[&[A], &[A], &[F]]) },
    Scenario { name: "adjacent_middle_removals", build: |w| pages(w, 8, &[&[0], &[2], &[]], &[1, 3, 5], &[&[F], &[F], &[A]]) },
    Scenario { name: "middle_removal_pop_push", build: |w| pages(w, 8, &[&[2], &[]], &[1, 3, 5], &[&[F], &[A, F]]) },
    Scenario { name: "append_and_pop_last", build: |w| pages(w, 8, &[&[], &[4]], &[1, 2, 3, 6, 7], &[&[A, A], &[F]]) },
    Scenario { name: "append_remove_last_append", build: |w| pages(w, 8, &[&[1], &[2], &[5]], &[3, 7], &[&[FreeBack(0)], &[F], &[FreeBack(0)]]) },
    Scenario { name: "move_pop_move", build: |w| pages(w, 8, &[&[], &[], &[]], &[1, 3, 5], &[&[Move(3, 0, 0)], &[A], &[Move(1, 0, 0)]]) },
    Scenario { name: "two_splits", build: |w| pages(w, 8, &[&[], &[]], &[0, 1, 2, 3], &[&[A], &[A]]) },
    Scenario { name: "two_splits_of_two", build: |w| pages(w, 8, &[&[], &[]], &[0, 1, 4, 5], &[&[A], &[A]]) },
    Scenario { name: "three_splits_of_two", build: |w| pages(w, 16, &[&[], &[], &[1]], &[4, 5, 6, 7, 8, 9, 10, 11], &[&[A], &[A, F], &[F]]) },
    Scenario { name: "bulk_free_alloc", build: |w| pages(w, 8, &[&[], &[0], &[]], &[1, 3, 5], &[&[Bulk(3, 0, 0)], &[F], &[A]]) },
    Scenario { name: "two_bulks", build: |w| pages(w, 8, &[&[], &[]], &[0, 1, 2, 3, 6], &[&[Bulk(3, 0, 0)], &[Bulk(3, 0, 0)]]) },
    Scenario { name: "interleaved_batches", build: |w| pages(w, 8, &[&[0, 3], &[1, 2]], &[], &[&[FreeAll], &[FreeAll]]) },
    Scenario { name: "batch_alloc_free", build: |w| pages(w, 8, &[&[0, 2, 4], &[], &[1]], &[5, 7], &[&[FreeAll], &[A, A], &[F]]) },
    Scenario { name: "alloc_free_same_page", build: |w| pages(w, 8, &[&[], &[]], &[0], &[&[A, F], &[A, F]]) },
    Scenario { name: "alloc_free_same_page_twice", build: |w| pages(w, 4, &[&[], &[]], &[0], &[&[A, F, A, F], &[A, F]]) },
    Scenario { name: "two_moves_and_merge", build: |w| pages(w, 8, &[&[], &[], &[2]], &[1, 3, 5], &[&[Move(3, 0, 0)], &[Move(3, 0, 0)], &[F]]) },
    Scenario { name: "zombie_reuse", build: |w| pages(w, 8, &[&[2], &[], &[7]], &[1, 3, 5], &[&[F, A], &[A, F], &[F]]) },
    Scenario { name: "move_half_of_a_pair", build: |w| pages(w, 2, &[&[0], &[1], &[]], &[], &[&[F], &[F], &[Move(0, 0, 0)]]) },
    Scenario { name: "move_upper_half_of_a_pair", build: |w| pages(w, 4, &[&[0], &[1], &[]], &[], &[&[F], &[F], &[Move(1, 0, 0)]]) },
    Scenario { name: "move_half_of_a_large_pair", build: |w| build(w, 2, (0, &[0, 0]), &[&[F], &[F], &[Move(0, 0, 0)]], |s| { s.alloc(0, 0); s.alloc(1, 0) }) },
    Scenario { name: "spill_half_of_a_large_pair", build: |w| build(w, 8, (0, &[]), &[&[F], &[F], &[A]], |s| { s.reserve(0); s.alloc(0, 0); s.alloc(1, 0) }) },
    Scenario { name: "push_front_and_pop_front", build: |w| pages(w, 8, &[&[1], &[], &[7]], &[3], &[&[F], &[A, F], &[F]]) },
    Scenario { name: "register_run_and_alloc", build: |w| with(w, 8, &[&[F], &[A]], |s| s.alloc(0, 0)) },
    Scenario { name: "register_run_and_larger_alloc", build: |w| with(w, 8, &[&[F], &[Alloc(2, 0)]], |s| s.alloc(0, 0)) },
    Scenario { name: "register_run_alloc_alloc", build: |w| with(w, 8, &[&[F], &[A], &[Alloc(1, 0)]], |s| s.alloc(0, 0)) },
    Scenario { name: "register_take_and_take", build: |w| with(w, 8, &[&[A, F], &[A, F]], |s| s.reserve(0)) },
    Scenario { name: "whole_block_small_and_large", build: |w| with(w, 8, &[&[A, F], &[Alloc(2, 0)]], |_| ()) },
    Scenario { name: "whole_block_twice", build: |w| with(w, 4, &[&[A, F], &[A, F]], |_| ()) },
    Scenario { name: "spill_and_free_buddy", build: |w| with(w, 16, &[&[F], &[F], &[A]], |s| { s.reserve(0); s.alloc(0, 0); s.alloc(1, 0) }) },
    Scenario { name: "spill_and_spill", build: |w| with(w, 16, &[&[F], &[F]], |s| { s.alloc(0, 0); s.reserve(0); s.reserve(0); s.reserve(0); s.alloc(1, 0); s.reserve(0); s.reserve(0); }) },
    Scenario { name: "spill_below_and_free", build: |w| with(w, 8, &[&[Alloc(1, 0)], &[F], &[A]], |s| { s.alloc(1, 0); s.reserve(1) }) },
    Scenario { name: "spill_by_split_and_free", build: |w| with(w, 16, &[&[A], &[F]], |s| {
        // The register holds page 9's buddy and larger blocks; block (2, 1) is in a list.
        (0..9).for_each(|_| s.reserve(0));
        s.alloc(1, 0);
        s.reserve(0);
        s.release(2, 0);
        s.release(3, 0);
    }) },
    Scenario { name: "spill_again_and_again", build: |w| with(w, 8, &[&[F], &[A, F, F, A, F]], |s| {
        // Page 3 in the register, alone: it may leave and come back between a look and a spill.
        s.reserve(0);
        s.alloc(0, 0);
        s.alloc(1, 0);
        let x = s.buddy.take_smallest(2, 0).expect("the upper half");
        s.others.push((x, 2));
    }) },
    Scenario { name: "take_register_element", build: |w| with(w, 8, &[&[Take(2, 1)], &[A], &[F]], |s| s.alloc(2, 0)) },
    Scenario { name: "take_from_the_middle", build: |w| pages(w, 8, &[&[], &[], &[2]], &[1, 3, 5], &[&[Take(3, 0)], &[A, A], &[F]]) },
    Scenario { name: "take_front_and_merge", build: |w| pages(w, 8, &[&[], &[2], &[]], &[1, 3, 5], &[&[TakeFront(0, 0)], &[F], &[TakeFront(0, 0), F]]) },
    Scenario { name: "steal_pop_push", build: |w| pages(w, 8, &[&[], &[], &[5]], &[1, 3], &[&[Steal(0, 0, 1)], &[A], &[F]]) },
    Scenario { name: "two_steals_and_free", build: |w| pages(w, 8, &[&[], &[], &[2]], &[1, 3], &[&[Steal(0, 0, 1)], &[Steal(0, 0, 1)], &[F]]) },
    Scenario { name: "look_in_two_types", build: |w| pages(w, 4, &[&[], &[], &[]], &[3], &[&[AllocAny(0, 1)], &[Move(3, 0, 1)], &[Move(3, 0, 0)]]) },
    Scenario { name: "steal_register_element", build: |w| with(w, 8, &[&[Steal(1, 0, 1)], &[A], &[F]], |s| s.alloc(2, 0)) },
    Scenario { name: "spoil_alloc_free", build: |w| pages(w, 8, &[&[], &[], &[6]], &[2, 3], &[&[spoil(1, 1)], &[A], &[F]]) },
    Scenario { name: "two_spoils_and_free", build: |w| pages(w, 8, &[&[], &[], &[0]], &[2, 3, 5], &[&[spoil(1, 2)], &[spoil(1, 1)], &[F]]) },
    Scenario { name: "spoil_register_element", build: |w| with(w, 8, &[&[spoil(2, 3)], &[Alloc(1, 0)], &[F]], |s| s.alloc(2, 0)) },
    Scenario { name: "look_while_spoiled", build: |w| pages(w, 8, &[&[], &[]], &[2, 3], &[&[AllocAny(0, 1)], &[spoil(1, 1)]]) },
    Scenario { name: "spoil_block_and_merge", build: |w| pages(w, 8, &[&[], &[0], &[1]], &[2, 3], &[&[SpoilBlock { block: (2, 1), order: 0, max: 1, to: 1 }], &[F], &[F]]) },
    Scenario { name: "move_block_free_alloc", build: |w| build(w, 8, (2, &[0, 1]), &[&[MoveBlock(0, 1)], &[F], &[A]], |s| {
        (0..8).for_each(|_| s.reserve(0));
        s.hand_over(0, 0, 1);
        [1, 3].into_iter().for_each(|x| s.release(x, 0));
    }) },
    Scenario { name: "move_block_there_and_back", build: |w| build(w, 8, (2, &[0, 0]), &[&[MoveBlock(0, 1)], &[MoveBlock(0, 0)], &[F]], |s| {
        (0..8).for_each(|_| s.reserve(0));
        s.hand_over(2, 0, 2);
        [1, 3].into_iter().for_each(|x| s.release(x, 0));
    }) },
    Scenario { name: "move_block_with_register", build: |w| build(w, 8, (2, &[0, 0]), &[&[MoveBlock(0, 1)], &[F], &[A]], |s| s.alloc(1, 0)) },
    Scenario { name: "free_into_two_types", build: |w| build(w, 4, (1, &[0, 1]), &[&[FreeAll], &[FreeAll]], |s| {
        (0..4).for_each(|_| s.reserve(0));
        [(0, 0), (3, 0), (1, 1), (2, 1)].into_iter().for_each(|(x, fiber)| s.hand_over(x, 0, fiber));
    }) },
    Scenario { name: "append_behind_a_wrong_tail", build: |w| misled(w, 8, &[&[7], &[], &[2]], &[3, 1, 5], &[Hint::Tail(0, 0, 5)], &[&[FreeBack(0)], &[A, F], &[F]]) },
    Scenario { name: "append_while_the_next_moves", build: |w| misled(w, 8, &[&[7], &[], &[4]], &[5, 3, 1], &[Hint::Tail(0, 0, 3)], &[&[FreeBack(0)], &[Move(5, 0, 0)], &[F]]) },
    Scenario { name: "append_behind_a_moved_tail", build: |w| misled(w, 8, &[&[7], &[]], &[1, 5], &[Hint::Tail(0, 0, AT_HEAD)], &[&[FreeBack(0)], &[Move(5, 0, 1), Move(1, 0, 1)]]) },
    Scenario { name: "append_behind_a_dead_tail", build: |w| misled(w, 8, &[&[7], &[], &[]], &[1, 3, 5], &[Hint::Tail(0, 0, 6), Hint::Prev(6, 4)], &[&[FreeBack(0)], &[A, F], &[A]]) },
    Scenario { name: "remove_with_wrong_hints", build: |w| misled(w, 8, &[&[4], &[6], &[]], &[1, 3, 5, 7], &[Hint::Prev(5, 1), Hint::Prev(7, 3), Hint::Prev(3, 5), Hint::Prev(1, AT_HEAD)], &[&[F], &[F, A], &[A]]) },
    Scenario { name: "remove_through_a_moved_hint", build: |w| misled(w, 8, &[&[0], &[]], &[1, 3, 5], &[Hint::Prev(1, 5)], &[&[F], &[Move(3, 0, 1), Move(5, 0, 1)]]) },
    Scenario { name: "long_list", build: |w| pages(w, 16, &[&[0], &[4], &[]], &[1, 3, 5, 7, 9, 11], &[&[F, A], &[F], &[A]]) },
    Scenario { name: "three_levels", build: |w| pages(w, 8, &[&[0], &[2], &[4]], &[1, 3, 5, 6, 7], &[&[F], &[F], &[F]]) },
];

/// The case with this name.
pub fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no scenario {name:?}"))
}

/// A random case.
pub fn random_case(world: &World, seed: u64) -> Case {
    let mut rng = Rng::new(seed ^ 0x5bd1_e995);
    let nr_pages: PageIdx = rng.pick(&[4, 8, 16, 32]);
    let nr_fibers = 2 + rng.below(3) as usize;
    let pageblock_order = if rng.one_in(2) { nr_pages.trailing_zeros() } else { rng.below(3) as u32 };
    let types: Vec<u8> = (0..nr_pages >> pageblock_order).map(|_| u8::from(rng.one_in(4))).collect();
    let nr_types = 1 + u64::from(types.contains(&1));
    let mut start = world.make_start(nr_pages, pageblock_order, &types, |buddy| {
        let mut blocks = Vec::new();
        for _ in 0..rng.below(24) {
            if !rng.one_in(3) {
                let (order, mt) = (rng.below(3) as u32, rng.below(nr_types) as usize);
                blocks.extend(buddy.take_smallest(order, mt).map(|x| (x, order)));
            } else if !blocks.is_empty() {
                let (x, order) = blocks.swap_remove(rng.below(blocks.len() as u64) as usize);
                buddy.put(x, order, buddy.blocks().get(x).index(), Side::Likely);
            }
        }
        let mut held = vec![Vec::new(); nr_fibers];
        blocks.into_iter().for_each(|block| held[rng.below(nr_fibers as u64) as usize].push(block));
        (held, Vec::new())
    });
    if rng.one_in(3) {
        let anywhere = |rng: &mut Rng| {
            let x = rng.below(u64::from(nr_pages) + 1) as PageIdx;
            if x == nr_pages { AT_HEAD } else { x }
        };
        for order in 0..=nr_pages.trailing_zeros() {
            start.hints.extend((0..2).map(|mt| Hint::Tail(order, mt, anywhere(&mut rng))));
        }
        start.hints.extend((0..nr_pages).map(|x| Hint::Prev(x, anywhere(&mut rng))));
    }
    let program = |rng: &mut Rng| -> Vec<Op> {
        let most = rng.pick(&[3, 9]);
        (0..1 + rng.below(most)).map(|_| random_op(rng, nr_pages, nr_types)).collect()
    };
    let programs = (0..nr_fibers).map(|_| program(&mut rng)).collect();
    Case { start, programs, leased: !rng.one_in(5) }
}

fn random_op(rng: &mut Rng, nr_pages: PageIdx, nr_types: u64) -> Op {
    let order = rng.below(3) as u32;
    let mt = rng.below(nr_types) as usize;
    let block = (rng.below(u64::from(nr_pages)) as PageIdx) >> order << order;
    match rng.below(16) {
        0..3 => Alloc(order, mt),
        3 => AllocAny(order, mt),
        4 => Bulk(1 + rng.below(5) as u32, 0, mt),
        5 => Move(block, order, mt),
        6 => MoveBlock(block, mt),
        7 => Take(block, order),
        8 if rng.one_in(2) => TakeFront(order, mt),
        8 => {
            let (small, max) = (rng.below(u64::from(order) + 1) as u32, 1 + rng.below(4) as u32);
            if rng.one_in(2) {
                Spoil { from: (order, mt), order: small, max, to: 1 - mt }
            } else {
                SpoilBlock { block: (block, order), order: small, max, to: 1 - mt }
            }
        }
        9 if rng.one_in(2) => Steal(order, mt, 1 - mt),
        9 => FreeAll,
        10 => FreeBack(rng.below(8) as usize),
        _ => Free(rng.below(8) as usize),
    }
}
