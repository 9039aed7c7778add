//! Points of the windows of as many rows as there are lanes, turned so that a lane holds a row.

use super::lanes::{LANES, Lanes};

/// Points that are loaded together; also those of a partial sum.
pub(super) const CHUNK: usize = crate::single::POINTS_PER_SUM;

/// Where the windows of a vector of rows lie.
pub(super) struct Rows<'a> {
    /// The losses of the batch.
    pub(super) losses: &'a [f32],
    /// Where the newest point of each row lies.
    pub(super) newest: Lanes<usize>,
    /// From a point to the next newer one.
    pub(super) stride: usize,
    /// Whether neighbouring lanes lie beside each other.
    pub(super) adjacent: bool,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    pub(super) fn new(losses: &'a [f32], newest: Lanes<usize>, stride: usize) -> Self {
        let mut adjacent = true;
        for l in 0..LANES {
            adjacent &= newest[l] == newest[0] + l;
        }
        Self { losses, newest, stride, adjacent }
    }

    /// The points of ages `age..age + count` (0 is the newest), oldest first, at the end of the chunk; `count` of 1 to
    /// [`CHUNK`]. What stands before them is not meaningful.
    #[inline(always)]
    pub(super) fn chunk(&self, age: usize, count: usize) -> [Lanes<f32>; CHUNK] {
        let mut chunk = [Lanes::splat(0.0); CHUNK];
        if self.adjacent {
            for i in 0..count {
                let first = self.newest[0] - (age + i) * self.stride;
                chunk[CHUNK - 1 - i].0.copy_from_slice(&self.losses[first..first + LANES]);
            }
        } else if self.stride == 1 {
            let mut rows = [[0.0; CHUNK]; LANES];
            for l in 0..LANES {
                // A whole chunk is one load. Its surplus lies in the cache line of the points that count, or in the one
                // before it; at the very beginning of the losses there is none.
                let end = self.newest[l] + 1 - age;
                if let Some(points) = end.checked_sub(CHUNK).and_then(|start| self.losses.get(start..end)) {
                    rows[l].copy_from_slice(points);
                } else {
                    for i in 0..count {
                        rows[l][CHUNK - 1 - i] = self.losses[end - 1 - i];
                    }
                }
            }
            for i in 0..CHUNK {
                for l in 0..LANES {
                    chunk[i][l] = rows[l][i];
                }
            }
        } else {
            for i in 0..count {
                for l in 0..LANES {
                    chunk[CHUNK - 1 - i][l] = self.losses[self.newest[l] - (age + i) * self.stride];
                }
            }
        }
        chunk
    }
}
