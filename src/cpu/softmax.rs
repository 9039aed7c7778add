//! Stage `softmax`, f32: max-subtracted softmax of `beta * score`, times mean losses and prior, renormalised.

use super::exp::{LOWEST, NO_EXPONENT, exp, exp_parts, scale_down};
use super::lanes::{Across, Float, Lanes, Mask, registers};
use crate::single::UNDERFLOW_GAP;
use pulp::Simd;

/// `beta * (a - b)` without overflow to NaN: beta is at most 2^126 in magnitude, the halves' difference is finite.
#[inline(always)]
fn exponent<S: Simd>(beta: Float<S>, a: Float<S>, b: Float<S>) -> Float<S> {
    beta * 2.0 * (a * 0.5 - b * 0.5)
}

/// What the scores of a group span.
struct Span {
    largest: Lanes<f32>,
    smallest: Lanes<f32>,
}

impl Span {
    /// Over the rows that count, whose scores are not NaN.
    #[inline(always)]
    fn of<S: Simd, A: Across>(simd: S, scores: &[Lanes<f32>]) -> Self {
        let mut largest = Lanes::splat(f32::NEG_INFINITY);
        let mut smallest = Lanes::splat(f32::INFINITY);
        for r in registers::<S>() {
            let (mut most, mut least) = (largest.get(simd, r), smallest.get(simd, r));
            for score in scores {
                most = score.get(simd, r).or_larger(most);
                least = score.get(simd, r).or_smaller(least);
            }
            largest.set(r, most);
            smallest.set(r, least);
        }
        Self { largest: A::join(largest, larger), smallest: A::join(smallest, |a, b| if a < b { a } else { b }) }
    }

    /// Where all factors are the same, for which epsilon does not count.
    #[inline(always)]
    fn is_flat<S: Simd>(&self, register: usize, beta: Float<S>) -> Mask<S> {
        let simd = beta.simd();
        self.largest.get(simd, register).equals(self.smallest.get(simd, register)) | beta.equals(beta.all(0.0))
    }
}

#[inline(always)]
fn larger<T: PartialOrd>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

/// Weights without mean losses and prior. Rows whose score is NaN do not count and get weight 0.
#[inline(always)]
pub(super) fn plain<S: Simd, A: Across>(
    simd: S,
    beta: &Lanes<f32>,
    epsilon: f32,
    scores: &[Lanes<f32>],
    weights: &mut [Lanes<f32>],
) {
    let span = Span::of::<S, A>(simd, scores);
    let mut shift = span.largest;
    let mut added = Lanes::splat(epsilon);
    for r in registers::<S>() {
        let beta = beta.get(simd, r);
        let negative = beta.is_less(beta.all(0.0));
        if negative.any() {
            let largest = span.largest.get(simd, r);
            let best = negative.select(span.smallest.get(simd, r), largest);
            shift.set(r, best);
            // The gap is not above 0 where every row has the same factor; it is 0 unless beta is negative.
            added.set(r, exp(exponent(beta, largest, best)) * epsilon);
        }
    }
    let mut sum = A::NOTHING;
    for (k, (score, weight)) in scores.iter().zip(&mut *weights).enumerate() {
        for r in registers::<S>() {
            // NaN gives 0.
            let term = exp(exponent(beta.get(simd, r), score.get(simd, r), shift.get(simd, r)));
            A::add(&mut sum, k, r, term);
            weight.set(r, term);
        }
    }
    let mut divisor = A::total(simd, sum);
    for r in registers::<S>() {
        let added = added.get(simd, r);
        let flat = span.is_flat(r, beta.get(simd, r));
        divisor.set(r, divisor.get(simd, r) + flat.select(added.all(0.0), added));
    }
    divide(simd, weights, &divisor);
}

#[inline(always)]
fn divide<S: Simd>(simd: S, weights: &mut [Lanes<f32>], divisor: &Lanes<f32>) {
    for r in registers::<S>() {
        let divisor = divisor.get(simd, r);
        for weight in &mut *weights {
            weight.set(r, weight.get(simd, r) / divisor);
        }
    }
}

/// Factors of the rows as mantissas and exponents: prior times mean loss spans more than f32's range.
pub(super) struct Factors<'a> {
    pub(super) mantissas: &'a [Lanes<f32>],
    pub(super) exponents: &'a [Lanes<u32>],
}

