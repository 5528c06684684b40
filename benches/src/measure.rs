//! Runs a row: engine and C variant in turns, round after round, in one process.

use crate::engines::{Engine, Level, c, rust};
use crate::ffi::{CZone, Flavour, Mutex, Pause, Yield};
use crate::stopwatch::{Stopwatch, Until, histogram};
use crate::twins::{Machine, Shape};
use crate::workloads::{Pattern, Share, State, Work};
use hdrhistogram::Histogram;
use pagebuddy_core::error::BootError;
use pagebuddy_core::zone::Zone;
use quanta::Clock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Percent of the pages above the low watermark that "all pages" means where watermarks and
/// per-cpu lists hold some back.
const NEARLY_ALL: u64 = 95;

/// Rounds whose middle half lies closer together than this are enough.
const STABLE_SPREAD: f64 = 0.05;

/// No row has fewer rounds, however long they take.
const FEWEST_ROUNDS: usize = 3;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Operations of a run of one thread.
    pub nr_ops: u64,
    /// Time of a run of several threads, before [`Effort::duration`] makes it longer.
    pub millis: u64,
    /// Runs of each subject.
    pub nr_rounds: usize,
    /// The same where they differ much.
    pub most_rounds: usize,
    /// A row that takes longer than this has fewer rounds.
    pub row_limit: Duration,
    /// Smaller machines.
    pub quick: bool,
    /// Map the C variant's page descriptors with huge pages.
    pub huge_pages: bool,
}

impl Effort {
    /// Time of a run: every thread must get the processor many times.
    pub fn duration(self, nr_threads: usize) -> Duration {
        Duration::from_millis(self.millis * (16 + nr_threads as u64) / 16)
    }
}

/// What one run of one subject took.
struct Run {
    ns_per_op: f64,
    nr_ops: u64,
    ticks: Histogram<u64>,
}

/// Something that can be run: the engine or one flavour of the C variant.
trait Subject {
    fn name(&self) -> &'static str;
    fn run(&self, job: &Job, latencies: Option<&Clock>) -> Run;
    fn nr_fallbacks(&self) -> Option<u64>;
}

/// What a run does.
struct Job {
    pattern: Pattern,
    nr_threads: usize,
    nr_ops: u64,
    duration: Duration,
    nr_pages: usize,
}

struct Named<E: Engine> {
    name: &'static str,
    engine: E,
    nr_fallbacks: fn(&E) -> Option<u64>,
}

impl<E: Engine> Subject for Named<E> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn nr_fallbacks(&self) -> Option<u64> {
        (self.nr_fallbacks)(&self.engine)
    }

    fn run(&self, job: &Job, latencies: Option<&Clock>) -> Run {
        let run = if job.nr_threads == 1 { self.run_one(job, latencies) } else { self.run_many(job, latencies) };
        self.engine.drain();
        run
    }
}

impl<E: Engine> Named<E> {
    /// One thread does a number of operations; its processor time counts, which other programs do
    /// not change.
    fn run_one(&self, job: &Job, latencies: Option<&Clock>) -> Run {
        let (barrier, begun) = (Barrier::new(1), OnceLock::new());
        let mut watch = Stopwatch::new(&barrier, &begun, Until::Ops(job.nr_ops), latencies.cloned());
        let hand = self.engine.hand(0);
        let mut state = job.pattern.prepare(&hand, Share { nr_pages: job.nr_pages, seed: 0 });
        job.pattern.run(&hand, &mut state, &mut watch);
        state.clean_up(&hand);
        let nr_ops = watch.timer.nr_ops.max(1);
        let ns_per_op = watch.cpu.as_nanos() as f64 / nr_ops as f64;
        let ticks = watch.timer.latencies.map_or_else(histogram, |latencies| latencies.ticks);
        Run { ns_per_op, nr_ops, ticks }
    }

