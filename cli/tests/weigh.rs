//! `softadapt weigh`, from files to weights, with the built command.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use bytes::Bytes;
use common::{LONG, Row, WIDE, by_name, command, data, gzip, rows, run, run_with, stderr, stdout};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};

/// Runs that diverged.
const DIVERGED: [&str; 2] = ["digits-multitask-05", "digits-multitask-17"];

fn weigh(arguments: &[&str]) -> Vec<Row> {
    let arguments: Vec<&str> = [&["weigh", "--quiet"], arguments].concat();
    rows(&stdout(&run(&arguments)))
}

fn weigh_text(text: &str, arguments: &[&str]) -> Vec<Row> {
    let arguments: Vec<&str> = [&["weigh", "-", "--quiet", "--backend", "cpu"], arguments].concat();
    rows(&stdout(&run_with(&arguments, text.as_bytes())))
}

/// Every setting of expected.json on one backend.
fn weights_of_the_package(backend: &str) {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/expected.json")).unwrap();
    let settings: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(settings.len(), 15);
    let log = data(LONG);
    for setting in &settings {
        let variant = setting["variant"].as_str().unwrap();
        let beta = setting["beta"].to_string();
        let window = setting["window"].to_string();
        let order = setting["accuracy_order"].to_string();
        let mut arguments =
            vec![&log, "--backend", backend, "--variant", variant, "--beta", &beta, "--window", &window];
        if order != "null" {
            arguments.extend(["--order", &order]);
        }
        let rows = weigh(&arguments);
        let found = by_name(&rows);
        let mut compared = 0;
        for (run, expected) in setting["runs"].as_object().unwrap() {
            let diverged = DIVERGED.contains(&run.as_str());
            assert_eq!(!diverged, expected["finite_window"].as_bool().unwrap(), "{run}");
            for (component, weight) in expected["weights"].as_object().unwrap() {
                let row = &found[&(run.clone(), component.clone())];
                compared += 1;
                if diverged {
                    assert!(weight.is_null(), "{arguments:?}: {run}");
                    assert_eq!(row.status, "non-finite", "{arguments:?}: {row:?}");
                    assert!((row.weight() - 1.0 / 3.0).abs() < 1e-7, "{arguments:?}: {row:?}");
                } else {
                    let weight = weight.as_f64().unwrap();
                    assert!(!row.status.contains("non-finite"), "{arguments:?}: {row:?}");
                    assert!((row.weight() - weight).abs() <= 1e-4, "{arguments:?}: {row:?}, expected {weight}");
                }
            }
        }
        assert_eq!(compared, rows.len(), "no line is left over");
        assert_eq!(compared, 152);
    }
}

#[test]
fn reference_gives_the_weights_of_the_package() {
    weights_of_the_package("reference");
}

#[test]
fn cpu_gives_the_weights_of_the_package() {
    weights_of_the_package("cpu");
}

#[test]
#[ignore = "needs a graphics adapter (a software one will do): --include-ignored"]
fn gpu_gives_the_weights_of_the_package() {
    weights_of_the_package("gpu");
}

#[test]
#[ignore = "needs a graphics adapter (a software one will do): --include-ignored"]
fn the_gpu_is_named_in_the_summary() {
    let output = run(&["weigh", &data(LONG), "--backend", "gpu"]);
    stdout(&output);
    assert!(stderr(&output).contains("\nGPU path, "), "{}", stderr(&output));
}

#[test]
fn diverged_runs_leave_no_trace_on_others() {
    let long = fs::read_to_string(data(LONG)).unwrap();
    let without: String = long
        .lines()
        .filter(|line| !DIVERGED.iter().any(|run| line.starts_with(run)))
        .fold(String::new(), |all, line| all + line + "\n");
    assert!(without.len() < long.len());
    for backend in ["reference", "cpu"] {
        let with = weigh(&[&data(LONG), "--backend", backend]);
        let with: Vec<Row> = with.into_iter().filter(|row| !DIVERGED.contains(&row.run.as_str())).collect();
        let output = run_with(&["weigh", "-", "--quiet", "--backend", backend], without.as_bytes());
        // Bit for bit: the numbers are written with all their digits.
        assert_eq!(with, rows(&stdout(&output)), "{backend}");
    }
}

