//! Replays a folder with a traced workload: the states around it and the trace itself.

use super::follower::{Follower, Tally};
use super::line::{self, Parsed, TraceEvent};
use crate::golden::compare::{self, Difference};
use crate::golden::{Expectation, Machine, Mode, RecordedState, Recording};
use crate::lines::Lines;
use crate::report::{Mismatch, RecordingError, RecordingErrorKind, Report};
use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::state::MachineState;
use pagebuddy_core::trace::Event;
use pagebuddy_core::types::Pfn;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

/// The states around the trace.
pub const STATE_FILE: &str = "state.jsonl.gz";
/// The trace.
pub const TRACE_FILE: &str = "trace.txt.gz";
/// Events between two reports of progress.
const EVENTS_PER_STEP: usize = 1 << 10;
/// Lines between two reports of progress.
const LINES_PER_STEP: u64 = 1 << 12;

/// The events of a trace.
struct Events {
    events: Vec<TraceEvent>,
    is_partial: bool,
}

/// Replays the workload in `folder`: predicts every allocation from the state at the start, then
/// compares the state at the end. `progress` is called now and then with the share that is done and
/// the number of allocations; breaking ends the replay with `Ok(None)`.
pub fn replay_folder(
    folder: &Path,
    progress: &mut dyn FnMut(f64, u64) -> ControlFlow<()>,
) -> Result<Option<Report>, RecordingError> {
    let Some(states) = Recording::read(&folder.join(STATE_FILE), &mut |_| progress(0.0, 0))? else { return Ok(None) };
    let unsupported = |message: String| RecordingError::new(&*states.file, 0, RecordingErrorKind::Unsupported, message);
    let end = state_at_end(&states);
    let (Mode::Trace, Some(end)) = (states.header.mode, end) else {
        return Err(unsupported("these are not the states around a trace".into()));
    };
    let events = read_events(&folder.join(TRACE_FILE), &states, &mut || progress(0.0, 0))?;
    let Some(Events { events, is_partial }) = events else { return Ok(None) };
    let name = folder.display().to_string();
    let mut report = Report::new(name, states.header.mode.name(), &*states.header.scenario);
    report.is_partial = is_partial;
    report.states = 2;

    let booted = <PageAllocator as Machine>::boot(&states).map_err(unsupported)?.dump();
    let difference = compare::compare_nodes(&states.nodes, &booted.topology.nodes)
        .or_else(|| compare::compare_state(&states.boot, &booted));
    state_compared(&mut report, &states.boot, difference);

    let machine = <PageAllocator as Machine>::start(&states).map_err(unsupported)?;
    let zones: Vec<_> = end.zones.iter().map(|zone| zone.zone.clone()).collect();
    let mut follower = Follower::new(machine, &events, &zones, states.nr_online_cpus);
    let mut farthest = 0;
    while let Some(nr_done) = follower.step(EVENTS_PER_STEP).map_err(|error| unsupported(error.to_string()))? {
        farthest = farthest.max(nr_done);
        if progress(farthest as f64 / events.len() as f64, follower.tally.allocs).is_break() {
            return Ok(None);
        }
    }
    tally_up(&mut report, &follower.tally, &events);
    state_compared(&mut report, end, compare_end(end, follower.machine().dump()));
    Ok(Some(report))
}

/// The events of the trace; `None` if reading was ended.
fn read_events(
    path: &Path,
    states: &Recording,
    keep_going: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<Events>, RecordingError> {
    let name = path.display().to_string();
    let file =
        File::open(path).map_err(|error| RecordingError::new(&*name, 0, RecordingErrorKind::Io, error.to_string()))?;
    let mut lines = Lines::new(file, &name)?;
    let mut found = Events { events: Vec::new(), is_partial: false };
    while let Some(text) = lines.next_line()? {
        let parsed = line::parse(text, &states.header.config);
        let line = lines.line();
        match parsed {
            Ok(Parsed::Event(cpu, time, event)) if (cpu as usize) < states.nr_online_cpus => {
                found.events.push(TraceEvent { line, time, cpu, event });
            }
            Ok(Parsed::Event(cpu, ..)) => {
                return Err(lines.error(RecordingErrorKind::Record, format!("cpu {cpu} was not online")));
            }
            Ok(Parsed::Lost) => found.is_partial = true,
            Ok(Parsed::Other) => {}
            Err(message) => return Err(lines.error(RecordingErrorKind::Record, message)),
        }
        if line % LINES_PER_STEP == 0 && keep_going().is_break() {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

fn state_at_end(states: &Recording) -> Option<&RecordedState> {
    states.checks.iter().rev().find_map(|check| match &check.expected {
        Expectation::State(state) if state.label == "end" => Some(&**state),
        _ => None,
    })
}

/// Compares the state at the end, except what a trace does not show: when pending counts were
/// folded, and which pages are on an LRU list.
fn compare_end(end: &RecordedState, mut actual: MachineState) -> Option<Difference> {
    let mut expected = end.clone();
    for (expected, actual) in expected.zones.iter_mut().zip(&mut actual.zones) {
        expected.has_movable_in_use = false;
        for zone in [&mut expected.zone, actual] {
            for stat in &mut zone.cpustat {
                zone.nr_free_pages += i64::from(stat.free_delta);
                zone.nr_free_cma += i64::from(stat.free_cma_delta);
                (stat.free_delta, stat.free_cma_delta) = (0, 0);
            }
        }
    }
    compare::compare_state(&expected, &actual)
}

fn state_compared(report: &mut Report, state: &RecordedState, difference: Option<Difference>) {
    report.states_matched += u64::from(difference.is_none());
    let op_index = report.replayed;
    if let Some(Difference { what, expected, got }) = difference {
        let op = format!("state `{}`", state.label);
        report.mismatch(|| Mismatch { line: state.line, op_index, op, what, expected, got });
    }
}

fn tally_up(report: &mut Report, tally: &Tally, events: &[TraceEvent]) {
    report.ops = tally.allocs;
    report.replayed = tally.allocs;
    report.matched = tally.matched;
    report.moves = tally.moves;
    report.moves_matched = tally.moves_matched;
    report.unseen = tally.unseen;
    report.misses = tally.misses;
    let mismatches = [(tally.first_mismatch, "result"), (tally.first_wrong_move, "moved page")];
    let first = mismatches.into_iter().filter_map(|(found, what)| found.map(|(at, got)| (at, got, what))).min();
    if let Some((at, got, what)) = first {
        let TraceEvent { line, cpu, event, .. } = events[at];
        let page = |pfn: Option<Pfn>| pfn.map_or_else(|| "none".to_owned(), |pfn| format!("pfn {pfn:#x}"));
        let op_index = events[..=at].iter().filter(|event| matches!(event.event, Event::Alloc { .. })).count() as u64;
        let op = format!("{} order={} on cpu {cpu}", event.name(), event.order());
        report.mismatch(|| Mismatch {
            line,
            op_index,
            op,
            what: what.into(),
            expected: page(event.pfn()),
            got: page(got),
        });
    }
}