    /// Several threads do as much as they can in a given time.
    fn run_many(&self, job: &Job, latencies: Option<&Clock>) -> Run {
        let (barrier, begun) = (Barrier::new(job.nr_threads + 1), OnceLock::new());
        let stop = AtomicBool::new(false);
        let prepare = |number: usize| {
            let share = Share { nr_pages: job.nr_pages / job.nr_threads, seed: number as u64 };
            job.pattern.prepare(&self.engine.hand(number), share)
        };
        let work = |number: usize, mut state: State| {
            let mut watch = Stopwatch::new(&barrier, &begun, Until::Told(&stop), latencies.cloned());
            job.pattern.run(&self.engine.hand(number), &mut state, &mut watch);
            (watch.timer, state)
        };
        let work = &work;
        let states: Vec<State> = (0..job.nr_threads).map(prepare).collect();
        thread::scope(|scope| {
            let start = |(number, state)| scope.spawn(move || work(number, state));
            let threads: Vec<_> = states.into_iter().enumerate().map(start).collect();
            barrier.wait();
            let begin = first_begin(&begun);
            thread::sleep(job.duration);
            stop.store(true, Relaxed);
            let elapsed = begin.elapsed();
            barrier.wait();
            let (mut nr_ops, mut ticks) = (0, histogram());
            for (number, thread) in threads.into_iter().enumerate() {
                let (timer, state) = thread.join().expect("a measuring thread panicked");
                state.clean_up(&self.engine.hand(number));
                nr_ops += timer.nr_ops;
                if let Some(latencies) = timer.latencies {
                    ticks += latencies.ticks;
                }
            }
            Run { ns_per_op: elapsed.as_nanos() as f64 / nr_ops.max(1) as f64, nr_ops, ticks }
        })
    }
}

/// When the first of the threads began. After a barrier we may get the processor long before or
/// long after them: time counts from when there is work, and is only as short as was asked for.
fn first_begin(begun: &OnceLock<Instant>) -> Instant {
    loop {
        match begun.get() {
            Some(&begin) => return begin,
            None => thread::sleep(Duration::from_micros(20)),
        }
    }
}

/// Median and spread of one subject.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Who.
    pub name: &'static str,
    /// Median over the rounds.
    pub ns_per_op: f64,
    /// Best round.
    pub best: f64,
    /// Worst round.
    pub worst: f64,
    /// How far the middle half of the rounds lies apart, in relation to the median.
    pub spread: f64,
}

/// What a row of the tables shows.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was done.
    pub work: Work,
    /// By how many threads.
    pub nr_threads: usize,
    /// The engine.
    pub rust: Timing,
    /// The flavours of the C variant.
    pub c: Vec<Timing>,
    /// Of the C variant's allocations, how many fell back to another migratetype, in percent.
    pub fallback_percent: Option<f64>,
}

impl Row {
    /// The fastest flavour.
    ///
    /// # Panics
    /// Never: every row has flavours.
    pub fn best_c(&self) -> &Timing {
        self.c.iter().min_by(|a, b| a.ns_per_op.total_cmp(&b.ns_per_op)).expect("a row has flavours")
    }

    /// The engine's median over that of the fastest flavour; below 1 the engine is faster.
    pub fn ratio(&self) -> f64 {
        self.rust.ns_per_op / self.best_c().ns_per_op
    }

    /// The same against one flavour.
    pub fn ratio_to(&self, timing: &Timing) -> f64 {
        self.rust.ns_per_op / timing.ns_per_op
    }
}

fn timing(name: &'static str, mut samples: Vec<f64>) -> Timing {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    let median = if samples.len() % 2 == 1 { samples[middle] } else { (samples[middle - 1] + samples[middle]) / 2.0 };
    let spread = (samples[samples.len() * 3 / 4] - samples[samples.len() / 4]) / median;
    Timing { name, ns_per_op: median, best: samples[0], worst: samples[samples.len() - 1], spread }
}

/// Do the medians stand, so that more rounds would hardly change them?
fn is_stable(samples: &[Vec<f64>]) -> bool {
    samples.iter().all(|samples| timing("", samples.clone()).spread < STABLE_SPREAD)
}

/// A machine and everything that can run on it or on a C zone like it.
struct Bench {
    machine: Machine,
    job: Job,
}

