//! How far an f32 path may be away from the reference: derived from the operations it does and the data it does them on.
//!
//! With `u = 2^-24`, the relative error of one rounded f32 operation:
//!
//! * **Slope** in first-difference form: a difference, a coefficient rounded to f32, their product and at most
//!   `depth(points)` additions: `(depth + 5) u sum |d_j (L[j+1] - L[j])|`.
//! * **Mean**: `depth(points)` additions and a division: `(depth + 3) u sum |L| / points`.
//! * **Score** normalised by `D`: the slopes' own errors, those of the sum, and two divisions (2.5 ULP each in WGSL).
//! * **Exponential**: its argument `x = beta (z - shift)` carries `|beta|` times the score's error and 4 roundings of its
//!   own; the shift's error is common to all components and cancels. The function itself is within 2 ULP.
//! * **Weight** `t_i / (sum t + epsilon)`: with every `t_i` known to lie in an interval, the weight's extremes are at the
//!   ends of the intervals; the sum adds `depth(components)` roundings.
//! * Anything may be flushed to zero below the smallest normal, 2^-126.
//!
//! `depth(k)` is the longest chain of additions that any path uses for k terms: partial sums of 8 points, of 16
//! components or more.

use super::{UNDERFLOW_GAP, mean_factor, normalizes, scale, shifted_epsilon};
use crate::batch::Batch;
use crate::config::{Normalize, OnNegativeMean, OnNonFinite};
use crate::error::BatchError;
use crate::plan::Plan;

/// Unit roundoff of f32.
const U: f64 = 1.0 / (1u64 << 24) as f64;
/// Smallest normal f32.
const TINY: f64 = f32::MIN_POSITIVE as f64;
/// What flushing to zero can change of a mean; its whole bound if all losses are zero.
const MEAN_FLUSH: f64 = 4.0 * TINY;
/// Slopes from which an f32 sum may overflow.
const HUGE: f64 = 1e38;

/// Absolute error bounds of an f32 path, laid out as the weights; infinite where no bound can be given (cancellation
/// that leaves no digits, numbers at the edge of f32's range).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ErrorBounds {
    /// Of [`Weights::weights`](crate::Weights::weights).
    pub weights: Vec<f64>,
    /// Of [`Weights::slopes`](crate::Weights::slopes).
    pub slopes: Vec<f64>,
    /// Of [`Weights::means`](crate::Weights::means).
    pub means: Vec<f64>,
}

/// The largest errors that an f32 path ([`cpu`](crate::cpu) or a GPU kernel) may make on a batch, whose numbers must be
/// f32 numbers.
///
/// # Errors
/// A slice of the wrong length.
pub fn error_bounds(plan: &Plan, batch: &Batch<'_, f64>) -> Result<ErrorBounds, BatchError> {
    let exact = super::weigh(plan, batch)?;
    let shape = plan.shape();
    let places = shape.weights_len();
    let mut bounds = ErrorBounds { weights: vec![0.0; places], slopes: vec![0.0; places], means: vec![0.0; places] };
    for group in 0..shape.groups() {
        let index: Vec<usize> = (0..shape.components(group)).map(|c| shape.weight_index(group, c)).collect();
        let points = batch.points.map_or(shape.window(), |p| (p[group] as usize).min(shape.window()));
        for (component, &i) in index.iter().enumerate() {
            let loss = |back: usize| batch.losses[shape.loss_index(group, component, shape.window() - back)];
            if points >= plan.slope_points() {
                bounds.slopes[i] = slope_bound(plan, loss);
            }
            bounds.means[i] = mean_bound(plan.mean_points().min(points), loss);
        }
        let row = |values: &[f64]| index.iter().map(|&i| values[i]).collect::<Vec<f64>>();
        let beta = batch.betas.map_or(plan.config().beta, |betas| betas[group]);
        let group_bounds = weight_bounds(
            plan,
            beta,
            points,
            Rows { value: row(&exact.slopes), bound: row(&bounds.slopes) },
            Rows { value: row(&exact.means), bound: row(&bounds.means) },
            &row(&exact.weights),
        );
        for (bound, &i) in group_bounds.into_iter().zip(&index) {
            bounds.weights[i] = bound;
        }
    }
    Ok(bounds)
}

