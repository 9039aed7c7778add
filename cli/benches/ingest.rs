//! A log of many rows, read by the command and by the plainest programs that do as much or less.
//!
//! `cargo bench -p softadapt-cli --bench ingest -- [ROWS] [RUNS] [PYTHON]`: rows of the log (10 000 000), runs in it
//! (20 000), and a Python with polars and duckdb, which are left out without one. Results go to standard output as a table.
//! The method and its limits are in README.md.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]
#![expect(clippy::print_stdout, reason = "the table")]

use arrow_array::{Float32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const COMPONENTS: [&str; 4] = ["data", "physics", "boundary", "regularisation"];
/// Times each way is run; the shortest time counts, for the others were disturbed.
const REPEATS: usize = 3;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut number = |usual: usize| arguments.next().map_or(usual, |text| text.parse().unwrap());
    let (rows, runs) = (number(10_000_000), number(20_000));
    let python = arguments.next();
    let folder = tempfile::tempdir().unwrap();
    let (csv, parquet) = (folder.path().join("log.csv"), folder.path().join("log.parquet"));
    generate(&csv, &parquet, rows, runs);
    let weights = folder.path().join("weights.parquet");
    let command = |words: &[&str], log: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_softadapt"));
        command.args(words).arg(log).args(["--quiet", "-o"]).arg(&weights);
        command
    };
    println!("{rows} rows, {runs} runs; shortest of {REPEATS}\n");
    println!("{:<9} {:>7} {:<38} {:>8} {:>10} {:>9}", "format", "MB", "way", "s", "M rows/s", "peak MB");
    for log in [&csv, &parquet] {
        let format = log.extension().unwrap().to_str().unwrap();
        let megabytes = fs::metadata(log).unwrap().len() as f64 / 1e6;
        let line = |way: &str, (time, peak): (Duration, Option<u64>)| {
            let peak = peak.map_or("-".to_owned(), |kilobytes| format!("{:.0}", kilobytes as f64 / 1e3));
            let seconds = time.as_secs_f64();
            println!(
                "{format:<9} {megabytes:>7.0} {way:<38} {seconds:>8.2} {:>10.1} {peak:>9}",
                rows as f64 / seconds / 1e6
            );
        };
        line("bytes only", here(|| bytes(log)));
        if format == "csv" {
            line("csv crate, fields only", here(|| assert_eq!(fields(log), rows + 1)));
        }
        line("softadapt weigh", child(|| command(&["weigh", "--slope", "last", "--backend", "cpu"], log)));
        line("softadapt replay --every 50", child(|| command(&["replay", "--every", "50"], log)));
        line("softadapt replay", child(|| command(&["replay"], log)));
        let Some(python) = &python else { continue };
        let results = runs * COMPONENTS.len();
        let polars = format!(
            "import polars as p; l = p.scan_{format}({log:?}); v = p.col('value'); \
             r = l.group_by('run', 'component', maintain_order=True).agg(v.last() - v.get(-2)).collect(); \
             assert len(r) == {results}",
        );
        let duckdb = format!(
            "import duckdb as d; d.sql(\"create table r as select run, component, v[1] - v[2] from (select run, component, \
             max_by(value, step, 2) as v from read_{format}('{}') group by run, component)\"); \
             assert d.sql('select count(*) from r').fetchall()[0][0] == {results}",
            log.display()
        );
        for (way, script) in [("polars, last differences", polars), ("DuckDB, last differences", duckdb)] {
            let make = || {
                let mut command = Command::new(python);
                command.args(["-c", &script]);
                command
            };
            line(way, child(make));
        }
    }
}

/// Runs one after the other, as trainings write them; their steps in order.
fn generate(csv: &Path, parquet: &Path, rows: usize, runs: usize) {
    let steps = rows / runs / COMPONENTS.len();
    assert_eq!(steps * runs * COMPONENTS.len(), rows, "rows = runs x steps x {} components", COMPONENTS.len());
    let mut text = BufWriter::new(File::create(csv).unwrap());
    let mut table: Option<ArrowWriter<File>> = None;
    writeln!(text, "run,step,component,value").unwrap();
    let mut state = 1u64;
    let mut line = String::new();
    for first in (0..runs).step_by(64) {
        let (mut names, mut counts, mut components, mut values) = (vec![], vec![], vec![], vec![]);
        for run in first..runs.min(first + 64) {
            let name = format!("experiment-{run:06}");
            for step in 0..steps {
                for (i, component) in COMPONENTS.iter().enumerate() {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let noise = (state >> 40) as f32 / (1u64 << 24) as f32;
                    let value = 10f32.powi(1 - i as i32) * ((-(step as f32) / 40.0).exp() + 0.1 * noise);
                    line.clear();
                    write!(line, "{name},{step},{component},{value}").unwrap();
                    writeln!(text, "{line}").unwrap();
                    names.push(name.clone());
                    counts.push(step as i64);
                    components.push(*component);
                    values.push(value);
                }
            }
        }
        let batch = RecordBatch::try_from_iter([
            ("run", Arc::new(StringArray::from(names)) as _),
            ("step", Arc::new(Int64Array::from(counts)) as _),
            ("component", Arc::new(StringArray::from(components)) as _),
            ("value", Arc::new(Float32Array::from(values)) as _),
        ])
        .unwrap();
        let properties = parquet::file::properties::WriterProperties::builder()
            .set_compression(parquet::basic::Compression::SNAPPY)
            .build();
        table
            .get_or_insert_with(|| {
                ArrowWriter::try_new(File::create(parquet).unwrap(), batch.schema(), Some(properties)).unwrap()
            })
            .write(&batch)
            .unwrap();
    }
    text.flush().unwrap();
    table.unwrap().close().unwrap();
}

fn bytes(path: &Path) {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 18];
    while file.read(&mut buffer).unwrap() > 0 {}
}

fn fields(path: &Path) -> usize {
    let mut builder = csv::ReaderBuilder::new();
    let mut reader = builder.has_headers(false).buffer_capacity(1 << 18).from_path(path).unwrap();
    let (mut record, mut records) = (csv::ByteRecord::new(), 0);
    while reader.read_byte_record(&mut record).unwrap() {
        records += 1;
    }
    records
}

/// The shortest time of something in this process.
fn here(mut work: impl FnMut()) -> (Duration, Option<u64>) {
    let time = (0..REPEATS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    (time.min().unwrap(), None)
}

/// The shortest time of a program, and the most memory in kilobytes that it held, where the system tells.
fn child(make: impl Fn() -> Command) -> (Duration, Option<u64>) {
    let (mut least, mut peak) = (Duration::MAX, None);
    for _ in 0..REPEATS {
        let start = Instant::now();
        let mut child = make().stdout(Stdio::null()).spawn().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            let text = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let held = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak = peak.max(held.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()));
            std::thread::sleep(Duration::from_millis(2));
        };
        least = least.min(start.elapsed());
        assert!(status.success());
    }
    (least, peak)
}
