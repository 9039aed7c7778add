//! `softadapt bench`: how long each path takes on this machine.

use crate::args::{BackendChoice, BenchArguments, Variant};
use crate::backend::{BackendError, Paths};
use crate::error::Error;
use crate::output::Output;
use crate::random::Random;
use serde::Serialize;
use softadapt::{Batch, Outputs, Plan, Shape, reference};
use std::io::{self, Write};
use std::time::{Duration, Instant};

#[cfg(feature = "gpu")]
use crate::device_bench;

/// What stands in for the measurements that need a GPU.
#[cfg(not(feature = "gpu"))]
mod device_bench {
    use crate::args::BenchArguments;
    use crate::backend::BackendError;
    use crate::error::Error;
    use std::path::Path;

    pub(super) fn tune(_: &BenchArguments) -> Result<(), Error> {
        Err(BackendError::NotBuilt.into())
    }

    pub(super) fn report(_: &BenchArguments, _: &Path) -> Result<(), Error> {
        Err(BackendError::NotBuilt.into())
    }
}

/// Shapes that are timed if none is given.
const SHAPES: [[usize; 3]; 3] = [[1000, 3, 5], [100_000, 3, 5], [1_000_000, 3, 5]];
/// Runs of which the median is taken: at least so many ...
const RUNS: usize = 7;
/// ... and more while they take no longer than this together, up to ...
const ENOUGH: Duration = Duration::from_millis(500);
/// ... so many.
const MOST_RUNS: usize = 1001;
/// Groups whose answers are checked against the reference.
const SAMPLE: usize = 1000;

