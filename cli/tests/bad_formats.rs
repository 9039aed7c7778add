//! Bad inputs of every format and command: each gets its own message and exit status, none a panic, none a partial result.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
    types::Int32Type,
};
use arrow_ipc::writer::StreamWriter;
use common::{EVENTS, PARQUET, data, gzip, run_with, stderr};
use parquet::arrow::ArrowWriter;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn long() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("run", Arc::new(StringArray::from(vec!["r"; 3]))),
        ("step", Arc::new(Int64Array::from(vec![0, 1, 2]))),
        ("component", Arc::new(StringArray::from(vec!["a"; 3]))),
        ("value", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0]))),
    ]
}

/// A table in long form with one column replaced, as an Arrow stream and as a Parquet file.
fn table(column: &str, array: impl arrow_array::Array + 'static) -> [Vec<u8>; 2] {
    let mut columns = long();
    let array: ArrayRef = Arc::new(array);
    match columns.iter_mut().find(|(name, _)| *name == column) {
        Some((_, old)) => *old = array,
        None => columns = vec![columns[0].clone(), columns[1].clone(), ("b", array)],
    }
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    let mut parquet = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    parquet.write(&batch).unwrap();
    [stream.into_inner().unwrap(), parquet.into_inner().unwrap()]
}

fn event_file() -> Vec<u8> {
    let folder = Path::new(&data(EVENTS)).join("digits-vae-04");
    fs::read(fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()).unwrap()
}

/// The byte at `position`, counted from the end if negative, turned over.
fn spoiled(mut bytes: Vec<u8>, position: isize) -> Vec<u8> {
    let at = if position < 0 { bytes.len() - position.unsigned_abs() } else { position as usize };
    bytes[at] = !bytes[at];
    bytes
}

