//! Stage `average`, f32.

use super::lanes::{LANES, Lanes};
use super::points::CHUNK;

/// The running sum of a vector of means, from the newest point to the oldest.
pub(super) struct Average {
    sum: Lanes<f32>,
}

impl Average {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { sum: Lanes::splat(0.0) }
    }

    /// Adds the `count` points at the end of `chunk`, of ages from `age` on, to the lanes whose mean is over more than
    /// that many points.
    #[inline(always)]
    pub(super) fn add(&mut self, points: &Lanes<u32>, chunk: &[Lanes<f32>; CHUNK], age: usize, count: usize) {
        let mut partial = Lanes::splat(0.0);
        for i in 0..count {
            let losses = chunk[CHUNK - 1 - i];
            let age = (age + i) as u32;
            for l in 0..LANES {
                partial[l] += if age < points[l] { losses[l] } else { 0.0 };
            }
        }
        self.sum = self.sum.zip(partial, |a, b| a + b);
    }

    /// The means in units of the loss; NaN where a point is not finite, the sum overflows or there is no point.
    #[inline(always)]
    pub(super) fn finish(self, points: &Lanes<u32>) -> Lanes<f32> {
        self.sum.zip(*points, |sum, points| {
            // 0 points: 0 / 0.
            let mean = sum / points as f32;
            if mean.is_finite() { mean } else { f32::NAN }
        })
    }
}
