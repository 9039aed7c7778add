//! Files as they come: odd contents, odd names, odd kinds of files, many of them. Each has an answer of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Row, rows, run, run_with, stderr, stdout};
use std::fs;
use std::process::{Command, Stdio};

const WEIGH: [&str; 5] = ["weigh", "--backend", "cpu", "--window", "2"];

fn weigh(arguments: &[&str]) -> Vec<Row> {
    rows(&stdout(&run(&[&WEIGH, arguments].concat())))
}

/// Text that is understood, with the weights, means or statuses that say so.
#[test]
fn contents_that_are_odd_and_right() {
    let means = |text: &[u8]| -> Vec<(String, String)> {
        let output = run_with(&[&WEIGH[..], &["-"]].concat(), text);
        rows(&stdout(&output)).into_iter().map(|row| (row.mean_loss, row.status)).collect()
    };
    let pair = |mean: &str, status: &str| (mean.to_owned(), status.to_owned());
    // Beyond f64 is infinite, and so says the status; too small is zero.
    assert_eq!(means(b"run,step,a\nr,0,1\nr,1,1e400\n"), [pair("nan", "non-finite")]);
    assert_eq!(means(b"run,step,a\nr,0,-1e-400\nr,1,1e-400\n"), [pair("0", "ok")]);
    for spelling in ["nan", "NaN", "-nan", "inf", "-Infinity", "INF"] {
        let text = format!("run,step,a\nr,0,1\nr,1,{spelling}\n");
        assert_eq!(means(text.as_bytes()), [pair("nan", "non-finite")], "{spelling}");
    }
    // Negative steps, unsorted and with gaps: the newest two are 5 and 9.
    assert_eq!(means(b"run,step,a\nr,9,4\nr,-3,100\nr,5,2\n"), [pair("3", "ok")]);
    let refused: [(&[u8], &str); 4] = [
        (
            b"run,step,component,value\nr,0,a,1,\n",
            ":2: 5 fields, but the header has 4 columns: fields that hold commas have to be quoted",
        ),
        (b"\xfe\xff\0r\0u\0n", ": is UTF-16 text: save it as UTF-8"),
        (
            b"run,step,a\rr,0,1\rr,1,2\r",
            ":1: has lines that end in a carriage return alone: end them with line feeds, or with both",
        ),
        (b"run,step,a\n\0,0,1\n\0,0,1\n", ":3: second value for run \"\\0\", step 0"),
    ];
    for (text, message) in refused {
        let output = run_with(&[&WEIGH[..], &["-"]].concat(), text);
        assert!(stderr(&output).starts_with(&format!("softadapt: <stdin>{message}")), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(1));
    }
}

/// One column may be two things, in every format alike.
#[test]
fn a_column_may_be_named_twice() {
    for options in [["--component-column", "run"], ["--run-column", "component"]] {
        let answer = |log: &str| weigh(&[&common::data(log), options[0], options[1], "--on-duplicate", "last"]);
        let expected = answer(common::LONG);
        assert!(!expected.is_empty() && expected.iter().all(|row| row.run == row.component));
        assert_eq!(answer(common::PARQUET), expected, "{options:?}");
    }
}

#[test]
fn a_million_columns_and_a_long_line_are_refused_in_time() {
    let header: String = (0..1_000_000).map(|i| format!(",c{i}")).collect();
    let csv = format!("run,step{header}\nr,0{}\n", ",1".repeat(1_000_000));
    let keys: String = (0..1_000_000).map(|i| format!(",\"c{i}\":1")).collect();
    let json = format!("{{\"run\":\"r\",\"step\":0{keys}}}\n");
    for log in [csv, json] {
        let output = run_with(&[&WEIGH[..], &["-"]].concat(), log.as_bytes());
        assert_eq!(
            stderr(&output),
            "softadapt: run \"r\" has 1000000 components, at most 4096 are supported: split it into several runs\n"
        );
    }
    // Zeros without an end of line, as a disk leaves them after a crash: the message does not repeat them.
    for start in ["run,step,a\nr,0,", "{\"run\":\"r\",\"step\":0,\"a\":"] {
        let output = run_with(&[&WEIGH[..], &["-"]].concat(), &[start.as_bytes(), &vec![0; 64 << 20]].concat());
        let message = stderr(&output);
        assert!(output.status.code() == Some(1) && message.len() < 400, "{} bytes", message.len());
    }
}

