//! Damaged and foreign recordings give precise errors, never a panic.

mod common;

use flate2::read::GzDecoder;
use flate2::{Compression, write::GzEncoder};
use pagebuddy_replay::golden::Recording;
use pagebuddy_replay::report::{RecordingError, RecordingErrorKind as Kind};
use std::fs::File;
use std::io::{Read, Write};
use std::ops::ControlFlow;

/// A real recording, small enough to read thousands of times.
fn good() -> Vec<String> {
    let file = File::open(common::kept().join("late-soak-tiny-16M-s15.jsonl.gz")).expect("a kept recording");
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).expect("a readable recording");
    text.lines().map(str::to_owned).collect()
}

fn parse_bytes(bytes: &[u8]) -> Result<Recording, RecordingError> {
    let mut keep_going = || ControlFlow::Continue(());
    Recording::parse(bytes, "made-up", None, &mut keep_going).map(|recording| recording.expect("never cancelled"))
}

fn parse(lines: &[String]) -> Result<Recording, RecordingError> {
    parse_bytes((lines.join("\n") + "\n").as_bytes())
}

fn error_of(lines: &[String]) -> RecordingError {
    parse(lines).expect_err("a damaged recording")
}

/// Index of the first line that starts with `start`.
fn find(lines: &[String], start: &str) -> usize {
    lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("a line starting with {start}"))
}

/// Replaces `from` in the first line that starts with `start`; the error must lie on that line,
/// have that kind and mention `mention`.
#[track_caller]
fn reject(start: &str, from: &str, to: &str, kind: Kind, mention: &str) {
    let mut lines = good();
    let at = find(&lines, start);
    assert!(lines[at].contains(from), "{from} in {}", lines[at]);
    lines[at] = lines[at].replacen(from, to, 1);
    let error = error_of(&lines);
    assert_eq!((error.line, error.kind), (at as u64 + 1, kind), "{error}");
    assert!(error.message.contains(mention), "{error}");
    assert_eq!(error.file, "made-up");
}

#[test]
fn the_undamaged_recording_is_read() {
    let recording = parse(&good()).expect("a good recording");
    assert_eq!(recording.ops.ops.len(), 6000);
    assert_eq!((&*recording.header.scenario, recording.header.seed), ("soak", Some(15)));
    assert!(recording.start_machine().is_some());
}

#[test]
fn headers() {
    reject("{", "buddy-golden", "buddy-silver", Kind::Format, "buddy-golden");
    reject("{", "\"format\":", "\"form\":", Kind::Format, "buddy-golden");
    reject("{", "\"version\":1", "\"version\":2", Kind::Version, "version 2");
    reject("{", "\"version\":1", "\"version\":\"1\"", Kind::Version, "only version 1");
    reject("{", "\"mode\":\"late\"", "\"mode\":\"later\"", Kind::Record, "later");
    reject("{", "\"MAX_ORDER\":11", "\"MAX_ORDER\":12", Kind::Record, "MAX_ORDER");
    reject("{", "\"MAX_ORDER\":11", "\"MAX_ORDER\":-1", Kind::Record, "-1");
    reject("{", "\"MIGRATE_TYPES\":4", "\"MIGRATE_TYPES\":5", Kind::Record, "MIGRATE_TYPES");
    reject("{", "\"smp\":0", "\"smp\":2", Kind::Record, "smp");
    reject("{", "\"present_cpus\":1", "\"present_cpus\":2", Kind::Record, "present_cpus");
    reject("{", "\"nodes\":[0]", "\"nodes\":[]", Kind::Record, "nodes");
    reject("{", "\"nodes\":[0]", "\"nodes\":[1]", Kind::Record, "nodes");
    reject("{", "\"cpu_node\":[0]", "\"cpu_node\":[1]", Kind::Record, "node 1");
    reject("{", "\"node_distance\":[[10]]", "\"node_distance\":[[10,20]]", Kind::Record, "node_distance");
    reject("{", "\"config\":{", "\"config\":[", Kind::Json, "column");
    for first in ["[1]", "17", "null", "\"text\""] {
        let error = error_of(&[first.to_owned()]);
        assert_eq!((error.line, error.kind), (1, Kind::Format), "{error}");
    }
    assert_eq!(error_of(&["not JSON".to_owned()]).kind, Kind::Json);
}