#[test]
fn bad_contents_of_all_formats_are_explained() {
    let json = |text: &str| format!("{{\"run\":\"r\",\"step\":0,\"a\":1}}\n{text}\n").into_bytes();
    let object = |fields: &str| json(&format!("{{\"run\":\"r\",\"step\":1,{fields}}}"));
    let [steps, _] = table("step", Float64Array::from(vec![0.0, 1.5, 2.0]));
    let events = event_file();
    let parquet = fs::read(data(PARQUET)).unwrap();
    let cut_in_quotes = format!("run,step,a\nr,0,1\n\"{}", "x,1,2\n".repeat(3));
    // Bytes, and what is said of them after `softadapt: <stdin>`.
    let mut cases: Vec<(Vec<u8>, &str)> = vec![
        // JSON Lines.
        (json("{"), ":2: is no JSON object: EOF while parsing"),
        (json("{\"run\" 1}"), ":2: is no JSON object: expected `:` at character 8"),
        (b"[{\"run\":\"r\",\"step\":0,\"a\":1}]".into(), ":1: is a list, but JSON Lines have one object a line"),
        (json("7"), ":2: is no JSON object: invalid type: integer `7`, expected an object"),
        (b"{\"run\":\"r\",\"step\":0,\"a\":1} x".into(), ":1: is no JSON object: trailing characters"),
        (
            b"{\"run\":\"r\",\"step\":0,\"\xff\":1}".into(),
            ":1: \"{\\\"run\\\":\\\"r\\\",\\\"step\\\":0,\\\"\u{fffd}\\\":1}\" is not UTF-8 text",
        ),
        (json("{\"step\":1,\"a\":1}"), ":2: no column \"run\" among \"step\", \"a\": name it with --run-column"),
        (json("{\"run\":\"r\",\"a\":1}"), ":2: no column \"step\" among \"run\", \"a\": name it with --step-column"),
        (object("\"component\":\"a\""), ":2: no column \"value\" among"),
        (json("{\"run\":\"r\",\"step\":1}"), ":2: the header names no component besides run and step"),
        (object("\"a\":1,\"a\":2"), ":2: two columns are called \"a\": rename one"),
        (object("\"a\":\"low\""), ":2: column \"a\": \"low\" is not a number"),
        (object("\"a\":true"), ":2: column \"a\": holds true or false, which is no loss: leave it out with --select"),
        (object("\"a\":[1]"), ":2: column \"a\": holds a list, which is no loss"),
        (object("\"a\":{\"b\":1}"), ":2: column \"a\": holds an object, which is no loss"),
        (object("\"\":1"), ":2: a component has an empty name"),
        (object("\"component\":7,\"value\":1"), ":2: column \"component\": holds a number, but has to name something"),
        (object("\"component\":\"\",\"value\":1"), ":2: column \"component\": is empty, but has to name something"),
        (json("{\"run\":null,\"step\":1,\"a\":1}"), ":2: column \"run\": holds null, but has to name something"),
        (
            json("{\"run\":\"r\",\"step\":0.5,\"a\":1}"),
            ":2: column \"step\": \"0.5\" has a fraction, but steps are integers",
        ),
        (json("{\"run\":\"r\",\"step\":1e17,\"a\":1}"), ":2: column \"step\": \"100000000000000000\" is out of range"),
        (json("{\"run\":\"r\",\"step\":null,\"a\":1}"), ":2: column \"step\": is empty, but has to be an integer"),
        (
            json("{\"run\":\"r\",\"step\":0,\"a\":1}"),
            ":2: second value for run \"r\", step 0, component \"a\"; the first is at <stdin>:1",
        ),
        // Tables.
        (steps, ", row 2: column \"step\": \"1.5\" has a fraction, but steps are integers"),
        (
            table("step", Int64Array::from(vec![Some(0), Some(1), None]))[1].clone(),
            ", row 3: column \"step\": is empty",
        ),
        (
            table("step", UInt64Array::from(vec![0, u64::MAX, 1]))[0].clone(),
            ", row 2: column \"step\": \"18446744073709551615\" is out of range",
        ),
        (
            table("step", Int64Array::from(vec![0, 1, 1]))[1].clone(),
            ", row 3: second value for run \"r\", step 1, component \"a\"; the first is at <stdin>, row 2",
        ),
        (
            table("step", StringArray::from(vec!["0", "1", "2"]))[0].clone(),
            ": column \"step\": holds Utf8, but has to hold integers",
        ),
        (
            table("value", StringArray::from(vec!["0", "1", "2"]))[1].clone(),
            ": column \"value\": holds Utf8, but has to hold numbers",
        ),
        (
            table("run", Float64Array::from(vec![0.0, 1.0, 2.0]))[0].clone(),
            ": column \"run\": holds Float64, but has to hold text",
        ),
        (
            table("run", StringArray::from(vec![Some("r"), None, Some("r")]))[1].clone(),
            ", row 2: column \"run\": is empty, but has to name something",
        ),
        (
            table("component", DictionaryArray::<Int32Type>::from_iter([Some("a"), Some(""), None]))[0].clone(),
            ", row 2: column \"component\": is empty",
        ),
        (
            table("b", BooleanArray::from(vec![true; 3]))[0].clone(),
            ": column \"b\": holds Boolean, but has to hold numbers: convert it, or leave it out with --select",
        ),
        (parquet[..parquet.len() / 2].to_vec(), ": its Parquet data is damaged or incomplete ("),
        (b"PAR1".into(), ": its Parquet data is damaged or incomplete ("),
        (
            table("b", Int64Array::from(vec![1; 3]))[0][..300].to_vec(),
            ", record batch 1: its Arrow data is damaged or incomplete (",
        ),
        (b"ARROW1\0\0".into(), ": its Arrow data is damaged or incomplete ("),
        // Event files: a header is 12 bytes, the first record 72.
        (spoiled(events.clone(), 20), ", record 1: the checksum of its content is wrong: the file is damaged here"),
        (spoiled(events.clone(), -1), ", record 161: the checksum of its content is wrong"),
        (spoiled(events.clone(), 88), ", record 2: the checksum of its length is wrong"),
        ([&events[..], b"more than a header"].concat(), ", record 162: the checksum of its length is wrong"),
        // Formats that are known and not read.
        (b"PK\x03\x04 spreadsheet".into(), ": is a ZIP archive or a spreadsheet: unpack it or export it as CSV"),
        (b"FEA1 old".into(), ": is a Feather V1 file: save it as Feather V2, Arrow or Parquet"),
        (b"\xfd7zXZ\0".into(), ": is compressed with xz: use gzip or zstd"),
        (gzip(&gzip(b"run,step,a\n")), ": is compressed twice: unpack it once"),
        (gzip(b""), ": is empty: the first line has to name the columns"),
        (spoiled(gzip(b"run,step,a\nr,0,1\n"), -6), ": cannot be read: its gzip data is damaged or incomplete ("),
        (
            zstd::encode_all(&b"run,step,a\nr,0,1\n"[..], 1).unwrap()[..12].to_vec(),
            ": cannot be read: its zstd data is damaged",
        ),
        // Text.
        (b"run,step,a\nr,0,1\0\n".into(), ":2: column \"a\": \"1\\0\" is not a number"),
        (b"run,step,a\nr,0,1;2\n".into(), ":2: column \"a\": \"1;2\" is not a number"),
        (
            cut_in_quotes.into_bytes(),
            ":3: 1 fields, but the header has 3 columns: the last one goes over several lines",
        ),
        (format!("run,step,{}\n", "x".repeat(1 << 20)).into_bytes(), ""),
    ];
    // A name of a megabyte is one.
    let last = cases.pop().unwrap();
    assert!(cases.len() >= 45, "{}", cases.len());
    let mut messages = HashSet::new();
    for (bytes, message) in &cases {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        for command in ["weigh", "replay", "sweep"] {
            let backend: &[&str] = if command == "replay" { &[] } else { &["--backend", "cpu"] };
            let output = run_with(&[&[command, "-", "--window", "2"], backend].concat(), bytes);
            let found = stderr(&output);
            // Order and places are other ones where a log is not held in memory.
            if command == "weigh" || !message.contains("second value") {
                assert!(found.starts_with(&format!("softadapt: <stdin>{message}")), "{command} {text:?}: {found}");
            }
            assert_eq!((output.status.code(), found.lines().count()), (Some(1), 1), "{command} {text:?}: {found}");
            assert!(output.stdout.is_empty(), "{command} {text:?}");
        }
        messages.insert(*message);
    }
    assert!(messages.len() >= 40, "{} different messages", messages.len());
    assert_eq!(run_with(&["weigh", "-", "--backend", "cpu"], &last.0).status.code(), Some(0));
}

