//! Which way of laying kernels out is fastest on this GPU, beside what the library's table says.

use super::{LARGE, LARGE_QUICK, Pattern, gpu_error, open, plan, time};
use crate::args::{BenchArguments, Variant};
use crate::bench::parse_shape;
use crate::error::Error;
use crate::output::Output;
use serde::Serialize;
use softadapt::Layout;
use softadapt::gpu::{Choice, KernelOptions, Stage, Tuning};
use softadapt::host::{Context, DevicePath, Workload};
use std::time::Duration;

/// Submissions of which the median is taken: of every candidate, and of the fastest ones and the table's choice.
const RUNS: usize = 3;
const RUNS_FINAL: usize = 15;
/// Candidates that are measured again.
const FINALISTS: usize = 4;
/// A gain below this is no reason to depart from the table: two runs of one kernel differ as much.
const NOTABLE: f64 = 1.03;

/// What is printed of one plan.
#[derive(Debug, Serialize)]
struct Finding {
    groups: usize,
    components: usize,
    window: usize,
    layout: &'static str,
    variant: &'static str,
    adapter: String,
    /// Candidates that were tried; each gave the right bits.
    candidates: usize,
    table: String,
    table_us: f64,
    best: String,
    best_us: f64,
    /// Time of the table's choice over that of the best.
    gain: f64,
    /// The fields of `softadapt::gpu::Choice`; none where the table's choice is as good.
    choice: Option<Fields>,
}

#[derive(Clone, Debug, Serialize)]
struct Fields {
    workgroup: Option<u32>,
    rounds: Option<u32>,
    reads: Option<String>,
    subgroups: Option<bool>,
}

/// Runs the command.
///
/// # Errors
/// No GPU, a shape that does not fit it, or a candidate whose answers are wrong.
pub(crate) fn run(arguments: &BenchArguments) -> Result<(), Error> {
    let context = open(arguments)?;
    let shapes = arguments.shapes.iter().map(|text| parse_shape(text)).collect::<Result<Vec<[usize; 3]>, Error>>()?;
    let shapes = match (shapes.is_empty(), arguments.quick) {
        (false, _) => shapes,
        (true, true) => LARGE_QUICK.to_vec(),
        (true, false) => LARGE.to_vec(),
    };
    let variants = match &arguments.variants[..] {
        [] => &[Variant::Original, Variant::LossWeighted],
        variants => variants,
    };
    if !arguments.json {
        Output::Stdout.write(|out| writeln!(out, "{}", context.adapter()))?;
    }
    for &shape in &shapes {
        let pattern = Pattern::new(shape)?;
        for layout in [Layout::RowMajor, Layout::TimeMajor] {
            let workload = pattern.workload(&context, shape[0], layout)?;
            for &variant in variants {
                let finding = try_all(&context, &pattern, &workload, shape, layout, variant)?;
                Output::Stdout.write(|out| {
                    if arguments.json {
                        serde_json::to_writer(&mut *out, &finding)?;
                        writeln!(out)
                    } else {
                        writeln!(out, "{finding}")
                    }
                })?;
            }
        }
    }
    Ok(())
}

fn try_all(
    context: &Context,
    pattern: &Pattern,
    workload: &Workload,
    shape: [usize; 3],
    layout: Layout,
    variant: Variant,
) -> Result<Finding, Error> {
    let whole = plan(variant, shape, layout)?;
    let expected = pattern.weights(context, variant)?;
    let workload = workload.with_config(whole.config()).map_err(gpu_error)?;
    let measure = |choice: Choice, runs: usize| -> Result<Duration, Error> {
        let workload = workload.clone().with_choice(choice);
        Ok(time(runs, |repeats, runs| workload.time(DevicePath::Fused, repeats, runs))?.0)
    };
    let candidates = Tuning::candidates(&whole, Stage::Fused, context.kernels().subgroup_sizes());
    let mut times = Vec::with_capacity(candidates.len());
    for &choice in &candidates {
        pattern.check(&workload.clone().with_choice(choice), DevicePath::Fused, &expected)?;
        times.push((measure(choice, RUNS)?, choice));
    }
    times.sort_by_key(|&(time, _)| time);
    // The fastest and the table's, once more and more carefully.
    let mut finalists = Vec::new();
    for &(_, choice) in times.iter().take(FINALISTS) {
        finalists.push((measure(choice, RUNS_FINAL)?, choice));
    }
    let table_time = measure(Choice::default(), RUNS_FINAL)?;
    let (best_time, best) =
        finalists.into_iter().min_by_key(|&(time, _)| time).unwrap_or((table_time, Choice::default()));
    let layout_of = |choice: Choice| -> Result<String, Error> {
        let part = workload.plans().next().unwrap_or(&whole);
        let kernel = context.kernels().kernel(part, Stage::Fused, KernelOptions { choice, ..KernelOptions::default() });
        Ok(kernel.map_err(|error| gpu_error(error.into()))?.tuning().to_string())
    };
    let gain = table_time.as_nanos() as f64 / best_time.as_nanos().max(1) as f64;
    let [groups, components, window] = shape;
    Ok(Finding {
        groups,
        components,
        window,
        layout: if layout == Layout::TimeMajor { "time-major" } else { "row-major" },
        variant: variant.name(),
        adapter: context.adapter().to_string(),
        candidates: candidates.len(),
        table: layout_of(Choice::default())?,
        table_us: table_time.as_nanos() as f64 / 1e3,
        best: layout_of(best)?,
        best_us: best_time.as_nanos() as f64 / 1e3,
        gain,
        choice: (gain >= NOTABLE).then(|| Fields {
            workgroup: best.workgroup,
            rounds: best.rounds,
            reads: best.reads.map(|reads| format!("{reads:?}")),
            subgroups: best.subgroups,
        }),
    })
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            groups, components, window, layout, variant, candidates, table, table_us, best, best_us, gain, ..
        } = self;
        writeln!(
            f,
            "\n{groups}x{components}x{window} {layout} {variant}, {candidates} candidates, all with the same bits"
        )?;
        writeln!(f, "  table  {table_us:>10.2} us  {table}")?;
        writeln!(f, "  best   {best_us:>10.2} us  {best}")?;
        match &self.choice {
            None => write!(f, "  the table's choice stays (gain {gain:.2})"),
            Some(Fields { workgroup, rounds, reads, subgroups }) => write!(
                f,
                "  gain {gain:.2}: Choice {{ workgroup: {workgroup:?}, rounds: {rounds:?}, reads: {}, subgroups: {subgroups:?} }}",
                reads.as_ref().map_or_else(|| "None".to_owned(), |reads| format!("Some(Reads::{reads})")),
            ),
        }
    }
}
