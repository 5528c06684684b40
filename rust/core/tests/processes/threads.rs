//! Threads that a signal handler makes stand still at random instants.

use crate::accounts::{free_blocks, settle_without_dead};
use crate::board::Board;
use crate::tally::{Tally, first_seed};
use crate::work::{NR_PAGES, Rng, Worker, machine};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const NR_THREADS: usize = 4;

/// Operations that each of the others must finish meanwhile.
const PROGRESS: u64 = 300;

/// After this time somebody waits for somebody else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pauses of one round.
const PAUSES_PER_ROUND: u64 = 40;

/// Pauses that were asked for, that began, and that may end.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// The handler: stands until the pause is over. Calls only what handlers may call.
extern "C" fn stand_still(_: i32) {
    let pause = BEGUN.fetch_add(1, SeqCst) + 1;
    while ENDED.load(SeqCst) < pause {
        let time = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
        // SAFETY: `time` lives as long as the call, which is safe in signal handlers.
        unsafe { libc::nanosleep(&time, std::ptr::null_mut()) };
    }
}

fn install_handler() {
    // SAFETY: all zero is a valid action without flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = stand_still as extern "C" fn(i32) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: a valid action whose handler is a function that never ends with the process.
    let installed = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
    assert_eq!(installed, 0, "the handler");
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_micros(50));
    }
}

/// Rounds of pauses.
pub fn run(seconds: f64, tally: &mut Tally) {
    install_handler();
    let base = machine();
    let whole = free_blocks(&base);
    let board = Board::new(NR_PAGES as usize);
    let began = Instant::now();
    let first_seed = first_seed();
    for seed in first_seed.. {
        if seed > first_seed && began.elapsed().as_secs_f64() >= seconds {
            break;
        }
        let mut rng = Rng::new(seed);
        board.clear();
        let machine = base.fork().expect("a copy of the machine");
        let handles: Vec<AtomicU64> = (0..NR_THREADS).map(|_| AtomicU64::new(0)).collect();
        thread::scope(|scope| {
            for place in 0..NR_THREADS {
                let (machine, board, handles) = (&machine, &board, &handles);
                scope.spawn(move || {
                    let work = || {
                        // SAFETY: has no precondition.
                        handles[place].store(unsafe { libc::pthread_self() }, SeqCst);
                        let mut worker = Worker::new(machine, board, place as u64 + 1, seed * 100 + place as u64);
                        while !board.is_stopped() {
                            worker.step();
                            board.count(place);
                        }
                        worker.finish();
                    };
                    // A panic elsewhere would leave others standing for ever.
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
                        std::process::abort();
                    }
                });
            }
            wait_until("everybody begins", || (0..NR_THREADS).all(|place| board.nr_operations(place) > 0));
            for _ in 0..PAUSES_PER_ROUND {
                thread::sleep(Duration::from_micros(rng.below(2000)));
                let place = rng.below(NR_THREADS as u64) as usize;
                let begun = BEGUN.load(SeqCst);
                // SAFETY: the thread has begun and runs until the board stops, so its handle is valid.
                let sent = unsafe { libc::pthread_kill(handles[place].load(SeqCst), libc::SIGUSR1) };
                assert_eq!(sent, 0, "the signal");
                wait_until("the thread stands", || BEGUN.load(SeqCst) > begun);
                let before: Vec<u64> = (0..NR_THREADS).map(|place| board.nr_operations(place)).collect();
                wait_until("the others go on", || {
                    let others = (0..NR_THREADS).filter(|other| *other != place);
                    others.into_iter().all(|other| board.nr_operations(other) >= before[other] + PROGRESS)
                });
                assert!(board.nr_operations(place) <= before[place] + 1, "the thread did not stand");
                ENDED.fetch_add(1, SeqCst);
                tally.add("stops", 1);
            }
            board.stop();
        });
        tally.add("operations", (0..NR_THREADS).map(|place| board.nr_operations(place)).sum());
        settle_without_dead(&machine, &board, &whole);
    }
    tally.print();
}
