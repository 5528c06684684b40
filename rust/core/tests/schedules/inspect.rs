//! What must hold when nobody is in the middle of an operation.

use crate::ledger::{Ledger, Owner};
use crate::world::World;
use pagebuddy_core::free_area::Side;
use pagebuddy_core::types::NR_MIGRATETYPES;
use pagebuddy_core::word::list_head::ListHead;
use pagebuddy_core::word::page_word::Kind;
use pagebuddy_core::word::{NIL, PageIdx};

/// What an inspection found besides violations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Pages that are neither free nor held by anybody.
    pub nr_stranded: usize,
    /// Pairs of free buddies.
    pub nr_pairs: usize,
    /// Linked nodes that are not free.
    pub nr_zombies: usize,
}

/// The free blocks, found by walking every list and register strictly.
struct Free {
    blocks: Vec<(PageIdx, u32)>,
    covered: Vec<bool>,
    zombies: Vec<PageIdx>,
}

impl Free {
    fn add(&mut self, x: PageIdx, order: u32, what: &str) {
        let size = 1usize << order;
        assert!(x as usize % size == 0 && x as usize + size <= self.covered.len(), "{what}: block ({x}, {order})");
        for page in x as usize..x as usize + size {
            assert!(!self.covered[page], "{what}: page {page} of block ({x}, {order}) is free twice");
            self.covered[page] = true;
        }
        self.blocks.push((x, order));
    }
}

impl World {
    fn find_free(&self) -> Free {
        let lists = self.free_lists();
        let nr_pages = self.nr_pages();
        let mut free = Free { blocks: Vec::new(), covered: vec![false; nr_pages as usize], zombies: Vec::new() };
        for mt in 0..NR_MIGRATETYPES {
            let register = lists.lists.split.load(mt);
            for order in 0..=self.top() {
                if register.has(order) {
                    free.add(register.element(order), order, "split register");
                }
                let mut x = ListHead::from_raw(lists.lists.list(order, mt).stamp().0).first();
                let mut nr_nodes = 0;
                while x != NIL {
                    nr_nodes += 1;
                    assert!(x < nr_pages && nr_nodes <= nr_pages, "list ({order}, {mt}) is broken at {x}");
                    let word = lists.word(x);
                    let here = (word.order(), word.mt(), word.is_linked()) == (order, mt, true);
                    assert!(here, "page {x} in list ({order}, {mt}) says {word:?}");
                    match word.kind() {
                        Kind::Free | Kind::Pend => free.add(x, order, "list"),
                        Kind::Used | Kind::Claimed => free.zombies.push(x),
                    }
                    x = word.next();
                }
            }
        }
        free
    }

    /// Checks everything after the fibers stopped. `killed` is the fiber that was killed midway.
    pub fn inspect(&self, killed: Option<u8>) -> Findings {
        let free = self.find_free();
        let ledger = self.ledger.borrow();
        self.check_owners(&free, &ledger, killed);
        for x in 0..self.nr_pages() {
            let word = self.free_lists().word(x);
            match word.kind() {
                Kind::Used | Kind::Claimed if word.is_linked() && killed.is_none() => {
                    assert!(free.zombies.contains(&x), "page {x} is in no list but says {word:?}");
                    assert!(word.kind() == Kind::Used, "nobody is at work, but page {x} says {word:?}");
                }
                Kind::Free => assert!(free.blocks.contains(&(x, word.order())), "page {x} says {word:?} in no list"),
                Kind::Pend => assert!(killed.is_some(), "page {x} was never promoted: {word:?}"),
                Kind::Used | Kind::Claimed => {}
            }
        }
        let given = killed.map_or(&[][..], |fiber| ledger.given(fiber));
        let mut findings = Findings { nr_zombies: free.zombies.len(), ..Findings::default() };
        for (x, order) in &free.blocks {
            let buddy = (x ^ (1 << order), *order);
            if *order < self.top() && x & (1 << order) == 0 && free.blocks.contains(&buddy) {
                assert!(
                    given.contains(&(*x, *order)) || given.contains(&buddy),
                    "buddies ({x}, {order}) and {buddy:?} are both free"
                );
                findings.nr_pairs += 1;
            }
        }
        if let Some(fiber) = killed {
            findings.nr_stranded = ledger.pages_of(Owner::InFlight(fiber)).len();
        }
        findings
    }

    /// What is free in the lists is free in the ledger, and nobody but a dead fiber has pages in
    /// flight.
    fn check_owners(&self, free: &Free, ledger: &Ledger, killed: Option<u8>) {
        for x in 0..self.nr_pages() {
            let owner = ledger.owner(x);
            let in_lists = free.covered[x as usize];
            assert!(
                in_lists == (owner == Owner::Free),
                "page {x}: {owner:?}, but {} in the lists",
                if in_lists { "it is" } else { "it is not" }
            );
            if let Owner::InFlight(fiber) = owner {
                assert!(Some(fiber) == killed, "page {x} is in flight with fiber {fiber}, which is done");
            }
        }
    }

    /// Takes all free pages one by one and returns them: whatever a dead fiber left behind, the
    /// zone works. The pages taken are exactly the free ones.
    pub fn use_up(&self) {
        let buddy = self.buddy(0);
        let mut taken = Vec::new();
        for mt in 0..NR_MIGRATETYPES {
            while let Some(x) = buddy.take_smallest(0, mt) {
                taken.push(x);
                assert!(taken.len() <= self.nr_pages() as usize, "more pages than the zone has");
            }
        }
        let mut sorted = taken.clone();
        sorted.sort_unstable();
        let expected = self.ledger.borrow().pages_of(Owner::Free);
        assert_eq!(sorted, expected, "the pages that can be allocated and those that are free");
        for x in taken {
            buddy.put(x, 0, buddy.blocks().get(x).index(), Side::Likely);
        }
    }

    /// Frees everything that is held; without a dead fiber the zone is one block again.
    pub fn free_everything(&self, others: &[(PageIdx, u32)], killed: Option<u8>) {
        let held: Vec<_> = self.held.borrow().iter().flatten().copied().chain(others.iter().copied()).collect();
        let buddy = self.buddy(0);
        for (x, order) in held {
            buddy.put(x, order, buddy.blocks().get(x).index(), Side::Likely);
        }
        let free = self.find_free();
        match killed {
            None => assert_eq!(free.blocks, [(0, self.top())], "everything was freed"),
            Some(fiber) => {
                let stranded = self.ledger.borrow().pages_of(Owner::InFlight(fiber));
                let missing: Vec<_> = (0..self.nr_pages()).filter(|x| !free.covered[*x as usize]).collect();
                assert_eq!(missing, stranded, "after freeing everything only the dead fiber's pages are missing");
            }
        }
    }
}
