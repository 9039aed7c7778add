//! Parts of a batch that fit the device, and their elements in dense order.

use super::error::HostError;
use crate::plan::Plan;
use crate::shape::{Layout, Shape};
use std::borrow::Cow;
use std::ops::Range;

/// Bytes of losses of a chunk, where the batch is larger: small enough for several to be in flight and for a display's
/// watchdog, large enough for the fixed costs of a submission to vanish.
pub(super) const DEFAULT_CHUNK_BYTES: u64 = 32 << 20;

/// Splits groups of a shape so that no buffer of a part takes more than `bytes`, one group at least.
pub(super) fn split(shape: &Shape, groups: Range<usize>, bytes: u64) -> Vec<Range<usize>> {
    // A row has its losses on the way there, and three results and a share of a status word on the way back.
    let rows_allowed = (bytes / 4 / shape.window().max(4) as u64).max(1);
    if let Some(components) = shape.uniform_components() {
        let step = usize::try_from(rows_allowed / components as u64).unwrap_or(usize::MAX).max(1);
        return groups.clone().step_by(step).map(|start| start..groups.end.min(start.saturating_add(step))).collect();
    }
    let mut parts = Vec::new();
    let mut start = groups.start;
    let mut rows = 0;
    for group in groups.clone() {
        let components = shape.components(group) as u64;
        // Offsets count too: a part of empty groups must not grow without bound.
        let full = rows + components > rows_allowed || (group - start) as u64 + 2 > bytes / 4;
        if group > start && full {
            parts.push(start..group);
            start = group;
            rows = 0;
        }
        rows += components;
    }
    if start < groups.end {
        parts.push(start..groups.end);
    }
    parts
}

/// The dense layout that a chunk travels in: the batch's own, or for custom strides the one whose neighbours are
/// neighbours there. Kernels give a group the same bits in both.
fn dense_layout(shape: &Shape) -> Layout {
    match shape.layout() {
        Layout::Strided(strides) if strides.group < strides.component => Layout::TimeMajor,
        Layout::Strided(_) => Layout::RowMajor,
        layout => layout,
    }
}

/// A part of a batch.
pub(super) struct Chunk {
    pub(super) groups: Range<usize>,
    /// The plan of the part, in a dense layout.
    pub(super) plan: Plan,
}

impl Chunk {
    pub(super) fn new(plan: &Plan, groups: Range<usize>) -> Result<Self, HostError> {
        let shape = plan.shape();
        let part = shape.slice(groups.clone())?.with_layout(dense_layout(shape))?;
        Ok(Self { plan: plan.with_shape(part)?, groups })
    }

    /// Whether the chunk is all of a batch whose own layout is dense: nothing to rearrange.
    fn is_whole(&self, shape: &Shape) -> bool {
        *self.plan.shape() == *shape
    }

