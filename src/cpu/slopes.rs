//! Stage `slopes`, f32.

use super::lanes::{Float, Lanes, registers};
use super::points::Columns;
use pulp::Simd;

/// The running sum of a vector of slopes, from the newest point to the oldest.
pub(super) struct Slopes {
    sum: Lanes<f32>,
    newer: Lanes<f32>,
}

impl Slopes {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { sum: Lanes::splat(0.0), newer: Lanes::splat(0.0) }
    }

    /// Adds the terms `d_j (L[j + 1] - L[j])` whose older point is among the newest `count` of `points`, the last of which
    /// has the age `age`. `differences` has one entry less than the slope has points.
    #[inline(always)]
    pub(super) fn add<S: Simd>(&mut self, simd: S, differences: &[f32], points: &Columns, age: usize, count: usize) {
        for r in registers::<S>() {
            let mut partial = Float::splat(simd, 0.0);
            let mut newer = self.newer.get(simd, r);
            for i in 0..count {
                let point = points[points.len() - 1 - i].get(simd, r);
                if age + i > 0 {
                    partial = partial + (newer - point) * differences[differences.len() - (age + i)];
                }
                newer = point;
            }
            self.newer.set(r, newer);
            self.sum.set(r, self.sum.get(simd, r) + partial);
        }
    }

    /// The slopes in units of the loss per step; NaN where a point is not finite or the sum overflows.
    #[inline(always)]
    pub(super) fn finish<S: Simd>(mut self, simd: S) -> Lanes<f32> {
        for r in registers::<S>() {
            let slope = self.sum.get(simd, r);
            self.sum.set(r, slope.is_finite().select(slope, slope.all(f32::NAN)));
        }
        self.sum
    }
}