#[test]
fn folders_and_files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(inside("no events")).unwrap();
    fs::write(inside("no events/notes.txt"), "nothing").unwrap();
    fs::write(inside("a file"), "run,step,a\n").unwrap();
    for (argument, message) in [
        (inside("no events"), "holds no logs: files named *.csv, "),
        (inside("*.parquet"), "matches nothing: there is no such file"),
        (inside("[.csv"), "is no pattern of files: "),
        (inside("missing.parquet"), "cannot be opened: "),
        (inside("a file/below.csv"), "cannot be opened: "),
    ] {
        for command in ["weigh", "replay", "sweep"] {
            let output = common::run(&[command, &argument]);
            let found = stderr(&output);
            assert!(found.starts_with(&format!("softadapt: {argument}: {message}")), "{command}: {found}");
            assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        }
    }
}

#[test]
fn options_of_replay_that_make_no_sense_are_refused() {
    for (options, message) in [
        (&["--every", "0"][..], "0"),
        (&["--first", "0"], "0"),
        (&["--smoothing", "1"], "1"),
        (&["--smoothing", "-0.5"], "-0.5"),
        (&["--smoothing", "0.5", "--cycle-mean"], "cannot be used with"),
        (&["--tumbling", "--every", "9"], "9"),
        (&["--beta-schedule", "linear,0,1"], "expected a shape, two factors and a number of steps"),
        (&["--beta-schedule", "square,0,1,5"], "expected a shape, two factors and a number of steps"),
        (&["--beta-schedule", "linear,0,1,0"], "0"),
        (&["--window", "0"], "--window: a window of 0 points"),
        (&["--order", "7"], "the slope needs 8 points, the window has 5"),
        (&["--backend", "reference"], "--backend reference weighs single windows and replays no training"),
    ] {
        let output = common::run(&[&["replay", "no such file"], options].concat());
        let found = stderr(&output);
        assert!(found.contains(message), "{options:?}: {found}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{options:?}: {found}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn full_disks_fail_and_closed_pipes_do_not() {
    use std::io::{BufRead, BufReader};
    for command in ["weigh", "replay", "sweep"] {
        let output = common::run(&[command, &data(PARQUET), "-o", "/dev/full"]);
        let found = stderr(&output);
        assert!(found.starts_with("softadapt: /dev/full: cannot be written: "), "{command}: {found}");
        assert_eq!(output.status.code(), Some(1), "{command}");
    }
    // More than a pipe holds, whose reader has gone after a line.
    let mut child = common::command(&["replay", &data(PARQUET), "--quiet"]).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("run,"));
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}
