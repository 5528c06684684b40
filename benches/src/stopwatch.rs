//! Times what threads do: their work as a whole for throughput, or every single call for latency.

use hdrhistogram::Histogram;
use quanta::Clock;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

/// Longest latency that is told apart, in clock ticks.
const MAX_TICKS: u64 = 1 << 40;

/// When a thread has done enough.
#[derive(Clone, Copy, Debug)]
pub enum Until<'a> {
    /// After so many operations.
    Ops(u64),
    /// When the flag is set.
    Told(&'a AtomicBool),
}

/// The stopwatch of one thread.
pub struct Stopwatch<'a> {
    barrier: &'a Barrier,
    begun: &'a OnceLock<Instant>,
    /// Counts calls, and times each if latencies are wanted.
    pub timer: Timer<'a>,
    /// Processor time of the work.
    pub cpu: Duration,
}

impl<'a> Stopwatch<'a> {
    /// A stopwatch that starts when everybody has reached the barrier. The first one that does
    /// writes down when it has `begun`.
    pub fn new(barrier: &'a Barrier, begun: &'a OnceLock<Instant>, until: Until<'a>, clock: Option<Clock>) -> Self {
        let latencies = clock.map(|clock| Latencies { clock, ticks: histogram() });
        Stopwatch { barrier, begun, timer: Timer { nr_ops: 0, until, latencies }, cpu: Duration::ZERO }
    }

    /// Times the work, from when everybody is ready until everybody is done, so that nobody is
    /// disturbed by what others do before or afterwards.
    pub fn measure(&mut self, work: impl FnOnce(&mut Timer<'a>)) {
        self.barrier.wait();
        self.begun.get_or_init(Instant::now);
        let start = thread_cpu_time();
        work(&mut self.timer);
        self.cpu = thread_cpu_time().saturating_sub(start);
        self.barrier.wait();
    }
}

/// Latencies in clock ticks.
pub struct Latencies {
    /// The clock.
    pub clock: Clock,
    /// How many ticks calls took.
    pub ticks: Histogram<u64>,
}

/// Counts operations.
pub struct Timer<'a> {
    /// So far.
    pub nr_ops: u64,
    /// When it is enough.
    pub until: Until<'a>,
    /// Their latencies, if wanted.
    pub latencies: Option<Latencies>,
}

impl Timer<'_> {
    /// Is it time to stop?
    #[inline(always)]
    pub fn is_done(&self) -> bool {
        match self.until {
            Until::Ops(nr_ops) => self.nr_ops >= nr_ops,
            Until::Told(flag) => flag.load(Relaxed),
        }
    }

    /// Runs one operation.
    #[inline(always)]
    pub fn time<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.time_many(work, |_| 1)
    }

    /// Runs one call that counts as several operations.
    #[inline(always)]
    pub fn time_many<R>(&mut self, work: impl FnOnce() -> R, nr_ops: impl FnOnce(&R) -> u64) -> R {
        let result = match &mut self.latencies {
            None => work(),
            Some(latencies) => {
                let start = latencies.clock.raw();
                let result = work();
                let ticks = latencies.clock.raw().saturating_sub(start);
                latencies.ticks.saturating_record(ticks);
                result
            }
        };
        self.nr_ops += nr_ops(&result);
        result
    }
}

/// An empty histogram of clock ticks.
///
/// # Panics
/// Never: the bounds are valid.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_TICKS, 3).expect("valid histogram bounds")
}

fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
