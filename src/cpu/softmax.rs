//! Stage `softmax`, f32: max-subtracted softmax of `beta * score`, times mean losses and prior, renormalised.

use super::exp::{LOWEST, NO_EXPONENT, exp, exp_parts, scale_down};
use super::lanes::{Across, LANES, Lanes, larger};
use crate::single::{EXP_UNDERFLOW, UNDERFLOW_GAP};

/// `beta * (a - b)` without overflow to NaN: beta is at most 2^126 in magnitude, the halves' difference is finite.
#[inline(always)]
fn exponent(beta: f32, a: f32, b: f32) -> f32 {
    2.0 * beta * (0.5 * a - 0.5 * b)
}

/// What the scores of a group span.
struct Span {
    largest: Lanes<f32>,
    smallest: Lanes<f32>,
}

/// Over the rows that count, whose scores are not NaN.
#[inline(always)]
fn span<A: Across>(scores: &[Lanes<f32>]) -> Span {
    let mut largest = Lanes::splat(f32::NEG_INFINITY);
    let mut smallest = Lanes::splat(f32::INFINITY);
    for score in scores {
        for l in 0..LANES {
            largest[l] = if score[l] > largest[l] { score[l] } else { largest[l] };
            smallest[l] = if score[l] < smallest[l] { score[l] } else { smallest[l] };
        }
    }
    Span { largest: A::join(largest, larger), smallest: A::join(smallest, |a, b| if a < b { a } else { b }) }
}

/// Weights without mean losses and prior. Rows whose score is NaN do not count and get weight 0.
#[inline(always)]
pub(super) fn plain<A: Across>(beta: &Lanes<f32>, epsilon: f32, scores: &[Lanes<f32>], weights: &mut [Lanes<f32>]) {
    let Span { largest, smallest } = span::<A>(scores);
    let mut shift = largest;
    let mut added = Lanes::splat(0.0f32);
    for l in 0..LANES {
        shift[l] = if beta[l] < 0.0 { smallest[l] } else { largest[l] };
        let equal = (largest[l] == smallest[l]) | (beta[l] == 0.0);
        // The gap is not above 0 where every row has the same factor.
        let shifted = epsilon * exp(exponent(beta[l], largest[l], shift[l]));
        added[l] = if equal { 0.0 } else { shifted };
    }
    let mut sum = Lanes::splat(0.0f32);
    for (score, weight) in scores.iter().zip(&mut *weights) {
        let mut term = *score;
        for l in 0..LANES {
            let x = exponent(beta[l], term[l], shift[l]);
            // NaN, too, gives 0.
            term[l] = if x >= EXP_UNDERFLOW { exp(x) } else { 0.0 };
            sum[l] += term[l];
        }
        *weight = term;
    }
    let sum = A::join(sum, |a, b| a + b);
    for weight in weights {
        for l in 0..LANES {
            weight[l] /= sum[l] + added[l];
        }
    }
}

/// Factors of the rows as mantissas and exponents: prior times mean loss spans more than f32's range.
pub(super) struct Factors<'a> {
    pub(super) mantissas: &'a [Lanes<f32>],
    pub(super) exponents: &'a [Lanes<i32>],
}

/// Weights with factors. `epsilon` is mantissa and exponent. Rows whose score is NaN do not count; they, and those with a
/// factor of 0, get weight 0. `terms` is scratch. Returns the lanes that have no weights, because all factors are zero or
/// cancel.
#[inline(always)]
pub(super) fn weighted<A: Across>(
    beta: &Lanes<f32>,
    epsilon: (f32, i32),
    scores: &[Lanes<f32>],
    factors: &Factors<'_>,
    terms: &mut [Lanes<i32>],
    weights: &mut [Lanes<f32>],
) -> Lanes<u32> {
    let Span { largest, smallest } = span::<A>(scores);
    // Only rows with a factor compete: the others have no weight to keep in range.
    let worst = beta.map(|b| if b < 0.0 { f32::INFINITY } else { f32::NEG_INFINITY });
    let mut shift = worst;
    for (score, mantissa) in scores.iter().zip(factors.mantissas) {
        for l in 0..LANES {
            let better = if beta[l] < 0.0 { score[l] < shift[l] } else { score[l] > shift[l] };
            shift[l] = if better & (mantissa[l] != 0.0) { score[l] } else { shift[l] };
        }
    }
    // The best is the largest or the smallest by the sign of beta: compare with that sign.
    let direction = beta.map(|b| if b < 0.0 { -1.0f32 } else { 1.0 });
    let shift = A::join(shift.zip(direction, |s, d| s * d), larger).zip(direction, |s, d| s * d);
    let none = shift.map(|s| u32::from(!s.is_finite()));
    let shift = shift.map(|s| if s.is_finite() { s } else { 0.0 });

    let mut top = Lanes::splat(NO_EXPONENT);
    // Through local vectors: the compiler does not look for aliases of theirs.
    let factors = factors.mantissas.iter().zip(factors.exponents);
    for (((score, (mantissas, exponents)), weight), term) in
        scores.iter().zip(factors).zip(&mut *weights).zip(&mut *terms)
    {
        let (score, mantissas, exponents) = (*score, *mantissas, *exponents);
        let mut scaled = Lanes::splat(0.0);
        let mut powers = Lanes::splat(0);
        for l in 0..LANES {
            let x = exponent(beta[l], score[l], shift[l]);
            // Rows without a factor may lie above the shift; NaN becomes LOWEST.
            let x = if x > LOWEST { x } else { LOWEST };
            let x = if x > 0.0 { 0.0 } else { x };
            let (mantissa, power) = exp_parts(x);
            let counts = !score[l].is_nan() & (mantissas[l] != 0.0);
            scaled[l] = if counts { mantissa * mantissas[l] } else { 0.0 };
            powers[l] = if counts { power.wrapping_add(exponents[l]) } else { NO_EXPONENT };
            top[l] = top[l].max(powers[l]);
        }
        *weight = scaled;
        *term = powers;
    }
    let top = A::join(top, larger);
    let mut added = Lanes::splat(0.0f32);
    let mut unit = top;
    for l in 0..LANES {
        let gap = exponent(beta[l], largest[l], shift[l]);
        let equal = (largest[l] == smallest[l]) | (beta[l] == 0.0);
        let none = equal | (gap > UNDERFLOW_GAP) | (epsilon.0 == 0.0);
        let gap = if gap > LOWEST { gap } else { LOWEST };
        let (mantissa, exponent) = exp_parts(if gap > UNDERFLOW_GAP { UNDERFLOW_GAP } else { gap });
        let exponent = exponent.wrapping_add(epsilon.1);
        unit[l] = if none { top[l] } else { top[l].max(exponent) };
        added[l] = if none { 0.0 } else { scale_down(mantissa * epsilon.0, exponent.wrapping_sub(unit[l])) };
    }
    let mut sum = Lanes::splat(0.0f32);
    for (weight, power) in weights.iter_mut().zip(terms) {
        let (mut term, power) = (*weight, *power);
        for l in 0..LANES {
            // Exponents are far from overflow: see NO_EXPONENT.
            term[l] = scale_down(term[l], power[l].wrapping_sub(unit[l]));
            sum[l] += term[l];
        }
        *weight = term;
    }
    let divisor = A::join(sum, |a, b| a + b).zip(added, |a, b| a + b);
    for weight in weights {
        for l in 0..LANES {
            weight[l] /= divisor[l];
        }
    }
    none.zip(divisor, |none, d| none | u32::from(d == 0.0))
}
