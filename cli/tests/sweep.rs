//! `softadapt sweep`, beside `weigh` and `replay`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{LONG, PARQUET, data, run, run_with, stderr, stdout};
use std::collections::BTreeMap;
use std::fs;

/// Header and records of a table.
fn table(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let words = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect::<Vec<_>>();
    let header = words(reader.headers().unwrap());
    (header, reader.records().map(|record| words(&record.unwrap())).collect())
}

fn sweep(options: &[&str]) -> (Vec<String>, Vec<Vec<String>>) {
    table(&stdout(&run(&[&["sweep", &data(LONG), "--quiet"], options].concat())))
}

#[test]
fn every_setting_is_what_weigh_gives() {
    for backend in ["cpu", "reference"] {
        let (header, rows) = sweep(&[
            "--backend",
            backend,
            "--beta",
            "-1,0.1,1,100",
            "--variant",
            "original,loss-weighted",
            "--slope",
            "forward,backward",
            "--order",
            "1,2",
            "--window",
            "3,8",
            "--on-non-finite",
            "mask",
        ]);
        assert_eq!((header.len(), rows.len()), (2 + 4 * 2 * 2 * 2 * 2, 152));
        for (column, name) in header.iter().enumerate().skip(2) {
            // Such as "original forward order=1 window=3 beta=0.1".
            let words: Vec<&str> = name.split(' ').collect();
            let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)).unwrap().to_owned();
            let (order, window, beta) = (value("order="), value("window="), value("beta="));
            let log = data(LONG);
            let options = [
                "weigh",
                &log,
                "--quiet",
                "--backend",
                backend,
                "--variant",
                words[0],
                "--slope",
                words[1],
                "--order",
                &order,
                "--window",
                &window,
                "--beta",
                &beta,
                "--on-non-finite",
                "mask",
            ];
            let expected = common::rows(&stdout(&run(&options)));
            for (row, expected) in rows.iter().zip(&expected) {
                assert_eq!((&row[0], &row[1]), (&expected.run, &expected.component));
                assert_eq!(row[column], expected.weight, "{name}: {expected:?}");
            }
        }
    }
}

#[test]
fn every_step_is_what_replay_gives() {
    let (header, rows) = sweep(&["--backend", "cpu", "--beta", "0.1,5", "--every-step"]);
    assert_eq!(header[..3], ["run", "step", "component"]);
    for (column, beta) in [(3, "0.1"), (4, "5")] {
        let output = run(&["replay", &data(LONG), "--quiet", "--beta", beta]);
        let (_, expected) = table(&stdout(&output));
        assert_eq!(rows.len(), expected.len());
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(row[..3], expected[..3]);
            // The balancer keeps weights where a loss is missing; here a step knows nothing of the weights before it.
            if expected[5] == "ok" {
                assert_eq!(row[column], expected[4], "{expected:?}");
            }
        }
    }
}

#[test]
fn the_summary_counts_what_the_table_shows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("summary.csv");
    let options = ["--backend", "cpu", "--beta", "0.1,1000", "--slope", "last", "--every-step"];
    let (header, rows) = sweep(&[&options[..], &["--summary", path.to_str().unwrap()]].concat());
    let (columns, summary) = table(&fs::read_to_string(&path).unwrap());
    assert_eq!(columns.len(), 12);
    let statuses = {
        let output = run(&["replay", &data(LONG), "--quiet", "--slope", "last"]);
        table(&stdout(&output)).1.into_iter().map(|row| row[5].clone()).collect::<Vec<_>>()
    };
    for (setting, line) in summary.iter().enumerate() {
        let column = 3 + setting;
        assert_eq!(header[column], line[0]);
        let (mut windows, mut not_ready, mut flagged, mut judged, mut over) = (0, 0, 0, 0, 0);
        let (mut entropy, mut turned, mut pairs) = (0.0, 0, 0);
        let mut before: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut i = 0;
        while i < rows.len() {
            let n = rows[i..].iter().take_while(|row| row[..2] == rows[i][..2]).count();
            let weights: Vec<f64> = rows[i..i + n].iter().map(|row| row[column].parse().unwrap()).collect();
            windows += 1;
            match &*statuses[i] {
                "not-ready" => not_ready += 1,
                "ok" => {
                    judged += 1;
                    over += usize::from(weights.iter().any(|&weight| weight > 0.9));
                    let sum: f64 = weights.iter().map(|&w| if w > 0.0 { -w * w.ln() } else { 0.0 }).sum();
                    entropy += sum / (n as f64).ln();
                }
                _ => flagged += 1,
            }
            if statuses[i] == "ok" {
                if let Some(old) = before.get(&*rows[i][0]) {
                    pairs += 1;
                    let changed = |a: usize, b: usize| (old[a] - old[b]) * (weights[a] - weights[b]) < 0.0;
                    turned += usize::from((0..n).any(|a| (0..a).any(|b| changed(a, b))));
                }
                before.insert(&rows[i][0], weights);
            } else {
                before.remove(&*rows[i][0]);
            }
            i += n;
        }
        let counts: Vec<usize> = line[6..9].iter().map(|field| field.parse().unwrap()).collect();
        assert_eq!(counts, [windows, not_ready, flagged]);
        let shares: Vec<f64> = line[9..].iter().map(|field| field.parse().unwrap()).collect();
        // Weights are 32-bit floats, as they are in the table; their sum is 1 to a few times 6e-8.
        assert!((shares[0] - entropy / judged as f64).abs() < 1e-5, "{line:?}");
        assert!((shares[1] - over as f64 / judged as f64).abs() < 1e-12, "{line:?}");
        assert!((shares[2] - turned as f64 / pairs as f64).abs() < 1e-3, "{line:?} {turned} {pairs}");
    }
    assert_ne!(summary[0][9], summary[1][9]);
}

