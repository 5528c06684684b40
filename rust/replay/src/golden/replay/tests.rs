//! The replay loop against a machine that knows the recording and repeats it, except where a test
//! tells it to err.

use super::*;
use flate2::read::GzDecoder;
use pagebuddy_core::state::{MachineState, ZoneState};
use pagebuddy_core::tunables::Sysctl;
use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::Path;

thread_local! {
    /// Operation at which the machine errs.
    static ERR_AT: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Operation from which on the dumped free counter is wrong.
    static MISCOUNT_FROM: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Repeats a recording.
struct Echo {
    recording: Recording,
    /// Operations performed.
    at: usize,
}

impl Echo {
    fn next(&mut self) -> Op {
        self.at += 1;
        self.recording.ops.ops[self.at - 1]
    }

    fn errs(&self) -> bool {
        ERR_AT.get().checked_add(1) == Some(self.at)
    }

    fn result(&self, pfn: u32) -> Option<Pfn> {
        (pfn != NO_PFN).then(|| Pfn::from(pfn) + u64::from(self.errs()))
    }

    fn freed(&mut self) -> Result<(), &'static str> {
        self.next();
        if self.errs() { Err("the page is already free") } else { Ok(()) }
    }

    fn list(&self, id: crate::golden::op::ListId) -> Vec<Pfn> {
        let nr_missing = usize::from(self.errs());
        self.recording.ops.list(id).iter().skip(nr_missing).map(|pfn| Pfn::from(*pfn)).collect()
    }

    fn state(&self) -> &RecordedState {
        let mut states = self.recording.checks.iter().filter_map(|check| match &check.expected {
            Expectation::State(state) if check.op <= self.at => Some(&**state),
            _ => None,
        });
        states.next_back().unwrap_or(&self.recording.boot)
    }
}

impl Machine for Echo {
    type BadPage = &'static str;

    fn boot(recording: &Recording) -> Result<Self, String> {
        // The hand-over is what comes before everything else.
        let mut recording = recording.clone();
        if recording.header.mode == Mode::Late {
            recording.checks.clear();
        }
        Ok(Echo { recording, at: 0 })
    }

    fn start(recording: &Recording) -> Result<Self, String> {
        Ok(Echo { recording: recording.clone(), at: 0 })
    }

    fn dump(&self) -> MachineState {
        let (recording, state) = (&self.recording, self.state());
        let mut tunables = recording.start_machine().map(|start| start.tunables).unwrap_or_else(|| {
            let ratio = vec![0; recording.header.config.nr_zones()];
            pagebuddy_core::state::Tunables {
                min_free_kbytes: 0,
                user_min_free_kbytes: None,
                watermark_scale_factor: 0,
                watermark_boost_factor: 0,
                lowmem_reserve_ratio: ratio,
                percpu_pagelist_high_fraction: 0,
            }
        });
        tunables.min_free_kbytes = state.min_free_kbytes;
        tunables.watermark_scale_factor = state.watermark_scale_factor;
        tunables.watermark_boost_factor = state.watermark_boost_factor;
        MachineState {
            config: recording.header.config,
            topology: recording.topology(),
            memory: recording.memory.clone(),
            reserved: recording.reserved.clone(),
            tunables,
            totalreserve_pages: None,
            node_totalreserve: None,
            totalram_pages: state.totalram_pages,
            gfp_allowed_mask: state.gfp_allowed_mask,
            page_group_by_mobility_disabled: state.page_group_by_mobility_disabled,
            rt_task: recording.header.rt_task,
            policy_zone: recording.policy_info.map(|info| info.policy_zone),
            zones: self.dump_lists(),
        }
    }

    fn dump_lists(&self) -> Vec<ZoneState> {
        let mut zones: Vec<_> = self.state().zones.iter().map(|zone| zone.zone.clone()).collect();
        if self.at >= MISCOUNT_FROM.get() {
            zones[0].nr_free_pages += 1;
        }
        zones
    }

    fn alloc(&mut self, _: usize, _: u32, _: u32, _: u32, _: Option<u64>) -> Option<Pfn> {
        let Op::Alloc { pfn, .. } = self.next() else { panic!("not an allocation") };
        self.result(pfn)
    }

