//! Stage `slopes`, f32.

use super::lanes::{LANES, Lanes};
use super::points::CHUNK;

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

    /// Adds the terms `d_j (L[j + 1] - L[j])` whose older point is among `count` points of ages from `age` on, which
    /// stand at the end of `chunk`. `differences` has one entry less than the slope has points.
    #[inline(always)]
    pub(super) fn add(&mut self, differences: &[f32], chunk: &[Lanes<f32>; CHUNK], age: usize, count: usize) {
        let mut partial = Lanes::splat(0.0);
        for i in 0..count {
            let points = chunk[CHUNK - 1 - i];
            if age + i > 0 {
                let d = differences[differences.len() - (age + i)];
                for l in 0..LANES {
                    partial[l] += d * (self.newer[l] - points[l]);
                }
            }
            self.newer = points;
        }
        self.sum = self.sum.zip(partial, |a, b| a + b);
    }

    /// The slopes in units of the loss per step; NaN where a point is not finite or the sum overflows.
    #[inline(always)]
    pub(super) fn finish(self) -> Lanes<f32> {
        self.sum.map(|slope| if slope.is_finite() { slope } else { f32::NAN })
    }
}
