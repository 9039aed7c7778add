//! Runs the built command and takes its output apart.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "every test binary uses another part")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The example log in long form.
pub(crate) const LONG: &str = "losses.csv";
/// The example log in wide form.
pub(crate) const WIDE: &str = "losses_wide.csv";

/// The example log as a Parquet file.
pub(crate) const PARQUET: &str = "losses.parquet";
/// Some of the runs as TensorBoard event folders.
pub(crate) const EVENTS: &str = "tensorboard";

/// The options of every setting of expected.json.
pub(crate) fn settings() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/expected.json")).unwrap();
    let settings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let options = |setting: &serde_json::Value| {
        let mut options = vec!["--variant".to_owned(), setting["variant"].as_str().unwrap().to_owned()];
        for (option, key) in [("--beta", "beta"), ("--window", "window"), ("--order", "accuracy_order")] {
            if !setting[key].is_null() {
                options.extend([option.to_owned(), setting[key].to_string()]);
            }
        }
        options
    };
    settings.iter().map(options).collect()
}

/// Path of an example log.
pub(crate) fn data(name: &str) -> String {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "examples", "data"].iter().collect();
    folder.join(name).to_str().unwrap().to_owned()
}

/// Bytes as a gzip file holds them.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// The command with these arguments.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softadapt"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the command.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs the command with `input` on its standard input.
pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // Beside reading: a command that streams would wait for its output to be taken.
        scope.spawn(move || {
            // A command that refuses its options reads nothing.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}

/// Standard output of a run that must have succeeded.
pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error without the lines that graphics drivers write there.
pub(crate) fn stderr(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.lines().filter(|line| !line.contains("XDG_RUNTIME_DIR")).map(|line| format!("{line}\n")).collect()
}

/// One line of the output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) run: String,
    pub(crate) component: String,
    pub(crate) weight: String,
    pub(crate) slope: String,
    pub(crate) mean_loss: String,
    pub(crate) status: String,
}

impl Row {
    pub(crate) fn weight(&self) -> f64 {
        self.weight.parse().unwrap()
    }
}

/// The lines of a CSV output.
pub(crate) fn rows(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap(), ["run", "component", "weight", "slope", "mean_loss", "status"].as_slice());
    reader
        .records()
        .map(|record| {
            let record = record.unwrap();
            let field = |i: usize| record[i].to_owned();
            Row {
                run: field(0),
                component: field(1),
                weight: field(2),
                slope: field(3),
                mean_loss: field(4),
                status: field(5),
            }
        })
        .collect()
}

/// Rows by run and component.
pub(crate) fn by_name(rows: &[Row]) -> BTreeMap<(String, String), Row> {
    let map: BTreeMap<_, _> = rows.iter().map(|row| ((row.run.clone(), row.component.clone()), row.clone())).collect();
    assert_eq!(map.len(), rows.len(), "every component has one line");
    map
}
