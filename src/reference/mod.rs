//! The reference path: f64, one group after the other, straight from the formulas. The library's own judge.
//!
//! Every stage has a file of the name that its shader and its f32 counterpart have. [`error_bounds`] says how far an f32
//! path may be away.

mod average;
mod bound;
mod normalize;
mod slopes;
mod softmax;

pub use bound::{ErrorBounds, error_bounds};
pub(crate) use softmax::{UNDERFLOW_GAP, shifted_epsilon};

use crate::batch::{Batch, Outputs, Weights};
use crate::config::{Config, Normalize, OnNegativeMean, OnNonFinite, Scale};
use crate::error::BatchError;
use crate::plan::Plan;
use crate::status::Status;

/// Weights, slopes, means and status of every group, in f64.
///
/// # Errors
/// A slice of the wrong length.
pub fn weigh(plan: &Plan, batch: &Batch<'_, f64>) -> Result<Weights<f64>, BatchError> {
    let mut weights = Weights::zeros(plan);
    weigh_into(plan, batch, &mut weights.outputs())?;
    Ok(weights)
}

/// As [`weigh`], into the caller's slices.
///
/// # Errors
/// A slice of the wrong length; nothing is written then.
pub fn weigh_into(plan: &Plan, batch: &Batch<'_, f64>, outputs: &mut Outputs<'_, f64>) -> Result<(), BatchError> {
    batch.check(plan)?;
    outputs.check(plan)?;
    let shape = plan.shape();
    for group in 0..shape.groups() {
        let answer = weigh_group(plan, batch, group);
        for component in 0..shape.components(group) {
            let index = shape.weight_index(group, component);
            outputs.weights[index] = answer.weights[component];
            if let Some(slopes) = &mut outputs.slopes {
                slopes[index] = answer.slopes[component];
            }
            if let Some(means) = &mut outputs.means {
                means[index] = answer.means[component];
            }
        }
        if let Some(status) = &mut outputs.status {
            status[group] = answer.status;
        }
    }
    Ok(())
}

/// One group's answer, by component.
struct Group {
    weights: Vec<f64>,
    slopes: Vec<f64>,
    means: Vec<f64>,
    status: Status,
}

fn weigh_group(plan: &Plan, batch: &Batch<'_, f64>, group: usize) -> Group {
    let config = plan.config();
    let shape = plan.shape();
    let components = shape.components(group);
    let window = shape.window();
    let points = batch.points.map_or(window, |points| (points[group] as usize).min(window));
    let ready = points >= plan.slope_points();
    let beta = batch.betas.map_or(config.beta, |betas| betas[group]);
    let mut status = Status::OK;

    let mut slopes = vec![f64::NAN; components];
    let mut means = vec![f64::NAN; components];
    for component in 0..components {
        let losses: Vec<f64> =
            (window - points..window).map(|t| batch.losses[shape.loss_index(group, component, t)]).collect();
        if ready {
            slopes[component] = slopes::slope(plan.differences(), &losses[points - plan.slope_points()..]);
        }
        if points > 0 {
            means[component] = average::mean(&losses[points - plan.mean_points().min(points)..]);
        }
    }

    let uses_mean = plan.is_loss_weighted();
    let mut counts: Vec<bool> =
        (0..components).map(|i| slopes[i].is_finite() && (!uses_mean || means[i].is_finite())).collect();
    let prior = |i: usize| config.prior.as_ref().map_or(1.0, |prior| prior[i]);
    let bad_beta = !(beta.abs() <= crate::MAX_BETA);
    let mut hold = false;
    if !ready {
        status |= Status::NOT_READY;
        hold = true;
    } else {
        if bad_beta {
            status |= Status::NON_FINITE_BETA;
        }
        if counts.contains(&false) {
            status |= Status::NON_FINITE;
        }
        if !status.is_ok() {
            let some_left = (0..components).any(|i| counts[i] && prior(i) > 0.0);
            match config.on_non_finite {
                OnNonFinite::Propagate => {
                    return Group { weights: vec![f64::NAN; components], slopes, means, status };
                }
                OnNonFinite::Mask if some_left && !bad_beta => {}
                OnNonFinite::Mask | OnNonFinite::Hold => hold = true,
            }
        }
    }
    if hold && let Some(previous) = batch.previous {
        let weights = (0..components).map(|i| previous[shape.weight_index(group, i)]).collect();
        return Group { weights, slopes, means, status };
    }

    let mut weights = vec![0.0; components];
    let priors: Vec<f64> = (0..components).map(prior).collect();
    if hold {
        // Neutral weights: all scores equal, the prior decides.
        counts.fill(true);
        let equal = vec![0.0; components];
        softmax::softmax(0.0, 0.0, &equal, &priors, &counts, &mut weights);
    } else if components > 0 {
        let mut scores = slopes.clone();
        if normalize::normalize(config.normalize, config.epsilon, &mut scores, &counts) {
            status |= Status::ZERO_SLOPE_SUM;
        }
        let mut weigh =
            |factors: &[f64]| softmax::softmax(beta, config.epsilon, &scores, factors, &counts, &mut weights);
        if uses_mean {
            if (0..components).any(|i| counts[i] && means[i] < 0.0) {
                status |= Status::NEGATIVE_MEAN_LOSS;
            }
            let factors: Vec<f64> = (0..components).map(|i| priors[i] * mean_factor(config, means[i])).collect();
            if weigh(&factors).is_none() {
                status |= Status::ZERO_MEAN_LOSS;
                weigh(&priors);
            }
        } else {
            weigh(&priors);
        }
    }
    finish(config, &counts, &priors, &mut weights);
    Group { weights, slopes, means, status }
}

/// What a mean loss multiplies its exponential by.
fn mean_factor(config: &Config, mean: f64) -> f64 {
    match config.on_negative_mean {
        OnNegativeMean::Clamp => mean.max(0.0),
        OnNegativeMean::AsIs => mean,
    }
}

/// Minimum weight and scale.
fn finish(config: &Config, counts: &[bool], priors: &[f64], weights: &mut [f64]) {
    let components = weights.len();
    let active = |i: usize| counts[i] && priors[i] > 0.0;
    let share = 1.0 - (0..components).filter(|&i| active(i)).count() as f64 * config.floor;
    let scale = scale(config, components);
    for (i, weight) in weights.iter_mut().enumerate() {
        let floor = if active(i) { config.floor } else { 0.0 };
        *weight = scale * (floor + share * *weight);
    }
}

/// What the weights of a group of `components` components add up to.
fn scale(config: &Config, components: usize) -> f64 {
    match config.scale {
        Scale::One => 1.0,
        Scale::Components => components as f64,
    }
}

/// Whether scores depend on the other components of the group.
fn normalizes(config: &Config) -> bool {
    config.normalize != Normalize::None
}
