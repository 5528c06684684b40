//! Where events go. Any number of tracers can listen at once, each from its start to its stop.
//!
//! Off (the default) a site costs one relaxed load. While somebody listens, an event takes a lock,
//! so that all tracers see one order; tracing is the one thing here that may wait for another
//! thread. Only events of this process are seen.

use super::Event;
use crate::sync::{AtomicU32, Relaxed};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

/// What the time of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TraceClock {
    /// Nanoseconds since the machine was made.
    #[default]
    Mono,
    /// The event's number, from 1: the same on every run.
    Counter,
}

/// An event with its place and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// See [`TraceClock`].
    pub time: u64,
    /// Cpu the caller ran on.
    pub cpu: u32,
    /// What happened.
    pub event: Event,
}

/// What a tracer collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// What the records' times are.
    pub clock: TraceClock,
    /// The records, oldest first.
    pub records: Vec<Record>,
    /// Events that happened, those that were lost included.
    pub nr_written: u64,
    /// Events that a full buffer lost, the oldest first, by cpu.
    pub lost: BTreeMap<u32, u64>,
}

/// Names a tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracerId(u64);

/// A forked process cannot trace: its parent was writing an event at the moment of the fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceError;

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this process was forked while another thread wrote a trace event; it cannot trace")
    }
}

impl std::error::Error for TraceError {}

#[derive(Debug)]
struct Tracer {
    id: u64,
    clock: TraceClock,
    max_records: usize,
    records: VecDeque<Record>,
    nr_written: u64,
    lost: BTreeMap<u32, u64>,
}

impl Tracer {
    fn push(&mut self, time_ns: u64, cpu: u32, event: Event) {
        self.nr_written += 1;
        let time = match self.clock {
            TraceClock::Mono => time_ns,
            TraceClock::Counter => self.nr_written,
        };
        self.records.push_back(Record { time, cpu, event });
        if self.records.len() > self.max_records
            && let Some(oldest) = self.records.pop_front()
        {
            *self.lost.entry(oldest.cpu).or_default() += 1;
        }
    }

    fn into_trace(self) -> Trace {
        Trace { clock: self.clock, records: self.records.into(), nr_written: self.nr_written, lost: self.lost }
    }
}

#[derive(Debug, Default)]
struct Tracers {
    last_id: u64,
    active: Vec<Tracer>,
}

/// Where a machine's events go.
#[derive(Debug)]
pub struct TraceSink {
    nr_tracers: AtomicU32,
    /// Process whose threads may hold the lock.
    owner: AtomicU32,
    tracers: Mutex<Tracers>,
    epoch: Instant,
}

impl Default for TraceSink {
    fn default() -> Self {
        TraceSink {
            nr_tracers: AtomicU32::new(0),
            owner: AtomicU32::new(0),
            tracers: Mutex::default(),
            epoch: Instant::now(),
        }
    }
}

