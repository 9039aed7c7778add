//! The parts of the output slices that belong to a run of groups, so that threads can write without sharing.

use super::Job;
use super::lanes::{LANES, Lanes};
use super::points::CHUNK;
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

/// The groups of a block, one to [`LANES`](super::lanes::LANES) of them.
pub(super) enum Members<'a> {
    /// `count` neighbours.
    Run { first: usize, count: usize },
    /// Any, in any order.
    Listed(&'a [usize]),
}

impl Members<'_> {
    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Run { count, .. } => *count,
            Self::Listed(groups) => groups.len(),
        }
    }

    /// The group of a lane. Lanes without a group repeat the last one.
    #[inline(always)]
    pub(super) fn group(&self, lane: usize) -> usize {
        match self {
            Self::Run { first, count } => first + lane.min(count - 1),
            Self::Listed(groups) => groups[lane.min(groups.len() - 1)],
        }
    }
}

impl Part<'_> {
    /// Stores a block whose lanes are groups and whose vectors are components, of the run that begins at group `start`.
    #[inline(always)]
    pub(super) fn store_groups(&mut self, job: &Job<'_>, start: usize, members: &Members<'_>, rows: &[Lanes<f32>]) {
        let count = members.count();
        match (self, members) {
            (Self::Whole { values, first }, Members::Run { first: group, .. }) if job.weight_group_stride == 1 => {
                let place = job.weight_base(*group) - *first;
                for (component, row) in rows.iter().enumerate() {
                    let place = place + component * job.weight_component_stride;
                    values[place..place + count].copy_from_slice(&row.0[..count]);
                }
            }
            (Self::PerComponent(parts), Members::Run { first: group, .. }) if job.weight_group_stride == 1 => {
                for (part, row) in parts.iter_mut().zip(rows) {
                    part[group - start..group - start + count].copy_from_slice(&row.0[..count]);
                }
            }
            (Self::Whole { values, first }, Members::Run { first: group, .. })
                if job.weight_component_stride == 1 && job.weight_group_stride == rows.len() =>
            {
                let place = job.weight_base(*group) - *first;
                store_rows(job, &mut values[place..place + count * rows.len()], rows);
            }
            (Self::Whole { values, first }, _) => {
                for lane in 0..count {
                    let place = job.weight_base(members.group(lane)) - *first;
                    if job.weight_component_stride == 1 {
                        for (value, row) in values[place..place + rows.len()].iter_mut().zip(rows) {
                            *value = row[lane];
                        }
                    } else {
                        for (component, row) in rows.iter().enumerate() {
                            values[place + component * job.weight_component_stride] = row[lane];
                        }
                    }
                }
            }
            (Self::PerComponent(parts), _) => {
                for (part, row) in parts.iter_mut().zip(rows) {
                    for lane in 0..count {
                        part[(members.group(lane) - start) * job.weight_group_stride] = row[lane];
                    }
                }
            }
        }
    }

    /// Stores a group whose lanes are components, of the run that begins at group `start`.
    #[inline(always)]
    pub(super) fn store_components(
        &mut self,
        job: &Job<'_>,
        start: usize,
        group: usize,
        components: usize,
        rows: &[Lanes<f32>],
    ) {
        match self {
            Self::Whole { values, first } => {
                let place = job.weight_base(group) - *first;
                for (k, row) in rows.iter().enumerate() {
                    let count = (components - k * LANES).min(LANES);
                    if job.weight_component_stride == 1 {
                        let place = place + k * LANES;
                        values[place..place + count].copy_from_slice(&row.0[..count]);
                    } else {
                        for l in 0..count {
                            values[place + (k * LANES + l) * job.weight_component_stride] = row[l];
                        }
                    }
                }
            }
            Self::PerComponent(parts) => {
                for (component, part) in parts.iter_mut().enumerate() {
                    part[(group - start) * job.weight_group_stride] = rows[component / LANES][component % LANES];
                }
            }
        }
    }
}

/// Stores a block group by group.
#[inline(always)]
fn store_rows(job: &Job<'_>, values: &mut [f32], rows: &[Lanes<f32>]) {
    // Of few components, the compiler makes better code than turning eight.
    match *rows {
        [a] => store_few(values, [a]),
        [a, b] => store_few(values, [a, b]),
        [a, b, c] => store_few(values, [a, b, c]),
        [a, b, c, d] => store_few(values, [a, b, c, d]),
        [a, b, c, d, e] => store_few(values, [a, b, c, d, e]),
        [a, b, c, d, e, f] => store_few(values, [a, b, c, d, e, f]),
        [a, b, c, d, e, f, g] => store_few(values, [a, b, c, d, e, f, g]),
        _ => {
            let n = rows.len();
            for start in (0..n).step_by(CHUNK) {
                // The last store ends with the last component.
                let start = start.min(n.saturating_sub(CHUNK));
                let mut columns = [Lanes::splat(0.0); CHUNK];
                for (column, row) in columns.iter_mut().zip(&rows[start..]) {
                    *column = *row;
                }
                for (group, numbers) in values.chunks_exact_mut(n).zip(&job.turn.rows(&columns)) {
                    group[start..start + CHUNK].copy_from_slice(numbers);
                }
            }
        }
    }
}

#[inline(always)]
fn store_few<const N: usize>(values: &mut [f32], rows: [Lanes<f32>; N]) {
    let (groups, _) = values.as_chunks_mut::<N>();
    if let Ok(groups) = <&mut [[f32; N]; LANES]>::try_from(&mut *groups) {
        for (lane, group) in groups.iter_mut().enumerate() {
            *group = std::array::from_fn(|component| rows[component][lane]);
        }
    } else {
        for (lane, group) in groups.iter_mut().enumerate() {
            *group = std::array::from_fn(|component| rows[component][lane]);
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
            let length = length.min(rest.len());
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(length);
            rest = after;
            part.push(piece);
        }
    }
    parts.into_iter().map(Part::PerComponent).collect()
}