/// The longest chain of additions for `terms` terms.
fn depth(terms: usize) -> f64 {
    terms.min(32 + terms / 8) as f64
}

fn slope_bound(plan: &Plan, loss: impl Fn(usize) -> f64) -> f64 {
    let points = plan.slope_points();
    let mut size = 0.0;
    let mut largest = 0.0f64;
    for (j, d) in plan.differences().iter().enumerate() {
        let (older, newer) = (loss(points - j), loss(points - j - 1));
        size += (d * (newer - older)).abs();
        largest = largest.max(older.abs()).max(newer.abs()).max(size);
    }
    if largest < HUGE {
        (depth(points) + 5.0) * U * size * 1.01 + flush_bound(plan)
    } else {
        // Not a number: nothing is claimed (also for losses that are not).
        f64::INFINITY
    }
}

/// What flushing losses, differences, products and sums to zero can change of a slope.
fn flush_bound(plan: &Plan) -> f64 {
    let coefficients: f64 = plan.differences().iter().map(|d| d.abs()).sum();
    2.0 * TINY * (plan.slope_points() as f64 + 2.0 * coefficients)
}

fn mean_bound(points: usize, loss: impl Fn(usize) -> f64) -> f64 {
    let sum: f64 = (1..=points).map(|back| loss(back).abs()).sum();
    if points == 0 || !(sum < HUGE) {
        return f64::INFINITY;
    }
    (depth(points) + 3.0) * U * sum / points as f64 * 1.01 + MEAN_FLUSH
}

/// One number per component with its error bound.
struct Rows {
    value: Vec<f64>,
    bound: Vec<f64>,
}

