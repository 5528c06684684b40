//! The kernel's own traces, read into events and printed again: the same text, as far as it is the
//! allocator's. The task, the descriptor's address and all context flags but the first are not.

mod common;

use flate2::read::GzDecoder;
use pagebuddy_core::config::Config;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::trace::{Event, FtraceTask, Record, Trace, TraceClock};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

fn number(text: &str) -> u64 {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    parsed.unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn event(name: &str, payload: &str) -> Event {
    let fields: BTreeMap<&str, &str> = payload.split(' ').map(|field| field.split_once('=').expect("k=v")).collect();
    let value = |key: &str| number(fields[key]);
    let small = |key: &str| value(key) as u32;
    let byte = |key: &str| value(key) as u8;
    let pfn = value("pfn");
    match name {
        "mm_page_alloc" => Event::Alloc {
            pfn: (pfn != 0).then_some(pfn),
            order: small("order"),
            gfp: Gfp::parse(fields["gfp_flags"]).expect("gfp flags").0,
            migratetype: byte("migratetype"),
        },
        "mm_page_alloc_zone_locked" => {
            Event::AllocZoneLocked { pfn, order: small("order"), migratetype: byte("migratetype") }
        }
        "mm_page_alloc_extfrag" => Event::AllocExtfrag {
            pfn,
            alloc_order: small("alloc_order"),
            fallback_order: small("fallback_order"),
            alloc_migratetype: byte("alloc_migratetype"),
            fallback_migratetype: byte("fallback_migratetype"),
            change_ownership: value("change_ownership") == 1,
        },
        "mm_page_free" => Event::Free { pfn, order: small("order") },
        "mm_page_free_batched" => Event::FreeBatched { pfn },
        "mm_page_pcpu_drain" => Event::PcpuDrain { pfn, order: small("order"), migratetype: byte("migratetype") },
        _ => panic!("unknown event {name}"),
    }
}

/// Cpu, context, time and the rest of a line behind its task.
fn parts(line: &str) -> (u32, &str, &str, &str) {
    let (_, rest) = line.split_at(line.find(" [").expect("a cpu"));
    let (cpu, rest) = (&rest[2..5], &rest[7..]);
    let (context, rest) = rest.split_at(5);
    let (time, rest) = rest.split_once(": ").expect("a time");
    (number(cpu) as u32, context, time, rest)
}

fn record(line: &str) -> Record {
    let (cpu, _, time, rest) = parts(line);
    let (name, payload) = rest.split_once(": ").expect("an event");
    let (seconds, micros) = time.trim().split_once('.').expect("a time");
    Record { time: (number(seconds) * 1_000_000 + number(micros)) * 1000, cpu, event: event(name, payload) }
}

/// A line without what is not the allocator's.
fn own_part(line: &str) -> (u32, char, &str, &str, &str) {
    let (cpu, context, time, rest) = parts(line);
    let (name, rest) = rest.split_once(" page=").expect("a page");
    (cpu, context.chars().next().expect("a flag"), time, name, rest.split_once(' ').expect("a pfn").1)
}

#[test]
fn recorded_traces_are_printed_again() {
    let mut names = BTreeSet::new();
    for folder in common::trace_folders() {
        let path = folder.join("trace.txt.gz");
        let mut text = String::new();
        GzDecoder::new(File::open(&path).expect("a trace")).read_to_string(&mut text).expect("a readable trace");
        let records: Vec<Record> = text.lines().filter(|line| !line.starts_with('#')).map(record).collect();
        names.extend(records.iter().map(|record| record.event.name()));
        let nr_written = records.len() as u64;
        let trace = Trace { clock: TraceClock::Mono, records, nr_written, lost: BTreeMap::new() };
        let nr_cpus = number(text.split_once("#P:").expect("cpus").1.lines().next().expect("cpus"));
        let task = FtraceTask { comm: "init", pid: 1 };
        let printed = trace.to_ftrace(&Config::default(), nr_cpus as usize, task);
        assert_eq!(printed.lines().count(), text.lines().count());
        for (number, (printed, recorded)) in printed.lines().zip(text.lines()).enumerate() {
            if recorded.starts_with('#') {
                assert_eq!(printed, recorded);
                continue;
            }
            let (mut printed_part, recorded_part) = (own_part(printed), own_part(recorded));
            if recorded_part.1 == 'd' {
                // Whoever allocates or frees may have switched interrupts off himself.
                printed_part.1 = 'd';
            }
            assert_eq!(printed_part, recorded_part, "{}:{}", path.display(), number + 1);
            if recorded.starts_with("            init-1 ") {
                assert_eq!(printed.find(" ["), recorded.find(" ["));
            }
        }
    }
    assert!(
        names.is_superset(&Event::NAMES.into_iter().filter(|name| !name.ends_with("extfrag")).collect()),
        "{names:?}"
    );
}
