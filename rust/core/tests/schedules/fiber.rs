//! Fibers: the threads of a deterministic schedule, all on one OS thread.
//!
//! The engine's atomics call [`before_access`]; there the running fiber goes to sleep and the
//! scheduler decides who runs next. All unsafe code of the schedules is in this file.

use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::Cell;

/// Why a fiber came back to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is about to access a shared word.
    Access {
        /// Address of the word.
        address: usize,
        /// May the access write?
        is_write: bool,
    },
    /// It waits for others with bounded patience.
    Yield,
    /// It asks whether to leave a zombie; answer with [`answer`].
    AskZombie,
    /// Its job is done.
    Done,
}

thread_local! {
    static RUNNING: Cell<*const Yielder<(), Stop>> = const { Cell::new(core::ptr::null()) };
    static ANSWER: Cell<bool> = const { Cell::new(false) };
}

/// Puts the running fiber to sleep. Does nothing outside fibers.
pub fn suspend(stop: Stop) {
    let yielder = RUNNING.get();
    if yielder.is_null() {
        return;
    }
    // SAFETY: RUNNING is set only while the fiber runs whose body holds this yielder by reference
    // (see `Fiber::new`), and cleared whenever the fiber returns to the scheduler.
    let yielder_ref = unsafe { &*yielder };
    yielder_ref.suspend(stop);
    RUNNING.set(yielder);
}

/// Is a fiber running (and not the scheduler or a sequential phase)?
pub fn is_running() -> bool {
    !RUNNING.get().is_null()
}

/// The answer for the fiber that asked.
pub fn answer(yes: bool) {
    ANSWER.set(yes);
}

/// The zombie hook.
pub fn ask_zombie() -> bool {
    if !is_running() {
        return false;
    }
    ANSWER.set(false);
    suspend(Stop::AskZombie);
    ANSWER.get()
}

/// A fiber that does the same job again and again, once per schedule.
pub struct Fiber {
    coroutine: Coroutine<(), Stop, ()>,
    in_job: bool,
}

impl Fiber {
    /// A fiber that runs `job` and then stops with [`Stop::Done`].
    pub fn new(job: impl Fn() + 'static) -> Self {
        let coroutine = Coroutine::new(move |yielder: &Yielder<(), Stop>, ()| {
            loop {
                RUNNING.set(yielder);
                job();
                RUNNING.set(core::ptr::null());
                yielder.suspend(Stop::Done);
            }
        });
        Fiber { coroutine, in_job: false }
    }

    /// Runs until the next stop. A panic of the job comes out here.
    pub fn resume(&mut self) -> Stop {
        self.in_job = true;
        let result = self.coroutine.resume(());
        RUNNING.set(core::ptr::null());
        match result {
            CoroutineResult::Yield(stop) => {
                self.in_job = stop != Stop::Done;
                stop
            }
            CoroutineResult::Return(()) => unreachable!("a fiber's body never returns"),
        }
    }

    /// Is it in the middle of its job? Such a fiber cannot be used for another schedule.
    pub fn is_stopped_midway(&self) -> bool {
        self.in_job
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        RUNNING.set(core::ptr::null());
        if self.in_job && !self.coroutine.done() {
            // A killed thread runs no destructors, so neither does its fiber.
            // SAFETY: nothing outside refers to the fiber's stack: jobs borrow only the world,
            // which outlives them, and what their stack owns is leaked.
            unsafe { self.coroutine.force_reset() };
        }
    }
}
