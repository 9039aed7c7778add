//! The f32 path on the CPU: all stages in one pass over the losses, on all cores.
//!
//! Groups are weighed in blocks of as many as a vector has lanes (groups of few components) or one by one with a lane for
//! each component. Every stage has a file of the name that its shader and its f64 counterpart in
//! [`reference`](crate::reference) have; [`error_bounds`](crate::reference::error_bounds) says how far results may be
//! away from that path.
//!
//! A group's result is the same, bit for bit, in any batch, at any place, on any number of threads and with any vector
//! instructions.
//!
//! ```
//! use softadapt::{Batch, Config, Plan, Shape, cpu};
//!
//! let plan = Plan::new(Config::original(), Shape::new(1, 3, 5)?)?;
//! let losses = [1.0, 2.0, 3.0, 4.0, 5.0, 150.0, 100.0, 50.0, 10.0, 0.1, 1500.0, 1000.0, 500.0, 100.0, 1.0];
//! let answer = cpu::weigh(&plan, &Batch::new(&losses))?;
//! assert!((answer.weights[0] - 0.993_433_4).abs() < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod average;
mod balancer;
mod block;
mod exp;
mod lanes;
mod normalize;
mod outputs;
mod points;
mod slopes;
mod softmax;
mod summary;
mod transpose;

pub use balancer::Balancer;

use crate::batch::{Batch, Outputs, Weights};
use crate::config::{Normalize, OnNegativeMean, OnNonFinite, Scale};
use crate::error::BatchError;
use crate::plan::Plan;
use crate::status::Status;
use outputs::Chunk;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Points from which a second thread is worth waking: some tens of microseconds of work.
const PARALLEL_POINTS: usize = 1 << 16;

/// Groups with up to this many components are weighed a lane each, larger ones with a lane for each component. It
/// depends on nothing but the group's own size, so that a group's result is the same in any batch.
const NARROW: usize = 16;

/// Weights, slopes, means and status of every group, in f32.
///
/// # Errors
/// A slice of the wrong length.
pub fn weigh(plan: &Plan, batch: &Batch<'_, f32>) -> Result<Weights<f32>, BatchError> {
    batch.check(plan)?;
    let mut weights = Weights::zeros(plan);
    weigh_into(plan, batch, &mut weights.outputs())?;
    Ok(weights)
}

/// As [`weigh`], into the caller's slices. Slopes and means are stored, and means of a configuration without loss
/// weighting computed, only on request.
///
/// # Errors
/// A slice of the wrong length; nothing is written then.
pub fn weigh_into(plan: &Plan, batch: &Batch<'_, f32>, outputs: &mut Outputs<'_, f32>) -> Result<(), BatchError> {
    run(plan, batch, outputs, Status::OK, pulp::Arch::new())
}

/// Set beside the flags of groups that keep their previous weights, or get neutral ones, by [`weigh_marking_held`] alone.
const HELD: Status = Status::from_bits(1 << 31);

/// As [`weigh_into`], with [`HELD`] in the status words of those groups.
fn weigh_marking_held(plan: &Plan, batch: &Batch<'_, f32>, outputs: &mut Outputs<'_, f32>) -> Result<(), BatchError> {
    run(plan, batch, outputs, HELD, pulp::Arch::new())
}

/// `held` is set in the status words of groups whose weights are not computed.
fn run(
    plan: &Plan,
    batch: &Batch<'_, f32>,
    outputs: &mut Outputs<'_, f32>,
    held: Status,
    arch: pulp::Arch,
) -> Result<(), BatchError> {
    batch.check(plan)?;
    outputs.check(plan)?;
    // Coefficients of usual windows fit on the stack: a batch of one group allocates nothing.
    let mut few = [0.0; 32];
    let many: Vec<f32>;
    let exact = plan.differences();
    let differences = match few.get_mut(..exact.len()) {
        Some(few) => {
            for (rounded, exact) in few.iter_mut().zip(exact) {
                *rounded = *exact as f32;
            }
            &*few
        }
        None => {
            many = exact.iter().map(|&exact| exact as f32).collect();
            &many
        }
    };
    let prior: Option<Vec<(f32, i32)>> =
        plan.config().prior.as_ref().map(|prior| prior.iter().map(|&factor| exp::parts_of_f64(factor)).collect());
    let job = Job { held, ..Job::new(plan, batch, outputs, differences, prior.as_deref(), arch) };

    let groups = plan.shape().groups();
    let points = plan.shape().rows().saturating_mul(job.ages);
    if points < PARALLEL_POINTS || groups < 2 {
        job.weigh(outputs::whole(plan, outputs));
        return Ok(());
    }
    // Several runs a thread, so that none waits long for another; each long enough to be worth its administration.
    let runs = (8 * rayon::current_num_threads()).min(points / (PARALLEL_POINTS / 4)).max(1);
    let size = groups.div_ceil(runs).next_multiple_of(lanes::LANES);
    outputs::chunks(plan, outputs, size).into_par_iter().for_each(|chunk| job.weigh(chunk));
    Ok(())
}

/// A plan and a batch, as the blocks read them.
struct Job<'a> {
    losses: &'a [f32],
    betas: Option<&'a [f32]>,
    points: Option<&'a [u32]>,
    previous: Option<&'a [f32]>,

    /// The instructions at hand.
    arch: pulp::Arch,
    turn: transpose::Turn,
    uniform_components: Option<usize>,
    offsets: Option<&'a [u32]>,
    window: usize,
    group_stride: usize,
    component_stride: usize,
    time_stride: usize,
    weight_group_stride: usize,
    weight_component_stride: usize,

    /// `d_j` of the slope, rounded.
    differences: &'a [f32],
    slope_points: usize,
    mean_points: u32,
    /// Points to be read of each row.
    ages: usize,
    uses_means: bool,
    wants_means: bool,
    beta: f32,
    epsilon: f32,
    epsilon_parts: (f32, i32),
    /// One factor per component, as mantissa and exponent.
    prior: Option<&'a [(f32, i32)]>,
    normalize: Normalize,
    on_non_finite: OnNonFinite,
    on_negative_mean: OnNegativeMean,
    floor: f64,
    /// Whether weights add up to the number of components.
    scales: bool,
    /// Set in the status words of groups whose weights are not computed.
    held: Status,
}