fn weight_bounds(plan: &Plan, beta: f64, points: usize, slopes: Rows, means: Rows, exact: &[f64]) -> Vec<f64> {
    let config = plan.config();
    let components = exact.len();
    let uses_mean = plan.is_loss_weighted();
    let prior = |i: usize| config.prior.as_ref().map_or(1.0, |prior| prior[i]);
    let counts: Vec<bool> =
        (0..components).map(|i| slopes.value[i].is_finite() && (!uses_mean || means.value[i].is_finite())).collect();
    let rows = || (0..components).filter(|&i| counts[i]);
    // Previous and neutral weights: the latter are a quotient of sums of the prior.
    let copied = (0..components).map(|i| (depth(components) + 8.0) * U * exact[i].abs() + TINY).collect();
    let ready = points >= plan.slope_points();
    let masked = config.on_non_finite == OnNonFinite::Mask && rows().any(|i| prior(i) > 0.0);
    if !ready || !(beta.abs() <= crate::MAX_BETA) || (counts.contains(&false) && !masked) {
        return copied;
    }
    let unknown = vec![f64::INFINITY; components];
    if rows().any(|i| !slopes.bound[i].is_finite() || (uses_mean && !means.bound[i].is_finite())) {
        return unknown;
    }

    // Scores and their errors.
    let mut scores = slopes.value.clone();
    let mut score_bounds = slopes.bound;
    if normalizes(config) {
        let term = |s: f64| match config.normalize {
            Normalize::None | Normalize::SignedSum => s,
            Normalize::L1 => s.abs(),
            Normalize::L2 => s * s,
        };
        let largest = rows().map(|i| scores[i].abs()).fold(0.0, f64::max);
        let sum: f64 = rows().map(|i| term(scores[i] / largest)).sum();
        let size: f64 = rows().map(|i| term(scores[i] / largest).abs()).sum();
        let carried: f64 = rows()
            .map(|i| {
                let relative = score_bounds[i] / largest;
                // d(s^2) = 2 s ds + ds^2
                if config.normalize == Normalize::L2 {
                    (2.0 * scores[i].abs() / largest + relative) * relative
                } else {
                    relative
                }
            })
            .sum();
        let sum_bound = carried + (depth(components) + 8.0) * U * size;
        let (divisor, divisor_bound) = if config.normalize == Normalize::L2 {
            let norm = sum.sqrt();
            (norm.max(config.epsilon / largest), sum_bound / norm + 4.0 * U * norm)
        } else {
            (sum, sum_bound)
        };
        if !(divisor_bound < divisor.abs()) || largest < 1e-29 {
            // All slopes 0 exactly is certain: all scores are 0 on every path.
            if largest > 0.0 || rows().any(|i| score_bounds[i] > flush_bound(plan)) {
                return unknown;
            }
            scores.fill(0.0);
            score_bounds.fill(0.0);
        } else {
            for i in 0..components {
                let score = scores[i] / largest / divisor;
                score_bounds[i] = (score_bounds[i] / largest + score.abs() * divisor_bound)
                    / (divisor.abs() - divisor_bound)
                    + 16.0 * U * score.abs()
                    + 2.0 * TINY;
                scores[i] = score;
            }
        }
    }

    // Terms t_i and their intervals.
    let factor = |i: usize, mean: f64| prior(i) * if uses_mean { mean_factor(config, mean) } else { 1.0 };
    let competes = |i: usize| factor(i, means.value[i]) != 0.0;
    let direction = if beta < 0.0 { -1.0 } else { 1.0 };
    let best = |i: &usize, j: &usize| (direction * scores[*i]).total_cmp(&(direction * scores[*j]));
    let Some(top) = rows().filter(|&i| competes(i)).max_by(best) else {
        // Every mean is zero or clamped: plain softmax, on every path if that is beyond doubt. Losses that cancel exactly may
        // leave a rest in f32.
        let clamped = |i: usize| config.on_negative_mean == OnNegativeMean::Clamp && means.value[i] <= -means.bound[i];
        let certain = rows().all(|i| clamped(i) || (means.value[i] == 0.0 && means.bound[i] <= MEAN_FLUSH));
        return if certain && uses_mean {
            plain_bounds(plan, beta, &scores, &score_bounds, &counts, exact)
        } else {
            unknown
        };
    };
    // Where f32 may find every mean zero, it may answer with the plain softmax, whatever epsilon is.
    let may_vanish = |i: usize| {
        let below = config.on_negative_mean == OnNegativeMean::Clamp && means.value[i] < 0.0;
        prior(i) == 0.0 || below || means.value[i].abs() <= means.bound[i]
    };
    if uses_mean && rows().all(may_vanish) {
        return unknown;
    }
    let shift = scores[top];
    let largest = rows().map(|i| scores[i]).fold(f64::NEG_INFINITY, f64::max);
    let smallest = rows().map(|i| scores[i]).fold(f64::INFINITY, f64::min);
    let spread_bound = 2.0 * rows().map(|i| score_bounds[i]).fold(0.0, f64::max);
    // Equal on every path: all slopes are sums of zeros, or beta is 0.
    let certain = beta == 0.0 || (largest == smallest && rows().all(|i| score_bounds[i] <= flush_bound(plan)));
    let epsilon = shifted_epsilon(config.epsilon, beta, largest, shift, certain);
    let epsilon_error = beta.abs() * spread_bound + 8.0 * U * (1.0 + beta.abs() * (largest - shift).abs());
    // Exponents are added before they are raised: 0 times infinity would bound nothing.
    let remains = config.epsilon > 0.0 && !certain && (epsilon > 0.0 || largest < shift || beta < 0.0);
    let epsilon_at = |error: f64| if remains { config.epsilon * (beta * (largest - shift) + error).exp() } else { 0.0 };
    let mut epsilon_interval = [epsilon_at(-epsilon_error), epsilon_at(epsilon_error)];
    if largest - smallest <= spread_bound || beta.abs() < 2.0 * TINY {
        // f32 may find all scores equal, or beta 0, which leaves epsilon out.
        epsilon_interval[0] = 0.0;
    }
    let gap = beta * (largest - shift);
    if (gap - UNDERFLOW_GAP).abs() <= epsilon_error {
        // On either side of the gap across which epsilon is left out.
        epsilon_interval = [0.0, config.epsilon * (gap + epsilon_error).exp()];
    }

    let mut low = vec![0.0; components];
    let mut high = vec![0.0; components];
    for i in rows() {
        let x = beta * (scores[i] - shift);
        let error = beta.abs() * score_bounds[i] + U * (8.0 + 4.0 * x.abs());
        let mean_bound = if uses_mean { means.bound[i] } else { 0.0 };
        let ends = [means.value[i] - mean_bound, means.value[i] + mean_bound].map(|mean| factor(i, mean));
        let grow = |t: f64, up: bool| {
            let exponent = x + if (t > 0.0) == up { error } else { -error };
            if t == 0.0 { 0.0 } else { t * exponent.exp() }
        };
        // Below exp(-104) an f32 exponential may be 0.
        low[i] = grow(ends[0], false).min(if x - error < -85.0 { 0.0 } else { f64::INFINITY });
        high[i] = grow(ends[1], true).max(if x - error < -85.0 { TINY * (1.0 + ends[1].abs()) } else { 0.0 });
    }
    finish(plan, &low, &high, epsilon_interval, exact)
}

