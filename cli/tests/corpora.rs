//! The corpora of the fuzz targets for the command's readers, as plain tests.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../fuzz/src/readers.rs"]
#[allow(unreachable_pub, dead_code, reason = "public in the library of the fuzz targets")]
mod readers;

use std::fs;
use std::path::Path;

/// Runs every file of a target's corpus; how many there were.
#[expect(clippy::print_stdout, reason = "shown if a check panics")]
fn run(target: &str, check: impl Fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        println!("{}", file.display());
        check(&fs::read(file).unwrap());
    }
    files.len()
}

#[test]
fn csv() {
    assert!(run("csv", readers::csv) > 20);
}

#[test]
fn jsonl() {
    assert!(run("jsonl", readers::jsonl) > 20);
}

#[test]
fn parquet() {
    assert!(run("parquet", readers::parquet) > 5);
}

#[test]
fn arrow() {
    assert!(run("arrow", readers::arrow) > 5);
}

#[test]
fn events() {
    assert!(run("events", readers::events) > 20);
}