#[test]
fn records() {
    reject("{\"t\":\"memblock\"", "\"memory\":[[4096,", "\"memory\":[[4096,0],[", Kind::Record, "column");
    reject("{\"t\":\"memblock\"", "\"memory\":[[4096,", "\"memory\":[[18446744073709551615,", Kind::Record, "2^64");
    reject("{\"t\":\"memblock\"", "\"memory\":[[4096,", "\"memory\":[[-4096,", Kind::Record, "-4096");
    reject("{\"t\":\"memblock\"", "{\"t\":\"memblock\"", "{\"t\":\"memblok\"", Kind::Record, "memblok");
    reject("{\"t\":\"memblock\"", "\"t\":", "\"u\":", Kind::Record, "`t`");
    reject("{\"t\":\"node\"", "\"node\":0", "\"node\":1", Kind::Record, "node 1");
    reject("{\"t\":\"node\"", "\"zones\":[", "\"zones\":[[0,0,0],", Kind::Record, "zones");
    reject("{\"t\":\"zonelist\"", "[[0,0]]", "[[0,3]]", Kind::Record, "zone 3");
    reject("{\"t\":\"zonelist\"", "\"fallback\"", "\"fallforward\"", Kind::Record, "fallforward");
    reject("{\"t\":\"state\"", "\"zones\":1", "\"zones\":2", Kind::Record, "populated");
    reject("{\"t\":\"state\"", "\"op\":0", "\"op\":1", Kind::Record, "operation 1");
    reject("{\"t\":\"state\"", "\"label\":\"boot\"", "\"label\":\"ckpt\"", Kind::Record, "ckpt");
    reject("{\"t\":\"zstate\"", "\"managed\":", "\"manged\":", Kind::Record, "managed");
    reject("{\"t\":\"zstate\"", "\"name\":\"DMA32\"", "\"name\":\"DMA33\"", Kind::Record, "DMA33");
    reject("{\"t\":\"zstate\"", "\"blocks\":\"0", "\"blocks\":\"7", Kind::Record, "migratetype 7");
    reject("{\"t\":\"zstate\"", "\"blocks\":\"0", "\"blocks\":\"x", Kind::Record, "`x`");
    reject("{\"t\":\"zstate\"", "\"free_area\":[", "\"free_area\":[[0,[[],[],[],[]]],", Kind::Record, "free_area");
    reject("{\"t\":\"zstate\"", "\"lists\":[", "\"lists\":[[],", Kind::Record, "lists");
    reject("{\"t\":\"zstate\"", "\"wmark\":[0,0,0]", "\"wmark\":[0,0]", Kind::Record, "column");
    reject("{\"t\":\"zstate\"", "\"free\":", "\"free\":1e3,\"xfree\":", Kind::Record, "column");
    reject("{\"t\":\"zstate\"", "{\"t\":\"zstate\"", "{\"t\":\"late\"", Kind::Record, "zstate");
    reject("{\"t\":\"late\"", "\"online_cpus\":1", "\"online_cpus\":0", Kind::Record, "online_cpus");
    reject("{\"t\":\"eof\"", "\"ops\":6000", "\"ops\":6001", Kind::Record, "6001");
}

