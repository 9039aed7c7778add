//! Stage `normalize`, f32.

use super::lanes::{Across, Float, Lanes, registers};
use crate::config::Normalize;
use crate::single::MIN_DIVISOR;
use pulp::Simd;

/// Scores of the rows that count: slopes divided as the configuration says. Scores of the others are NaN and stay so.
/// Returns lanes that are not 0 where the divisor is zero, which makes all scores zero.
///
/// Slopes are divided by their largest magnitude first, so that their sum cannot overflow.
#[inline(always)]
pub(super) fn normalize<S: Simd, A: Across>(
    simd: S,
    kind: Normalize,
    epsilon: f32,
    scores: &mut [Lanes<f32>],
) -> Lanes<u32> {
    let mut largest = Lanes::splat(0.0f32);
    for score in &*scores {
        for r in registers::<S>() {
            largest.set(r, score.get(simd, r).abs().or_larger(largest.get(simd, r)));
        }
    }
    let largest = A::join(largest, |a: f32, b| if a > b { a } else { b });
    let least = Float::splat(simd, MIN_DIVISOR);
    let unit = |r: usize| {
        let largest = largest.get(simd, r);
        largest.is_less(least).select(largest.all(1.0), largest)
    };
    let mut sum = A::NOTHING;
    for (k, score) in scores.iter_mut().enumerate() {
        for r in registers::<S>() {
            let s = score.get(simd, r) / unit(r);
            let term = match kind {
                Normalize::None | Normalize::SignedSum => s,
                Normalize::L1 => s.abs(),
                Normalize::L2 => s * s,
            };
            A::add(&mut sum, k, r, s.is_nan().select(s.all(0.0), term));
            score.set(r, s);
        }
    }
    let mut divisor = A::total(simd, sum);
    let mut zero = Lanes::splat(0u32);
    for r in registers::<S>() {
        let mut d = divisor.get(simd, r);
        if kind == Normalize::L2 {
            // At most the largest number: by infinity all scores would be the same.
            let floor = (d.all(epsilon) / unit(r)).or_smaller(d.all(f32::MAX));
            d = d.sqrt().or_larger(floor);
        }
        divisor.set(r, d);
        let none = largest.get(simd, r).is_less(least) | d.abs().is_less(least);
        zero.set(r, none.flag(1));
    }
    for score in scores {
        for r in registers::<S>() {
            let s = score.get(simd, r);
            let quotient = zero.get(simd, r).is_nonzero().select(s.all(0.0), s / divisor.get(simd, r));
            score.set(r, s.is_nan().select(s, quotient));
        }
    }
    zero
}