#[test]
fn the_output_is_in_input_order() {
    let found = weigh(&[&data(LONG), "--backend", "cpu"]);
    let mut expected: Vec<(String, String)> = Vec::new();
    let log = fs::read_to_string(data(LONG)).unwrap();
    for line in log.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let key = (fields[0].to_owned(), fields[2].to_owned());
        if !expected.contains(&key) {
            expected.push(key);
        }
    }
    let found: Vec<(String, String)> = found.into_iter().map(|row| (row.run, row.component)).collect();
    assert_eq!(found, expected);
}

#[test]
fn wide_form_gives_what_long_form_gives() {
    let names = ["digits-multitask-"];
    for backend in ["reference", "cpu"] {
        let long = weigh(&[&data(LONG), "--backend", backend]);
        let long: Vec<Row> = long.into_iter().filter(|row| row.run.starts_with(names[0])).collect();
        let wide = weigh(&[&data(WIDE), "--backend", backend]);
        assert_eq!(long, wide);
        assert_eq!(wide.len(), 72);
    }
}

#[test]
fn standard_input_is_a_file() {
    let long = fs::read(data(LONG)).unwrap();
    let piped = run_with(&["weigh", "--quiet", "--backend", "cpu", "-"], &long);
    assert_eq!(rows(&stdout(&piped)), weigh(&[&data(LONG), "--backend", "cpu"]));
}

#[test]
fn compressed_files_patterns_and_folders_give_what_plain_files_give() {
    let folder = tempfile::tempdir().unwrap();
    let long = fs::read(data(LONG)).unwrap();
    // The names say nothing; two gzip files behind one another are one.
    let (first, second) = long.split_at(100_000);
    fs::write(folder.path().join("a.csv"), [gzip(first), gzip(second)].concat()).unwrap();
    let whole = weigh(&[&data(LONG), "--backend", "cpu"]);
    let inside = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for argument in ["a.csv", "*.csv", "[a-z].*", "."] {
        assert_eq!(weigh(&[&inside(argument), "--backend", "cpu"]), whole, "{argument}");
    }
    let piped = run_with(&["weigh", "--quiet", "--backend", "cpu", "-"], &zstd::encode_all(&*long, 3).unwrap());
    assert_eq!(rows(&stdout(&piped)), whole);
}

#[test]
fn components_can_be_selected_and_their_names_cut() {
    let long =
        "run,step,component,value\nr,0,lr,9\nr,0,loss/a,1\nr,0,loss/b,2\nr,1,loss/a,2\nr,1,loss/b,1\nr,1,x/a,1\n";
    let wide = "run,step,lr,loss/a,loss/b,x/a\nr,0,9,1,2,\nr,1,,2,1,1\n";
    for text in [long, wide] {
        let names = |options: &[&str]| {
            let rows = weigh_text(text, &[&["--window", "2"], options].concat());
            rows.iter().map(|row| row.component.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&["--select", "loss/*"]), "loss/a loss/b");
        assert_eq!(names(&["--strip-prefix", "loss/"]), "a b");
        assert_eq!(names(&["--select", "*/a", "--strip-prefix", "loss/"]), "a");
        assert_eq!(names(&["--select", "lr", "--select", "x/?"]), "lr x/a");
    }
}

