//! Models of the lock-free zone under the C11 memory model.
//!
//! Loom runs two or three threads on a zone of two to eight pages through all interleavings with a
//! few preemptions, and lets every load return every value that C11 allows. Loom knows no SeqCst
//! accesses (it takes them for AcqRel); where the engine relies on one, `fence_for_model` stands in.
//!
//! `PAGEBUDDY_SOAK_SECONDS` lets each model run that long, first with one more preemption, then with
//! any number.

#[path = "loom/owners.rs"]
mod owners;
#[path = "common/tally.rs"]
mod tally;

use loom::sync::Arc;
use loom::thread;
use pagebuddy_core::buddy::Buddy;
use pagebuddy_core::free_area::{FreeArea, MergeRule, Side};
use pagebuddy_core::free_list::{FreeLists, ZoneLists};
use pagebuddy_core::in_flight::{InFlight, InFlightFlag};
use pagebuddy_core::page_array::{PageArray, PageDesc};
use pagebuddy_core::pageblock::Pageblocks;
use pagebuddy_core::sync::{AtomicU8, AtomicU32, Relaxed};
use pagebuddy_core::word::PageIdx;
use pagebuddy_core::word::split_register::SplitRegister;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tally::Tally;

/// List type of everything in these models.
const MT: usize = 0;

/// Most accesses in one execution.
const MAX_BRANCHES: usize = 20_000;

/// Stack of a thread, in words.
const STACK_WORDS: usize = 1 << 13;

/// Most seconds of one model in the short form; a model that is larger says so.
const SECONDS: f64 = 30.0;

/// A zone of a few pages, which all are in use at first.
struct Zone {
    pages: Vec<PageDesc>,
    lists: Box<ZoneLists>,
    types: Vec<AtomicU8>,
    nr_isolated: AtomicU32,
    flags: Vec<InFlightFlag>,
    /// What is in the pages: is it in use? Accessed without any ordering, as memory is.
    contents: Vec<AtomicU8>,
}

/// A block: page and order.
type Block = (PageIdx, u32);

impl Zone {
    fn new(nr_pages: usize, nr_flags: usize) -> Self {
        Zone {
            pages: (0..nr_pages).map(|_| PageDesc::new()).collect(),
            lists: Box::default(),
            types: vec![AtomicU8::new(MT as u8)],
            nr_isolated: AtomicU32::new(0),
            flags: (0..nr_flags).map(|_| InFlightFlag::new()).collect(),
            contents: (0..nr_pages).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    fn top(&self) -> u32 {
        self.pages.len().trailing_zeros()
    }

    /// The allocator as thread `own` sees it.
    fn buddy(&self, own: usize) -> Buddy<'_> {
        let blocks = Pageblocks::new(&self.types, 10);
        let rule = MergeRule { top: self.top(), blocks, nr_isolated: &self.nr_isolated, has_isolation: false };
        let in_flight = InFlight { own: self.flags.get(own), all: &self.flags };
        Buddy { area: FreeArea { lists: self.free_lists(), rule, in_flight } }
    }

    fn free_lists(&self) -> FreeLists<'_> {
        // The small table has one descriptor, that of page 0, which the other has room for.
        let pages = PageArray::new(&self.pages, &self.pages[..1]).expect("a small zone");
        FreeLists { lists: &self.lists, pages }
    }

    /// A block came into our hands: what its last user wrote must be visible.
    fn received(&self, (x, order): Block) {
        for page in x..x + (1 << order) {
            let contents = &self.contents[page as usize];
            assert_eq!(contents.load(Relaxed), 0, "page {page} looks in use");
            contents.store(1, Relaxed);
        }
    }

    /// We are done with a block.
    fn release(&self, (x, order): Block) {
        (x..x + (1 << order)).for_each(|page| self.contents[page as usize].store(0, Relaxed));
    }

    fn free(&self, thread: usize, (x, order): Block) {
        self.release((x, order));
        self.buddy(thread).put(x, order, MT, Side::Likely);
    }

    fn alloc(&self, thread: usize, order: u32) -> Option<Block> {
        let block = (self.buddy(thread).take_smallest(order, MT)?, order);
        self.received(block);
        Some(block)
    }

    /// Appends a page to list (0, MT) without merging.
    fn append(&self, x: PageIdx) {
        self.release((x, 0));
        self.free_lists().push_back(x, 0, MT);
    }

