//! What is wrong is said in one line, with the place where it is and the right exit status.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{gzip, run, run_with, stderr};
use std::fs;

/// Bad logs by standard input, with what is said about them after `softadapt: <stdin>`.
#[test]
fn bad_logs_are_explained() {
    let long = |rows: &str| format!("run,step,component,value\n{rows}").into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".into(), ": is empty: the first line has to name the columns"),
        (b"\n\n  \n".into(), ": is empty: the first line has to name the columns"),
        (b"\xff\xfer\0u\0n\0".into(), ": is UTF-16 text: save it as UTF-8"),
        (b"a,b\n1,2\n".into(), ":1: no column \"run\" among \"a\", \"b\": name it with --run-column"),
        (
            b"run;step;a\nr;0;1\n".into(),
            ":1: no column \"run\" among \"run;step;a\": name it with --run-column (fields have to be separated by commas, not ';')",
        ),
        (b"run,epoch,a\n".into(), ":1: no column \"step\" among \"run\", \"epoch\", \"a\": name it with --step-column"),
        (
            b"run,step,component,loss\n".into(),
            ":1: no column \"value\" among \"run\", \"step\", \"component\", \"loss\": name it with --value-column",
        ),
        (b"run,step\n".into(), ":1: the header names no component besides run and step"),
        (
            b"\n,run,step,a\n0,r,0,1\n".into(),
            ":2: column 1 has no name: name it or leave it out (pandas: `to_csv(..., index=False)`)",
        ),
        (b"run,step,a,a\n".into(), ":1: two columns are called \"a\": rename one"),
        (b"run,step,run,a\n".into(), ":1: two columns are called \"run\": rename one"),
        (b"run,step,\xff\n".into(), ":1: \"\u{fffd}\" is not UTF-8 text: save the file as UTF-8"),
        (long("r,0,a\n"), ":2: 3 fields, but the header has 4 columns"),
        (
            long("r,0,a,1\nr,1,a,1,5\n"),
            ":3: 5 fields, but the header has 4 columns: fields that hold commas have to be quoted",
        ),
        (
            long("r,0,a,abc\n"),
            ":2: column \"value\": \"abc\" is not a number (leave the field empty if the value is missing)",
        ),
        (
            b"run,step,a,b\r\nr,0,1,2\r\nr,1,1,\"1,5\"\r\n".into(),
            ":3: column \"b\": \"1,5\" is not a number (leave the field empty if the value is missing)",
        ),
        (
            long("r,0,a,\"1\n2\"\n"),
            ":2: column \"value\": \"1\\n2\" is not a number (leave the field empty if the value is missing)",
        ),
        (
            long(&format!("r,0,a,{}\n", "x".repeat(100))),
            ":2: column \"value\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\" is not a number (leave the field empty if the value is missing)",
        ),
        (
            b"run,step,component,value\nr,0,a,\xff\n".into(),
            ":2: column \"value\": \"\u{fffd}\" is not a number (leave the field empty if the value is missing)",
        ),
        (long("r,,a,1\n"), ":2: column \"step\": is empty, but has to be an integer"),
        (long("r,x,a,1\n"), ":2: column \"step\": \"x\" is not an integer"),
        (long("r,nan,a,1\n"), ":2: column \"step\": \"nan\" is not an integer"),
        (long("r,0.5,a,1\n"), ":2: column \"step\": \"0.5\" has a fraction, but steps are integers"),
        (
            long("r,-9223372036854775809,a,1\n"),
            ":2: column \"step\": \"-9223372036854775809\" is out of range: steps are 64-bit integers, at most 2^53 if written with a point or exponent",
        ),
        (long("\n\n,0,a,1\n"), ":4: column \"run\": is empty, but has to name something"),
        (long("r,0, ,1\n"), ":2: column \"component\": is empty, but has to name something"),
        (
            b"run,step,component,value\n\xe9,0,a,1\n".into(),
            ":2: column \"run\": \"\u{fffd}\" is not UTF-8 text: save the file as UTF-8",
        ),
        (
            b"run,step,component,value\nr,0,\xe9,1\n".into(),
            ":2: column \"component\": \"\u{fffd}\" is not UTF-8 text: save the file as UTF-8",
        ),
        (
            long("r,0,a,1\nr,1,a,1\nr,0,a,1\n"),
            ":4: second value for run \"r\", step 0, component \"a\"; the first is at <stdin>:2 (choose one with --on-duplicate last or first)",
        ),
        (
            b"run,step,a,b\nr,0,,1\nr,0,,1\n".into(),
            ":3: second value for run \"r\", step 0, component \"b\"; the first is at <stdin>:2 (choose one with --on-duplicate last or first)",
        ),
        // A quote that is never closed swallows the rest.
        (
            long("r,0,\"a,1\nr,1,a,2\n"),
            ":2: 3 fields, but the header has 4 columns: the last one goes over several lines, is a quote left open?",
        ),
    ];
    assert!(cases.len() >= 25);
    for (log, message) in cases {
        let output = run_with(&["weigh", "-", "--backend", "cpu"], &log);
        let text = String::from_utf8_lossy(&log).into_owned();
        assert_eq!(stderr(&output), format!("softadapt: <stdin>{message}\n"), "{text:?}");
        assert_eq!(output.status.code(), Some(1), "{text:?}");
        assert!(output.stdout.is_empty(), "{text:?}");
    }
}

