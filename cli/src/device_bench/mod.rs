//! `softadapt bench --gpu-report` and `--tune`: the kernels on the device's own clock, on batches that never were on the host.

mod report;
mod tune;

pub(crate) use report::run as report;
pub(crate) use tune::run as tune;

use crate::args::{BenchArguments, Variant};
use crate::backend::{self, BackendError};
use crate::bench::{check, losses};
use crate::error::Error;
use softadapt::host::{Context, DevicePath, HostError, Lap, StepWorkload, Workload};
use softadapt::{BalancerConfig, BalancerPlan, Batch, Config, Layout, Plan, Shape, reference};
use std::time::Duration;

/// The accuracy order of all measurements, as far as the window allows: the slope uses the newest five points.
const ORDER: usize = 4;
/// Bytes of the groups that a batch repeats.
const PATTERN_BYTES: usize = 16 << 20;
/// How long a submission that is timed should take at least: dispatches and copies are repeated until it does.
const LONG_ENOUGH: Duration = Duration::from_millis(1);
const MOST_REPEATS: usize = 100;

/// Shapes of the issue that asks for speed: beyond any cache of a GPU.
const LARGE: [[usize; 3]; 3] = [[16_000_000, 3, 5], [4_000_000, 8, 16], [2_000_000, 16, 64]];
/// The same proportions for software adapters.
const LARGE_QUICK: [[usize; 3]; 3] = [[40_000, 3, 5], [10_000, 8, 16], [2_000, 16, 64]];

fn config(variant: Variant, window: usize) -> Config {
    variant.config().with_order((window - 1).clamp(1, ORDER) as u32)
}

fn plan(variant: Variant, [groups, components, window]: [usize; 3], layout: Layout) -> Result<Plan, Error> {
    let shape = Shape::new(groups, components, window)
        .and_then(|shape| shape.with_layout(layout))
        .map_err(|error| Error::Shape { text: format!("{groups},{components},{window}"), reason: error.to_string() })?;
    Ok(Plan::new(config(variant, window), shape)?)
}

fn gpu_error(error: HostError) -> Error {
    BackendError::Gpu(Box::new(error)).into()
}

fn open(arguments: &BenchArguments) -> Result<Context, Error> {
    backend::context(&arguments.backend)
}

/// The groups that a batch repeats: their losses, row-major.
struct Pattern {
    groups: usize,
    components: usize,
    window: usize,
    losses: Vec<f32>,
}

impl Pattern {
    fn new([groups, components, window]: [usize; 3]) -> Result<Self, Error> {
        let groups = groups.min((PATTERN_BYTES / 4 / (components * window)).max(1));
        let plan = plan(Variant::Original, [groups, components, window], Layout::RowMajor)?;
        Ok(Self { groups, components, window, losses: losses(&plan) })
    }

    /// A batch of so many groups on the device.
    fn workload(&self, context: &Context, groups: usize, layout: Layout) -> Result<Workload, Error> {
        let (components, window) = (self.components, self.window);
        let plan = plan(Variant::Original, [groups, components, window], layout)?;
        let workload = match layout {
            Layout::TimeMajor => {
                let mut losses = vec![0.0; self.losses.len()];
                for (row, points) in self.losses.chunks_exact(window).enumerate() {
                    let (group, component) = (row / components, row % components);
                    for (time, loss) in points.iter().enumerate() {
                        losses[(time * components + component) * self.groups + group] = *loss;
                    }
                }
                context.workload(&plan, &losses)
            }
            _ => context.workload(&plan, &self.losses),
        };
        workload.map_err(gpu_error)
    }

    /// Weights of the pattern's groups, which are compared with the reference first.
    fn weights(&self, context: &Context, variant: Variant) -> Result<Vec<f32>, Error> {
        let plan = plan(variant, [self.groups, self.components, self.window], Layout::RowMajor)?;
        let workload = context.workload(&plan, &self.losses).map_err(gpu_error)?;
        let weights = workload.weigh(DevicePath::Fused).map_err(gpu_error)?.concat();
        check(&plan, &self.losses, &weights)?;
        Ok(weights)
    }

