//! Replays memblock-golden recordings: the boot memory allocator alone.
//!
//! After every operation the result, both complete lists, their capacities and size counters and
//! the places of grown arrays are compared with what the kernel's own code did.

mod operation;
mod record;

pub use record::FORMAT;

use crate::lines::Lines;
use crate::report::{Mismatch, RecordingError, RecordingErrorKind, Report};
use operation::{Operation, Outcome};
use pagebuddy_core::memblock::{ListKind, Memblock, Region};
use record::{Growth, Header, Line, ListState, State};
use std::io::Read;
use std::time::Instant;

/// Replays a recording; `name` names it in the report and in errors.
///
/// After the first difference nothing is performed any more, but the rest of the file is still read
/// and checked, so that the counts are complete.
pub fn replay(reader: impl Read, name: &str) -> Result<Report, RecordingError> {
    let mut lines = Lines::new(reader, name)?;
    let header = match lines.next_line()?.map(Header::parse) {
        Some(Ok(header)) => header,
        Some(Err((kind, message))) => return Err(lines.error(kind, message)),
        None => return Err(lines.error(RecordingErrorKind::Truncated, "the recording is empty")),
    };
    let report = Report::new(name, "memblock", &*header.scenario).with_seed(Some(header.seed));
    let fresh = Memblock::with_geometry(header.config.geometry())
        .map_err(|error| lines.error(RecordingErrorKind::Unsupported, error.to_string()))?;
    let mut replay = Replay::new(header, fresh, report);
    loop {
        let Some(text) = lines.next_line()? else {
            return Err(lines.error(RecordingErrorKind::Truncated, "the recording ends without its eof record"));
        };
        let parsed = Line::parse(text, replay.header.config.max_numnodes);
        let line = lines.line();
        let step = parsed.and_then(|parsed| replay.step(line, parsed));
        match step {
            Ok(Progress::More) => {}
            Ok(Progress::End) => break,
            Err((kind, message)) => return Err(lines.error(kind, message)),
        }
    }
    if lines.next_line()?.is_some() {
        return Err(lines.error(RecordingErrorKind::Record, "the recording goes on after its eof record"));
    }
    Ok(replay.report)
}

/// What is wrong with a line.
type LineError = (RecordingErrorKind, String);

fn bad(message: impl Into<String>) -> LineError {
    (RecordingErrorKind::Record, message.into())
}

enum Progress {
    More,
    End,
}

/// An operation whose effects are still being read.
struct Pending {
    line: u64,
    operation: Operation,
    /// What the replay got, unless it had stopped before.
    outcome: Option<Outcome>,
    growths: Vec<Growth>,
}

struct Replay {
    header: Header,
    fresh: Memblock,
    memblock: Memblock,
    /// The lists according to the recording.
    memory: ListState,
    reserved: ListState,
    nr_growths_before: usize,
    pending: Option<Pending>,
    /// Whether the line before was a reset, after which a state must follow.
    state_due: bool,
    report: Report,
}

impl Replay {
    fn new(header: Header, fresh: Memblock, report: Report) -> Replay {
        let empty = ListState::empty(header.config.init_regions);
        Replay {
            header,
            memblock: fresh.clone(),
            fresh,
            memory: empty.clone(),
            reserved: empty,
            nr_growths_before: 0,
            pending: None,
            state_due: true,
            report,
        }
    }

    fn step(&mut self, line: u64, parsed: Line) -> Result<Progress, LineError> {
        if self.state_due && !matches!(parsed, Line::State(_)) {
            return Err(bad("a state must stand here"));
        }
        match parsed {
            Line::State(state) => {
                self.finish_operation();
                self.check_state(line, &state)?;
                self.state_due = false;
            }
            Line::Operation(operation) => {
                self.finish_operation();
                self.start_operation(line, operation)?;
            }
            Line::Array(growth) => match &mut self.pending {
                Some(pending) => pending.growths.push(growth),
                None => return Err(bad("an array line does not follow an operation")),
            },
            Line::Change(list, change) => {
                if self.pending.is_none() {
                    return Err(bad("a list change does not follow an operation"));
                }
                match list {
                    ListKind::Memory => self.memory.apply(change),
                    ListKind::Reserved => self.reserved.apply(change),
                }
                .map_err(bad)?;
            }
            Line::Eof { ops } => {
                self.finish_operation();
                if ops != self.report.ops {
                    return Err(bad(format!(
                        "the eof record counts {ops} operations, the file has {}",
                        self.report.ops
                    )));
                }
                return Ok(Progress::End);
            }
        }
        Ok(Progress::More)
    }