#[test]
fn names_in_any_script_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Läufe – журнал 実験.csv");
    fs::write(&path, "run,step,потеря,損失\nЗапуск №1 🦀,0,1,1\nЗапуск №1 🦀,1,2,2\n").unwrap();
    let found = weigh(&[path.to_str().unwrap()]);
    let names: Vec<(&str, &str)> = found.iter().map(|row| (&*row.run, &*row.component)).collect();
    assert_eq!(names, [("Запуск №1 🦀", "потеря"), ("Запуск №1 🦀", "損失")]);
    assert!(found.iter().all(|row| row.weight() == 0.5));
    let missing = folder.path().join("не там.csv");
    let output = run(&["weigh", missing.to_str().unwrap()]);
    assert!(stderr(&output).contains("не там.csv: cannot be opened: "), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_are_kept() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.csv"));
    fs::write(&path, "run,step,a\nr,0,1\nr,1,2\n").unwrap();
    let output = common::command(&WEIGH).arg(&path).output().unwrap();
    assert_eq!(rows(&stdout(&output)).len(), 1);
    // In a folder, too.
    let output = common::command(&WEIGH).arg(folder.path()).output().unwrap();
    assert_eq!(rows(&stdout(&output)).len(), 1);
}

#[test]
fn thousands_of_files_are_one_set_of_runs() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..3000 {
        // From one component to three.
        let fields = |value: usize| format!(",{value}").repeat(1 + i % 3);
        let names: String = ["a", "b", "c"][..1 + i % 3].iter().map(|name| format!(",{name}")).collect();
        let text = format!("run,step{names}\nr{i},0{}\nr{i},1{}\n", fields(1), fields(2));
        fs::write(folder.path().join(format!("{i:04}.csv")), text).unwrap();
    }
    let found = weigh(&[folder.path().to_str().unwrap()]);
    assert_eq!(found.len(), 1000 * (1 + 2 + 3));
    for row in &found {
        let run: usize = row.run[1..].parse().unwrap();
        let exact = 1.0 / (1 + run % 3) as f64;
        assert!((row.weight() - exact).abs() < 1e-7 && row.mean_loss == "1.5", "{row:?}");
    }
}

/// A pipe with a name is a stream, whatever is in it.
#[cfg(unix)]
#[test]
fn named_pipes_are_streams() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("log.csv", b"run,step,a\nr,0,1\nr,1,2\n".to_vec()),
        ("log.csv.gz", common::gzip(b"run,step,a\nr,0,1\nr,1,2\n")),
        ("log.parquet", fs::read(common::data(common::PARQUET)).unwrap()),
    ] {
        let pipe = folder.path().join(name);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            // The reader may have gone by then, which is its own fault to report.
            move || drop(fs::write(pipe, bytes))
        });
        assert!(!weigh(&[pipe.to_str().unwrap()]).is_empty(), "{name}");
        writer.join().unwrap();
    }
}

/// Without one of the standard streams there is still an answer, or a reason.
#[cfg(unix)]
#[test]
fn standard_streams_may_be_closed() {
    let shell = |line: &str| {
        Command::new("sh")
            .args(["-c", line, "sh", env!("CARGO_BIN_EXE_softadapt"), &common::data(common::LONG)])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = shell("\"$1\" weigh --backend cpu - <&-");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("softadapt: <stdin>"), "{}", stderr(&output));
    assert_eq!(shell("\"$1\" weigh --backend cpu \"$2\" >&-").status.code(), Some(0));
    let output = shell("\"$1\" weigh --backend cpu \"$2\" 2>&-");
    assert!(output.status.success() && rows(&stdout(&output)).len() > 100);
}

#[test]
fn outputs_replace_what_was_there_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.csv");
    fs::write(&log, "run,step,a\nr,0,1\nr,1,2\n").unwrap();
    let before = weigh(&[log.to_str().unwrap()]);
    // The input itself may be the output: it has been read by then.
    let output = run(&[&WEIGH[..], &[log.to_str().unwrap(), "-o", log.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(rows(&fs::read_to_string(&log).unwrap()), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // Nobody may write here, not even root.
    if cfg!(target_os = "linux") {
        fs::write(&log, "run,step,a\nr,0,1\nr,1,2\n").unwrap();
        let output = run(&["weigh", "--backend", "cpu", log.to_str().unwrap(), "-o", "/proc/weights.csv"]);
        assert!(
            stderr(&output).starts_with("softadapt: /proc/weights.csv: cannot be written: "),
            "{}",
            stderr(&output)
        );
        assert_eq!(output.status.code(), Some(1));
    }
}