#[test]
fn the_summary_is_a_table_on_standard_error() {
    let output = run(&["sweep", &data(PARQUET), "--backend", "cpu", "--beta", "0.1,1", "-o", "/dev/null"]);
    assert_eq!(stdout(&output), "");
    let text = stderr(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("setting ") && lines[0].ends_with(" turnover"), "{text}");
    assert!(lines[1].starts_with("original forward order=4 window=5 beta=0.1 "), "{text}");
    assert!(lines[3].starts_with("52 runs; 18 880 rows read from 1 source; "), "{text}");
}

#[test]
fn settings_that_make_no_sense_are_refused_before_anything_is_read() {
    for (options, message) in [
        (
            &["--order", "4", "--window", "5,3"][..],
            "setting original forward order=4 window=3 beta=0.1: the slope needs",
        ),
        (&["--beta", "0.1,0.1"], "setting original forward order=4 window=5 beta=0.1 is there twice"),
        (&["--beta", "0.1,nan"], "beta=NaN: beta is NaN"),
        (&["--beta", "1,x"], "invalid value 'x' for '--beta <B,..>'"),
        (&["--slope", "last", "--order", "1"], "--order 1 does not fit --slope last"),
        (&["--window", "0"], "--window: a window of 0 points"),
        (&["--variant", "new"], "invalid value 'new'"),
    ] {
        let output = run(&[&["sweep", "no such file"], options].concat());
        assert!(stderr(&output).contains(message), "{options:?}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(2), "{options:?}");
    }
}

#[test]
fn chunks_do_not_matter() {
    // Enough components that a chunk holds few steps.
    let names: Vec<String> = (0..600).map(|i| format!("c{i}")).collect();
    let mut log = format!("run,step,{}\n", names.join(","));
    for step in 0..40 {
        for run in 0..3 {
            let losses: Vec<String> =
                (0..600).map(|i| format!("{}", ((i * 37 + step * 11 + run) % 101) as f64 * 0.1)).collect();
            log += &format!("r{run},{step},{}\n", losses.join(","));
        }
    }
    let options = ["-", "--quiet", "--backend", "cpu", "--window", "40", "--order", "3"];
    let swept = run_with(&[&["sweep", "--beta", "0.3,0.5"], &options[..]].concat(), log.as_bytes());
    let weighed = run_with(&[&["weigh", "--beta", "0.5"], &options[..]].concat(), log.as_bytes());
    let swept: Vec<String> = table(&stdout(&swept)).1.into_iter().map(|row| row[3].clone()).collect();
    let weighed: Vec<String> = common::rows(&stdout(&weighed)).into_iter().map(|row| row.weight).collect();
    assert_eq!((swept.len(), &swept), (1800, &weighed));
}

#[test]
#[ignore = "needs a graphics adapter (a software one will do): --include-ignored"]
fn the_gpu_sweeps_too() {
    let values = |backend: &str| sweep(&["--backend", backend, "--beta", "0.1,1", "--order", "1,2"]).1;
    for (gpu, cpu) in values("gpu").iter().zip(&values("cpu")) {
        assert_eq!(gpu[..2], cpu[..2]);
        for (gpu, cpu) in gpu[2..].iter().zip(&cpu[2..]) {
            let (gpu, cpu): (f64, f64) = (gpu.parse().unwrap(), cpu.parse().unwrap());
            assert!((gpu - cpu).abs() < 1e-5, "{gpu} {cpu}");
        }
    }
}