impl Bench {
    fn new(work: Work, nr_threads: usize, effort: Effort) -> Result<Bench, BootError> {
        let nr_host_cpus = thread::available_parallelism().map_or(1, usize::from);
        let nr_cpus = work.level.nr_cpus(nr_threads, nr_host_cpus);
        let machine = Machine::boot(Shape { mib: work.mib(effort.quick), nr_cpus, nr_nodes: work.level.nr_nodes() })?;
        let zone = machine.zone();
        let nr_pages = match work.level {
            Level::Zone | Level::Steal => zone.managed(),
            Level::Pcp | Level::Fixed | Level::Current | Level::Local | Level::Remote => {
                (zone.managed() - zone.raw_watermark(pagebuddy_core::watermark::WMARK_LOW)) * NEARLY_ALL / 100
            }
        };
        let job = Job {
            pattern: work.pattern,
            nr_threads,
            nr_ops: effort.nr_ops,
            duration: effort.duration(nr_threads),
            nr_pages: nr_pages as usize,
        };
        Ok(Bench { machine, job })
    }

    /// The engine first, then the flavours.
    fn subjects(&self, level: Level, huge_pages: bool) -> Vec<Box<dyn Subject + '_>> {
        let machine = &self.machine;
        let rust: Box<dyn Subject + '_> = match level {
            Level::Zone => named_rust(rust::ZoneLevel(machine)),
            Level::Steal => named_rust(rust::StealLevel(machine)),
            Level::Pcp => named_rust(rust::PcpLevel(machine)),
            Level::Fixed | Level::Current | Level::Local | Level::Remote => {
                named_rust(rust::MachineLevel(machine, level))
            }
        };
        vec![
            rust,
            named_c::<Pause>(machine, level, huge_pages),
            named_c::<Yield>(machine, level, huge_pages),
            named_c::<Mutex>(machine, level, huge_pages),
        ]
    }
}

fn named_rust<'a>(engine: impl Engine + 'a) -> Box<dyn Subject + 'a> {
    Box::new(Named { name: "pagebuddy", engine, nr_fallbacks: |_| None })
}

fn named_c<F: Flavour>(machine: &Machine, level: Level, huge_pages: bool) -> Box<dyn Subject> {
    let name = F::NAME;
    if matches!(level, Level::Local | Level::Remote) {
        let engine = c::NodesLevel(machine.c_zones::<F>(huge_pages), level);
        return Box::new(Named { name, engine, nr_fallbacks: |_| None });
    }
    let zone: CZone<F> = machine.c_zone(huge_pages);
    match level {
        Level::Zone => Box::new(Named { name, engine: c::ZoneLevel(zone), nr_fallbacks: |_| None }),
        Level::Pcp => Box::new(Named { name, engine: c::PcpLevel(zone), nr_fallbacks: |_| None }),
        Level::Steal => {
            Box::new(Named { name, engine: c::StealLevel(zone), nr_fallbacks: |e| Some(e.0.nr_fallbacks()) })
        }
        Level::Fixed | Level::Current | Level::Local | Level::Remote => {
            Box::new(Named { name, engine: c::MachineLevel(zone, level), nr_fallbacks: |e| Some(e.0.nr_fallbacks()) })
        }
    }
}

