//! The f32 path on the CPU: all stages in one pass over the losses, on all cores.
//!
//! Groups are weighed in blocks of as many as a vector has lanes (groups of few components) or one by one with a lane for
//! each component. Every stage has a file of the name that its shader and its f64 counterpart in
//! [`reference`](crate::reference) have; [`error_bounds`](crate::reference::error_bounds) says how far results may be
//! away from that path.
//!
//! A group's result is the same, bit for bit, in any batch, at any place and on any number of threads.
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
    run(plan, batch, outputs, Status::OK)
}

/// Set beside the flags of groups that keep their previous weights, or get neutral ones, by [`weigh_marking_held`] alone.
const HELD: Status = Status::from_bits(1 << 31);

/// As [`weigh_into`], with [`HELD`] in the status words of those groups.
fn weigh_marking_held(plan: &Plan, batch: &Batch<'_, f32>, outputs: &mut Outputs<'_, f32>) -> Result<(), BatchError> {
    run(plan, batch, outputs, HELD)
}

/// `held` is set in the status words of groups whose weights are not computed.
fn run(plan: &Plan, batch: &Batch<'_, f32>, outputs: &mut Outputs<'_, f32>, held: Status) -> Result<(), BatchError> {
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
    let job = Job { held, ..Job::new(plan, batch, outputs, differences, prior.as_deref()) };

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
            turn: transpose::Turn::new(),
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

    /// Weighs a run of groups with the best instructions that the machine has.
    fn weigh(&self, chunk: Chunk<'_>) {
        pulp::Arch::new().dispatch(Run { job: self, chunk });
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

impl pulp::NullaryFnOnce for Run<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        block::weigh_chunk(self.job, &mut self.chunk);
    }
}
