//! `softadapt plot` and the heat map of `softadapt sweep`: what can be told of a picture without looking at it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{EVENTS, LONG, data, run, run_with, stderr, stdout};
use std::fs;

#[test]
fn a_picture_shows_the_runs_that_were_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (svg, png) = (path("runs.svg"), path("runs.png"));
    for picture in [&svg, &png] {
        let options = ["--run", "pinn-burgers-0[13]", "--run", "digits-multitask-05", "--beta", "10", "-q"];
        assert_eq!(stdout(&run(&[&["plot", &data(LONG), "-o", picture], &options[..]].concat())), "");
    }
    let text = fs::read_to_string(&svg).unwrap();
    for words in ["pinn-burgers-01: loss", "pinn-burgers-03: weight", "digits-multitask-05: loss"] {
        assert!(text.contains(words), "{words}");
    }
    for words in ["residual", "cross_entropy", "sparsity", "loss (logarithmic)", "step"] {
        assert!(text.contains(words), "{words}");
    }
    assert!(!text.contains("pinn-burgers-02") && !text.contains("NaN") && !text.contains("inf"), "gaps are left out");
    // 4 components in two runs and 3 in one, each in two charts; gaps make pieces of a line.
    assert!(text.matches("<polyline").count() >= 2 * (4 + 4 + 3));
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(&png).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (1320, 3 * 320));
    let of_colour = |colour: [u8; 3]| pixels.chunks(3).filter(|pixel| **pixel == colour).count();
    assert!(of_colour([255, 255, 255]) > pixels.len() / 3 / 2, "paper is white");
    for colour in [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167]] {
        assert!(of_colour(colour) > 500, "a line of colour {colour:?}");
    }
}

#[test]
fn awkward_runs_can_be_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.svg");
    let path = path.to_str().unwrap();
    for (log, words) in [
        ("run,step,a\nr,0,1\n", "r: loss"),
        ("run,step,a\nr,0,nan\nr,1,\n", "r: loss"),
        ("run,step,a,b\nr,0,-1,0\nr,1,2,0\nr,9,1e30,0\n", "r: loss"),
        ("run,step,a,b\n<&>,-5,1,1\n<&>,5,1,1\n", "&lt;&amp;&gt;: loss"),
        ("run,step,a\nr,-9223372036854775808,1\nr,9223372036854775807,2\n", "r: loss"),
    ] {
        assert_eq!(stdout(&run_with(&["plot", "-", "-q", "-o", path], log.as_bytes())), "", "{log}");
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(words), "{log}");
        let logarithmic = text.contains("logarithmic");
        assert_eq!(logarithmic, !log.contains("-1,0"), "{log}: losses that are not positive have no logarithm");
    }
    let names: String = (0..100).map(|i| format!(",component number {i}")).collect();
    let log = format!("run,step{names}\nr,0{}\nr,1{}\n", ",1".repeat(100), ",2".repeat(100));
    stdout(&run_with(&["plot", "-", "-q", "-o", path], log.as_bytes()));
    assert!(fs::read_to_string(path).unwrap().contains("and 87 more"));
}

#[test]
fn a_heat_map_has_a_cell_for_every_setting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.svg");
    let (map, summary) = (path.to_str().unwrap(), folder.path().join("summary.csv"));
    let sweep = ["sweep", &data(EVENTS), "--backend", "cpu", "-q", "-o", "/dev/null", "--heat-map", map];
    let settings = ["--beta", "0.1,1", "--order", "1,2,4", "--summary", summary.to_str().unwrap()];
    stdout(&run(&[&sweep[..], &settings].concat()));
    let text = fs::read_to_string(map).unwrap();
    let mut reader = csv::Reader::from_path(&summary).unwrap();
    for record in reader.records() {
        for share in record.unwrap().iter().skip(9) {
            let cell = format!("{:.3}", share.parse::<f64>().unwrap());
            assert!(text.contains(&cell), "{cell}");
        }
    }
    for order in [1, 2, 4] {
        assert_eq!(text.matches(&format!("original forward order={order} window=5")).count(), 3);
    }
}

#[test]
fn pictures_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (options, status, message) in [
        (vec!["no such file".to_owned(), "-o".into(), path("a.pdf")], 2, "a picture is a .svg or a .png"),
        (vec!["no such file".to_owned()], 2, "--output <FILE>"),
        (
            vec![data(LONG), "-o".into(), path("a.svg"), "--run".into(), "x*".into()],
            2,
            "no run is called as --run says",
        ),
        (vec![data(LONG), "-o".into(), path("a.svg"), "--run".into(), "*".into()], 2, "a picture has room for 12 runs"),
        (vec![data(LONG), "-o".into(), path("no/a.svg")], 1, "cannot be written: "),
        (vec!["missing.csv".to_owned(), "-o".into(), path("a.svg")], 1, "missing.csv: cannot be opened"),
    ] {
        let mut arguments = vec!["plot"];
        arguments.extend(options.iter().map(String::as_str));
        let output = run(&arguments);
        assert!(stderr(&output).contains(message), "{options:?}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(status), "{options:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