/// Throughput of one row.
pub fn throughput(work: Work, nr_threads: usize, effort: Effort) -> Result<Row, BootError> {
    let bench = Bench::new(work, nr_threads, effort)?;
    let subjects = bench.subjects(work.level, effort.huge_pages);
    // The first run touches memory for the first time.
    subjects.iter().for_each(|subject| drop(subject.run(&bench.job, None)));
    let fallbacks = || subjects.last().and_then(|subject| subject.nr_fallbacks());
    let fallbacks_before = fallbacks();
    let start = Instant::now();
    let mut samples = vec![Vec::new(); subjects.len()];
    let mut nr_ops = 0;
    for round in 0..effort.most_rounds {
        let is_late = start.elapsed() > effort.row_limit;
        let is_enough = round >= effort.nr_rounds && is_stable(&samples);
        if is_enough || (is_late && round >= FEWEST_ROUNDS) {
            break;
        }
        for turn in 0..subjects.len() {
            let number = (round + turn) % subjects.len();
            let run = subjects[number].run(&bench.job, None);
            samples[number].push(run.ns_per_op);
            if number + 1 == subjects.len() {
                nr_ops += run.nr_ops;
            }
        }
    }
    let fallback_percent = fallbacks_before
        .zip(fallbacks())
        .filter(|_| work.pattern == Pattern::Fallback)
        .map(|(before, after)| (after - before) as f64 * 100.0 / (nr_ops / 2).max(1) as f64);
    let mut timings = subjects.iter().zip(samples).map(|(subject, samples)| timing(subject.name(), samples));
    let rust = timings.next().expect("the engine comes first");
    Ok(Row { work, nr_threads, rust, c: timings.collect(), fallback_percent })
}

/// Percentiles shown, and the longest.
pub const PERCENTILES: [f64; 4] = [50.0, 99.0, 99.9, 99.99];

/// Latencies of one subject in nanoseconds.
#[derive(Clone, Debug)]
pub struct LatencyRow {
    /// What was done.
    pub work: Work,
    /// By how many threads.
    pub nr_threads: usize,
    /// By whom.
    pub name: &'static str,
    /// At [`PERCENTILES`].
    pub percentiles: [u64; 4],
    /// The longest.
    pub max: u64,
}

/// Latencies of single calls of one row, one entry per subject.
pub fn latencies(work: Work, nr_threads: usize, effort: Effort, clock: &Clock) -> Result<Vec<LatencyRow>, BootError> {
    let bench = Bench::new(work, nr_threads, effort)?;
    let subjects = bench.subjects(work.level, effort.huge_pages);
    subjects.iter().for_each(|subject| drop(subject.run(&bench.job, None)));
    let mut ticks = vec![histogram(); subjects.len()];
    let start = Instant::now();
    for round in 0..effort.nr_rounds {
        if round >= 1 && start.elapsed() > effort.row_limit {
            break;
        }
        for turn in 0..subjects.len() {
            let number = (round + turn) % subjects.len();
            ticks[number] += &subjects[number].run(&bench.job, Some(clock)).ticks;
        }
    }
    let ns = |ticks: u64| clock.delta_as_nanos(0, ticks);
    let row = |name, ticks: &Histogram<u64>| LatencyRow {
        work,
        nr_threads,
        name,
        percentiles: PERCENTILES.map(|p| ns(ticks.value_at_percentile(p))),
        max: ns(ticks.max()),
    };
    Ok(subjects.iter().zip(&ticks).map(|(subject, ticks)| row(subject.name(), ticks)).collect())
}

/// What timing nothing takes, in nanoseconds: part of every latency.
pub fn timer_overhead(clock: &Clock) -> u64 {
    let mut ticks = histogram();
    for _ in 0..10_000 {
        let start = clock.raw();
        ticks.saturating_record(clock.raw().saturating_sub(start));
    }
    clock.delta_as_nanos(0, ticks.value_at_percentile(50.0))
}

/// Checks that a row's workload works on every subject and gives all pages back.
///
/// # Panics
/// If pages are missing afterwards.
pub fn check(work: Work, nr_threads: usize, effort: Effort) -> Result<(), BootError> {
    let bench = Bench::new(work, nr_threads, effort)?;
    let nr_free_of = |zone: Zone<'_>| zone.nr_free().iter().zip(0..).map(|(n, order)| n << order).sum::<u64>();
    let nr_free = || bench.machine.zones().map(nr_free_of).sum::<u64>();
    let before = nr_free();
    for subject in bench.subjects(work.level, effort.huge_pages) {
        let run = subject.run(&bench.job, None);
        assert!(run.ns_per_op > 0.0, "{}: {} measured nothing", work.name(), subject.name());
    }
    assert_eq!(before, nr_free(), "{}: pages are missing", work.name());
    Ok(())
}
