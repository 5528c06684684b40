//! Replays a recording on an allocator and compares everything that was recorded.

use super::compare::{self, Difference};
use super::machine::Machine;
use super::op::{NO_PFN, Op, Ops, SLOT_POPULATED};
use super::recording::{Expectation, Mode, RecordedState, Recording};
use crate::report::{Mismatch, RecordingError, RecordingErrorKind, Report};
use pagebuddy_core::config::Config;
use pagebuddy_core::state::ZoneRef;
use pagebuddy_core::types::{MigrateType, Pfn};
use std::ops::ControlFlow;
use std::time::Instant;

/// Operations between two reports of progress when nothing is compared in between.
const OPS_PER_STEP: usize = 1 << 16;

/// What stands for a page that was in a slot before a bulk allocation; never looked at.
const FOREIGN_PAGE: Pfn = Pfn::MAX;

/// Replays a recording.
///
/// An operation that does not do what was recorded ends the replay, for everything behind it would
/// follow from it; a state or digest that differs does not. `progress` is called now and then with
/// the number of operations done; breaking ends the replay early.
pub fn replay<M: Machine>(
    recording: &Recording,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Report, RecordingError> {
    let ops = &recording.ops;
    let unsupported = |message| RecordingError::new(&*recording.file, 0, RecordingErrorKind::Unsupported, message);
    if recording.header.mode == Mode::Trace {
        return Err(unsupported("the states around a trace hold no operations; replay the trace's folder".to_owned()));
    }
    let header = &recording.header;
    let mut report = Report::new(&*recording.file, header.mode.name(), &*header.scenario).with_seed(header.seed);
    report.ops = ops.ops.len() as u64;
    report.states = 1;
    for check in &recording.checks {
        match check.expected {
            Expectation::Digest(_) => report.digests += 1,
            Expectation::State(_) => report.states += 1,
            Expectation::Tunables(_) | Expectation::Numastat(_) => {}
        }
    }
    let mut machine = M::boot(recording).map_err(unsupported)?;
    let booted = Replay { recording, machine: &mut machine, report: &mut report, slots: Vec::new() }.check_boot();
    if booted && recording.header.mode != Mode::Boot {
        if recording.header.mode == Mode::Late {
            machine = M::start(recording).map_err(unsupported)?;
        }
        Replay { recording, machine: &mut machine, report: &mut report, slots: Vec::new() }.run(progress);
    }
    Ok(report)
}

struct Replay<'a, M> {
    recording: &'a Recording,
    machine: &'a mut M,
    report: &'a mut Report,
    /// Scratch space of bulk allocations and list frees.
    slots: Vec<Option<Pfn>>,
}

/// Why an operation did not match.
struct Failure {
    what: &'static str,
    expected: String,
    got: String,
}