#[test]
fn places_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let first = file("first.csv", "run,step,a\nr,0,1\nr,1,1\n");
    let second = file("second.csv", "run,step,component,value\ns,0,a,1\nr,1,a,1\n");
    let bad = file("bad.csv", "run,step,a\nr,2,?\n");
    let output = run(&["weigh", "--backend", "cpu", &first, &second]);
    let message = format!(
        "softadapt: {second}:3: second value for run \"r\", step 1, component \"a\"; the first is at {first}:3 (choose one with --on-duplicate last or first)\n"
    );
    assert_eq!((stderr(&output), output.status.code()), (message, Some(1)));
    let output = run(&["weigh", "--backend", "cpu", &first, &bad]);
    assert!(stderr(&output).starts_with(&format!("softadapt: {bad}:2: column \"a\": \"?\" is not a number")));

    let missing = folder.path().join("missing.csv");
    let output = run(&["weigh", "--backend", "cpu", &first, missing.to_str().unwrap()]);
    assert!(stderr(&output).starts_with(&format!("softadapt: {}: cannot be opened: ", missing.display())));
    assert_eq!(output.status.code(), Some(1));
    let empty = tempfile::tempdir().unwrap();
    let output = run(&["weigh", "--backend", "cpu", empty.path().to_str().unwrap()]);
    assert!(
        stderr(&output).starts_with(&format!("softadapt: {}: holds no logs: files named ", empty.path().display()))
    );
    assert_eq!(output.status.code(), Some(1));
    let output = run(&["weigh", "--backend", "cpu", empty.path().join("*.csv").to_str().unwrap()]);
    assert!(stderr(&output).ends_with("/*.csv: matches nothing: there is no such file\n"), "{}", stderr(&output));
    let (log, select) = (b"run,step,a,b\nr,0,1,2\n", ["weigh", "-", "--backend", "cpu", "--select", "loss/*"]);
    assert_eq!(
        stderr(&run_with(&select, log)),
        "softadapt: <stdin>: no component is left by --select and --strip-prefix: there are \"a\", \"b\"\n"
    );
    let half = &gzip(&log.repeat(50))[..30];
    let message = stderr(&run_with(&["weigh", "-", "--backend", "cpu"], half));
    assert!(message.contains("cannot be read: its gzip data is damaged or incomplete ("), "{message}");
}

#[test]
fn outputs_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.csv");
    fs::write(&log, "run,step,a\nr,0,1\n").unwrap();
    let nowhere = folder.path().join("no").join("such").join("folder.csv");
    for (path, reason) in
        [(nowhere.as_path(), "cannot be written: "), (folder.path(), "cannot be written: is a directory")]
    {
        let output = run(&["weigh", log.to_str().unwrap(), "--backend", "cpu", "-o", path.to_str().unwrap()]);
        let message = stderr(&output);
        assert!(message.starts_with(&format!("softadapt: {}: {reason}", path.display())), "{message}");
        assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1));
    }
    if cfg!(target_os = "linux") {
        let output = run(&["weigh", log.to_str().unwrap(), "--backend", "cpu", "-o", "/dev/full"]);
        assert!(stderr(&output).starts_with("softadapt: /dev/full: cannot be written: "), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(1));
    }
}