#[test]
fn several_files_are_one_set_of_runs() {
    let folder = tempfile::tempdir().unwrap();
    let log = fs::read_to_string(data(LONG)).unwrap();
    let (header, body) = log.split_once('\n').unwrap();
    // Every other step: every run lies in both parts. One of them by standard input.
    let step = |line: &str| line.split(',').nth(1).unwrap().parse::<usize>().unwrap();
    let part = |which: usize| {
        let lines = body.lines().filter(|line| step(line) % 2 == which);
        lines.fold(header.to_owned() + "\n", |text, line| text + line + "\n")
    };
    let first = folder.path().join("first.csv");
    fs::write(&first, part(0)).unwrap();
    let output = run_with(&["weigh", "--quiet", "--backend", "cpu", first.to_str().unwrap(), "-"], part(1).as_bytes());
    let (whole, parts) = (weigh(&[&data(LONG), "--backend", "cpu"]), rows(&stdout(&output)));
    assert_eq!(whole, parts);
    // Long and wide together: a second family of runs beside the first.
    let renamed = fs::read_to_string(data(WIDE)).unwrap().replace("digits-", "wide-");
    let output = run_with(&["weigh", "--quiet", "--backend", "cpu", &data(LONG), "-"], renamed.as_bytes());
    let both = rows(&stdout(&output));
    assert_eq!(both.len(), 152 + 72);
    assert_eq!(both[..152], whole);
    assert!(both[152..].iter().zip(&whole).all(|(wide, long)| wide.weight == long.weight));
}

#[test]
fn the_order_of_rows_does_not_matter() {
    let log = fs::read_to_string(data(LONG)).unwrap();
    let (header, body) = log.split_once('\n').unwrap();
    // The first step of every run names its components in their order, which sums depend on; the rest is shuffled.
    let (first, mut rest): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.contains(",0,"));
    let mut state = 1u64;
    for i in (1..rest.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        rest.swap(i, (state >> 33) as usize % (i + 1));
    }
    let shuffled = format!("{header}\n{}\n{}", first.join("\n"), rest.join("\n"));
    let backward = format!("{header}\n{}", body.lines().rev().collect::<Vec<_>>().join("\n"));
    let sorted = weigh(&[&data(LONG), "--backend", "cpu"]);
    assert_eq!(sorted, weigh_text(&shuffled, &[]));
    // From the last row to the first: runs and components come in another order, and weights differ by rounding.
    let backward = weigh_text(&backward, &[]);
    let (sorted, backward) = (by_name(&sorted), by_name(&backward));
    assert!(sorted.keys().eq(backward.keys()));
    for (row, other) in sorted.values().zip(backward.values()) {
        assert_eq!((&row.slope, &row.mean_loss, &row.status), (&other.slope, &other.mean_loss, &other.status));
        assert!((row.weight() - other.weight()).abs() < 1e-6, "{row:?}, {other:?}");
    }
}

#[test]
fn json_says_what_csv_says() {
    for backend in ["reference", "cpu"] {
        let csv = weigh(&[&data(LONG), "--backend", backend]);
        let json = stdout(&run(&["weigh", &data(LONG), "--quiet", "--backend", backend, "--format", "json"]));
        let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(csv.len(), json.len());
        for (csv, json) in csv.iter().zip(&json) {
            assert_eq!(json.as_object().unwrap().len(), 6);
            assert_eq!((json["run"].as_str(), json["component"].as_str()), (Some(&*csv.run), Some(&*csv.component)));
            assert_eq!(json["status"].as_str(), Some(&*csv.status));
            for (name, text) in [("weight", &csv.weight), ("slope", &csv.slope), ("mean_loss", &csv.mean_loss)] {
                match json[name].as_f64() {
                    Some(number) => assert_eq!(number, text.parse::<f64>().unwrap()),
                    None => assert!(json[name].is_null() && text == "nan", "{csv:?}"),
                }
            }
        }
        assert!(json.iter().any(|line| line["slope"].is_null()), "the example has such lines");
    }
}

