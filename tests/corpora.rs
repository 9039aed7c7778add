//! The corpora of the fuzz targets `state` and `weigh`, as plain tests: what was found once is not lost, and targets do not
//! decay.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "../fuzz/src/state.rs"]
#[allow(unreachable_pub, reason = "public in the library of the fuzz targets")]
mod state;
#[path = "../fuzz/src/weigh.rs"]
#[allow(unreachable_pub, reason = "public in the library of the fuzz targets")]
mod weigh;

use common::problem;
use std::fs;
use std::path::Path;

/// Runs every file of a target's corpus; how many there were.
#[expect(clippy::print_stdout, reason = "shown if a check panics")]
fn run(target: &str, check: impl Fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        println!("{}", file.display());
        check(&fs::read(file).unwrap());
    }
    files.len()
}

#[test]
fn checkpoints() {
    assert!(run("state", state::check) > 20);
}

#[test]
fn batches() {
    assert!(run("weigh", weigh::check) > 100);
}