    /// The chunk's losses in its own layout.
    pub(super) fn losses<'a>(&self, shape: &Shape, losses: &'a [f32]) -> Cow<'a, [f32]> {
        if self.is_whole(shape) {
            return Cow::Borrowed(losses);
        }
        if shape.layout() == Layout::RowMajor {
            return Cow::Borrowed(&losses[shape.loss_range(self.groups.clone())]);
        }
        let own = self.plan.shape();
        let mut packed = vec![0.0; own.losses_len()];
        for time in 0..shape.window() {
            self.each_row(own, |group, component| {
                packed[own.loss_index(group, component, time)] =
                    losses[shape.loss_index(self.groups.start + group, component, time)];
            });
        }
        Cow::Owned(packed)
    }

    /// The chunk's part of an array laid out as the weights.
    pub(super) fn rows<'a>(&self, shape: &Shape, values: &'a [f32]) -> Cow<'a, [f32]> {
        if self.is_whole(shape) {
            return Cow::Borrowed(values);
        }
        if shape.layout() == Layout::RowMajor {
            return Cow::Borrowed(&values[shape.weight_range(self.groups.clone())]);
        }
        let own = self.plan.shape();
        let mut packed = vec![0.0; own.weights_len()];
        self.each_row(own, |group, component| {
            packed[own.weight_index(group, component)] =
                values[shape.weight_index(self.groups.start + group, component)];
        });
        Cow::Owned(packed)
    }

    /// Puts results in the chunk's own layout where they belong in the batch.
    pub(super) fn scatter(&self, shape: &Shape, results: &[f32], values: &mut [f32]) {
        if self.is_whole(shape) {
            values.copy_from_slice(results);
        } else if shape.layout() == Layout::RowMajor {
            values[shape.weight_range(self.groups.clone())].copy_from_slice(results);
        } else {
            let own = self.plan.shape();
            self.each_row(own, |group, component| {
                values[shape.weight_index(self.groups.start + group, component)] =
                    results[own.weight_index(group, component)];
            });
        }
    }

    fn each_row(&self, own: &Shape, mut visit: impl FnMut(usize, usize)) {
        for group in 0..own.groups() {
            for component in 0..own.components(group) {
                visit(group, component);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::config::Config;
    use crate::shape::Strides;

    #[test]
    fn parts_cover_all_groups_once_and_fit() {
        let shapes = [
            Shape::new(1000, 3, 5).unwrap(),
            Shape::new(0, 3, 5).unwrap(),
            Shape::new(3, 4096, 7).unwrap(),
            Shape::ragged(vec![0], 5).unwrap(),
            Shape::ragged(vec![0, 0, 0, 7, 9, 9, 30, 31, 31], 5).unwrap(),
        ];
        for shape in shapes {
            for bytes in [1, 60, 64, 300, 1 << 20] {
                let parts = split(&shape, 0..shape.groups(), bytes);
                let covered: Vec<usize> = parts.iter().cloned().flatten().collect();
                assert_eq!(covered, (0..shape.groups()).collect::<Vec<_>>());
                for part in parts {
                    let taken = shape.loss_range(part.clone()).len() as u64 * 4;
                    assert!(!part.is_empty() && (taken <= bytes || part.len() == 1), "{part:?} takes {taken}");
                }
            }
        }
    }

    #[test]
    fn chunks_hold_their_groups_elements_in_every_layout() {
        let strides = Strides { group: 2, component: 30, time: 100, weight_group: 3, weight_component: 40 };
        let grouped = Strides { group: 20, component: 6, time: 1, weight_group: 3, weight_component: 1 };
        for layout in [Layout::RowMajor, Layout::TimeMajor, Layout::Strided(strides), Layout::Strided(grouped)] {
            let shape = Shape::new(10, 3, 5).unwrap().with_layout(layout).unwrap();
            let plan = Plan::new(Config::original(), shape.clone()).unwrap();
            let losses: Vec<f32> = (0..shape.losses_len()).map(|i| i as f32).collect();
            let rows: Vec<f32> = (0..shape.weights_len()).map(|i| i as f32).collect();
            for groups in [0..10, 3..7] {
                let chunk = Chunk::new(&plan, groups.clone()).unwrap();
                let own = chunk.plan.shape().clone();
                let (packed, packed_rows) = (chunk.losses(&shape, &losses), chunk.rows(&shape, &rows));
                let mut scattered = vec![-1.0; shape.weights_len()];
                chunk.scatter(&shape, &packed_rows, &mut scattered);
                for group in 0..groups.len() {
                    for component in 0..3 {
                        let place = shape.weight_index(groups.start + group, component);
                        assert_eq!(scattered[place], rows[place]);
                        for time in 0..5 {
                            let there = losses[shape.loss_index(groups.start + group, component, time)];
                            assert_eq!(packed[own.loss_index(group, component, time)], there);
                        }
                    }
                }
                let touched = scattered.iter().filter(|&&v| v >= 0.0).count();
                assert_eq!(touched, groups.len() * 3);
            }
        }
    }
}