    fn free(&mut self, _: usize, _: Pfn, _: u32) -> Result<(), &'static str> {
        self.freed()
    }

    fn drain(&mut self, _: usize) {
        self.next();
    }

    fn bulk_array(&mut self, _: usize, _: u32, _: u32, _: Option<u64>, slots: &mut [Option<Pfn>]) -> usize {
        match self.next() {
            Op::Bulk { pfns, .. } => {
                let pfns = self.list(pfns);
                slots.iter_mut().zip(&pfns).for_each(|(slot, pfn)| *slot = Some(*pfn));
                pfns.len()
            }
            Op::BulkArray { slots: recorded, ret, .. } => {
                let recorded = self.recording.ops.list(recorded);
                for (slot, recorded) in slots.iter_mut().zip(recorded).filter(|(slot, _)| slot.is_none()) {
                    *slot = (*recorded != NO_PFN).then_some(Pfn::from(*recorded));
                }
                ret as usize + usize::from(self.errs())
            }
            _ => panic!("not a bulk allocation"),
        }
    }

    fn bulk_list(&mut self, _: usize, _: u32, _: u32, _: Option<u64>, _: usize) -> Vec<Pfn> {
        let Op::BulkList { pfns, .. } = self.next() else { panic!("not a bulk allocation") };
        self.list(pfns)
    }

    fn alloc_exact(&mut self, _: usize, _: u32, _: u64) -> Option<Pfn> {
        let Op::Exact { pfn, .. } = self.next() else { panic!("not an exact allocation") };
        self.result(pfn)
    }

    fn free_exact(&mut self, _: usize, _: Pfn, _: u64) -> Result<(), &'static str> {
        self.freed()
    }

    fn split(&mut self, _: Pfn, _: u32) -> Result<(), &'static str> {
        self.freed()
    }

    fn free_referenced(&mut self, _: usize, _: Pfn, _: u32) -> Result<(), &'static str> {
        self.freed()
    }

    fn free_list(&mut self, _: usize, _: &[Pfn]) -> Result<(), &'static str> {
        self.freed()
    }

    fn unreserve_highatomic(&mut self, _: usize, _: u32, _: u32, _: bool) -> bool {
        let Op::Unreserve { ret, .. } = self.next() else { panic!("not an unreserve") };
        ret != self.errs()
    }

    fn reclaim_active(&mut self, _: ZoneRef, _: bool) {
        self.next();
    }

    fn sysctl(&mut self, _: usize, _: Sysctl, _: &[i64]) -> Result<(), i32> {
        let Op::Sysctl { ret, .. } = self.next() else { panic!("not a sysctl") };
        if ret == 0 { Ok(()) } else { Err(ret) }
    }

    fn set_policy(&mut self, _: usize, _: u32, _: u32, _: u64) -> Result<(), i32> {
        let Op::SetPolicy { ret, .. } = self.next() else { panic!("not a policy") };
        if ret == 0 { Ok(()) } else { Err(ret) }
    }

    fn policy_nodes(&self) -> (u64, u64) {
        self.recording.policy_info.map_or((0, 0), |info| (info.n_memory, info.n_normal_memory))
    }

    fn policy(&self, _: usize) -> (u32, u64) {
        let Op::SetPolicy { now, .. } = self.recording.ops.ops[self.at - 1] else { panic!("not a policy") };
        let (mode, nodes) = self.recording.ops.policy(now);
        (u32::from(mode), nodes ^ u64::from(self.errs()))
    }

    fn interleave_position(&self, _: usize) -> u32 {
        let Op::AllocPolicy { il, .. } = self.recording.ops.ops[self.at - 1] else { panic!("not by policy") };
        u32::from(il)
    }

    fn alloc_policy(&mut self, _: usize, _: u32, _: u32) -> Option<Pfn> {
        let Op::AllocPolicy { pfn, .. } = self.next() else { panic!("not by policy") };
        self.result(pfn)
    }

    fn isolate(&mut self, _: usize, _: Pfn, _: Pfn, _: MigrateType) -> Result<(), i32> {
        self.freed().map_err(|_| -16)
    }

    fn undo_isolate(&mut self, _: usize, _: Pfn, _: Pfn, _: MigrateType) -> Result<(), i32> {
        self.freed().map_err(|_| -22)
    }
}

/// A kept recording without the digests for which the machine has no state to repeat.
fn recording(name: &str) -> Recording {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/recordings").join(name);
    let mut text = String::new();
    GzDecoder::new(File::open(path).expect("a kept recording")).read_to_string(&mut text).expect("readable");
    let mut keep_going = || ControlFlow::Continue(());
    let mut recording = Recording::parse(text.as_bytes(), name, None, &mut keep_going)
        .expect("a good recording")
        .expect("never cancelled");
    let states: Vec<usize> = recording
        .checks
        .iter()
        .filter(|check| matches!(check.expected, Expectation::State(_)))
        .map(|check| check.op)
        .collect();
    recording.checks.retain(|check| match check.expected {
        Expectation::State(_) => true,
        Expectation::Digest(_) => states.contains(&check.op),
        Expectation::Tunables(_) | Expectation::Numastat(_) => false,
    });
    recording
}

fn run(recording: &Recording) -> Report {
    replay::<Echo>(recording, &mut |_| ControlFlow::Continue(())).expect("a machine that boots")
}

/// A machine that errs at one operation is found out there; returns the report.
fn erring_at(recording: &Recording, wanted: impl Fn(&Op) -> bool) -> Mismatch {
    let at = recording.ops.ops.iter().position(wanted).expect("such an operation");
    ERR_AT.set(at);
    let report = run(recording);
    ERR_AT.set(usize::MAX);
    assert!(!report.is_exact());
    assert_eq!((report.replayed, report.matched), (at as u64 + 1, at as u64), "{report}");
    let mismatch = report.first_mismatch.expect("a mismatch");
    assert_eq!((mismatch.line, mismatch.op_index), (recording.ops.line(at), at as u64 + 1));
    mismatch
}

