//! Stage `normalize`, f32.

use super::lanes::{Across, LANES, Lanes, larger};
use crate::config::Normalize;
use crate::single::MIN_DIVISOR;

/// Scores of the rows that count: slopes divided as the configuration says. Scores of the others are NaN and stay so.
/// Returns the lanes whose divisor is zero, which makes all scores zero.
///
/// Slopes are divided by their largest magnitude first, so that their sum cannot overflow.
#[inline(always)]
pub(super) fn normalize<A: Across>(kind: Normalize, epsilon: f32, scores: &mut [Lanes<f32>]) -> Lanes<u32> {
    let mut largest = Lanes::splat(0.0f32);
    for score in &*scores {
        largest = score.zip(largest, |s, m| larger(s.abs(), m));
    }
    let largest = A::join(largest, larger);
    let unit = largest.map(|m| if m < MIN_DIVISOR { 1.0 } else { m });
    let mut sum = Lanes::splat(0.0f32);
    for score in &mut *scores {
        for l in 0..LANES {
            let s = score[l] / unit[l];
            let term = match kind {
                Normalize::None | Normalize::SignedSum => s,
                Normalize::L1 => s.abs(),
                Normalize::L2 => s * s,
            };
            sum[l] += if s.is_nan() { 0.0 } else { term };
            score[l] = s;
        }
    }
    let mut divisor = A::join(sum, |a, b| a + b);
    if kind == Normalize::L2 {
        for l in 0..LANES {
            // At most the largest number: by infinity all scores would be the same.
            let least = epsilon / unit[l];
            divisor[l] = larger(divisor[l].sqrt(), if least < f32::MAX { least } else { f32::MAX });
        }
    }
    let zero = largest.zip(divisor, |m, d| u32::from(m < MIN_DIVISOR || d.abs() < MIN_DIVISOR));
    for score in scores {
        for l in 0..LANES {
            let s = if zero[l] != 0 { 0.0 } else { score[l] / divisor[l] };
            score[l] = if score[l].is_nan() { f32::NAN } else { s };
        }
    }
    zero
}