impl<M: Machine> Replay<'_, M> {
    /// Compares nodes, zonelists and the state after the hand-over; whether a replay makes sense.
    fn check_boot(&mut self) -> bool {
        let recording = self.recording;
        let booted = self.machine.dump();
        let nodes = compare::compare_nodes(&recording.nodes, &booted.topology.nodes)
            .or_else(|| compare::compare_nodes(&recording.late_nodes(), &booted.topology.nodes));
        let nodes = nodes.or_else(|| {
            let got = (booted.policy_zone, self.machine.policy_nodes());
            compare::compare_policy_info(recording.policy_info.as_ref()?, got)
        });
        let state = compare::compare_state(&recording.boot, &booted);
        self.report.states_matched += u64::from(nodes.is_none() && state.is_none());
        for (line, difference) in [(recording.nodes_line, nodes), (recording.boot.line, state)] {
            self.differs(line, "state `boot`".into(), difference);
        }
        // A late recording brings its own start.
        recording.header.mode == Mode::Late || self.report.first_mismatch.is_none()
    }

    fn run(&mut self, progress: &mut dyn FnMut(u64) -> ControlFlow<()>) {
        let recording = self.recording;
        for check in &recording.checks {
            if self.run_until(check.op, progress).is_break() {
                return;
            }
            self.check(check.line, &check.expected);
        }
        let _ = self.run_until(recording.ops.ops.len(), progress);
    }

    /// Performs the operations up to `end`; breaks if the replay must end.
    fn run_until(&mut self, end: usize, progress: &mut dyn FnMut(u64) -> ControlFlow<()>) -> ControlFlow<()> {
        let ops = &self.recording.ops;
        let mut at = self.report.replayed as usize;
        while at < end {
            let until = end.min(at + OPS_PER_STEP);
            let start = Instant::now();
            let mut failure = None;
            while at < until {
                let result = self.perform(ops, ops.ops[at]);
                at += 1;
                if let Err(what) = result {
                    failure = Some(what);
                    break;
                }
            }
            self.report.core_time_ns += start.elapsed().as_nanos() as u64;
            self.report.replayed = at as u64;
            self.report.matched = at as u64 - u64::from(failure.is_some());
            if let Some(Failure { what, expected, got }) = failure {
                self.report.mismatch(|| Mismatch {
                    line: ops.line(at - 1),
                    op_index: at as u64,
                    op: ops.describe(at - 1),
                    what: what.into(),
                    expected,
                    got,
                });
                return ControlFlow::Break(());
            }
            progress(at as u64)?;
        }
        ControlFlow::Continue(())
    }

    fn check(&mut self, line: u64, expected: &Expectation) {
        match expected {
            Expectation::Digest(zones) => {
                let actual = self.machine.dump_lists();
                let difference = compare::compare_digests(zones, &actual, &self.recording.header.config);
                self.report.digests_matched += u64::from(difference.is_none());
                self.differs(line, "digest".into(), difference);
            }
            Expectation::State(state) => self.check_state(line, state),
            Expectation::Tunables(tunables) => {
                let difference = compare::compare_tunables(tunables, &self.machine.dump());
                self.differs(line, "tunables".into(), difference);
            }
            Expectation::Numastat(events) => {
                let difference = compare::compare_numa_events(events, &self.machine.dump());
                self.differs(line, "numastat".into(), difference);
            }
        }
    }

    fn check_state(&mut self, line: u64, state: &RecordedState) {
        let difference = compare::compare_state(state, &self.machine.dump());
        self.report.states_matched += u64::from(difference.is_none());
        self.differs(line, format!("state `{}`", state.label), difference);
    }

    fn differs(&mut self, line: u64, op: String, difference: Option<Difference>) {
        let op_index = self.report.replayed;
        if let Some(Difference { what, expected, got }) = difference {
            self.report.mismatch(|| Mismatch { line, op_index, op, what, expected, got });
        }
    }

    /// Performs one operation and compares its result.
    #[inline]
    fn perform(&mut self, ops: &Ops, op: Op) -> Result<(), Failure> {
        match op {
            Op::Alloc { cpu, order, nid, gfp, pfn, nodemask } => {
                let got = self.machine.alloc(usize::from(cpu), gfp, order.into(), nid.into(), nodemask);
                expect_pfn(pfn, got)
            }
            Op::Free { cpu, order, pfn } => freed(self.machine.free(usize::from(cpu), pfn.into(), order.into())),
            _ => self.perform_rare(ops, op),
        }
    }

    fn perform_rare(&mut self, ops: &Ops, op: Op) -> Result<(), Failure> {
        let machine = &mut *self.machine;
        match op {
            Op::Alloc { .. } | Op::Free { .. } => self.perform(ops, op),
            Op::Drain { cpu } => {
                machine.drain(cpu.into());
                Ok(())
            }
            Op::Bulk { cpu, nid, gfp, n, pfns, nodemask } => {
                self.slots.clear();
                self.slots.resize(n as usize, None);
                let ret = machine.bulk_array(cpu.into(), gfp, nid.into(), nodemask, &mut self.slots);
                let expected = ops.list(pfns);
                let got = self.slots.iter().map_while(|slot| *slot);
                if got.eq(expected.iter().map(|pfn| Pfn::from(*pfn))) && ret == expected.len() {
                    return Ok(());
                }
                lists_differ("pages", expected, self.slots.iter().map_while(|slot| slot.map(|pfn| pfn as i64)))
            }
            Op::BulkArray { cpu, nid, gfp, slots, ret, nodemask } => {
                let recorded = ops.list(slots);
                self.slots.clear();
                self.slots.extend(recorded.iter().map(|slot| (*slot == SLOT_POPULATED).then_some(FOREIGN_PAGE)));
                let got = machine.bulk_array(cpu.into(), gfp, nid.into(), nodemask, &mut self.slots);
                let slot_number = |slot: &Option<Pfn>| match *slot {
                    None => NO_PFN,
                    Some(FOREIGN_PAGE) => SLOT_POPULATED,
                    Some(pfn) => pfn as u32,
                };
                if !self.slots.iter().map(slot_number).eq(recorded.iter().copied()) {
                    return lists_differ("slots", recorded, self.slots.iter().map(|s| signed(slot_number(s))));
                }
                expect("return value", u64::from(ret), got as u64)
            }
            Op::BulkList { cpu, nid, gfp, n, pfns, nodemask } => {
                let got = machine.bulk_list(cpu.into(), gfp, nid.into(), nodemask, n as usize);
                let expected = ops.list(pfns);
                if got.iter().copied().eq(expected.iter().map(|pfn| Pfn::from(*pfn))) {
                    return Ok(());
                }
                lists_differ("list", expected, got.iter().map(|pfn| *pfn as i64))
            }
            Op::Exact { cpu, nid, gfp, nr_pages, pfn } => {
                let local = self.recording.header.cpu_node.get(usize::from(cpu)).copied();
                expect("node of the cpu", local, Some(u32::from(nid)))?;
                expect_pfn(pfn, machine.alloc_exact(cpu.into(), gfp, nr_pages.into()))
            }
            Op::FreeExact { cpu, pfn, nr_pages } => freed(machine.free_exact(cpu.into(), pfn.into(), nr_pages.into())),
            Op::Split { order, pfn, .. } => freed(machine.split(pfn.into(), order.into())),
            Op::FreeReferenced { cpu, order, pfn } => {
                freed(machine.free_referenced(cpu.into(), pfn.into(), order.into()))
            }
            Op::FreeList { cpu, pfns } => {
                let pfns: Vec<Pfn> = ops.list(pfns).iter().map(|pfn| Pfn::from(*pfn)).collect();
                freed(machine.free_list(cpu.into(), &pfns))
            }
            Op::Unreserve { cpu, nid, gfp, force, ret } => {
                expect("result", ret, machine.unreserve_highatomic(cpu.into(), gfp, nid.into(), force))
            }
            Op::ReclaimActive { nid, zone, active } => {
                machine.reclaim_active(ZoneRef { nid: nid.into(), zone: zone.into() }, active);
                Ok(())
            }
            Op::Sysctl { cpu, tunable, values, ret } => {
                let values: Vec<i64> = ops.list(values).iter().map(|value| i64::from(*value as i32)).collect();
                expect("result", ret, errno(machine.sysctl(cpu.into(), tunable, &values)))
            }
            Op::SetPolicy { cpu, mode, flags, nodes, ret, now } => {
                let got = errno(machine.set_policy(cpu.into(), mode.into(), flags.into(), nodes));
                expect("result", ret, got)?;
                let (mode, nodes) = ops.policy(now);
                expect("mode and nodes in force", (u32::from(mode), nodes), machine.policy(cpu.into()))
            }
            Op::AllocPolicy { cpu, order, gfp, pfn, il } => {
                expect_pfn(pfn, machine.alloc_policy(cpu.into(), gfp, order.into()))?;
                expect("interleave position", u32::from(il), machine.interleave_position(cpu.into()))
            }
            Op::Isolate { cpu, mt, start, end } => {
                let mt = migratetype(mt, &self.recording.header.config)?;
                expect("result", 0, errno(machine.isolate(cpu.into(), start.into(), end.into(), mt)))
            }
            Op::UndoIsolate { cpu, mt, start, end } => {
                let mt = migratetype(mt, &self.recording.header.config)?;
                expect("result", 0, errno(machine.undo_isolate(cpu.into(), start.into(), end.into(), mt)))
            }
        }
    }
}

