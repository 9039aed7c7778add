//! Points of the windows of as many rows as there are lanes, turned so that a lane holds a row.

use super::lanes::{LANES, Lanes};
use super::transpose::Turn;

/// Points that are loaded together; also those of a partial sum.
pub(super) const CHUNK: usize = crate::single::POINTS_PER_SUM;

/// Where the newest points of a vector of rows lie.
#[derive(Clone, Copy)]
pub(super) enum Newest {
    /// `step` apart, from `first` on.
    Even { first: usize, step: usize },
    /// Anywhere.
    Each(Lanes<usize>),
}

impl Newest {
    /// The same rows of another component, `distance` further on.
    #[inline(always)]
    pub(super) fn advance(&mut self, distance: usize) {
        match self {
            Self::Even { first, .. } => *first += distance,
            Self::Each(places) => *places = places.map(|place| place + distance),
        }
    }
}

/// The windows of a vector of rows.
pub(super) struct Rows<'a> {
    /// The losses of the batch.
    pub(super) losses: &'a [f32],
    pub(super) newest: Newest,
    /// From a point to the next newer one.
    pub(super) stride: usize,
    pub(super) turn: Turn,
}

impl Rows<'_> {
    /// The points of ages `age..age + count` (0 is the newest), oldest first, at the end of the chunk; `count` of 1 to
    /// [`CHUNK`]. What stands before them is not meaningful.
    #[inline(always)]
    pub(super) fn chunk(&self, age: usize, count: usize) -> [Lanes<f32>; CHUNK] {
        match self.newest {
            Newest::Even { first, step: 1 } => self.adjacent(first, age, count),
            Newest::Even { first, step } if self.stride == 1 => self.rows(age, count, |lane| first + lane * step),
            Newest::Even { first, step } => self.gathered(age, count, |lane| first + lane * step),
            Newest::Each(places) if self.stride == 1 => self.rows(age, count, |lane| places[lane]),
            Newest::Each(places) => self.gathered(age, count, |lane| places[lane]),
        }
    }

    /// Neighbouring lanes lie beside each other.
    #[inline(always)]
    fn adjacent(&self, first: usize, age: usize, count: usize) -> [Lanes<f32>; CHUNK] {
        let mut chunk = [Lanes::splat(0.0); CHUNK];
        for i in 0..count {
            let first = first - (age + i) * self.stride;
            chunk[CHUNK - 1 - i].0.copy_from_slice(&self.losses[first..first + LANES]);
        }
        chunk
    }

    /// Neighbouring points lie beside each other.
    #[inline(always)]
    fn rows(&self, age: usize, count: usize, newest: impl Fn(usize) -> usize) -> [Lanes<f32>; CHUNK] {
        let mut rows = [[0.0; CHUNK]; LANES];
        for (lane, row) in rows.iter_mut().enumerate() {
            // A whole chunk is one load. Its surplus lies in the cache line of the points that count, or in the one
            // before it; at the very beginning of the losses there is none.
            let end = newest(lane) + 1 - age;
            if let Some(points) = self.losses.get(end.wrapping_sub(CHUNK)..end) {
                row.copy_from_slice(points);
            } else {
                for i in 0..count {
                    row[CHUNK - 1 - i] = self.losses[end - 1 - i];
                }
            }
        }
        self.turn.columns(&rows)
    }

    #[inline(always)]
    fn gathered(&self, age: usize, count: usize, newest: impl Fn(usize) -> usize) -> [Lanes<f32>; CHUNK] {
        let mut chunk = [Lanes::splat(0.0); CHUNK];
        for (i, points) in chunk.iter_mut().rev().take(count).enumerate() {
            for l in 0..LANES {
                points[l] = self.losses[newest(l) - (age + i) * self.stride];
            }
        }
        chunk
    }
}