#[test]
fn a_faithful_machine_matches_completely() {
    for name in [
        "late-soak-tiny-16M-s15.jsonl.gz",
        "late-api-64M-s1.jsonl.gz",
        "late-highatomic-64M-s1.jsonl.gz",
        "late-policy-2x64M-1cpu-s7.jsonl.gz",
        "late-sysctl-64M-s1.jsonl.gz",
        "late-isolate-cma32-128M-4cpu-s5.jsonl.gz",
        "early-pcp1-64M-s1.jsonl.gz",
        "boot-numa1G_3G.jsonl.gz",
    ] {
        let recording = recording(name);
        let report = run(&recording);
        assert!(report.is_exact(), "{report}");
        let nr_states = recording.checks.iter().filter(|c| matches!(c.expected, Expectation::State(_))).count();
        assert_eq!(report.states, nr_states as u64 + 1);
        assert_eq!(report.ops, recording.ops.ops.len() as u64);
    }
}

#[test]
fn every_kind_of_operation_is_compared() {
    let api = recording("late-api-64M-s1.jsonl.gz");
    let alloc = erring_at(&api, |op| matches!(op, Op::Alloc { pfn, .. } if *pfn != NO_PFN));
    assert_eq!(alloc.what, "result");
    assert!(alloc.expected.starts_with("pfn ") && alloc.got.starts_with("pfn "), "{alloc}");
    let free = erring_at(&api, |op| matches!(op, Op::Free { .. }));
    assert_eq!((&*free.expected, &*free.got), ("success", "the page is already free"));
    let bulk = erring_at(&api, |op| matches!(op, Op::Bulk { n, .. } if *n > 8));
    assert!(bulk.expected.starts_with("[>") && bulk.got.starts_with("[>"), "{bulk}");
    erring_at(&api, |op| matches!(op, Op::Exact { pfn, .. } if *pfn != NO_PFN));
    for wanted in [
        |op: &Op| matches!(op, Op::FreeExact { .. }),
        |op: &Op| matches!(op, Op::Split { .. }),
        |op: &Op| matches!(op, Op::FreeReferenced { .. }),
        |op: &Op| matches!(op, Op::FreeList { .. }),
    ] {
        erring_at(&api, wanted);
    }
    let highatomic = recording("late-highatomic-64M-s1.jsonl.gz");
    assert_eq!(erring_at(&highatomic, |op| matches!(op, Op::BulkArray { .. })).what, "return value");
    erring_at(&highatomic, |op| matches!(op, Op::BulkList { n, .. } if *n > 1));
    assert_eq!(erring_at(&highatomic, |op| matches!(op, Op::Unreserve { .. })).what, "result");
    let policy = recording("late-policy-2x64M-1cpu-s7.jsonl.gz");
    assert_eq!(erring_at(&policy, |op| matches!(op, Op::SetPolicy { .. })).what, "mode and nodes in force");
    erring_at(&policy, |op| matches!(op, Op::AllocPolicy { pfn, .. } if *pfn != NO_PFN));
    let isolate = recording("late-isolate-cma32-128M-4cpu-s5.jsonl.gz");
    assert_eq!(erring_at(&isolate, |op| matches!(op, Op::Isolate { .. })).got, "-16");
}

#[test]
fn a_wrong_state_does_not_end_the_replay() {
    let recording = recording("late-soak-tiny-16M-s15.jsonl.gz");
    MISCOUNT_FROM.set(3000);
    let report = run(&recording);
    MISCOUNT_FROM.set(usize::MAX);
    assert_eq!((report.replayed, report.matched), (report.ops, report.ops));
    assert!(report.states_matched < report.states && report.states_matched >= 3, "{report}");
    assert!(report.digests_matched < report.digests, "{report}");
    let mismatch = report.first_mismatch.expect("a mismatch");
    assert_eq!((&*mismatch.op, &*mismatch.what), ("state `ckpt`", "node 0 zone DMA32: free"));
    assert_eq!(mismatch.op_index, 4000);
}

#[test]
fn a_wrong_hand_over_is_reported_and_a_late_recording_goes_on() {
    let late = recording("late-soak-tiny-16M-s15.jsonl.gz");
    MISCOUNT_FROM.set(0);
    let report = run(&late);
    let early = run(&recording("early-pcp1-64M-s1.jsonl.gz"));
    MISCOUNT_FROM.set(usize::MAX);
    assert_eq!(report.first_mismatch.expect("a mismatch").op, "state `boot`");
    assert_eq!(report.matched, report.ops);
    assert_eq!((early.replayed, early.matched, early.states_matched), (0, 0, 0));
}

#[test]
fn progress_is_reported_and_can_cancel() {
    let recording = recording("late-soak-tiny-16M-s15.jsonl.gz");
    let mut seen = Vec::new();
    let report = replay::<Echo>(&recording, &mut |done| {
        seen.push(done);
        if done >= 4000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(seen.is_sorted() && seen.last() == Some(&4000), "{seen:?}");
    let report = report.expect("a machine that boots");
    assert_eq!(report.replayed, 4000);
    assert!(!report.is_exact() && report.first_mismatch.is_none());
}