#[test]
fn weights_are_the_published_ones() {
    let text = "run,step,A,B,C\nr,1,1,150,1500\nr,2,2,100,1000\nr,3,3,50,500\nr,4,4,10,100\nr,5,5,.1,1\n";
    let near = |rows: Vec<Row>, expected: [f64; 3]| {
        for (row, expected) in rows.iter().zip(expected) {
            assert!((row.weight() - expected).abs() <= 1e-5 * expected, "{row:?}, expected {expected}");
        }
        assert_eq!(rows.len(), 3);
    };
    near(weigh_text(text, &[]), [9.934_333_63e-1, 6.566_627_09e-3, 3.890_808_93e-22]);
    near(weigh_text(text, &["--variant", "normalized"]), [0.322_072_31, 0.325_079_24, 0.352_848_45]);
    near(weigh_text(text, &["--variant", "loss-weighted"]), [8.797_772_01e-1, 1.202_227_96e-1, 7.123_351_47e-20]);
    near(
        weigh_text(text, &["--variant", "normalized", "--normalize", "l1"]),
        [0.344_368_09, 0.341_194_44, 0.314_437_48],
    );
}

/// A run on which every switch shows, and figures from the formulas.
#[test]
fn every_option_reaches_the_computation() {
    let text = "run,step,a,b\nr,0,4,1\nr,1,2,2\nr,2,1,5\n";
    let plain = weigh_text(text, &["--window", "3"]);
    for arguments in [
        &["--beta", "-0.5"][..],
        &["--order", "1"],
        &["--slope", "backward"],
        &["--slope", "least-squares"],
        &["--slope", "last"],
        &["--normalize", "l1"],
        &["--normalize", "l2"],
        &["--normalize", "signed-sum"],
        &["--loss-weighting", "window"],
        &["--loss-weighting", "slope-points", "--order", "1"],
        &["--epsilon", "0.5"],
        &["--floor", "0.2"],
        &["--scale", "components"],
    ] {
        let changed = weigh_text(text, &[&["--window", "3"], arguments].concat());
        assert_ne!(plain[0].weight, changed[0].weight, "{arguments:?}");
        let sum: f64 = changed.iter().map(Row::weight).sum();
        let expected = match arguments[0] {
            "--scale" => 2.0,
            // The sum of the exponentials over itself and epsilon, for slopes of -2.5 and 0.
            "--epsilon" => (1.0 + (-0.25f64).exp()) / (1.5 + (-0.25f64).exp()),
            _ => 1.0,
        };
        assert!((sum - expected).abs() < 1e-6, "{arguments:?}: {sum}");
    }
    // softmax(0.1 x [-1, 3]), and the slopes of the lines.
    let last = weigh_text(text, &["--window", "3", "--slope", "last"]);
    assert!((last[0].weight() - 1.0 / (1.0 + 0.4f64.exp())).abs() < 1e-6);
    let line = weigh_text(text, &["--window", "3", "--slope", "least-squares"]);
    assert_eq!((&*line[0].slope, &*line[1].slope), ("-1.5", "2"));
    let negative = weigh_text("run,step,a,b\nr,0,-4,1\nr,1,-2,2\n", &["--window", "2", "--variant", "loss-weighted"]);
    assert_eq!((&*negative[0].weight, &*negative[0].status), ("0", "negative-mean-loss"));
    let as_is = weigh_text(
        "run,step,a,b\nr,0,-4,1\nr,1,-2,2\n",
        &["--window", "2", "--variant", "loss-weighted", "--on-negative", "as-is"],
    );
    assert!(as_is[0].weight() > 1.0, "{as_is:?}");
}

#[test]
fn policies_for_losses_that_are_not_finite() {
    let text = "run,step,a,b,c\nr,0,1,2,3\nr,1,2,,1\ns,0,1,2,3\ns,1,2,1,1\n";
    let arguments = |policy| weigh_text(text, &["--window", "2", "--on-non-finite", policy]);
    let hold = arguments("hold");
    assert!(hold[..3].iter().all(|row| row.weight == "0.33333334" && row.status == "non-finite"), "{hold:?}");
    let mask = arguments("mask");
    assert_eq!((&*mask[1].weight, &*mask[1].slope, &*mask[1].status), ("0", "nan", "non-finite"));
    assert!((mask[0].weight() + mask[2].weight() - 1.0).abs() < 1e-6);
    let propagate = arguments("propagate");
    assert!(propagate[..3].iter().all(|row| row.weight == "nan"), "{propagate:?}");
    for rows in [&hold, &mask, &propagate] {
        assert_eq!(rows[3..], hold[3..]);
        assert!(rows[3..].iter().all(|row| row.status == "ok"));
    }
}

