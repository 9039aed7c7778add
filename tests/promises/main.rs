//! The numerical promises of the README, measured: by every `cargo test` on a sample, and in full by `scripts/promises`, which
//! writes `docs/promises.md`.
//!
//! * `exponential`: the kernels' exponential and the CPU path's, over every f32 in [-104, 0].
//! * `errors`: weights, slopes and means against the f64 reference, with the derived bound beside the error.
//! * `bits`: the same bits run to run, in any batch, chunk and place, on any number of threads.
//!
//! A sample takes one adapter: the one that `SOFTADAPT_TEST_ADAPTER` names, or the best there is. The full run takes all.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says what it is at")]

#[path = "../common/mod.rs"]
mod common;

mod bits;
mod errors;
mod exponential;
mod report;

use common::problem::{Problem, outputs, poisoned};
use libtest_mimic::{Arguments, Trial};
use softadapt::gpu::DeviceError;
use softadapt::host::{AdapterChoice, Context, HostError, adapters};
use softadapt::{Outputs, Weights, cpu};
use std::sync::LazyLock;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A part that takes seconds.
    Sample,
    /// What the promises say.
    Full,
}

/// What makes weights in f32.
#[derive(Clone)]
pub(crate) enum Path {
    Cpu,
    Gpu(Box<Context>),
}

impl Path {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Cpu => "CPU path".to_owned(),
            Self::Gpu(context) => context.adapter().name.split(" (").next().unwrap_or_default().to_owned(),
        }
    }

    /// Weights, slopes, means and status; on a GPU by the staged kernels.
    pub(crate) fn details(&self, problem: &Problem) -> Weights<f32> {
        let mut answer = poisoned(&problem.plan);
        self.weigh_into(problem, &mut outputs(&mut answer));
        answer
    }

    /// Weights and status alone; on a GPU by the fused kernel. Slopes and means keep their poison.
    pub(crate) fn weights(&self, problem: &Problem) -> Weights<f32> {
        let mut answer = poisoned(&problem.plan);
        let mut outputs = Outputs { status: Some(&mut answer.status), ..Outputs::new(&mut answer.weights) };
        self.weigh_into(problem, &mut outputs);
        answer
    }

    fn weigh_into(&self, problem: &Problem, outputs: &mut Outputs<'_, f32>) {
        let Self::Gpu(context) = self else {
            return cpu::weigh_into(&problem.plan, &problem.batch(), outputs).unwrap();
        };
        // On a machine that is busy with something else for minutes, time runs out, which is no wrong answer.
        for _ in 0..20 {
            match context.weigh_into(&problem.plan, &problem.batch(), outputs) {
                Err(HostError::Device(DeviceError::TimedOut { .. })) => {}
                result => return result.unwrap(),
            }
        }
        panic!("{}: time ran out twenty times", self.name());
    }
}

/// The CPU path and one adapter.
static SAMPLED: LazyLock<Vec<Path>> = LazyLock::new(|| {
    let choice = std::env::var("SOFTADAPT_TEST_ADAPTER").map_or(AdapterChoice::Any, AdapterChoice::Named);
    vec![Path::Cpu, Path::Gpu(Box::new(Context::new(&choice).unwrap_or_else(|error| panic!("{error}"))))]
});

/// The CPU path and every adapter.
fn all_paths() -> Vec<Path> {
    let mut paths = vec![Path::Cpu];
    for adapter in adapters().into_iter().filter(|adapter| adapter.backend != "gl") {
        paths.push(Path::Gpu(Box::new(Context::new(&AdapterChoice::Named(adapter.name)).unwrap())));
    }
    assert!(paths.len() > 1, "no GPU adapter: install a software one (see scripts/promises)");
    paths
}

fn main() {
    // A file to write the table of the full run to.
    if let Some(file) = std::env::var_os("SOFTADAPT_PROMISES") {
        let paths = all_paths();
        let text = report::full(&paths);
        std::fs::write(file, text).unwrap();
        return;
    }
    let arguments = Arguments::from_args();
    let can_run = adapters().iter().any(|adapter| adapter.backend != "gl");
    let must_run = std::env::var_os("CI").is_some();
    if !can_run && !must_run {
        eprintln!("no GPU adapter, not even a software one: the promises are not checked");
    }
    if can_run {
        eprintln!("paths: {}", SAMPLED.iter().map(Path::name).collect::<Vec<_>>().join(", "));
    }
    let tests: [(&str, fn()); 4] = [
        ("exponential", || _ = exponential::measure(&SAMPLED, Extent::Sample)),
        ("errors", || _ = errors::measure(&SAMPLED, Extent::Sample)),
        ("repeated_runs", || _ = bits::repeated_runs(&SAMPLED, Extent::Sample)),
        ("batches_and_threads", || _ = bits::batches_and_threads(&SAMPLED, Extent::Sample)),
    ];
    let trials = tests.map(|(name, test)| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(format!("promises::{name}"), run).with_ignored_flag(!can_run && !must_run)
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}
