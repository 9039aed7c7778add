//! Which way of laying kernels out is fastest on this GPU, beside what the library's table says.

use super::{LARGE, LARGE_QUICK, Pattern, Steps, gpu_error, open, plan, time};
use crate::args::{BenchArguments, Variant};
use crate::bench::parse_shape;
use crate::error::Error;
use crate::output::Output;
use serde::Serialize;
use softadapt::Layout;
use softadapt::gpu::{Choice, KernelOptions, Stage, Tuning};
use softadapt::host::DevicePath;
use std::time::Duration;

/// Submissions of which the median is taken.
const RUNS: usize = 3;
/// Candidates that are measured again, beside the table's choice, and how often.
const FINALISTS: usize = 4;
const TURNS: usize = 9;
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
    let show = |finding: &Finding| {
        Output::Stdout.write(|out| {
            if arguments.json {
                serde_json::to_writer(&mut *out, finding)?;
                writeln!(out)
            } else {
                writeln!(out, "{finding}")
            }
        })
    };
    for &shape in &shapes {
        let pattern = Pattern::new(shape)?;
        for layout in [Layout::RowMajor, Layout::TimeMajor] {
            let workload = pattern.workload(&context, shape[0], layout)?;
            for &variant in variants {
                let whole = plan(variant, shape, layout)?;
                let expected = pattern.weights(&context, variant)?;
                let workload = workload.with_config(whole.config()).map_err(gpu_error)?;
                let part = workload.plans().next().unwrap_or(&whole);
                let name = if layout == Layout::TimeMajor { "time-major" } else { "row-major" };
                let trial = Trial {
                    name: (shape, name, variant),
                    adapter: context.adapter().to_string(),
                    candidates: Tuning::candidates(&whole, Stage::Fused, context.kernels().subgroup_sizes()),
                    tuning: &|choice| {
                        let options = KernelOptions { choice, ..KernelOptions::default() };
                        let kernel = context.kernels().kernel(part, Stage::Fused, options);
                        Ok(kernel.map_err(|error| gpu_error(error.into()))?.tuning().to_string())
                    },
                    check: &|choice| pattern.check(&workload.clone().with_choice(choice), DevicePath::Fused, &expected),
                    measure: &|choice| {
                        let workload = workload.clone().with_choice(choice);
                        Ok(time(RUNS, |repeats, runs| workload.time(DevicePath::Fused, repeats, runs))?.0)
                    },
                };
                show(&trial.run()?)?;
            }
        }
        let steps = Steps::new(shape)?;
        let step = |choice| steps.workload(&context.clone().with_choice(choice));
        let trial = Trial {
            name: (shape, "step", Variant::Original),
            adapter: context.adapter().to_string(),
            candidates: Tuning::step_candidates(&steps.plan, context.kernels().subgroup_sizes()),
            tuning: &|choice| Ok(step(choice)?.tuning().map_or_else(String::new, ToString::to_string)),
            check: &|choice| step(choice).map(drop),
            measure: &|choice| {
                let workload = step(choice)?;
                Ok(time(RUNS, |repeats, runs| workload.time(repeats, runs))?.0)
            },
        };
        show(&trial.run()?)?;
    }
    Ok(())
}

/// One plan, and what has to be known to try all candidates on it.
struct Trial<'a> {
    name: ([usize; 3], &'static str, Variant),
    adapter: String,
    candidates: Vec<Choice>,
    /// How the kernel is laid out.
    tuning: &'a dyn Fn(Choice) -> Result<String, Error>,
    /// Whether its answers have the right bits.
    check: &'a dyn Fn(Choice) -> Result<(), Error>,
    measure: &'a dyn Fn(Choice) -> Result<Duration, Error>,
}

impl Trial<'_> {
    fn run(&self) -> Result<Finding, Error> {
        let mut times = Vec::with_capacity(self.candidates.len());
        for &choice in &self.candidates {
            (self.check)(choice)?;
            times.push(((self.measure)(choice)?, choice));
        }
        times.sort_by_key(|&(time, _)| time);
        // The table's choice and the fastest once more, in turns, so that whatever else the machine does falls on all alike.
        let finalists: Vec<Choice> =
            std::iter::once(Choice::default()).chain(times.iter().take(FINALISTS).map(|&(_, choice)| choice)).collect();
        let mut turns = vec![Vec::with_capacity(TURNS); finalists.len()];
        for _ in 0..TURNS {
            for (times, &choice) in turns.iter_mut().zip(&finalists) {
                times.push((self.measure)(choice)?);
            }
        }
        let medians: Vec<Duration> = turns
            .iter_mut()
            .map(|times| {
                times.sort_unstable();
                times[times.len() / 2]
            })
            .collect();
        let table_time = medians[0];
        let (best_time, best) =
            medians.iter().copied().zip(finalists).min_by_key(|&(time, _)| time).unwrap_or_default();
        let gain = table_time.as_nanos() as f64 / best_time.as_nanos().max(1) as f64;
        let (table, best_tuning) = ((self.tuning)(Choice::default())?, (self.tuning)(best)?);
        let ([groups, components, window], layout, variant) = self.name;
        Ok(Finding {
            groups,
            components,
            window,
            layout,
            variant: variant.name(),
            adapter: self.adapter.clone(),
            candidates: self.candidates.len(),
            choice: (gain >= NOTABLE && best_tuning != table).then(|| Fields {
                workgroup: best.workgroup,
                rounds: best.rounds,
                reads: best.reads.map(|reads| format!("{reads:?}")),
                subgroups: best.subgroups,
            }),
            table,
            table_us: table_time.as_nanos() as f64 / 1e3,
            best: best_tuning,
            best_us: best_time.as_nanos() as f64 / 1e3,
            gain,
        })
    }
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