    /// Takes a page out of list (0, MT) by claim and unlink.
    fn remove(&self, x: PageIdx) -> Option<Block> {
        let lists = self.free_lists();
        let frozen = lists.claim(x, 0)?;
        lists.detach(x, frozen);
        self.received((x, 0));
        Some((x, 0))
    }

    /// After all threads ended: free blocks and held ones are disjoint and cover the zone.
    fn check(&self, held: &[Block], merged: bool) {
        let mut owners = vec![0; self.pages.len()];
        let mut mark = |(x, order): Block| {
            assert_eq!(x % (1 << order), 0, "block ({x}, {order})");
            (x..x + (1 << order)).for_each(|page| owners[page as usize] += 1);
        };
        let mut free = Vec::new();
        for order in 0..=self.top() {
            self.free_lists().for_each(order, MT, |x| {
                free.push((x, order));
                true
            });
        }
        free.iter().copied().for_each(&mut mark);
        held.iter().copied().for_each(&mut mark);
        assert!(owners.iter().all(|n| *n == 1), "owners {owners:?}: free {free:?}, held {held:?}");
        if merged {
            for (x, order) in &free {
                let buddy = (x ^ (1 << order), *order);
                assert!(*order == self.top() || !free.contains(&buddy), "({x}, {order}) and its buddy are free");
            }
        }
    }
}

/// What a thread does; what it holds at its end.
type Run = fn(&Zone) -> Vec<Block>;

/// A prepared zone and the blocks that nobody who runs holds.
type Prepared = (Zone, Vec<Block>);

/// Runs `body` through its executions and says how many there were: those with few preemptions in
/// the short form; in the long form those with one more, and then all, as far as the time goes.
fn explore(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let body = std::sync::Arc::new(body);
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default().replace("::", "_");
    let (bounds, longest) = match tally::soak() {
        None => (vec![Some(preemptions)], SECONDS),
        Some(seconds) => (vec![Some(preemptions + 1), None], seconds),
    };
    let mut left = Duration::from_secs_f64(longest);
    for bound in bounds {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = bound;
        builder.max_branches = MAX_BRANCHES;
        builder.checkpoint_interval = 100;
        builder.max_duration = Some(left);
        let began = Instant::now();
        let which = bound.map_or("any".to_owned(), |n| n.to_string());
        let tally = std::sync::Arc::new(Mutex::new(Tally::new(format!("loom_{name}_{which}"))));
        let (count, body) = (tally.clone(), body.clone());
        builder.check(move || {
            count.lock().expect("no panic").add("executions", 1);
            body();
        });
        tally.lock().expect("no panic").print();
        let whole = if began.elapsed() < left { "all" } else { "the first of all" };
        println!("{name}: {whole} executions with {which} preemptions in {:.1} s", began.elapsed().as_secs_f64());
        left = left.saturating_sub(began.elapsed());
        if left.is_zero() {
            return;
        }
    }
}

/// Runs threads that share `state`; what they return, in order.
fn threads<S: Send + Sync + 'static, R: Send + 'static, const N: usize>(
    state: &Arc<S>,
    runs: [fn(&S) -> R; N],
) -> [R; N] {
    // Loom's main thread has a small stack, so it only prepares and checks.
    let running = runs.map(|run| {
        let state = state.clone();
        spawn(move || run(&state))
    });
    running.map(|thread| thread.join().expect("a thread that ends"))
}

/// Runs one model: a zone is prepared sequentially, then the threads run, then everything is
/// checked. `merged`: are free buddies merged at the end?
fn model<const N: usize>(preemptions: usize, prepare: fn() -> Prepared, runs: [Run; N], merged: bool) {
    explore(preemptions, move || {
        let (zone, mut held) = prepare();
        let zone = Arc::new(zone);
        held.extend(threads(&zone, runs).into_iter().flatten());
        zone.check(&held, merged);
    });
}

fn spawn<R: Send + 'static>(run: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    thread::Builder::new().stack_size(STACK_WORDS).spawn(run).expect("few threads")
}

/// A zone of which nothing is free.
fn in_use<const N: usize>() -> Zone {
    Zone::new(N, 0)
}

/// A zone whose single pages of even number are free, in ascending order.
fn even_pages<const N: usize>() -> Zone {
    let zone = in_use::<N>();
    (0..N as PageIdx).step_by(2).for_each(|x| zone.append(x));
    zone
}

