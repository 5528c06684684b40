//! Processes that share one machine; some are stopped, some are killed, at random instants.

use crate::accounts::{Dead, Lost, free_blocks, settle_with_dead, settle_without_dead};
use crate::board::{Board, Id};
use crate::tally::{Tally, first_seed};
use crate::work::{NR_PAGES, Rng, Worker, machine};
use pagebuddy_core::allocator::PageAllocator;
use std::time::{Duration, Instant};

/// Processes at work.
const NR_WORKERS: usize = 4;

/// Operations that everybody else must finish while one stands or after one died.
const PROGRESS: u64 = 100;

/// Operations in about that many nanoseconds are plenty even on a busy machine: after this time
/// somebody waits for somebody else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stops and kills of one round.
const EVENTS_PER_ROUND: u64 = 12;

struct Child {
    pid: i32,
    id: Id,
}

/// One round: a fresh machine and the processes on it.
struct Crowd<'a> {
    machine: PageAllocator,
    board: &'a Board,
    children: Vec<Child>,
    next_id: Id,
    seed: u64,
}

impl<'a> Crowd<'a> {
    fn new(base: &PageAllocator, board: &'a Board, seed: u64) -> Self {
        board.clear();
        let machine = base.fork_inherited().expect("a copy of the machine");
        let mut crowd = Crowd { machine, board, children: Vec::new(), next_id: 1, seed };
        for place in 0..NR_WORKERS {
            let child = crowd.fork(place);
            crowd.children.push(child);
        }
        crowd
    }

    fn fork(&mut self, place: usize) -> Child {
        let id = self.next_id;
        self.next_id += 1;
        // SAFETY: this process has one thread, so the child may do whatever the parent may.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "no more processes");
        if pid == 0 {
            let seed = self.seed.wrapping_mul(1000) + id;
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.be_a_worker(place, id, seed)));
            // SAFETY: ends the process at once, without what the parent registered for its own end.
            unsafe { libc::_exit(i32::from(worked.is_err())) };
        }
        Child { pid, id }
    }

    fn be_a_worker(&self, place: usize, id: Id, seed: u64) {
        // SAFETY: a flag of this process; nobody must stay behind if the parent is interrupted.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let machine = self.machine.in_this_process().expect("the machine of the parent");
        let mut worker = Worker::new(&machine, self.board, id, seed);
        while !self.board.is_stopped() {
            worker.step();
            self.board.count(place);
        }
        worker.finish();
    }

    fn signal(&self, place: usize, signal: i32) {
        // SAFETY: a signal to a child that was not waited for yet, so the pid is its.
        let sent = unsafe { libc::kill(self.children[place].pid, signal) };
        assert_eq!(sent, 0, "signal {signal}");
    }

    /// Waits for a change of a child's state.
    fn wait(&self, place: usize, flags: i32) -> Option<i32> {
        let mut status = 0;
        // SAFETY: `status` lives as long as the call.
        let pid = unsafe { libc::waitpid(self.children[place].pid, &mut status, flags) };
        (pid == self.children[place].pid).then_some(status)
    }

    /// Nobody ended by itself: that would be somebody who found a violation.
    fn check_alive(&self) {
        for place in 0..NR_WORKERS {
            assert_eq!(self.wait(place, libc::WNOHANG), None, "a worker ended");
        }
    }

    fn stop(&self, place: usize) {
        self.signal(place, libc::SIGSTOP);
        let status = self.wait(place, libc::WUNTRACED).expect("a child");
        assert!(libc::WIFSTOPPED(status), "a worker ended");
    }

    fn kill(&self, place: usize) -> Dead {
        self.signal(place, libc::SIGKILL);
        let status = self.wait(place, 0).expect("a child");
        assert!(libc::WIFSIGNALED(status), "a worker ended by itself");
        Dead { id: self.children[place].id, pid: self.children[place].pid as u32 }
    }

    /// Waits until all but one have finished a number of operations more; how many all of them did
    /// in which time.
    fn wait_for_progress(&self, except: Option<usize>) -> (u64, Duration) {
        let others: Vec<usize> = (0..NR_WORKERS).filter(|place| Some(*place) != except).collect();
        let before: Vec<u64> = others.iter().map(|place| self.board.nr_operations(*place)).collect();
        let began = Instant::now();
        loop {
            let done: Vec<u64> =
                others.iter().zip(&before).map(|(place, n)| self.board.nr_operations(*place) - n).collect();
            if done.iter().all(|n| *n >= PROGRESS) {
                return (done.iter().sum(), began.elapsed());
            }
            self.check_alive();
            assert!(began.elapsed() < PATIENCE, "without {except:?}, the others got this far: {done:?}");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// All workers end and free everything.
    fn finish(&self) {
        self.board.stop();
        for place in 0..NR_WORKERS {
            let status = self.wait(place, 0).expect("a child");
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "a worker broke a rule");
        }
    }
}

/// Operations in a time.
#[derive(Default)]
struct Rate(u64, Duration);

impl Rate {
    fn add(&mut self, (operations, time): (u64, Duration)) {
        self.0 += operations;
        self.1 += time;
    }

    fn per_second(&self) -> f64 {
        self.0 as f64 / self.1.as_secs_f64()
    }
}

/// Rounds of stops and, if asked for, kills.
pub fn run(seconds: f64, with_kills: bool, tally: &mut Tally) {
    let base = machine();
    let whole = free_blocks(&base);
    let board = Board::new(NR_PAGES as usize);
    let (mut standing, mut running) = (Rate::default(), Rate::default());
    let mut lost = Lost::default();
    let began = Instant::now();
    let first_seed = first_seed();
    for seed in first_seed.. {
        if seed > first_seed && began.elapsed().as_secs_f64() >= seconds {
            break;
        }
        let mut rng = Rng::new(seed);
        let mut crowd = Crowd::new(&base, &board, seed);
        let mut dead = Vec::new();
        running.add(crowd.wait_for_progress(None));
        for _ in 0..EVENTS_PER_ROUND {
            std::thread::sleep(Duration::from_micros(rng.below(8000)));
            let place = rng.below(NR_WORKERS as u64) as usize;
            crowd.stop(place);
            tally.add("stops", 1);
            standing.add(crowd.wait_for_progress(Some(place)));
            if with_kills && rng.below(2) == 0 {
                dead.push(crowd.kill(place));
                tally.add("kills", 1);
                standing.add(crowd.wait_for_progress(Some(place)));
                crowd.children[place] = crowd.fork(place);
            } else {
                crowd.signal(place, libc::SIGCONT);
            }
            running.add(crowd.wait_for_progress(None));
        }
        crowd.finish();
        tally.add("operations", (0..NR_WORKERS).map(|place| board.nr_operations(place)).sum());
        if dead.is_empty() {
            settle_without_dead(&crowd.machine, &board, &whole);
        } else {
            let Lost { held, listed, in_flight } = settle_with_dead(&crowd.machine, &board, &whole, &dead);
            lost.held += held;
            lost.listed += listed;
            lost.in_flight += in_flight;
        }
    }
    tally.print();
    println!(
        "operations per second: {:.0} with all at work, {:.0} with one of {NR_WORKERS} standing or dead",
        running.per_second(),
        standing.per_second()
    );
    if with_kills {
        println!("pages in the hands of the dead: {lost:?}");
    }
}