/// Bounds of a softmax without factors.
fn plain_bounds(
    plan: &Plan,
    beta: f64,
    scores: &[f64],
    score_bounds: &[f64],
    counts: &[bool],
    exact: &[f64],
) -> Vec<f64> {
    let direction = if beta < 0.0 { -1.0 } else { 1.0 };
    let top = (0..exact.len()).filter(|&i| counts[i]).map(|i| direction * scores[i]).fold(f64::NEG_INFINITY, f64::max);
    let ends: Vec<[f64; 2]> = (0..exact.len())
        .map(|i| {
            if !counts[i] {
                return [0.0, 0.0];
            }
            let prior = plan.config().prior.as_ref().map_or(1.0, |prior| prior[i]);
            let x = beta.abs() * (direction * scores[i] - top);
            let error = beta.abs() * score_bounds[i] + U * (8.0 + 4.0 * x.abs());
            [prior * (x - error).exp(), prior * (x + error).exp()]
        })
        .collect();
    let [low, high] = [0, 1].map(|end| ends.iter().map(|e| e[end]).collect::<Vec<f64>>());
    finish(plan, &low, &high, [0.0, plan.config().epsilon], exact)
}

/// Weight bounds from the intervals of the terms and of epsilon.
fn finish(plan: &Plan, low: &[f64], high: &[f64], epsilon: [f64; 2], exact: &[f64]) -> Vec<f64> {
    let components = exact.len();
    let scale = scale(plan.config(), components);
    let sums = [low.iter().sum::<f64>() + epsilon[0], high.iter().sum::<f64>() + epsilon[1]];
    let has_ends = low.iter().chain(high).all(|end| end.is_finite()) && !sums[1].is_nan();
    if !has_ends || !(sums[0] > 0.0 || sums[1] < 0.0) {
        return vec![f64::INFINITY; components];
    }
    let rounding = (depth(components) + 12.0) * U;
    // The sum's own roundings are relative to the sum of magnitudes, which only cancels if terms have both signs.
    let magnitude: f64 = low.iter().zip(high).map(|(l, h)| l.abs().max(h.abs())).sum();
    let cancellation = magnitude / sums[0].abs().min(sums[1].abs());
    (0..components)
        .map(|i| {
            let quotient = |t: f64, others: f64| if t + others == 0.0 { 0.0 } else { t / (t + others) };
            // t / (t + rest) grows with t and falls with the rest, for positive sums; otherwise try all four ends.
            let candidates = [
                quotient(low[i], sums[0] - low[i]),
                quotient(low[i], sums[1] - high[i]),
                quotient(high[i], sums[0] - low[i]),
                quotient(high[i], sums[1] - high[i]),
            ];
            let share = 1.0 - components as f64 * plan.config().floor;
            let [least, most] = [f64::min, f64::max].map(|pick| candidates.into_iter().reduce(pick).unwrap_or(0.0));
            let spread = (most - least) * share.abs().max(1.0) * scale;
            let value = exact[i].abs().max(most.abs() * scale).max(least.abs() * scale);
            let bound = spread + rounding * cancellation.max(1.0) * value + 2.0 * TINY * scale;
            // A term of 0 with an exponent that is wholly unknown is 0 times infinity.
            if bound.is_nan() { f64::INFINITY } else { bound }
        })
        .collect()
}
