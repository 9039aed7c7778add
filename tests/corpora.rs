//! The corpora of the fuzz targets `state` and `weigh`, as plain tests, and a short search beside them: what was found once is
//! not lost, and targets do not decay.
//!
//! `SOFTADAPT_EXECUTIONS=1000000 cargo test --release --test corpora -- --nocapture` searches longer, without coverage as a
//! guide; `SOFTADAPT_SEED` elsewhere.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "../fuzz/src/state.rs"]
#[allow(unreachable_pub, reason = "public in the library of the fuzz targets")]
mod state;
#[path = "../fuzz/src/weigh.rs"]
#[allow(unreachable_pub, reason = "public in the library of the fuzz targets")]
mod weigh;

use common::problem::{self, Random};
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

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Runs a target on random bytes, and on files of its corpus with some bytes changed.
#[expect(clippy::print_stdout, reason = "shown if a check panics, and on request")]
fn search(target: &str, check: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let (executions, random) = (number("SOFTADAPT_EXECUTIONS", 5_000), &mut Random(number("SOFTADAPT_SEED", 1)));
    for execution in 0..executions {
        let mut bytes = if random.chance(2) {
            let length = random.within(0..=600);
            (0..length).map(|_| random.next() as u8).collect()
        } else {
            corpus[random.below(corpus.len())].clone()
        };
        for _ in 0..random.below(6) {
            if let Some(last) = bytes.len().checked_sub(1) {
                let at = random.within(0..=last);
                match random.below(4) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] = random.pick(&[0, 1, 2, 0x7f, 0x80, 0xff]),
                    2 => bytes.truncate(at),
                    _ => bytes.insert(at, random.next() as u8),
                }
            }
        }
        if let Err(panic) = std::panic::catch_unwind(|| check(&bytes)) {
            println!("{target}, execution {execution}, bytes {bytes:?}");
            std::panic::resume_unwind(panic);
        }
    }
    println!("{target}: {executions} executions");
}

#[test]
fn checkpoints() {
    assert!(run("state", state::check) > 20);
    search("state", state::check);
}

#[test]
fn batches() {
    assert!(run("weigh", weigh::check) > 100);
    search("weigh", weigh::check);
}