fn migratetype(number: u8, config: &Config) -> Result<MigrateType, Failure> {
    config.migratetype_from_number(number.into()).ok_or_else(|| Failure {
        what: "migratetype",
        expected: number.to_string(),
        got: "no such migratetype with these options".into(),
    })
}

fn errno(result: Result<(), i32>) -> i32 {
    result.err().unwrap_or(0)
}

/// A recorded page or slot as recordings write it.
fn signed(pfn: u32) -> i64 {
    match pfn {
        NO_PFN => -1,
        SLOT_POPULATED => -2,
        pfn => i64::from(pfn),
    }
}

#[inline]
fn expect_pfn(recorded: u32, got: Option<Pfn>) -> Result<(), Failure> {
    let matches = match got {
        Some(pfn) => recorded != NO_PFN && pfn == Pfn::from(recorded),
        None => recorded == NO_PFN,
    };
    if matches { Ok(()) } else { pfn_differs(recorded, got) }
}

#[cold]
fn pfn_differs(recorded: u32, got: Option<Pfn>) -> Result<(), Failure> {
    let text = |pfn: Option<Pfn>| pfn.map_or_else(|| "failure".to_owned(), |pfn| format!("pfn {pfn}"));
    let recorded = (recorded != NO_PFN).then_some(Pfn::from(recorded));
    Err(Failure { what: "result", expected: text(recorded), got: text(got) })
}

#[inline]
fn freed<E: std::fmt::Display>(result: Result<(), E>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(Failure { what: "result", expected: "success".into(), got: error.to_string() }),
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &'static str, expected: T, got: T) -> Result<(), Failure> {
    if expected == got {
        return Ok(());
    }
    Err(Failure { what, expected: format!("{expected:?}"), got: format!("{got:?}") })
}

#[cold]
fn lists_differ(what: &'static str, expected: &[u32], got: impl Iterator<Item = i64>) -> Result<(), Failure> {
    let expected: Vec<i64> = expected.iter().map(|pfn| signed(*pfn)).collect();
    let got: Vec<i64> = got.collect();
    let texts = compare::list_difference(&expected, &got);
    let (expected, got) =
        texts.unwrap_or_else(|| (format!("{} pages", expected.len()), format!("{} pages", got.len())));
    Err(Failure { what, expected, got })
}

#[cfg(test)]
mod tests;