#[test]
fn short_runs_use_what_they_have_or_are_reported() {
    let text = "run,step,a,b\nlong,0,9,1\nlong,1,8,2\nlong,2,7,4\nlong,3,5,8\n\
        some,0,9,1\nsome,1,8,3\nfew,0,4,1\n";
    let rows = weigh_text(text, &["--window", "4", "--order", "1"]);
    let status = |run: &str, rows: &[Row]| rows.iter().find(|row| row.run == run).unwrap().status.clone();
    assert_eq!([status("long", &rows), status("some", &rows), status("few", &rows)], ["ok", "ok", "not-ready"]);
    // Two of four steps: means over those, and the weights of a window of two.
    assert_eq!((&*rows[2].mean_loss, &*rows[3].mean_loss), ("8.5", "2"));
    let two = weigh_text(text, &["--window", "2", "--order", "1"]);
    assert_eq!(rows[2].weight, two[2].weight);
    assert_eq!((&*rows[4].weight, &*rows[4].slope, &*rows[4].mean_loss), ("0.5", "nan", "4"));
    let line = weigh_text(text, &["--window", "4", "--slope", "least-squares"]);
    assert_eq!([status("long", &line), status("some", &line)], ["ok", "not-ready"]);
    let output = run_with(&["weigh", "-", "--backend", "cpu", "--window", "4"], text.as_bytes());
    let summary = stderr(&output);
    assert!(summary.contains("not-ready: 2 runs: some, few (fewer than 4 steps: neutral weights)"), "{summary}");
}

#[test]
fn components_may_be_missing_at_a_step() {
    // b has no row at step 1: missing there. c ended long ago.
    let text = "run,step,component,value\nr,0,a,1\nr,0,b,2\nr,0,c,1\nr,1,a,3\nr,2,a,4\nr,2,b,5\n";
    let rows = weigh_text(text, &["--window", "2"]);
    let brief: Vec<(&str, &str)> = rows.iter().map(|row| (&*row.component, &*row.slope)).collect();
    assert_eq!(brief, [("a", "1"), ("b", "nan"), ("c", "nan")]);
    assert!(rows.iter().all(|row| row.status == "non-finite"));
}

#[test]
fn forms_of_text_do_not_matter() {
    let expected = weigh_text("run,step,a,b\nr,0,1,2\nr,1,3,1e-1\n", &["--window", "2"]);
    for text in [
        "\u{feff}run,step,a,b\r\nr,0,1,2\r\nr,1,3,0.1\r\n",
        "run,step,a,b\nr,1.0,3.0,+0.1\nr,-7,1.,2",
        "step,run,\"a\",b\n\n0,\"r\",1.0,2\n 1 , r , 3 , .1 \n\n",
        "run,step,component,value\nr,0,a,1\nr,0,b,2\nr,1,a,3\nr,1,b,0.1\n",
        "value,note,component,run,step\n1,x,a,r,0\n2,\"y,\nz\",b,r,0\n3,,a,r,1\n0.1,,b,r,1\n",
    ] {
        assert_eq!(weigh_text(text, &["--window", "2"]), expected, "{text}");
    }
    let other = "Name,Epoch,Loss,Number\nr,0,a,1\nr,0,b,2\nr,1,a,3\nr,1,b,0.1\n";
    let names = [
        "--run-column",
        "Name",
        "--step-column",
        "Epoch",
        "--component-column",
        "Loss",
        "--value-column",
        "Number",
        "--window",
        "2",
    ];
    assert_eq!(weigh_text(other, &names), expected);
    let awkward = weigh_text("run,step,\"a,\"\"b\",é\n\"x\ny\",0,1,2\n\"x\ny\",1,2,3\n", &["--window", "2"]);
    assert_eq!((&*awkward[0].run, &*awkward[0].component, &*awkward[1].component), ("x\ny", "a,\"b", "é"));
}

