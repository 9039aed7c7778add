//! `softadapt devices`, `check` and `bench`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{run, stderr, stdout};
use serde_json::Value;

#[test]
fn check_finds_the_cpu_in_order() {
    let text = stdout(&run(&["check", "--backend", "cpu", "--batches", "40", "--seed", "7"]));
    assert!(text.starts_with("40 random batches, seed 7, against the 64-bit reference\n\nCPU path, "), "{text}");
    assert_eq!(text.matches("0 beyond it").count(), 4, "{text}");
    assert!(text.contains("0 differ\n  all as they should be\n"), "{text}");
    let compared = |text: &str| text.matches(" 0 compared").count();
    assert_eq!(compared(&text), 0, "{text}");
    let again = stdout(&run(&["check", "--backend", "cpu", "--batches", "40", "--seed", "7"]));
    assert_eq!(text, again, "the same numbers every time");
    let other = stdout(&run(&["check", "--backend", "cpu", "--batches", "40", "--seed", "8"]));
    assert_ne!(text, other);
}

#[test]
#[ignore = "needs a graphics adapter (a software one will do): --include-ignored"]
fn check_finds_the_gpu_in_order() {
    let text = stdout(&run(&["check", "--backend", "gpu", "--batches", "40"]));
    assert!(text.contains("\nGPU path, ") && text.contains("0 differ\n  all as they should be\n"), "{text}");
}

#[test]
fn bench_times_what_it_is_asked_for() {
    let arguments = [
        "bench",
        "--json",
        "--backend",
        "cpu",
        "--shape",
        "7,3,5",
        "--shape",
        "40,2,9",
        "--variant",
        "normalized",
        "--variant",
        "loss-weighted",
    ];
    let text = stdout(&run(&arguments));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let brief: Vec<(u64, &str)> =
        lines.iter().map(|line| (line["groups"].as_u64().unwrap(), line["variant"].as_str().unwrap())).collect();
    assert_eq!(brief, [(7, "normalized"), (7, "loss-weighted"), (40, "normalized"), (40, "loss-weighted")]);
    for line in &lines {
        let (groups, components, window) =
            (line["groups"].as_u64().unwrap(), line["components"].as_u64().unwrap(), line["window"].as_u64().unwrap());
        let bytes = line["bytes"].as_u64().unwrap();
        assert_eq!(bytes, 4 * groups * components * (window + 1));
        assert_eq!((line["backend"].as_str(), line["path"].as_str()), (Some("cpu"), Some("cpu")));
        assert!(line["adapter"].is_null());
        let nanoseconds = line["ns_per_group"].as_f64().unwrap() * groups as f64;
        assert!(nanoseconds > 0.0);
        assert!((line["gb_per_s"].as_f64().unwrap() / (bytes as f64 / nanoseconds) - 1.0).abs() < 1e-9);
        assert_eq!(line.as_object().unwrap().len(), 10);
    }
}

#[test]
fn bench_has_a_table_with_the_plain_version_on_it() {
    let text = stdout(&run(&["bench", "--shape", "50,3,5", "--backend", "reference"]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("ns per group") && lines[1].contains("reference"), "{text}");
}

#[test]
#[ignore = "needs a graphics adapter (a software one will do): --include-ignored"]
fn bench_times_the_gpu_end_to_end_and_on_the_device() {
    let text = stdout(&run(&["bench", "--json", "--backend", "gpu", "--shape", "1000,3,5"]));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["path"], "host");
    assert!(lines.iter().all(|line| line["backend"] == "gpu" && line["adapter"].is_string()), "{text}");
}

#[test]
fn shapes_that_are_none_are_refused() {
    for (shape, message) in [
        ("1000,3", "--shape 1000,3: expected groups, components and window, such as 100000,3,5"),
        ("0,3,5", "--shape 0,3,5: there is nothing to time without groups"),
        ("10,5000,5", "--shape 10,5000,5: a group has 5000 components: 1 to 4096 are supported"),
        ("10,3,1", "the slope needs 2 points, the window has 1"),
    ] {
        let output = run(&["bench", "--backend", "cpu", "--shape", shape]);
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(2));
    }
}

#[cfg(feature = "gpu")]
#[test]
fn devices_are_listed_and_one_that_is_not_there_is_an_error() {
    let text = stdout(&run(&["devices"]));
    assert!(text.contains("CPU path: "), "{text}");
    let output = run(&["weigh", "-", "--backend", "gpu", "--adapter", "no such adapter"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("adapter"), "{}", stderr(&output));
}

#[cfg(not(feature = "gpu"))]
#[test]
fn without_the_feature_the_gpu_is_misuse() {
    for arguments in [&["devices"][..], &["weigh", "-", "--backend", "gpu"], &["check", "--backend", "gpu"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).starts_with("softadapt: built without the feature `gpu`"), "{}", stderr(&output));
    }
}

#[test]
fn completions_and_man_pages_know_every_command_and_option() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&["completions", shell]));
        for word in ["weigh", "replay", "sweep", "strip-prefix", "cycle-mean", "loss-weighted"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(run(&["completions", "abacus"]).status.code(), Some(2));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(stdout(&run(&["man", path])), "");
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("softadapt.1").contains("replay"));
    let replay = page("softadapt-replay.1");
    for word in ["softadapt replay", "cycle\\-mean", "Examples:"] {
        assert!(replay.contains(word), "{word}: {replay}");
    }
    let missing = folder.path().join("missing");
    assert_eq!(run(&["man", missing.to_str().unwrap()]).status.code(), Some(1));
}

#[test]
#[ignore = "needs a graphics adapter (a software one will do): --include-ignored"]
fn bench_reports_on_the_gpu_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.md");
    let file = path.to_str().unwrap();
    let text = stdout(&run(&["bench", "--gpu-report", file, "--quick", "--shape", "300,3,5", "--json"]));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths: Vec<&str> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
    for path in ["fused", "staged", "slopes_stage", "average_stage", "normalize_stage", "softmax_stage", "step"] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
    // Two layouts of three variants: fused, staged, and the stages.
    assert_eq!(paths.iter().filter(|path| path.ends_with("_stage")).count(), 2 * (2 + 3 + 3));
    assert!(lines.iter().all(|line| line["us"].as_f64().unwrap() > 0.0), "{text}");
    let report = std::fs::read_to_string(&path).unwrap();
    assert!(report.contains("Date: 20") && report.contains("Command: `softadapt bench --gpu-report"), "{report}");
    assert_eq!(report.lines().filter(|line| line.starts_with("| 300x3x5 |")).count(), lines.len(), "{report}");
}

#[test]
#[ignore = "needs a graphics adapter (a software one will do): --include-ignored"]
fn bench_tunes_the_gpu() {
    let text = stdout(&run(&["bench", "--tune", "--shape", "70,3,5", "--variant", "original", "--json"]));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let layouts: Vec<&str> = lines.iter().map(|line| line["layout"].as_str().unwrap()).collect();
    assert_eq!(layouts, ["row-major", "time-major", "step"]);
    for line in &lines {
        assert!(line["candidates"].as_u64().unwrap() > 5 && line["gain"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["table"].as_str().unwrap().starts_with("workgroups of "), "{line}");
    }
}
