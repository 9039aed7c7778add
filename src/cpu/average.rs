//! Stage `average`, f32.
//!
//! A mean is made of [`CHUNK`] partial sums: that of a point is its age modulo [`CHUNK`], each is added up from the newest
//! point to the oldest, and a halving tree joins them. Chains of additions are short that way, and rows whose points lie
//! beside each other are added up a load at a time.

use super::lanes::{Int, Lanes, registers};
use super::points::{CHUNK, Columns};
use pulp::Simd;

/// The partial sums of a vector of rows, place for place as in a chunk of points.
pub(super) struct Average {
    sums: [Lanes<f32>; CHUNK],
}

impl Average {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { sums: [Lanes::splat(0.0); CHUNK] }
    }

    #[inline(always)]
    pub(super) fn of_sums(sums: [Lanes<f32>; CHUNK]) -> Self {
        Self { sums }
    }

    /// Adds the newest `count` of `points`, the last of which has the age `age`, to the lanes that have so many points.
    #[inline(always)]
    pub(super) fn add<S: Simd>(
        &mut self,
        simd: S,
        counts: &Option<Lanes<u32>>,
        points: &Columns,
        age: usize,
        count: usize,
    ) {
        for i in 0..count {
            for r in registers::<S>() {
                let loss = points[points.len() - 1 - i].get(simd, r);
                let before = self.sums[CHUNK - 1 - i].get(simd, r);
                // The first point of a sum is the sum: adding it to 0 would lose the sign of -0.
                let mut sum = if age == 0 { loss } else { before + loss };
                if let Some(counts) = counts {
                    let has = Int::splat(simd, (age + i) as u32).is_less(counts.get(simd, r));
                    sum = has.select(sum, before);
                }
                self.sums[CHUNK - 1 - i].set(r, sum);
            }
        }
    }

    /// The means in units of the loss over the newest `count` points, or as many as there are; NaN where a point is not
    /// finite, the sum overflows or there is no point.
    #[inline(always)]
    pub(super) fn finish<S: Simd>(self, simd: S, count: u32, counts: &Option<Lanes<u32>>) -> Lanes<f32> {
        let counts = match counts {
            Some(counts) => counts.map(|points| points.min(count) as f32),
            None => Lanes::splat(count as f32),
        };
        let mut means = Lanes::splat(0.0);
        for r in registers::<S>() {
            let mut sums = self.sums.map(|sum| sum.get(simd, r));
            let mut half = CHUNK / 2;
            while half > 0 {
                for i in 0..half {
                    sums[i] = sums[i] + sums[i + half];
                }
                half /= 2;
            }
            // 0 points: 0 / 0.
            let mean = sums[0] / counts.get(simd, r);
            means.set(r, mean.is_finite().select(mean, mean.all(f32::NAN)));
        }
        means
    }
}

/// The partial sums of one row's points, oldest first.
#[inline(always)]
pub(super) fn partial_sums(points: &[f32]) -> [f32; CHUNK] {
    let (oldest, chunks) = points.as_rchunks::<CHUNK>();
    // Numbers of chunks known to the compiler leave no loops, whose ends are hard to predict.
    let mut sums = match chunks {
        [] => [0.0; CHUNK],
        [a] => *a,
        [a, b] => sum([a, b]),
        [a, b, c] => sum([a, b, c]),
        [a, b, c, d] => sum([a, b, c, d]),
        [a, b, c, d, e] => sum([a, b, c, d, e]),
        [a, b, c, d, e, f] => sum([a, b, c, d, e, f]),
        [a, b, c, d, e, f, g] => sum([a, b, c, d, e, f, g]),
        [a, b, c, d, e, f, g, h] => sum([a, b, c, d, e, f, g, h]),
        [older @ .., a, b, c, d, e, f, g, h] => {
            let mut sums = sum([a, b, c, d, e, f, g, h]);
            for chunk in older.iter().rev() {
                sums = sum([chunk, &sums]);
            }
            sums
        }
    };
    if !oldest.is_empty() {
        let first = CHUNK - oldest.len();
        for (sum, point) in sums[first..].iter_mut().zip(oldest) {
            *sum = if points.len() < CHUNK { *point } else { *sum + point };
        }
    }
    sums
}

/// From the newest chunk, the last one, to the oldest.
#[inline(always)]
fn sum<const N: usize>(chunks: [&[f32; CHUNK]; N]) -> [f32; CHUNK] {
    let mut sums = *chunks[N - 1];
    for chunk in chunks[..N - 1].iter().rev() {
        for i in 0..CHUNK {
            sums[i] += chunk[i];
        }
    }
    sums
}