#[test]
fn operations() {
    reject("[\"a\"", "[\"a\",0,", "[\"a\",1,", Kind::Record, "cpu 1 is not between 0 and 0");
    reject("[\"a\"", "[\"a\",0,", "[\"a\",-1,", Kind::Record, "cpu -1");
    reject("[\"a\"", "[\"a\",0,", "[\"a\",0.5,", Kind::Record, "cpu must be a whole number");
    reject("[\"a\"", "[\"a\",0,", "[\"a\",\"0\",", Kind::Record, "cpu must be a whole number");
    reject("[\"a\"", "[\"a\",0,", "[\"a\",null,", Kind::Record, "cpu must be a whole number");
    reject("[\"a\"", "[\"a\",0,", "[\"a\",", Kind::Record, "column");
    reject("[\"a\"", "[\"a\",0,", "[\"a\",0,4294967296,", Kind::Record, "gfp 4294967296");
    reject("[\"a\"", "[\"a\"", "[\"q\"", Kind::Record, "`q` is not an operation");
    reject("[\"a\"", "[\"a\",", "[7,", Kind::Record, "expected `\"`");
    reject("[\"a\"", "]", ",1]", Kind::Record, "expected `]`");
    reject("[\"a\"", "]", "] 1", Kind::Json, "trailing");
    reject("[\"a\"", "]", "", Kind::Json, "column");
    reject("[\"a\"", ",null,", ",nil,", Kind::Json, "column");
    reject("[\"f\"", "]", "1]", Kind::Record, "order");
    reject("[\"f\"", "[\"f\",0,", "[\"f\",0,99999999999999999999", Kind::Record, "out of range");
    reject("[\"b\"", ",0,null,", ",1,null,", Kind::Record, "node 1");
    reject("[\"e\"", "[\"e\",0,", "[\"e\",0,1,2000,", Kind::Record, "npages");
    reject("[\"c\"", "[\"c\",", "[\"c\",9", Kind::Record, "digest of operation");
    reject("[\"c\"", "\"]]]", "g\"]]]", Kind::Record, "hexadecimal");
}

#[test]
fn missing_and_surplus_lines() {
    let lines = good();
    assert_eq!(parse_bytes(b"").expect_err("nothing").kind, Kind::Truncated);
    let cut = error_of(&lines[..lines.len() - 1]);
    assert_eq!((cut.line, cut.kind), (lines.len() as u64, Kind::Truncated), "{cut}");
    let mut surplus = lines.clone();
    surplus.push(lines[lines.len() - 1].clone());
    assert_eq!(error_of(&surplus).kind, Kind::Record);
    for start in ["{\"t\":\"memblock\"", "{\"t\":\"node\"", "{\"t\":\"zstate\"", "{\"t\":\"late\"", "[\"f\""] {
        let at = find(&lines, start);
        let mut missing = lines.clone();
        missing.remove(at);
        assert_eq!(error_of(&missing).kind, Kind::Record, "without {start}");
        let mut twice = lines.clone();
        twice.insert(at, lines[at].clone());
        assert_eq!(error_of(&twice).kind, Kind::Record, "{start} twice");
    }
    let mut empty_line = lines.clone();
    empty_line.insert(30, String::new());
    assert_eq!((error_of(&empty_line).line, error_of(&empty_line).kind), (31, Kind::Json));
}

/// Whatever single line is lost, or cut in the middle: an error or a recording, never a panic.
#[test]
fn no_single_damage_panics() {
    let lines = good();
    let interesting = (0..60).chain(lines.len() - 60..lines.len());
    for at in interesting {
        let mut damaged = lines.clone();
        damaged.remove(at);
        let lost = parse(&damaged).is_err();
        assert!(lost || lines[at].contains("zonelist") || lines[at].starts_with("[\"c\""), "without line {}", at + 1);
        let mut damaged = lines.clone();
        let half = damaged[at].len() / 2;
        damaged[at].truncate(half);
        let error = error_of(&damaged);
        assert_eq!((error.line, error.kind), (at as u64 + 1, Kind::Json), "{error}");
    }
}

#[test]
fn compressed_damage() {
    let text = good().join("\n") + "\n";
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("writing to memory");
    let whole = encoder.finish().expect("writing to memory");
    assert_eq!(parse_bytes(&whole).expect("a good recording").ops.ops.len(), 6000);
    for keep in [whole.len() / 2, whole.len() - 1, whole.len() - 8, 3] {
        assert_eq!(parse_bytes(&whole[..keep]).expect_err("cut").kind, Kind::Truncated, "{keep} bytes");
    }
    for at in (10..whole.len()).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert!(parse_bytes(&damaged).is_err(), "byte {at}");
    }
    let mut surplus = whole.clone();
    surplus.extend_from_slice(b"this is not gzip");
    assert_eq!(parse_bytes(&surplus).expect_err("rubbish").kind, Kind::Compression);
}