#[test]
fn columns_of_other_runs_are_no_components() {
    // As trackers export runs of several kinds into one table.
    let text = "run,step,a,b,c\nr,0,1,2,\nr,1,3,4,\ns,0,,5,6\ns,1,,,7\nt,0,,,\n";
    let rows = weigh_text(text, &["--window", "2"]);
    let brief: Vec<(&str, &str, &str)> = rows.iter().map(|row| (&*row.run, &*row.component, &*row.status)).collect();
    assert_eq!(
        brief,
        [
            ("r", "a", "ok"),
            ("r", "b", "ok"),
            ("s", "b", "non-finite"),
            ("s", "c", "non-finite"),
            ("t", "a", "not-ready"),
            ("t", "b", "not-ready"),
            ("t", "c", "not-ready")
        ]
    );
}

#[test]
fn duplicates_follow_the_policy() {
    let text = "run,step,component,value\nr,0,a,1\nr,1,a,2\nr,0,b,1\nr,1,b,1\nr,1,a,9\n";
    let slope = |policy| weigh_text(text, &["--window", "2", "--on-duplicate", policy])[0].slope.clone();
    assert_eq!((slope("first"), slope("last")), ("1".to_owned(), "8".to_owned()));
}

#[test]
fn a_log_without_rows_has_no_weights() {
    for text in ["run,step,component,value\n", "run,step,a\n"] {
        assert_eq!(weigh_text(text, &[]), []);
    }
}

#[test]
fn the_summary_is_on_standard_error_and_can_be_turned_off() {
    let output = run(&["weigh", &data(LONG), "--backend", "cpu", "--window", "11"]);
    let summary = stderr(&output);
    for part in [
        "52 runs, 152 components; 18 880 rows read from 1 source\n",
        "CPU path, ",
        "window of 11 steps, forward slope of order 10\n",
        "warning: accuracy order 10 magnifies",
        "non-finite: 2 runs: digits-multitask-05, digits-multitask-17 (neutral weights)\n",
        " in all: reading ",
    ] {
        assert!(summary.contains(part), "{part:?} is not in {summary}");
    }
    assert!(summary.lines().count() < 24 && summary.lines().all(|line| line.len() < 200), "{summary}");
    assert_eq!(rows(&stdout(&output)).len(), 152, "nothing of it on standard output");
    assert_eq!(stderr(&run(&["weigh", &data(LONG), "--backend", "cpu", "--quiet"])), "");
    let reference = stderr(&run(&["weigh", &data(LONG), "--backend", "reference"]));
    assert!(reference.contains("reference path, 64-bit"), "{reference}");
}

#[test]
fn without_options_there_is_an_answer_on_any_machine() {
    let output = run(&["weigh", &data(LONG)]);
    assert_eq!(rows(&stdout(&output)).len(), 152);
    let summary = stderr(&output);
    let cpu = summary.contains("no GPU found: CPU path, ") || summary.contains("built without GPU support: CPU path, ");
    assert!(cpu || summary.contains("\nGPU path, "), "{summary}");
}

#[test]
fn an_output_file_holds_what_standard_output_would() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.csv");
    let expected = stdout(&run(&["weigh", &data(LONG), "--quiet", "--backend", "cpu"]));
    for _ in 0..2 {
        let output = run(&["weigh", &data(LONG), "--quiet", "--backend", "cpu", "-o", path.to_str().unwrap()]);
        assert_eq!(stdout(&output), "");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }
    // A log may be replaced by its weights: it has been read by then.
    let log = folder.path().join("log.csv");
    fs::copy(data(LONG), &log).unwrap();
    let log = log.to_str().unwrap();
    stdout(&run(&["weigh", log, "--quiet", "--backend", "cpu", "-o", log]));
    assert_eq!(fs::read_to_string(log).unwrap(), expected);
}