    fn stopped(&self) -> bool {
        self.report.first_mismatch.is_some()
    }

    fn start_operation(&mut self, line: u64, operation: Operation) -> Result<(), LineError> {
        self.report.ops += 1;
        operation.check(self.header.config.max_numnodes).map_err(bad)?;
        if operation.is_reset() {
            self.state_due = true;
            self.memory = ListState::empty(self.header.config.init_regions);
            self.reserved = self.memory.clone();
            self.nr_growths_before = 0;
        } else {
            self.nr_growths_before = self.memblock.array_growths().len();
        }
        let outcome = if self.stopped() {
            None
        } else {
            self.report.replayed += 1;
            let start = Instant::now();
            let outcome = if operation.is_reset() {
                self.memblock = self.fresh.clone();
                Outcome::Nothing
            } else {
                operation.perform(&mut self.memblock, self.header.config.max_numnodes)
            };
            self.report.core_time_ns += u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            Some(outcome)
        };
        self.pending = Some(Pending { line, operation, outcome, growths: Vec::new() });
        Ok(())
    }

    /// Compares an operation once all its effects were read.
    fn finish_operation(&mut self) {
        let Some(Pending { line, operation, outcome: Some(outcome), growths }) = self.pending.take() else { return };
        let difference = operation
            .difference(&outcome, &self.memblock)
            .map(|(expected, got)| ("result", expected, got))
            .or_else(|| self.growth_difference(&growths))
            .or_else(|| self.list_difference(ListKind::Memory, &self.memory))
            .or_else(|| self.list_difference(ListKind::Reserved, &self.reserved));
        match difference {
            None => self.report.matched += 1,
            Some((what, expected, got)) => self.mismatch(line, operation.to_string(), what, expected, got),
        }
    }

    fn growth_difference(&self, expected: &[Growth]) -> Option<(&'static str, String, String)> {
        let got: Vec<Growth> =
            self.memblock.array_growths()[self.nr_growths_before..].iter().map(Growth::from).collect();
        (got != expected).then(|| ("array growth", format!("{expected:?}"), format!("{got:?}")))
    }

    fn list_difference(&self, kind: ListKind, expected: &ListState) -> Option<(&'static str, String, String)> {
        let got = self.memblock.regions(kind);
        let (capacity, total) = (self.memblock.capacity(kind) as u64, self.memblock.total_size(kind));
        if got != expected.regions {
            let index = got.iter().zip(&expected.regions).take_while(|(a, b)| a == b).count();
            let show = |regions: &[Region]| match regions.get(index) {
                Some(region) => format!("[{index}] {} of {}", record::show(region), regions.len()),
                None => format!("{} regions", regions.len()),
            };
            let what = if kind == ListKind::Memory { "memory list" } else { "reserved list" };
            return Some((what, show(&expected.regions), show(got)));
        }
        let what = if kind == ListKind::Memory { "memory capacity" } else { "reserved capacity" };
        if capacity != expected.capacity {
            return Some((what, expected.capacity.to_string(), capacity.to_string()));
        }
        let what = if kind == ListKind::Memory { "memory size counter" } else { "reserved size counter" };
        (total != expected.total).then(|| (what, expected.total.to_string(), total.to_string()))
    }

    fn check_state(&mut self, line: u64, state: &State) -> Result<(), LineError> {
        if state.op != self.report.ops {
            return Err(bad(format!("the state says {} operations, {} came before it", state.op, self.report.ops)));
        }
        if state.memory != self.memory || state.reserved != self.reserved {
            return Err(bad("the state does not agree with the list changes before it"));
        }
        self.report.states += 1;
        if self.stopped() {
            return Ok(());
        }
        let switches = state.switch_difference(&self.memblock);
        let difference = switches
            .or_else(|| self.list_difference(ListKind::Memory, &state.memory))
            .or_else(|| self.list_difference(ListKind::Reserved, &state.reserved));
        match difference {
            None => self.report.states_matched += 1,
            Some((what, expected, got)) => self.mismatch(line, format!("state {}", state.label), what, expected, got),
        }
        Ok(())
    }

    fn mismatch(&mut self, line: u64, op: String, what: &str, expected: String, got: String) {
        let op_index = self.report.replayed;
        self.report.mismatch(|| Mismatch { line, op_index, op, what: what.to_owned(), expected, got });
    }
}