/// A zone that is one free block in list (top, 0).
fn one_block<const N: usize>() -> Zone {
    let zone = in_use::<N>();
    zone.free_lists().push_back(0, zone.top(), MT);
    zone
}

/// A zone of four pages whose split register holds the remainders of a split that kept `base`; all
/// other pages are in use.
fn in_register(base: PageIdx, orders: u32) -> Zone {
    let zone = in_use::<4>();
    let register = SplitRegister::new(base, orders);
    zone.lists.split.cas(MT, SplitRegister::EMPTY, register).expect("nobody else is here");
    zone
}

fn pages(pages: impl IntoIterator<Item = PageIdx>) -> Vec<Block> {
    pages.into_iter().map(|x| (x, 0)).collect()
}

fn free<const X: PageIdx>(zone: &Zone) -> Vec<Block> {
    zone.free(0, (X, 0));
    vec![]
}

fn alloc<const ORDER: u32>(zone: &Zone) -> Vec<Block> {
    zone.alloc(0, ORDER).into_iter().collect()
}

fn alloc_and_free(zone: &Zone) -> Vec<Block> {
    if let Some(block) = zone.alloc(0, 0) {
        zone.free(0, block);
    }
    vec![]
}

fn append<const X: PageIdx>(zone: &Zone) -> Vec<Block> {
    zone.append(X);
    vec![]
}

fn push<const X: PageIdx>(zone: &Zone) -> Vec<Block> {
    zone.release((X, 0));
    zone.free_lists().push_front(X, 0, MT);
    vec![]
}

fn pop(zone: &Zone) -> Vec<Block> {
    let block = pages(zone.free_lists().pop(0, MT));
    block.iter().for_each(|block| zone.received(*block));
    block
}

fn remove<const X: PageIdx>(zone: &Zone) -> Vec<Block> {
    zone.remove(X).into_iter().collect()
}

/// Takes a page out of the middle and appends it again: a new life of the same node.
fn remove_and_append<const X: PageIdx>(zone: &Zone) -> Vec<Block> {
    if zone.remove(X).is_some() {
        zone.append(X);
    }
    vec![]
}

// ---- merging ------------------------------------------------------------------------------------

/// Two buddies freed at the same time: one of the two frees sees the other block.
#[test]
fn free_two_buddies() {
    model(4, || (in_use::<2>(), vec![]), [free::<0>, free::<1>], true);
}

/// The same beside a free block of the next order, which ends in one block.
#[test]
fn free_two_buddies_beside_a_free_block() {
    model(
        3,
        || {
            let zone = in_use::<4>();
            zone.free_lists().push_back(2, 1, MT);
            (zone, vec![])
        },
        [free::<0>, free::<1>],
        true,
    );
}

/// The same while a third thread allocates one of the two.
#[test]
fn free_two_buddies_and_alloc() {
    model(1, || (in_use::<2>(), vec![]), [free::<0>, free::<1>, alloc::<0>], true);
}

/// The same while a third thread appends to the list and so promotes the two for their owners.
#[test]
fn free_two_buddies_with_a_helper() {
    model(1, || (in_use::<4>(), pages([2])), [free::<0>, free::<1>, append::<3>], true);
}

/// Two frees of two pages each, whose buddies cross.
#[test]
fn two_interleaved_batches() {
    fn outer(zone: &Zone) -> Vec<Block> {
        [0, 3].into_iter().for_each(|x| zone.free(0, (x, 0)));
        vec![]
    }
    fn inner(zone: &Zone) -> Vec<Block> {
        [1, 2].into_iter().for_each(|x| zone.free(0, (x, 0)));
        vec![]
    }
    model(2, || (in_use::<4>(), vec![]), [outer, inner], true);
}

// ---- lists --------------------------------------------------------------------------------------

/// Two pops of a list of one.
#[test]
fn two_pops_of_one() {
    model(4, || (even_pages::<2>(), pages([1])), [pop, pop], true);
}

/// Push and pop at the same end.
#[test]
fn push_and_pop() {
    model(4, || (even_pages::<4>(), pages([3])), [push::<1>, pop], false);
}

/// Two adjacent nodes leave the middle while the first is popped.
#[test]
fn adjacent_removals_and_pop() {
    model(1, || (even_pages::<8>(), pages([1, 3, 5, 7])), [remove::<2>, remove::<4>, pop], true);
}