#[test]
fn outputs_of_all_formats_hold_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let log = data(LONG);
    for (options, backend) in [("--scale components", "cpu"), ("--variant loss-weighted", "reference")] {
        let options: Vec<&str> = options.split(' ').collect();
        let expected = weigh(&[&[&*log, "--backend", backend], &*options].concat());
        let write = |name: &str, more: &[&str]| {
            let path = folder.path().join(name);
            let to = ["weigh", &log, "--backend", backend, "-q", "-o", path.to_str().unwrap()];
            assert_eq!(stdout(&run(&[&to, &*options, more].concat())), "");
            fs::read(path).unwrap()
        };
        let lines = write("weights.jsonl", &[]);
        assert_eq!(lines, write("weights.csv", &["--format", "json"]), "--format wins over the name");
        for (line, row) in std::str::from_utf8(&lines).unwrap().lines().zip(&expected) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!((line["run"].as_str(), line["component"].as_str()), (Some(&*row.run), Some(&*row.component)));
            assert_eq!((line["weight"].as_f64(), line["status"].as_str()), (Some(row.weight()), Some(&*row.status)));
            assert_eq!(line["mean_loss"].is_null(), ["nan", "inf"].contains(&&*row.mean_loss));
        }
        // A Parquet file of weights is a log in wide form, as far as columns go.
        let bytes = write("weights.parquet", &[]);
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), expected.len());
        let batch = &batches[0];
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["run", "component", "weight", "slope", "mean_loss", "status"]);
        for (i, row) in expected.iter().enumerate() {
            let text = |column: usize| batch.column(column).as_string::<i32>().value(i);
            assert_eq!((text(0), text(1), text(5)), (&*row.run, &*row.component, &*row.status));
            for (column, number) in [(2, &row.weight), (3, &row.slope), (4, &row.mean_loss)] {
                match batch.column(column).as_primitive_opt::<Float32Type>() {
                    Some(values) => {
                        assert_eq!(backend, "cpu");
                        let number: f32 = number.parse().unwrap();
                        assert!(values.value(i) == number || (values.value(i).is_nan() && number.is_nan()));
                    }
                    None => {
                        let value = batch.column(column).as_primitive::<Float64Type>().value(i);
                        let number: f64 = number.parse().unwrap();
                        assert!(value == number || (value.is_nan() && number.is_nan()));
                    }
                }
            }
        }
    }
}

#[test]
fn a_failure_leaves_the_output_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.csv"), folder.path().join("new.csv"));
    fs::write(&old, "precious").unwrap();
    for path in [&old, &new] {
        let arguments = ["weigh", "-", "--backend", "cpu", "-o", path.to_str().unwrap()];
        // The last line of a long log is bad.
        let mut log = fs::read_to_string(data(LONG)).unwrap();
        log += "r,0,a,oops\n";
        let output = run_with(&arguments, log.as_bytes());
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
    }
    assert_eq!(fs::read_to_string(&old).unwrap(), "precious");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "neither a result nor a temporary file");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    // Far more than a pipe holds.
    let mut log = String::from("run,step,a,b\n");
    for run in 0..20_000 {
        log += &format!("run-{run},0,1,2\nrun-{run},1,3,2\n");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    fs::write(&path, log).unwrap();
    for format in ["csv", "json", "parquet"] {
        let path = path.to_str().unwrap();
        let mut child = command(&["weigh", path, "--backend", "cpu", "--window", "2", "--quiet", "--format", format])
            .spawn()
            .unwrap();
        let mut first = Vec::new();
        BufReader::new(child.stdout.take().unwrap()).read_until(b'1', &mut first).unwrap();
        assert!(!first.is_empty());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(stderr(&output), "");
    }
}