/// Runs the command.
///
/// # Errors
/// A shape that is none, no such adapter, a path that fails, or answers that are wrong.
pub(crate) fn run(arguments: &BenchArguments) -> Result<(), Error> {
    if arguments.tune {
        return device_bench::tune(arguments);
    }
    if let Some(path) = &arguments.gpu_report {
        return device_bench::report(arguments, path);
    }
    let shapes = arguments.shapes.iter().map(|text| parse_shape(text)).collect::<Result<Vec<[usize; 3]>, Error>>()?;
    let shapes = if shapes.is_empty() { SHAPES.to_vec() } else { shapes };
    let variants = if arguments.variants.is_empty() { &[Variant::Original] } else { &arguments.variants[..] };
    let Paths { paths, missing } = Paths::open(&arguments.backend)?;
    if let Some(reason) = missing {
        let _ = writeln!(io::stderr().lock(), "softadapt: GPU path not timed: {reason}");
    }
    let with_reference = matches!(arguments.backend.backend, BackendChoice::Auto | BackendChoice::Reference);
    let mut header = !arguments.json;
    for &[groups, components, window] in &shapes {
        for &variant in variants {
            let shape = Shape::new(groups, components, window).map_err(|error| Error::Shape {
                text: format!("{groups},{components},{window}"),
                reason: error.to_string(),
            })?;
            // The presets' own order at a window of 5; their default (window - 1) is no practical one for long windows.
            let order = (shape.window() - 1).clamp(1, 4) as u32;
            let plan = Plan::new(variant.config().with_order(order), shape)?;
            let losses = losses(&plan);
            let mut timings = Vec::new();
            if with_reference {
                let losses: Vec<f64> = losses.iter().map(|&x| f64::from(x)).collect();
                let mut weights = vec![0.0; plan.shape().weights_len()];
                let time = median(|| {
                    let mut outputs = Outputs::new(&mut weights);
                    Ok(reference::weigh_into(&plan, &Batch::new(&losses), &mut outputs)?)
                })?;
                timings.push(Timing::new(&plan, variant, "reference", "reference", None, time));
            }
            for path in &paths {
                let mut weights = vec![f32::NAN; plan.shape().weights_len()];
                path.weigh_into(&plan, &Batch::new(&losses), &mut Outputs::new(&mut weights))?;
                check(&plan, &losses, &weights)?;
                let time = median(|| path.weigh_into(&plan, &Batch::new(&losses), &mut Outputs::new(&mut weights)))?;
                // From host memory to host memory.
                let name = if path.adapter().is_some() { "host" } else { path.name() };
                timings.push(Timing::new(&plan, variant, path.name(), name, path.adapter(), time));
                for device in path.device_times(&plan, &losses, RUNS.max(21)) {
                    match device.measured {
                        Ok((mut times, weights)) => {
                            if !weights.is_empty() {
                                check(&plan, &losses, &weights)?;
                            }
                            times.sort_unstable();
                            let time = times.get(times.len() / 2).copied().unwrap_or_default();
                            timings.push(Timing::new(&plan, variant, path.name(), device.path, path.adapter(), time));
                        }
                        // A device without clocks, a batch too large for one binding: the other times still count.
                        Err(error) => {
                            let _ = writeln!(io::stderr().lock(), "softadapt: {} not timed: {error}", device.path);
                        }
                    }
                }
            }
            // Shape by shape, because the large ones take a while.
            Output::Stdout.write(|out| {
                for timing in &timings {
                    if std::mem::take(&mut header) {
                        Timing::write_header(out)?;
                    }
                    timing.write(out, arguments.json)?;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// `G,N,W`.
pub(crate) fn parse_shape(text: &str) -> Result<[usize; 3], Error> {
    let fail = |reason: &str| Error::Shape { text: text.to_owned(), reason: reason.to_owned() };
    let numbers: Result<Vec<usize>, _> = text.split([',', 'x']).map(|number| number.trim().parse()).collect();
    match numbers.as_deref() {
        Ok([0, ..]) => Err(fail("there is nothing to time without groups")),
        Ok(&[groups, components, window]) => Ok([groups, components, window]),
        _ => Err(fail("expected groups, components and window, such as 100000,3,5")),
    }
}

/// Losses that fall, every value different.
pub(crate) fn losses(plan: &Plan) -> Vec<f32> {
    let mut random = Random::new(1);
    let window = plan.shape().window();
    let mut losses = Vec::with_capacity(plan.shape().losses_len());
    // Row-major: one component after the other.
    for _ in 0..plan.shape().rows() {
        let (level, fall) = (random.between(0.1, 100.0), random.between(0.9, 1.0));
        let mut loss = level;
        for _ in 0..window {
            losses.push((loss * random.between(0.98, 1.02)) as f32);
            loss *= fall;
        }
    }
    losses
}

/// Compares the first groups with the reference: the time of a wrong answer is of no interest.
pub(crate) fn check(plan: &Plan, losses: &[f32], weights: &[f32]) -> Result<(), Error> {
    let shape = plan.shape();
    let groups = shape.groups().min(SAMPLE);
    let sample = Shape::new(groups, shape.max_components(), shape.window())
        .map_err(|error| Error::TooLarge { reason: error.to_string() })?;
    let sample = plan.with_shape(sample)?;
    let losses: Vec<f64> = losses[..sample.shape().losses_len()].iter().map(|&x| f64::from(x)).collect();
    let exact = reference::weigh(&sample, &Batch::new(&losses)).map_err(BackendError::from)?;
    let bounds = reference::error_bounds(&sample, &Batch::new(&losses)).map_err(BackendError::from)?;
    let places = exact.weights.iter().zip(&bounds.weights).zip(weights);
    let right = places.filter(|((exact, bound), got)| (f64::from(**got) - **exact).abs() <= **bound).count();
    match sample.shape().weights_len() - right {
        0 => Ok(()),
        findings => Err(Error::Wrong { findings }),
    }
}

/// Median time of many runs, after one to warm up.
fn median(mut run: impl FnMut() -> Result<(), BackendError>) -> Result<Duration, BackendError> {
    run()?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < RUNS || (times.len() < MOST_RUNS && start.elapsed() < ENOUGH) {
        let one = Instant::now();
        run()?;
        times.push(one.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Timing<'a> {
    groups: usize,
    components: usize,
    window: usize,
    variant: &'static str,
    backend: &'static str,
    path: &'static str,
    adapter: Option<&'a str>,
    ns_per_group: f64,
    /// Losses read and weights written, 4 bytes each, whatever the path makes of them.
    bytes: u64,
    gb_per_s: f64,
}

impl<'a> Timing<'a> {
    fn new(
        plan: &Plan,
        variant: Variant,
        backend: &'static str,
        path: &'static str,
        adapter: Option<&'a str>,
        time: Duration,
    ) -> Self {
        let shape = plan.shape();
        // A copy writes what it reads.
        let written = if path == "copy" { shape.losses_len() } else { shape.weights_len() };
        let bytes = 4 * (shape.losses_len() as u64 + written as u64);
        let nanoseconds = time.as_nanos() as f64;
        Self {
            groups: shape.groups(),
            components: shape.max_components(),
            window: shape.window(),
            variant: variant.name(),
            backend,
            path,
            adapter,
            ns_per_group: nanoseconds / shape.groups() as f64,
            bytes,
            // A clock that did not move gives no rate.
            gb_per_s: if nanoseconds > 0.0 { bytes as f64 / nanoseconds } else { 0.0 },
        }
    }

    fn write_header(out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>9} {:>10} {:>6}  {:<13} {:<9} {:<9} {:>12} {:>9}  adapter",
            "groups", "components", "window", "variant", "backend", "path", "ns per group", "GB per s"
        )
    }

    fn write(&self, out: &mut dyn Write, as_json: bool) -> io::Result<()> {
        let Self { groups, components, window, variant, backend, path, ns_per_group, gb_per_s, .. } = self;
        if as_json {
            serde_json::to_writer(&mut *out, self)?;
            return writeln!(out);
        }
        writeln!(
            out,
            "{groups:>9} {components:>10} {window:>6}  {variant:<13} {backend:<9} {path:<9} {ns_per_group:>12.3} {gb_per_s:>9.3}  {}",
            self.adapter.unwrap_or("-")
        )
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn shapes_are_three_numbers() {
        assert_eq!(parse_shape("1000,3,5").unwrap(), [1000, 3, 5]);
        assert_eq!(parse_shape(" 7, 3 ,5").unwrap(), [7, 3, 5]);
        for text in ["", "1,2", "1,2,3,4", "a,b,c", "-1,2,3", "0,3,5", "1.5,2,3"] {
            assert!(matches!(parse_shape(text), Err(Error::Shape { .. })), "{text}");
        }
    }

    #[test]
    fn a_timing_is_per_group_and_counts_what_has_to_move() {
        let plan = Plan::new(Variant::Original.config(), Shape::new(1000, 3, 5).unwrap()).unwrap();
        let timing = Timing::new(&plan, Variant::Original, "cpu", "cpu", None, Duration::from_micros(36));
        assert_eq!(timing.bytes, 1000 * 3 * 5 * 4 + 1000 * 3 * 4);
        assert_eq!(timing.ns_per_group, 36.0);
        assert_eq!(timing.gb_per_s, 2.0);
        let copy = Timing::new(&plan, Variant::Original, "gpu", "copy", None, Duration::from_micros(36));
        assert_eq!(copy.bytes, 2 * 1000 * 3 * 5 * 4);
    }

    #[test]
    fn wrong_answers_are_found() {
        let plan = Plan::new(Variant::Original.config(), Shape::new(20, 3, 5).unwrap()).unwrap();
        let losses = losses(&plan);
        let mut weights = softadapt::cpu::weigh(&plan, &Batch::new(&losses)).unwrap().weights;
        check(&plan, &losses, &weights).unwrap();
        weights.swap(4, 5);
        assert!(matches!(check(&plan, &losses, &weights), Err(Error::Wrong { findings: 2 })));
        weights.swap(4, 5);
        weights[59] = f32::NAN;
        assert!(matches!(check(&plan, &losses, &weights), Err(Error::Wrong { findings: 1 })));
        assert!(matches!(check(&plan, &losses, &[]), Err(Error::Wrong { findings: 60 })));
    }

    #[test]
    fn the_median_is_of_enough_runs_and_errors_end_it() {
        let mut runs = 0;
        median(|| {
            runs += 1;
            std::thread::sleep(Duration::from_millis(100));
            Ok(())
        })
        .unwrap();
        assert_eq!(runs, RUNS + 1);
        let error = softadapt::BatchError::Length { what: "losses", length: 1, needed: 2 };
        assert!(median(|| Err(error.clone().into())).is_err());
    }
}