impl TraceSink {
    /// Is anybody listening?
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.nr_tracers.load(Relaxed) != 0 // ORDERING(R9)
    }

    /// Records what `event` makes, if anybody is listening.
    #[inline(always)]
    pub fn emit(&self, cpu: usize, event: impl FnOnce() -> Event) {
        if self.is_on() {
            self.record(cpu, event());
        }
    }

    #[cold]
    #[inline(never)]
    fn record(&self, cpu: usize, event: Event) {
        // A forked process has its parent's tracers, but not the threads that hold their lock.
        if !self.is_owner() {
            return;
        }
        let mut tracers = self.tracers.lock().unwrap_or_else(PoisonError::into_inner);
        // Inside the lock, so that times never go back; and only if somebody wants to know.
        let is_timed = tracers.active.iter().any(|tracer| tracer.clock == TraceClock::Mono);
        let elapsed_ns = || u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let time_ns = if is_timed { elapsed_ns() } else { 0 };
        tracers.active.iter_mut().for_each(|tracer| tracer.push(time_ns, cpu as u32, event));
    }

    fn is_owner(&self) -> bool {
        self.owner.load(Relaxed) == std::process::id() // ORDERING(R9)
    }

    /// The tracers of this process.
    fn lock(&self) -> Result<MutexGuard<'_, Tracers>, TraceError> {
        let owner = self.owner.load(Relaxed); // ORDERING(R9)
        if owner == 0 || owner == std::process::id() {
            return Ok(self.tracers.lock().unwrap_or_else(PoisonError::into_inner));
        }
        // Forked: whoever held the lock at that moment will never give it back.
        match self.tracers.try_lock() {
            Ok(tracers) => Ok(tracers),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(TraceError),
        }
    }

    /// Begins to collect events, at most `max_records` of the latest ones.
    pub fn start(&self, clock: TraceClock, max_records: Option<usize>) -> Result<TracerId, TraceError> {
        let mut tracers = self.lock()?;
        let pid = std::process::id();
        // ORDERING(R9): the lock orders the owner among those who change it.
        if self.owner.load(Relaxed) != pid {
            tracers.active.clear();
            self.owner.store(pid, Relaxed); // ORDERING(R9)
        }
        tracers.last_id += 1;
        let id = tracers.last_id;
        tracers.active.push(Tracer {
            id,
            clock,
            max_records: max_records.unwrap_or(usize::MAX),
            records: VecDeque::new(),
            nr_written: 0,
            lost: BTreeMap::new(),
        });
        self.nr_tracers.store(tracers.active.len() as u32, Relaxed); // ORDERING(R9)
        Ok(TracerId(id))
    }

    /// Ends a tracer: what it collected. `None` if it was ended before, or belongs to the process
    /// this one was forked from.
    pub fn stop(&self, id: TracerId) -> Option<Trace> {
        if !self.is_owner() {
            return None;
        }
        let mut tracers = self.lock().ok()?;
        let position = tracers.active.iter().position(|tracer| tracer.id == id.0)?;
        let tracer = tracers.active.remove(position);
        self.nr_tracers.store(tracers.active.len() as u32, Relaxed); // ORDERING(R9)
        drop(tracers);
        Some(tracer.into_trace())
    }

    /// How many records a tracer holds; `None` as for [`TraceSink::stop`].
    pub fn nr_records(&self, id: TracerId) -> Option<usize> {
        if !self.is_owner() {
            return None;
        }
        let tracers = self.lock().ok()?;
        tracers.active.iter().find(|tracer| tracer.id == id.0).map(|tracer| tracer.records.len())
    }

    /// What a tracer has collected up to now; `None` as for [`TraceSink::stop`].
    pub fn peek(&self, id: TracerId) -> Option<Trace> {
        if !self.is_owner() {
            return None;
        }
        let tracers = self.lock().ok()?;
        let tracer = tracers.active.iter().find(|tracer| tracer.id == id.0)?;
        Some(Trace {
            clock: tracer.clock,
            records: tracer.records.iter().copied().collect(),
            nr_written: tracer.nr_written,
            lost: tracer.lost.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(pfn: u64) -> Event {
        Event::Free { pfn, order: 0 }
    }

    fn pfns(trace: &Trace) -> Vec<u64> {
        trace.records.iter().filter_map(|record| record.event.pfn()).collect()
    }

    #[test]
    fn every_tracer_sees_what_happens_while_it_listens() {
        let sink = TraceSink::default();
        sink.emit(0, || unreachable!("nobody listens"));
        let first = sink.start(TraceClock::Mono, None).unwrap();
        sink.emit(0, || free(1));
        let second = sink.start(TraceClock::Counter, None).unwrap();
        sink.emit(3, || free(2));
        assert_eq!(pfns(&sink.peek(first).unwrap()), [1, 2]);
        assert_eq!((sink.nr_records(first), sink.nr_records(second)), (Some(2), Some(1)));
        let trace = sink.stop(first).unwrap();
        assert_eq!((pfns(&trace), trace.nr_written), (vec![1, 2], 2));
        assert!(trace.records[0].time <= trace.records[1].time);
        sink.emit(1, || free(3));
        assert_eq!((sink.stop(first), sink.nr_records(first)), (None, None));
        assert!(sink.is_on());
        let trace = sink.stop(second).unwrap();
        let records = [(1, 3, 2), (2, 1, 3)].map(|(time, cpu, pfn)| Record { time, cpu, event: free(pfn) });
        assert_eq!(trace.records, records);
        assert!(!sink.is_on());
    }

    #[test]
    fn a_full_buffer_loses_the_oldest_events() {
        let sink = TraceSink::default();
        let small = sink.start(TraceClock::Counter, Some(2)).unwrap();
        let none = sink.start(TraceClock::Counter, Some(0)).unwrap();
        (0..5).for_each(|i| sink.emit(i % 2, || free(i as u64)));
        let trace = sink.stop(small).unwrap();
        assert_eq!((pfns(&trace), trace.nr_written), (vec![3, 4], 5));
        assert_eq!(trace.lost, BTreeMap::from([(0, 2), (1, 1)]));
        let trace = sink.stop(none).unwrap();
        assert_eq!((trace.records.len(), trace.nr_written), (0, 5));
    }

    #[test]
    fn threads_are_all_heard_in_one_order() {
        let sink = TraceSink::default();
        let ids = [(); 2].map(|()| sink.start(TraceClock::Mono, None).unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let sink = &sink;
                scope.spawn(move || (0..500).for_each(|i| sink.emit(thread, || free(i))));
            }
        });
        let [a, b] = ids.map(|id| sink.stop(id).unwrap());
        assert_eq!(a, b);
        assert_eq!(a.records.len(), 2000);
        assert!(a.records.is_sorted_by_key(|record| record.time));
        for cpu in 0..4 {
            let own: Vec<u64> =
                a.records.iter().filter(|record| record.cpu == cpu).filter_map(|record| record.event.pfn()).collect();
            assert_eq!(own, (0..500).collect::<Vec<_>>());
        }
    }
}