    /// Compares every word of a batch with the pattern's: a group's weights are the same, bit for bit, wherever it is.
    fn check(&self, workload: &Workload, path: DevicePath, expected: &[f32]) -> Result<(), Error> {
        let parts = workload.weigh(path).map_err(gpu_error)?;
        let mut findings = 0;
        for (plan, weights) in workload.plans().zip(&parts) {
            let groups = plan.shape().groups();
            let time_major = plan.shape().layout() == Layout::TimeMajor;
            for group in 0..groups {
                for component in 0..self.components {
                    let place =
                        if time_major { component * groups + group } else { group * self.components + component };
                    let right = expected[group % self.groups * self.components + component];
                    findings += usize::from(weights[place].to_bits() != right.to_bits());
                }
            }
        }
        if findings == 0 { Ok(()) } else { Err(Error::Wrong { findings }) }
    }
}

/// Groups of a balancer that its others repeat.
const STEP_GROUPS: usize = 100;

/// Steps of a balancer whose groups repeat those of a small batch.
struct Steps {
    pattern: Pattern,
    plan: BalancerPlan,
}

impl Steps {
    fn new([groups, components, window]: [usize; 3]) -> Result<Self, Error> {
        let pattern = Pattern::new([groups.min(STEP_GROUPS), components, window])?;
        let batch = plan(Variant::Original, [groups, components, window], Layout::RowMajor)?;
        let plan = BalancerPlan::new(BalancerConfig::new(batch.config().clone()), batch.shape().clone())?;
        Ok(Self { pattern, plan })
    }

    /// A balancer with full windows, whose weights were checked.
    fn workload(&self, context: &Context) -> Result<StepWorkload, Error> {
        let workload = context.step_workload(&self.plan).map_err(gpu_error)?;
        for time in 0..self.pattern.window {
            let step: Vec<f32> = self.pattern.losses.iter().copied().skip(time).step_by(self.pattern.window).collect();
            workload.push(&step).map_err(gpu_error)?;
        }
        self.check(&workload.weights().map_err(gpu_error)?)?;
        Ok(workload)
    }

    /// Compares the weights with the reference's, and the bits of every group with those of the first group like it.
    fn check(&self, weights: &[f32]) -> Result<(), Error> {
        let Pattern { groups, components, window, losses } = &self.pattern;
        let plan = plan(Variant::Original, [*groups, *components, *window], Layout::RowMajor)?;
        let exact: Vec<f64> = losses.iter().map(|&loss| f64::from(loss)).collect();
        let batch = Batch::new(&exact);
        let right = reference::weigh(&plan, &batch).map_err(BackendError::from)?.weights;
        let bounds = reference::error_bounds(&plan, &batch).map_err(BackendError::from)?.weights;
        let wrong = weights.iter().enumerate().filter(|&(place, weight)| {
            let place = place % right.len();
            let near = (f64::from(*weight) - right[place]).abs() <= bounds[place];
            !near || weight.to_bits() != weights[place].to_bits()
        });
        match wrong.count() {
            0 => Ok(()),
            findings => Err(Error::Wrong { findings }),
        }
    }
}

/// Median and fastest time of one of the `repeats` repetitions of each lap: by the device's clock where it has one.
fn per_repeat(laps: &[Lap], repeats: usize) -> (Duration, Duration) {
    let mut times: Vec<Duration> = laps.iter().map(|lap| lap.device.unwrap_or(lap.whole)).collect();
    times.sort_unstable();
    let one = |time: Option<&Duration>| time.copied().unwrap_or_default() / repeats as u32;
    (one(times.get(times.len() / 2)), one(times.first()))
}

/// Times something that can be repeated, often enough for a clock to see.
fn time(
    runs: usize,
    mut laps: impl FnMut(usize, usize) -> Result<Vec<Lap>, HostError>,
) -> Result<(Duration, Duration), Error> {
    let (once, _) = per_repeat(&laps(1, 1).map_err(gpu_error)?, 1);
    let repeats = (LONG_ENOUGH.as_nanos() / once.as_nanos().max(1)).clamp(1, MOST_REPEATS as u128) as usize;
    Ok(per_repeat(&laps(repeats, runs).map_err(gpu_error)?, repeats))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn wrong_steps_are_found() {
        let steps = Steps::new([30, 3, 5]).unwrap();
        let plan = plan(Variant::Original, [30, 3, 5], Layout::RowMajor).unwrap();
        let mut weights = softadapt::cpu::weigh(&plan, &Batch::new(&steps.pattern.losses)).unwrap().weights.repeat(3);
        steps.check(&weights).unwrap();
        // A bit, and a number that is none.
        weights[100] = weights[100].next_up();
        assert!(matches!(steps.check(&weights), Err(Error::Wrong { findings: 1 })));
        weights[100] = f32::NAN;
        assert!(matches!(steps.check(&weights), Err(Error::Wrong { findings: 1 })));
    }
}
