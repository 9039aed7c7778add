//! The parts of the output slices that belong to a run of groups, so that threads can write without sharing.

use super::lanes::{LANES, Lanes};
use crate::batch::Outputs;
use crate::plan::Plan;
use crate::shape::Shape;
use crate::status::Status;
use std::ops::Range;

/// Places of a weight-shaped array that belong to a run of groups.
pub(super) enum Part<'a> {
    /// One piece from place `first` of the array on.
    Whole { values: &'a mut [f32], first: usize },
    /// One piece per component (groups lie within components), each beginning at the run's first group.
    PerComponent(Vec<&'a mut [f32]>),
}

/// The outputs of the groups `groups`.
pub(super) struct Chunk<'a> {
    pub(super) groups: Range<usize>,
    pub(super) weights: Part<'a>,
    pub(super) slopes: Option<Part<'a>>,
    pub(super) means: Option<Part<'a>>,
    pub(super) status: Option<&'a mut [Status]>,
}

/// Where the rows of a block go.
pub(super) struct Places<'a> {
    /// Place of each group's first component.
    pub(super) bases: &'a [usize],
    /// Number of each group within the run.
    pub(super) groups: &'a [usize],
    pub(super) group_stride: usize,
    pub(super) component_stride: usize,
}

impl Part<'_> {
    /// Stores a block whose lanes are groups and whose vectors are components.
    #[inline(always)]
    pub(super) fn store_groups(&mut self, places: &Places<'_>, rows: &[Lanes<f32>]) {
        let count = places.bases.len();
        let adjacent = places.group_stride == 1
            && places.groups.first().zip(places.groups.last()).is_some_and(|(first, last)| last - first + 1 == count);
        match self {
            Self::Whole { values, first } if adjacent => {
                for (component, row) in rows.iter().enumerate() {
                    let start = places.bases[0] + component * places.component_stride - *first;
                    values[start..start + count].copy_from_slice(&row.0[..count]);
                }
            }
            Self::Whole { values, first } => {
                for (lane, base) in places.bases.iter().enumerate() {
                    for (component, row) in rows.iter().enumerate() {
                        values[base - *first + component * places.component_stride] = row[lane];
                    }
                }
            }
            Self::PerComponent(parts) => {
                for (part, row) in parts.iter_mut().zip(rows) {
                    if adjacent {
                        let start = places.groups[0];
                        part[start..start + count].copy_from_slice(&row.0[..count]);
                    } else {
                        for (lane, group) in places.groups.iter().enumerate() {
                            part[group * places.group_stride] = row[lane];
                        }
                    }
                }
            }
        }
    }

    /// Stores a group whose lanes are components.
    #[inline(always)]
    pub(super) fn store_components(&mut self, places: &Places<'_>, components: usize, rows: &[Lanes<f32>]) {
        for component in 0..components {
            let value = rows[component / LANES][component % LANES];
            match self {
                Self::Whole { values, first } => {
                    values[places.bases[0] - *first + component * places.component_stride] = value;
                }
                Self::PerComponent(parts) => parts[component][places.groups[0] * places.group_stride] = value,
            }
        }
    }
}

/// Everything in one run.
pub(super) fn whole<'a>(plan: &Plan, outputs: &'a mut Outputs<'_, f32>) -> Chunk<'a> {
    let part = |values: &'a mut [f32]| Part::Whole { values, first: 0 };
    Chunk {
        groups: 0..plan.shape().groups(),
        weights: part(outputs.weights),
        slopes: outputs.slopes.as_deref_mut().map(part),
        means: outputs.means.as_deref_mut().map(part),
        status: outputs.status.as_deref_mut(),
    }
}

/// Runs of `size` groups, the last one shorter.
pub(super) fn chunks<'a>(plan: &Plan, outputs: &'a mut Outputs<'_, f32>, size: usize) -> Vec<Chunk<'a>> {
    let shape = plan.shape();
    let groups = shape.groups();
    let mut weights = parts(shape, outputs.weights, size).into_iter();
    let mut slopes = outputs.slopes.as_deref_mut().map(|values| parts(shape, values, size).into_iter());
    let mut means = outputs.means.as_deref_mut().map(|values| parts(shape, values, size).into_iter());
    let mut status = outputs.status.as_deref_mut().map(|values| values.chunks_mut(size));
    (0..groups)
        .step_by(size)
        .map_while(|start| {
            Some(Chunk {
                groups: start..groups.min(start + size),
                weights: weights.next()?,
                slopes: slopes.as_mut().and_then(Iterator::next),
                means: means.as_mut().and_then(Iterator::next),
                status: status.as_mut().and_then(Iterator::next),
            })
        })
        .collect()
}

/// The parts of one array. No two elements share a place, so either all places of a group lie before those of the next
/// one, or all places of a component do.
fn parts<'a>(shape: &Shape, values: &'a mut [f32], size: usize) -> Vec<Part<'a>> {
    let groups = shape.groups();
    let strides = shape.strides();
    let components = shape.uniform_components().filter(|&n| n > 1 && strides.weight_component > strides.weight_group);
    let starts = || (0..groups).step_by(size);
    let Some(components) = components else {
        let ends = starts().skip(1).map(|start| shape.weight_base(start)).chain([values.len()]);
        let mut rest = values;
        let mut first = 0;
        return ends
            .map(|end| {
                let (part, after) = std::mem::take(&mut rest).split_at_mut(end - first);
                rest = after;
                Part::Whole { values: part, first: std::mem::replace(&mut first, end) }
            })
            .collect();
    };
    let [group_stride, component_stride] = [strides.weight_group, strides.weight_component].map(|s| s as usize);
    let mut parts: Vec<Vec<&mut [f32]>> = starts().map(|_| Vec::with_capacity(components)).collect();
    for component in values.chunks_mut(component_stride) {
        let mut rest = component;
        for (start, part) in starts().zip(&mut parts) {
            let length = if start + size < groups { size * group_stride } else { rest.len() };
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(length.min(rest.len()));
            rest = after;
            part.push(piece);
        }
    }
    parts.into_iter().map(Part::PerComponent).collect()
}
