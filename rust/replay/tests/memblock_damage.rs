//! Damaged and foreign memblock recordings give precise errors; wrong ones a precise difference.

use flate2::{Compression, write::GzEncoder};
use pagebuddy_replay::memblock_recording::replay;
use pagebuddy_replay::report::{RecordingError, RecordingErrorKind, Report};
use std::io::Write;

const HEADER: &str = concat!(
    r#"{"format":"memblock-golden","version":1,"kernel":"5.17","scenario":"tiny","seed":1,"config":"#,
    r#"{"phys_addr_bits":64,"page_shift":12,"MAX_NUMNODES":8,"init_regions":128,"region_bytes":24,"#,
    r#""smp_cache_bytes":64,"low_address_limit":4294967295,"MAX_ORDER":11}}"#
);

/// A state record after `op` operations.
fn state(op: u64, memory: &str, total: u64) -> String {
    format!(
        concat!(
            r#"{{"t":"state","label":"ckpt","op":{},"memory":{},"memory_max":128,"memory_total":{},"reserved":[],"#,
            r#""reserved_max":128,"reserved_total":0,"bottom_up":0,"current_limit":18446744073709551615,"#,
            r#""can_resize":0,"some_mirror":0,"movable_node":0}}"#
        ),
        op, memory, total
    )
}

/// A correct recording of two operations.
fn good() -> Vec<String> {
    vec![
        HEADER.to_owned(),
        state(0, "[]", 0),
        r#"["op","memblock_add",18446744073709551600,99,0]"#.to_owned(),
        r#"["mem",0,0,[[18446744073709551600,15,8,0]],128,15]"#.to_owned(),
        r#"["op","memblock_end_of_DRAM",18446744073709551615]"#.to_owned(),
        state(2, "[[18446744073709551600,15,8,0]]", 15),
        r#"{"t":"eof","ops":2}"#.to_owned(),
    ]
}

fn run(lines: &[String]) -> Result<Report, RecordingError> {
    let mut text = lines.join("\n");
    text.push('\n');
    replay(text.as_bytes(), "made-up")
}

/// The good recording with one line (counted from 1) replaced.
fn with_line(number: usize, text: &str) -> Vec<String> {
    let mut lines = good();
    text.clone_into(&mut lines[number - 1]);
    lines
}

fn error_of(lines: &[String]) -> RecordingError {
    run(lines).expect_err("a damaged recording")
}

#[test]
fn the_undamaged_recording_is_exact() {
    let report = run(&good()).expect("readable");
    assert!(report.is_exact(), "{report}");
    assert_eq!((report.ops, report.states), (2, 2));
    assert_eq!((report.mode.as_str(), report.scenario.as_str()), ("memblock", "tiny"));
    assert_eq!(report.seed, Some(1));
}

#[test]
fn foreign_files_are_named_as_such() {
    let kinds: Vec<_> = [
        "",
        "hello",
        "[1,2]",
        "{\"format\":\"buddy-golden\",\"version\":1}",
        &HEADER.replace("\"version\":1", "\"version\":2"),
        &HEADER.replace("\"version\":1", "\"version\":\"1\""),
        &HEADER.replace("\"page_shift\":12", "\"page_shift\":99"),
        &HEADER.replace("\"phys_addr_bits\":64", "\"phys_addr_bits\":32"),
        &HEADER.replace("\"seed\":1", "\"seed\":-1"),
        &HEADER.replace("\"MAX_ORDER\":11", "\"order\":11"),
        &HEADER[..100],
    ]
    .into_iter()
    .map(|header| {
        let error = error_of(&with_line(1, header));
        assert_eq!(error.line, 1, "{error}");
        error.kind
    })
    .collect();
    use RecordingErrorKind::{Format, Json, Record, Truncated, Unsupported, Version};
    assert_eq!(
        kinds,
        [Truncated, Json, Format, Format, Version, Version, Unsupported, Unsupported, Record, Record, Truncated]
    );
}

