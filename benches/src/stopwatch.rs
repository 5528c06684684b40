//! Times what threads do: segments as a whole for throughput, or every single call for latency.

use hdrhistogram::Histogram;
use quanta::Clock;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Longest latency that is told apart, in clock ticks.
const MAX_TICKS: u64 = 1 << 40;

/// One timed part of a thread's work.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// When the thread began.
    pub start: Instant,
    /// When it was done.
    pub end: Instant,
    /// Processor time in between.
    pub cpu: Duration,
}

/// The stopwatch of one thread.
pub struct Stopwatch<'b> {
    barrier: &'b Barrier,
    /// Segments so far.
    pub segments: Vec<Segment>,
    /// Counts calls, and times each if latencies are wanted.
    pub timer: Timer,
}

impl<'b> Stopwatch<'b> {
    /// A stopwatch whose segments begin when all threads reached the barrier.
    pub fn new(barrier: &'b Barrier, latencies: Option<Clock>) -> Self {
        let latencies = latencies.map(|clock| Latencies { clock, ticks: histogram() });
        Stopwatch { barrier, segments: Vec::new(), timer: Timer { nr_ops: 0, latencies } }
    }

    /// Times a part of the work.
    pub fn segment(&mut self, work: impl FnOnce(&mut Timer)) {
        self.barrier.wait();
        let (start, cpu) = (Instant::now(), thread_cpu_time());
        work(&mut self.timer);
        let (cpu, end) = (thread_cpu_time().saturating_sub(cpu), Instant::now());
        self.segments.push(Segment { start, end, cpu });
        // Whoever is ready early does not disturb the others by what it does next.
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
pub struct Timer {
    /// So far.
    pub nr_ops: u64,
    /// Their latencies, if wanted.
    pub latencies: Option<Latencies>,
}

impl Timer {
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