/// The last node leaves while two others are appended.
#[test]
fn append_remove_last_append() {
    model(
        1,
        || {
            let zone = in_use::<8>();
            zone.append(2);
            (zone, pages([0, 1, 3, 5, 7]))
        },
        [append::<4>, remove::<2>, append::<6>],
        true,
    );
}

/// A page is popped and freed again while its former neighbour is removed: a helper's late clear
/// of `L` must not hit the new life.
#[test]
fn removal_and_new_life() {
    model(3, || (even_pages::<8>(), pages([1, 3, 5, 7])), [remove::<2>, remove_and_append::<4>], true);
}

/// Two threads take the same page out and append it.
#[test]
fn two_lives_of_one_page() {
    model(2, || (even_pages::<4>(), pages([1, 3])), [remove_and_append::<2>, remove_and_append::<2>, pop], true);
}

/// A pusher may be stopped before its promote while the page is popped and freed again.
#[test]
fn push_and_two_lives() {
    model(3, || (in_use::<2>(), pages([1])), [push::<0>, alloc_and_free], true);
}

// ---- split registers ----------------------------------------------------------------------------

/// Two splits of one block.
#[test]
fn two_splits() {
    model(3, || (one_block::<4>(), vec![]), [alloc::<0>, alloc::<0>], true);
}

/// A free merges a run of the register while somebody allocates from it.
#[test]
fn register_run_and_alloc() {
    model(3, || (in_register(0, 0b11), vec![]), [free::<0>, alloc::<0>], true);
}

/// An element is spilled while its buddy is freed: neither place shows it for a moment.
#[test]
fn spill_and_free_buddy() {
    model(3, || (in_register(2, 0b1), pages([0])), [free::<1>, free::<2>], true);
}

/// The same while somebody allocates.
#[test]
fn spill_free_buddy_and_alloc() {
    model(1, || (in_register(2, 0b1), pages([0])), [free::<1>, free::<2>, alloc::<0>], true);
}

// ---- failing ------------------------------------------------------------------------------------

/// Two threads allocate a page each, of a block of two: neither may fail because the other has the
/// block in its hands.
#[test]
fn double_collect_and_split() {
    fn first(zone: &Zone) -> Vec<Block> {
        vec![zone.alloc(0, 0).expect("the zone has two pages")]
    }
    fn second(zone: &Zone) -> Vec<Block> {
        vec![zone.alloc(1, 0).expect("the zone has two pages")]
    }
    model(
        2,
        || {
            let zone = Zone::new(2, 3);
            zone.free_lists().push_back(0, 1, MT);
            (zone, vec![])
        },
        [first, second],
        true,
    );
}

/// One thread frees a page and then takes the only other block: at every instant one of the two is
/// free, so a request for a page that looks at both places one after the other may not fail.
#[test]
fn double_collect_and_exchange() {
    fn exchange(zone: &Zone) -> Vec<Block> {
        zone.free(0, (0, 0));
        zone.alloc(0, 1).into_iter().collect()
    }
    fn collect(zone: &Zone) -> Vec<Block> {
        vec![zone.alloc(1, 0).expect("a page is free all the time")]
    }
    model(
        3,
        || {
            let zone = Zone::new(4, 3);
            zone.free_lists().push_back(2, 1, MT);
            zone.received((0, 0));
            (zone, pages([1]))
        },
        [exchange, collect],
        false,
    );
}

/// The same twice, so that the second collect alone can find what moved.
#[test]
fn double_collect_and_two_exchanges() {
    fn exchange_twice(zone: &Zone) -> Vec<Block> {
        zone.free(0, (0, 0));
        let Some(pair) = zone.alloc(0, 1) else { return vec![] };
        zone.free(0, pair);
        let Some(page) = zone.alloc(0, 0) else { return vec![] };
        zone.free(0, page);
        zone.alloc(0, 1).into_iter().collect()
    }
    fn collect(zone: &Zone) -> Vec<Block> {
        vec![zone.alloc(1, 0).expect("a page is free all the time")]
    }
    model(
        1,
        || {
            let zone = Zone::new(4, 3);
            zone.free_lists().push_back(2, 1, MT);
            zone.received((0, 0));
            (zone, pages([1]))
        },
        [exchange_twice, collect],
        false,
    );
}
