//! Real threads on tiny zones: every history they leave is linearisable.
//!
//! `history.rs` says what exactly that means. Built with the feature `schedules`, threads are also
//! delayed inside operations. The same check runs under the deterministic scheduler, where it must
//! find planted bugs (`tests/schedules/histories.rs`).

#![cfg(not(feature = "loom"))]

mod history;
#[path = "../common/tally.rs"]
mod tally;
mod zone;

use history::{Event, Failures};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Instant;
use tally::Tally;
use zone::Case;

struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Rng((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// Delays the calling thread at random inside operations from now on.
#[cfg(feature = "schedules")]
fn disturb(seed: u64) {
    use pagebuddy_core::sync::scheduled::{Hooks, set_hooks};
    use std::cell::Cell;
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(1) };
    }
    fn below(n: u64) -> u64 {
        let mut rng = Rng(STATE.get());
        let result = rng.below(n);
        STATE.set(rng.0);
        result
    }
    fn pause(_: usize, _: bool) {
        match below(100) {
            0..4 => thread::yield_now(),
            4..10 => (0..below(200)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
    STATE.set(Rng::new(seed).0);
    set_hooks(Hooks { before: Some(pause), zombie: Some(|| below(4) == 0), ..Hooks::default() });
}

#[cfg(not(feature = "schedules"))]
fn disturb(_: u64) {}

/// A barrier that is quick where threads outnumber cpus, too.
struct Gate {
    arrived: AtomicUsize,
    nr_threads: usize,
}

impl Gate {
    fn wait(&self, round: usize) {
        self.arrived.fetch_add(1, SeqCst);
        while self.arrived.load(SeqCst) < self.nr_threads * (round + 1) {
            thread::yield_now();
        }
    }
}

/// Random histories until one is wrong or the time is over; the wrong one's report.
fn search(nr_threads: usize, seed: u64, seconds: f64, tally: &mut Tally) -> Result<(), String> {
    let began = Instant::now();
    let is_done = || began.elapsed().as_secs_f64() >= seconds;
    let mut rng = Rng::new(seed);
    let next = |rng: &mut Rng| Case::new(&mut |n| rng.below(n), nr_threads, 5);
    let case = std::sync::RwLock::new(next(&mut rng));
    let recorded = Mutex::new(Vec::<Event>::new());
    let (begin, end) = (Gate { arrived: AtomicUsize::new(0), nr_threads: nr_threads + 1 }, AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for user in 0..nr_threads {
            let (case, recorded, begin, end, stop) = (&case, &recorded, &begin, &end, &stop);
            scope.spawn(move || {
                let mut rng = Rng::new(seed * 31 + user as u64);
                disturb(rng.below(1 << 40));
                for round in 0.. {
                    begin.wait(round);
                    if stop.load(SeqCst) {
                        return;
                    }
                    let case = case.read().expect("nobody panics");
                    let between = || (0..rng.below(60)).for_each(|_| std::hint::spin_loop());
                    let events = case.zone.run(user, &case.programs[user], between);
                    drop(case);
                    recorded.lock().expect("nobody panics").extend(events);
                    end.fetch_add(1, SeqCst);
                }
            });
        }
        let mut result = Ok(());
        for round in 0.. {
            stop.store(result.is_err() || is_done(), SeqCst);
            begin.wait(round);
            if stop.load(SeqCst) {
                break;
            }
            while end.load(SeqCst) < nr_threads * (round + 1) {
                thread::yield_now();
            }
            let history = case
                .read()
                .expect("nobody panics")
                .history(std::mem::take(&mut recorded.lock().expect("nobody panics")));
            tally.add("histories", 1);
            tally.add("operations", history.events.len() as u64);
            if history.is_exact() {
                tally.add("exact", 1);
            } else if !history.is_linearisable(Failures::Exact) {
                if history.is_linearisable(Failures::MayMissInFlight) {
                    tally.add("spurious", 1);
                } else {
                    result = Err(format!("not linearisable:\n{}", history.report()));
                }
            } else if nr_threads == 1 {
                result = Err(format!("not what the reference does:\n{}", history.report()));
            }
            *case.write().expect("nobody panics") = next(&mut rng);
        }
        result
    })
}

/// One user alone sees exactly what the reference does; of several, the histories are linearisable.
fn check(nr_threads: usize) {
    let mut tally = Tally::new(format!("linear_{nr_threads}_threads"));
    let seed = tally::first_seed() + nr_threads as u64;
    let result = search(nr_threads, seed, tally::soak().unwrap_or(2.0), &mut tally);
    tally.print();
    result.unwrap_or_else(|report| panic!("{report}"));
}

#[test]
fn one_thread() {
    check(1);
}

#[test]
fn two_threads() {
    check(2);
}

#[test]
fn three_threads() {
    check(3);
}

/// What the search says of histories made by hand.
#[test]
fn wrong_histories_are_refused() {
    use history::{Call, History, Reference};
    let zone = || {
        let mut zone = Reference::new(4, 1);
        assert_eq!(zone.alloc(1), Some(0));
        zone
    };
    let event = |thread, call, got, begun, ended| Event { thread, call, got, span: (begun, ended) };
    let verdict = |events: &[Event]| {
        let history = History { start: zone(), nr_pages: 4, events: events.to_vec() };
        let is = |failures| history.is_linearisable(failures);
        (history.is_exact(), is(Failures::Exact), is(Failures::MayMissInFlight))
    };
    let alloc = Call::Alloc(0);
    let two = [event(0, alloc, Some(2), 0, 3), event(1, alloc, Some(3), 1, 2)];
    assert_eq!(verdict(&two), (true, true, true));
    let other_page = [event(0, alloc, Some(3), 0, 1), event(1, alloc, Some(2), 2, 3)];
    assert_eq!(verdict(&other_page), (false, true, true), "not the reference's choice, but a free page");
    let twice = [event(0, alloc, Some(2), 0, 3), event(1, alloc, Some(2), 1, 2)];
    assert_eq!(verdict(&twice), (false, false, false), "a page was handed out twice");
    let in_use = [event(0, alloc, Some(1), 0, 1)];
    assert_eq!(verdict(&in_use), (false, false, false), "a page in use was handed out");
    let crooked = [event(0, Call::Free(0, 1), None, 0, 1), event(0, Call::Alloc(1), Some(1), 2, 3)];
    assert_eq!(verdict(&crooked), (false, false, false), "a block that is not aligned");
    let missed = [event(0, alloc, Some(2), 0, 3), event(1, alloc, None, 1, 2)];
    assert_eq!(verdict(&missed), (false, false, true), "a page was missed, perhaps in flight");
    let missed_alone = [event(0, alloc, Some(2), 0, 1), event(1, alloc, None, 2, 3)];
    assert_eq!(verdict(&missed_alone), (false, false, false), "a page was missed, and nobody else was there");
    let too_early = [event(0, alloc, Some(0), 0, 1), event(1, Call::Free(0, 1), None, 2, 3)];
    assert_eq!(verdict(&too_early), (false, false, false), "a page was handed out before it was freed");
    let in_time = [event(0, alloc, Some(0), 0, 3), event(1, Call::Free(0, 1), None, 1, 2)];
    assert!(verdict(&in_time).1, "a page was handed out once it was freed");
}