/// Weights with factors. `epsilon` is mantissa and exponent. Rows whose score is NaN do not count; they, and those with a
/// factor of 0, get weight 0. `terms` is scratch. Returns lanes that are not 0 where there are no weights, because all
/// factors are zero or cancel.
#[inline(always)]
pub(super) fn weighted<S: Simd, A: Across>(
    simd: S,
    beta: &Lanes<f32>,
    epsilon: (f32, i32),
    scores: &[Lanes<f32>],
    factors: &Factors<'_>,
    terms: &mut [Lanes<u32>],
    weights: &mut [Lanes<f32>],
) -> Lanes<u32> {
    let span = Span::of::<S, A>(simd, scores);
    // Only rows with a factor compete: the others have no weight to keep in range. The best is the largest or the smallest
    // by the sign of beta: compare with that sign.
    let direction = |r: usize| {
        let beta = beta.get(simd, r);
        beta.is_less(beta.all(0.0)).select(beta.all(-1.0), beta.all(1.0))
    };
    let mut best = Lanes::splat(f32::NEG_INFINITY);
    for r in registers::<S>() {
        let mut most = best.get(simd, r);
        for (score, mantissa) in scores.iter().zip(factors.mantissas) {
            let score = score.get(simd, r) * direction(r);
            let competes = !mantissa.get(simd, r).equals(score.all(0.0));
            most = (most.is_less(score) & competes).select(score, most);
        }
        best.set(r, most);
    }
    let mut shift = A::join(best, larger);
    let mut none = Lanes::splat(0u32);
    for r in registers::<S>() {
        let value = shift.get(simd, r) * direction(r);
        let finite = value.is_finite();
        none.set(r, (!finite).flag(1));
        shift.set(r, finite.select(value, value.all(0.0)));
    }

    let mut top = Lanes::splat(NO_EXPONENT as u32);
    let factors = factors.mantissas.iter().zip(factors.exponents);
    for (((score, (mantissas, exponents)), weight), term) in
        scores.iter().zip(factors).zip(&mut *weights).zip(&mut *terms)
    {
        for r in registers::<S>() {
            let (score, factor) = (score.get(simd, r), mantissas.get(simd, r));
            let x = exponent(beta.get(simd, r), score, shift.get(simd, r));
            // Rows without a factor may lie above the shift; NaN becomes LOWEST.
            let x = x.or_larger(x.all(LOWEST)).or_smaller(x.all(0.0));
            let (mantissa, power) = exp_parts(x);
            let counts = score.equals(score) & !factor.equals(x.all(0.0));
            let power = counts.select_int(power + exponents.get(simd, r), power.all(NO_EXPONENT as u32));
            weight.set(r, counts.select(mantissa * factor, x.all(0.0)));
            term.set(r, power);
            top.set(r, power.or_larger_signed(top.get(simd, r)));
        }
    }
    let top = A::join(top, |a, b| larger(a as i32, b as i32) as u32);
    let mut added = Lanes::splat(0.0f32);
    let mut unit = top;
    for r in registers::<S>() {
        let beta = beta.get(simd, r);
        let limit = beta.all(UNDERFLOW_GAP);
        let gap = exponent(beta, span.largest.get(simd, r), shift.get(simd, r));
        let none = span.is_flat(r, beta) | limit.is_less(gap) | limit.all(epsilon.0).equals(limit.all(0.0));
        let (mantissa, power) = exp_parts(gap.or_larger(gap.all(LOWEST)).or_smaller(limit));
        let power = power + epsilon.1 as u32;
        let top = top.get(simd, r);
        let most = none.select_int(top, power.or_larger_signed(top));
        unit.set(r, most);
        added.set(r, none.select(gap.all(0.0), scale_down(mantissa * epsilon.0, power - most)));
    }
    let mut sum = A::NOTHING;
    for (k, (weight, power)) in weights.iter_mut().zip(terms).enumerate() {
        for r in registers::<S>() {
            // Exponents are far from overflow: see NO_EXPONENT.
            let term = scale_down(weight.get(simd, r), power.get(simd, r) - unit.get(simd, r));
            A::add(&mut sum, k, r, term);
            weight.set(r, term);
        }
    }
    let mut divisor = A::total(simd, sum);
    for r in registers::<S>() {
        let total = divisor.get(simd, r) + added.get(simd, r);
        divisor.set(r, total);
        none.set(r, none.get(simd, r) | total.equals(total.all(0.0)).flag(1));
    }
    divide(simd, weights, &divisor);
    none
}