/// Options that make no sense, with a part of what is said about them. Nothing is read: the log does not exist.
#[test]
fn misuse_is_refused_before_anything_is_read() {
    let cases: &[(&[&str], &str)] = &[
        (&["--order", "5"], "the slope needs 6 points, the window has 5: widen the window or lower the accuracy order"),
        (&["--order", "0"], "accuracy order 0 is not supported: choose one from 1 to 20"),
        (&["--order", "21", "--window", "40"], "accuracy order 21 is not supported"),
        (&["--order", "-1"], "unexpected argument '-1'"),
        (&["--window", "1"], "a window of 1 points has no default accuracy order"),
        (&["--window", "22"], "a window of 22 points has no default accuracy order"),
        (&["--window", "0"], "--window: a window of 0 points is not supported: choose 1 to 4096"),
        (&["--window", "5000", "--order", "1"], "--window: a window of 5000 points is not supported"),
        (&["--window", "x"], "invalid value 'x' for '--window <STEPS>'"),
        (&["--beta", "nan"], "beta is NaN, but must be finite"),
        (&["--beta", "1e39"], "beta is 1"),
        (&["--beta", "much"], "invalid value 'much' for '--beta <B>'"),
        (&["--epsilon", "-1"], "epsilon is -1, but must be finite and not negative"),
        (&["--floor", "2"], "the minimum weight is 2, but must lie between"),
        (&["--slope", "last", "--order", "1"], "--order 1 does not fit --slope last, which has no order"),
        (&["--slope", "least-squares", "--order", "2"], "--order 2 does not fit --slope least-squares"),
        (&["--slope", "sideways"], "invalid value 'sideways' for '--slope <SLOPE>'"),
        (&["--variant", "new"], "[possible values: original, normalized, loss-weighted]"),
        (&["--backend", "cpu", "--adapter", "x"], "--adapter \"x\" does not fit --backend cpu"),
        (&["--backend", "reference", "--adapter", "x"], "--adapter \"x\" does not fit --backend reference"),
        (&["-", "-"], "`-` (standard input) can be given once only"),
        (&["--select", "a[", "-"], "invalid value 'a[' for '--select <PATTERN>': unclosed character class"),
        (&["--input-format", "xls"], "invalid value 'xls' for '--input-format <INPUT_FORMAT>'"),
        (&["--frobnicate"], "unexpected argument '--frobnicate'"),
    ];
    for (arguments, message) in cases {
        let all: Vec<&str> = [&["weigh", "no such file"], *arguments].concat();
        let output = run(&all);
        let found = stderr(&output);
        assert!(found.contains(message), "{arguments:?}: {found}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {found}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    for arguments in [&["weigh"][..], &[], &["frobnicate"], &["check", "--backend", "reference"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn options_that_do_not_fit_the_data_are_misuse_too() {
    let output = run_with(&["weigh", "-", "--backend", "cpu", "--floor", "0.4"], b"run,step,a,b,c\nr,0,1,2,3\n");
    assert_eq!(
        stderr(&output),
        "softadapt: a minimum weight of 0.4 is too much for 3 components: choose at most 3.333333333333333e-1\n"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn too_many_components_are_named() {
    let header: String = (0..4097).map(|i| format!(",c{i}")).collect();
    let log = format!("run,step{header}\nwide one,0{}\n", ",1".repeat(4097));
    let output = run_with(&["weigh", "-", "--backend", "cpu"], log.as_bytes());
    assert_eq!(
        stderr(&output),
        "softadapt: run \"wide one\" has 4097 components, at most 4096 are supported: split it into several runs\n"
    );
    assert_eq!(output.status.code(), Some(1));
}