impl<'a> Job<'a> {
    fn new(
        plan: &'a Plan,
        batch: &Batch<'a, f32>,
        outputs: &Outputs<'_, f32>,
        differences: &'a [f32],
        prior: Option<&'a [(f32, i32)]>,
        arch: pulp::Arch,
    ) -> Self {
        let shape = plan.shape();
        let config = plan.config();
        let strides = shape.strides();
        let uses_means = plan.is_loss_weighted();
        let wants_means = uses_means || outputs.means.is_some();
        Self {
            losses: batch.losses,
            betas: batch.betas,
            points: batch.points,
            previous: batch.previous,
            arch,
            turn: transpose::Turn::new(arch),
            uniform_components: shape.uniform_components(),
            offsets: shape.offsets(),
            window: shape.window(),
            group_stride: strides.group as usize,
            component_stride: strides.component as usize,
            time_stride: strides.time as usize,
            weight_group_stride: strides.weight_group as usize,
            weight_component_stride: strides.weight_component as usize,
            differences,
            slope_points: plan.slope_points(),
            mean_points: plan.mean_points() as u32,
            ages: if wants_means { plan.slope_points().max(plan.mean_points()) } else { plan.slope_points() },
            uses_means,
            wants_means,
            beta: config.beta as f32,
            epsilon: config.epsilon as f32,
            epsilon_parts: exp::parts_of_f64(config.epsilon),
            prior,
            normalize: config.normalize,
            on_non_finite: config.on_non_finite,
            on_negative_mean: config.on_negative_mean,
            floor: config.floor,
            scales: config.scale == Scale::Components,
            held: Status::OK,
        }
    }

    /// Weighs a run of groups with the instructions at hand.
    fn weigh(&self, chunk: Chunk<'_>) {
        self.arch.dispatch(Run { job: self, chunk });
    }

    #[inline(always)]
    fn components(&self, group: usize) -> usize {
        match (self.uniform_components, self.offsets) {
            (Some(n), _) => n,
            (None, Some(offsets)) => (offsets[group + 1] - offsets[group]) as usize,
            (None, None) => 0,
        }
    }

    /// Where a group's losses start.
    #[inline(always)]
    fn loss_base(&self, group: usize) -> usize {
        match self.offsets {
            None => group * self.group_stride,
            Some(offsets) => offsets[group] as usize * self.component_stride,
        }
    }

    /// Where a group's weights start.
    #[inline(always)]
    fn weight_base(&self, group: usize) -> usize {
        match self.offsets {
            None => group * self.weight_group_stride,
            Some(offsets) => offsets[group] as usize,
        }
    }
}

/// [`block::weigh_chunk`] as [`pulp::Arch::dispatch`] takes it.
struct Run<'a, 'j, 'c> {
    job: &'a Job<'j>,
    chunk: Chunk<'c>,
}

impl pulp::WithSimd for Run<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(mut self, simd: S) {
        block::weigh_chunk(simd, self.job, &mut self.chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shape::{Layout, Shape};

    /// Every set of instructions that this machine has.
    fn instructions() -> Vec<pulp::Arch> {
        let mut all = vec![pulp::Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        all.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
        all.push(pulp::Arch::new());
        all
    }

    /// Numbers of every size and sign, some of them not finite.
    fn losses(count: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        (0..count)
            .map(|_| match next() % 64 {
                0 => f32::NAN,
                1 => f32::INFINITY,
                2 => -0.0,
                3 => f32::from_bits(next() % 1000),
                scale => (next() as f32 / 2e9 - 0.3) * f32::powi(2.0, scale as i32 % 40 - 20),
            })
            .collect()
    }

    #[test]
    fn every_set_of_instructions_gives_the_same_bits() -> Result<(), Box<dyn std::error::Error>> {
        let windows = [(2, 1), (5, 4), (8, 2), (9, 8), (12, 10), (17, 4), (24, 4), (32, 6), (70, 20)];
        for (window, order) in windows {
            for (groups, components) in [(37, 3), (18, 8), (35, 16), (33, 17), (17, 40), (40, 1)] {
                for layout in [Layout::RowMajor, Layout::TimeMajor] {
                    for config in [Config::original(), Config::normalized(), Config::loss_weighted().with_beta(-0.7)] {
                        let shape = Shape::new(groups, components, window)?.with_layout(layout)?;
                        let plan = Plan::new(config.with_order(order), shape)?;
                        let losses = losses(plan.shape().losses_len());
                        let mut answers = Vec::new();
                        for arch in instructions() {
                            let mut answer = Weights::zeros(&plan);
                            run(&plan, &Batch::new(&losses), &mut answer.outputs(), Status::OK, arch)?;
                            let bits = |values: &[f32]| -> Vec<u32> {
                                // Which NaN it is depends on the order of operands.
                                values.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
                            };
                            let bits = [bits(&answer.weights), bits(&answer.slopes), bits(&answer.means)];
                            answers.push((bits, answer.status));
                        }
                        let first = &answers[0];
                        assert!(answers.iter().all(|answer| answer == first), "{:?}, order {order}", plan.shape());
                    }
                }
            }
        }
        Ok(())
    }
}
