//! The files of /proc that were recorded around real workloads: the same numbers give the same
//! bytes, and a machine loaded from the state of that moment tells the same facts.
//!
//! Reading the files took place shortly before (`start`) or after (`end`) the dump of the state and
//! allocates a little, so that free and per-cpu counts differ between both.

#[path = "../common/mod.rs"]
mod common;
mod parse;

use pagebuddy_core::allocator::PageAllocator;
use pagebuddy_core::state::MachineState;
use pagebuddy_core::vmstat::{PagetypeinfoReport, PopulatedZone, ZonePageset, ZoneinfoReport, ZoneinfoZone};
use pagebuddy_replay::golden::{Expectation, Recording};
use std::fs;
use std::ops::ControlFlow;

const MOMENTS: [&str; 2] = ["start", "end"];

/// Calls `check` with every recorded text of a file, its path, and the machine of the moment.
fn for_each_file(file: &str, mut check: impl FnMut(&str, &str, &PageAllocator)) {
    for folder in common::trace_folders() {
        let recording = Recording::read(&folder.join("state.jsonl.gz"), &mut |_| ControlFlow::Continue(()));
        let recording = recording.expect("readable").expect("never cancelled");
        for moment in MOMENTS {
            let path = folder.join(format!("{file}.{moment}.txt"));
            let text = fs::read_to_string(&path).expect("a readable file");
            check(&text, &path.display().to_string(), &machine(&recording, moment));
        }
    }
}

/// The machine of a moment.
fn machine(recording: &Recording, moment: &str) -> PageAllocator {
    let state = recording.checks.iter().find_map(|check| match &check.expected {
        Expectation::State(state) if state.label == moment => Some(state),
        _ => None,
    });
    let zones = state.expect("a state").zones.iter().map(|recorded| recorded.zone.clone()).collect();
    let start = recording.start_machine().expect("a start state");
    PageAllocator::from_state(&MachineState { zones, ..start }).expect("a possible machine")
}

/// Asserts that two texts are the same byte for byte; shows the first line that differs.
fn assert_same_text(rendered: &str, recorded: &str, path: &str) {
    for (number, (rendered, recorded)) in rendered.lines().zip(recorded.lines()).enumerate() {
        assert_eq!(rendered, recorded, "{path}:{}", number + 1);
    }
    assert_eq!(rendered.len(), recorded.len(), "{path}");
}

#[test]
fn buddyinfo() {
    for_each_file("buddyinfo", |text, path, machine| {
        let recorded = parse::buddyinfo(text);
        assert_same_text(&recorded.to_string(), text, path);
        let shape = |report: pagebuddy_core::vmstat::BuddyinfoReport| {
            report.zones.into_iter().map(|zone| (zone.nid, zone.zone, zone.nr_free.len())).collect::<Vec<_>>()
        };
        assert_eq!(shape(machine.buddyinfo_report()), shape(recorded), "{path}");
        // The machine's own counts survive the same way.
        assert_eq!(parse::buddyinfo(&machine.buddyinfo()), machine.buddyinfo_report(), "{path}");
    });
}

/// Without the counts that reading changes.
fn pagetype_facts(mut report: PagetypeinfoReport) -> PagetypeinfoReport {
    let zones = report.nodes.iter_mut().flat_map(|node| &mut node.zones);
    zones.flat_map(|zone| &mut zone.free_blocks).for_each(|counts| counts.fill(0));
    report
}

#[test]
fn pagetypeinfo() {
    for_each_file("pagetypeinfo", |text, path, machine| {
        let recorded = parse::pagetypeinfo(text);
        assert_same_text(&recorded.to_string(), text, path);
        let report = machine.pagetypeinfo_report();
        assert_eq!(parse::pagetypeinfo(&machine.pagetypeinfo()), report, "{path}");
        assert_eq!(pagetype_facts(report), pagetype_facts(recorded), "{path}");
    });
}

/// Without what reading changes, and without what the allocator does not count.
fn zone_facts(report: ZoneinfoReport) -> ZoneinfoReport {
    let names = |items: Vec<(&'static str, u64)>| items.into_iter().map(|(name, _)| (name, 0)).collect::<Vec<_>>();
    let zones = report.zones.into_iter().map(|zone| ZoneinfoZone {
        node_stats: zone.node_stats.map(names),
        free: 0,
        populated: zone.populated.map(|populated| PopulatedZone {
            items: names(populated.items),
            numa: names(populated.numa),
            pagesets: populated.pagesets.into_iter().map(|pageset| ZonePageset { count: 0, ..pageset }).collect(),
            ..populated
        }),
        ..zone
    });
    ZoneinfoReport { zones: zones.collect() }
}

#[test]
fn zoneinfo() {
    for_each_file("zoneinfo", |text, path, machine| {
        let recorded = parse::zoneinfo(text);
        assert_same_text(&recorded.to_string(), text, path);
        let report = machine.zoneinfo_report();
        assert_eq!(parse::zoneinfo(&machine.zoneinfo()), report, "{path}");
        assert_eq!(zone_facts(report), zone_facts(recorded), "{path}");
    });
}

#[test]
fn vmstat() {
    for_each_file("vmstat", |text, path, machine| {
        let report = machine.vmstat_report();
        // The kernel's list holds many more events, which pages have no part in.
        let mut lines = text.lines().map(|line| line.split_once(' ').expect("a name and a value").0);
        for (name, _) in &report.items {
            assert!(lines.any(|line| line == *name), "{path}: {name} is missing, or stands elsewhere");
        }
        assert_eq!(lines.next(), None, "{path}");
        let shown: Vec<String> = report.items.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        assert_eq!(report.to_string(), shown.concat());
    });
}