#[test]
fn damaged_lines_are_located() {
    for (number, text, kind, part) in [
        (2, r#"["op","memblock_add",1,2,0]"#, RecordingErrorKind::Record, "a state must stand here"),
        (2, r#"{"t":"state","label":"start","op":0}"#, RecordingErrorKind::Record, "the state is wrong"),
        (3, r#"["op","memblock_add",1,2"#, RecordingErrorKind::Truncated, "not JSON"),
        (3, r#"["op","memblock_add",1,,2]"#, RecordingErrorKind::Json, "not JSON"),
        (3, r#"["op","memblock_add",1,0]"#, RecordingErrorKind::Record, "has 2 arguments, not 1"),
        (3, r#"["op","memblock_add",-1,2,0]"#, RecordingErrorKind::Record, "argument 1 cannot be -1"),
        (3, r#"["op","memblock_add",1.5,2,0]"#, RecordingErrorKind::Record, "argument 1 cannot be 1.5"),
        (3, r#"["op","memblock_add",18446744073709551616,2,0]"#, RecordingErrorKind::Record, "argument 1 cannot be"),
        (3, r#"["op","memblock_add_node",1,2,9,0,0]"#, RecordingErrorKind::Record, "argument 3 cannot be 9"),
        (3, r#"["op","memblock_set_node",1,2,"free",0,0]"#, RecordingErrorKind::Record, "argument 3 cannot be"),
        (3, r#"["op","memblock_dance",1]"#, RecordingErrorKind::Record, "unknown operation"),
        (3, r#"["op",1,2]"#, RecordingErrorKind::Record, "an operation is"),
        (3, r#"["op"]"#, RecordingErrorKind::Record, "an operation is"),
        (3, r#"["mem",0,0,[],128,0]"#, RecordingErrorKind::Record, "does not follow an operation"),
        (3, r#"["array","memory",256,0,0]"#, RecordingErrorKind::Record, "does not follow an operation"),
        (3, "null", RecordingErrorKind::Record, "neither a record nor an operation"),
        (3, "", RecordingErrorKind::Truncated, "not JSON"),
        (4, r#"["mem",7,0,[],128,0]"#, RecordingErrorKind::Record, "the list has only 0 regions"),
        (4, r#"["mem",18446744073709551615,1,[],128,0]"#, RecordingErrorKind::Record, "the list has only 0 regions"),
        (4, r#"["mem",0,0,[[1,2,3]],128,0]"#, RecordingErrorKind::Record, "a region is"),
        (4, r#"["mem",0,0]"#, RecordingErrorKind::Record, "a list change is"),
        (4, r#"["array","free",256,0,0]"#, RecordingErrorKind::Record, "an array growth is"),
        (4, r#"["what"]"#, RecordingErrorKind::Record, "unknown record"),
        (4, r#"{"t":"what"}"#, RecordingErrorKind::Record, "unknown record"),
        (6, &state(3, "[]", 0), RecordingErrorKind::Record, "the state says 3 operations, 2 came before it"),
        (6, &state(2, "[]", 0), RecordingErrorKind::Record, "does not agree with the list changes"),
        (7, r#"{"t":"eof"}"#, RecordingErrorKind::Record, "no operation count"),
        (7, r#"{"t":"eof","ops":3}"#, RecordingErrorKind::Record, "counts 3 operations, the file has 2"),
    ] {
        let error = error_of(&with_line(number, text));
        assert_eq!((error.line, error.kind), (number as u64, kind), "{error}");
        assert!(error.message.contains(part), "{error}");
    }
    let mut short = good();
    short.truncate(5);
    let error = error_of(&short);
    assert_eq!((error.line, error.kind), (6, RecordingErrorKind::Truncated));
    let mut long = good();
    long.push("[]".to_owned());
    assert_eq!(error_of(&long).line, 8);
}

#[test]
fn differences_are_reported_with_line_and_values() {
    let first = |lines: &[String]| {
        let report = run(lines).expect("readable");
        assert!(!report.is_exact());
        assert_eq!(report.ops, 2, "the rest is still counted: {report}");
        report.first_mismatch.expect("a difference")
    };
    let result = first(&with_line(3, r#"["op","memblock_add",18446744073709551600,99,-12]"#));
    assert_eq!((result.line, result.what.as_str()), (3, "result"));
    assert_eq!((result.expected.as_str(), result.got.as_str()), ("-12", "0"));
    assert_eq!(result.op, "memblock_add(18446744073709551600, 99)");

    let query = first(&with_line(5, r#"["op","memblock_end_of_DRAM",1]"#));
    assert_eq!((query.line, query.op_index), (5, 2));

    // List, counter, capacity and growth: the state line has to agree with the change before it.
    let mut lines = with_line(4, r#"["mem",0,0,[[18446744073709551600,15,3,0]],128,15]"#);
    lines[5] = state(2, "[[18446744073709551600,15,3,0]]", 15);
    let list = first(&lines);
    assert_eq!((list.line, list.what.as_str()), (3, "memory list"));
    assert!(list.expected.contains("node 3") && list.got.contains("no node"), "{list}");
    let mut lines = with_line(4, r#"["mem",0,0,[[18446744073709551600,15,8,0]],128,16]"#);
    lines[5] = state(2, "[[18446744073709551600,15,8,0]]", 16);
    assert_eq!(first(&lines).what, "memory size counter");
    let mut lines = good();
    lines[5] = lines[5].replace("\"memory_max\":128", "\"memory_max\":256");
    lines[3] = lines[3].replace("128,15", "256,15");
    assert_eq!(first(&lines).what, "memory capacity");
    let mut lines = good();
    lines.insert(4, r#"["array","memory",256,4096,8192]"#.to_owned());
    assert_eq!(first(&lines).what, "array growth");
    let mut lines = good();
    lines[5] = lines[5].replace("\"bottom_up\":0", "\"bottom_up\":1");
    let switch = first(&lines);
    assert_eq!((switch.line, switch.op.as_str(), switch.what.as_str()), (6, "state ckpt", "bottom_up"));
}

#[test]
fn a_hand_over_is_compared_block_by_block() {
    let recording = |result: &str| {
        let mut lines = good();
        lines.truncate(2);
        lines.push(r#"["op","memblock_add",4096,8192,0]"#.to_owned());
        lines.push(r#"["mem",0,0,[[4096,8192,8,0]],128,8192]"#.to_owned());
        lines.push(format!("[\"op\",\"memblock_free_all\",18446744073709551615,{result}]"));
        lines.push(r#"["op","memblock_discard",[]]"#.to_owned());
        lines.push(r#"{"t":"eof","ops":3}"#.to_owned());
        run(&lines).expect("readable")
    };
    let exact = recording(r#"{"reserved":[[0,0]],"free":[[1,0],[2,0]],"pages":2}"#);
    assert!(exact.is_exact(), "{exact}");
    for wrong in [
        r#"{"reserved":[],"free":[[1,0],[2,0]],"pages":2}"#,
        r#"{"reserved":[[0,0]],"free":[[1,0],[2,1]],"pages":2}"#,
        r#"{"reserved":[[0,0]],"free":[[1,0]],"pages":2}"#,
        r#"{"reserved":[[0,0]],"free":[[1,0],[2,0],[3,0]],"pages":2}"#,
        r#"{"reserved":[[0,0]],"free":[[1,0],[2,0]],"pages":3}"#,
        r#"{"reserved":[[0,0]],"pages":2}"#,
        "null",
    ] {
        let report = recording(wrong);
        assert_eq!(report.first_mismatch.as_ref().map(|m| m.line), Some(5), "{wrong}: {report}");
    }
    // A plan of 2^41 blocks must not be stored, nor walked to its end.
    let mut lines = good();
    lines[4] = r#"["op","memblock_free_all",18446744073709551615,{"reserved":[[0,0]],"free":[],"pages":0}]"#.to_owned();
    lines[2] = r#"["op","memblock_add",0,18446744073709551615,0]"#.to_owned();
    lines[3] = r#"["mem",0,0,[[0,18446744073709551615,8,0]],128,18446744073709551615]"#.to_owned();
    lines[5] = state(2, "[[0,18446744073709551615,8,0]]", u64::MAX);
    let huge = run(&lines).expect("readable");
    assert_eq!(huge.first_mismatch.map(|m| m.expected), Some("only 0 entries".to_owned()));
}

#[test]
fn compressed_recordings_may_be_cut_or_corrupt() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(good().join("\n").as_bytes()).expect("writing to memory");
    let whole = encoder.finish().expect("writing to memory");
    assert!(replay(&whole[..], "x").expect("readable").is_exact());
    for length in 0..whole.len() {
        let error = replay(&whole[..length], "x").expect_err("cut short");
        assert!(!error.message.is_empty());
    }
    for index in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[index] ^= 0x55;
        // Some header bytes mean nothing; whatever can be read must be the recording itself.
        if let Ok(report) = replay(&damaged[..], "x") {
            assert!(report.is_exact(), "byte {index}: {report}");
        }
    }
}
