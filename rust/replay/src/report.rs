//! What a replay reports: the counts of one recording, its first difference, and the errors of a
//! recording that cannot be read.

use serde::Serialize;
use std::fmt;

/// Result of replaying one recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the recording, as the caller gave it.
    pub file: String,
    /// `boot`, `early`, `late`, `trace` or `memblock`.
    pub mode: String,
    /// Scenario that produced the recording.
    pub scenario: String,
    /// Seed of the scenario, if it has one.
    pub seed: Option<u64>,
    /// Operations in the recording.
    pub ops: u64,
    /// Operations performed before the replay ended.
    pub replayed: u64,
    /// Operations whose results and effects were those recorded.
    pub matched: u64,
    /// Digests compared.
    pub digests: u64,
    /// Digests that were equal.
    pub digests_matched: u64,
    /// Complete states compared.
    pub states: u64,
    /// Complete states that were equal.
    pub states_matched: u64,
    /// Pages that a trace shows moving between free lists and per-cpu lists.
    pub moves: u64,
    /// Those that were predicted.
    pub moves_matched: u64,
    /// Pages that a trace must have left out, inferred from what it shows.
    pub unseen: u64,
    /// Why allocations of a trace were not predicted.
    pub misses: Misses,
    /// The tracer lost events: the replay is partial.
    pub is_partial: bool,
    /// The first difference, if there is one.
    pub first_mismatch: Option<Mismatch>,
    /// Time spent inside the core's operations, parsing and comparison excluded, in nanoseconds; 0
    /// for a trace, where most of the time is spent on finding out what happened.
    pub core_time_ns: u64,
}

impl Report {
    /// An empty report about the named recording.
    pub fn new(file: impl Into<String>, mode: impl Into<String>, scenario: impl Into<String>) -> Report {
        Report { file: file.into(), mode: mode.into(), scenario: scenario.into(), ..Report::default() }
    }

    /// Whether the whole recording was replayed and nothing differed.
    pub fn is_exact(&self) -> bool {
        self.first_mismatch.is_none()
            && self.replayed == self.ops
            && self.matched == self.ops
            && !self.is_partial
            && self.digests_matched == self.digests
            && self.moves_matched == self.moves
            && self.states_matched == self.states
    }

    /// The same report with the scenario's seed.
    pub fn with_seed(self, seed: Option<u64>) -> Report {
        Report { seed, ..self }
    }

    /// Remembers a difference; only the first one is kept.
    pub fn mismatch(&mut self, mismatch: impl FnOnce() -> Mismatch) {
        if self.first_mismatch.is_none() {
            self.first_mismatch = Some(mismatch());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} operations", self.file, self.matched, self.ops)?;
        if self.digests > 0 {
            write!(f, ", {} of {} digests", self.digests_matched, self.digests)?;
        }
        if self.moves > 0 {
            write!(f, ", {} of {} moves between lists", self.moves_matched, self.moves)?;
        }
        write!(f, ", {} of {} states match", self.states_matched, self.states)?;
        if self.is_partial {
            f.write_str(", but the tracer lost events")?;
        }
        let causes: Vec<String> = self
            .misses
            .named()
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| format!("{n} {}", name.replace('_', " ")))
            .collect();
        if !causes.is_empty() {
            write!(f, "\n  not predicted: {}", causes.join(", "))?;
        }
        if let Some(mismatch) = &self.first_mismatch {
            write!(f, "\n  first difference: {mismatch}")?;
        }
        Ok(())
    }
}

/// Allocations of a trace that were not predicted, by where their pages were just before. What is
/// missing in the trace shows here: frees, drains, or allocations of other pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Misses {
    /// In use: nothing tells that the page was freed.
    pub freed_unseen: u64,
    /// On the list of another CPU or type: nothing tells how it got here.
    pub on_another_list: u64,
    /// On the right list, but others were in front of it.
    pub behind_others: u64,
    /// On a free list, but another block was chosen.
    pub other_block: u64,
    /// Not memory of the allocator.
    pub no_memory: u64,
    /// Nowhere: the trace shows a failed allocation.
    pub failed: u64,
}

impl Misses {
    /// The counts with their names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("freed_unseen", self.freed_unseen),
            ("on_another_list", self.on_another_list),
            ("behind_others", self.behind_others),
            ("other_block", self.other_block),
            ("no_memory", self.no_memory),
            ("failed", self.failed),
        ]
        .into_iter()
    }
}

/// Where a replay first differed from its recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Line of the recording, counted from 1.
    pub line: u64,
    /// Operations performed up to and including this one.
    pub op_index: u64,
    /// The operation (or `state`, `digest`) in readable form.
    pub op: String,
    /// What was compared: `result`, `memory list`, `free list`, ...
    pub what: String,
    /// What the recording says.
    pub expected: String,
    /// What the replay produced.
    pub got: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { line, op_index, op, what, expected, got } = self;
        write!(f, "line {line}, operation {op_index}: {op}: {what}: expected {expected}, got {got}")
    }
}

/// Why a recording cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingErrorKind {
    /// The file could not be read at all.
    Io,
    /// The compressed data is damaged.
    Compression,
    /// The recording ends before its end-of-file record.
    Truncated,
    /// A line is not JSON.
    Json,
    /// The first line is not the header of a known format.
    Format,
    /// The format is known, its version is not.
    Version,
    /// A line is JSON, but not a record that can stand there.
    Record,
    /// The recorded machine cannot be built by this engine.
    Unsupported,
}

/// An unreadable recording: what is wrong, and on which line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordingError {
    /// Name of the recording, as the caller gave it.
    pub file: String,
    /// Line, counted from 1; 0 when the problem is not tied to a line.
    pub line: u64,
    /// The kind of problem.
    pub kind: RecordingErrorKind,
    /// The problem in words.
    pub message: String,
}

impl RecordingError {
    /// An error on a line (0: no particular line).
    pub fn new(file: impl Into<String>, line: u64, kind: RecordingErrorKind, message: impl Into<String>) -> Self {
        RecordingError { file: file.into(), line, kind, message: message.into() }
    }
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for RecordingError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn mismatch(line: u64) -> Mismatch {
        Mismatch {
            line,
            op_index: 1,
            op: "reserve(0, 1)".into(),
            what: "result".into(),
            expected: "0".into(),
            got: "-12".into(),
        }
    }

    #[test]
    fn exact_means_everything_matched() {
        let mut report = Report::new("a.jsonl.gz", "early", "api");
        assert!(report.is_exact());
        report.ops = 2;
        report.replayed = 2;
        report.matched = 1;
        assert!(!report.is_exact());
        report.matched = 2;
        assert!(report.is_exact());
        report.digests = 1;
        assert!(!report.is_exact());
    }

    #[test]
    fn only_the_first_mismatch_is_kept() {
        let mut report = Report::new("a", "early", "api");
        report.mismatch(|| mismatch(7));
        report.mismatch(|| mismatch(9));
        assert_eq!(report.first_mismatch.as_ref().map(|m| m.line), Some(7));
        assert!(report.to_string().contains("line 7, operation 1: reserve(0, 1): result: expected 0, got -12"));
    }

    #[test]
    fn errors_name_file_and_line() {
        let error = RecordingError::new("x.gz", 3, RecordingErrorKind::Json, "not JSON");
        assert_eq!(error.to_string(), "x.gz:3: not JSON");
        assert_eq!(RecordingError { line: 0, ..error }.to_string(), "x.gz: not JSON");
    }
}
