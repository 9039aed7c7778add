//! How many groups, components and points there are, and where each element lies.
//!
//! All index, stride and element-count arithmetic of the crate is in this file, in 64 bits and checked when the shape is
//! made, so that nothing after it can overflow.

use crate::error::ShapeError;
use std::ops::Range;
use std::sync::Arc;

/// The largest number of components of a group.
pub const MAX_COMPONENTS: usize = 4096;

/// The largest number of points of a window.
pub const MAX_WINDOW: usize = 4096;

/// Where the elements of a batch lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// Losses `[group][component][time]`, weights `[group][component]`: what logs and batches are.
    #[default]
    RowMajor,
    /// Losses `[time][component][group]`, weights `[component][group]`: what a history on a device is. Groups lie
    /// innermost, so that neighbouring GPU threads, which own neighbouring groups, read neighbouring words whatever the
    /// number of components.
    ///
    /// A ragged shape has its rows innermost instead: losses `[time][row]`, weights `[row]`.
    TimeMajor,
    /// Any strides; uniform shapes only.
    Strided(Strides),
}

/// Distances between neighbours along each axis, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Strides {
    /// From a group's losses to the next group's.
    pub group: u64,
    /// From a component's losses to the next component's.
    pub component: u64,
    /// From a point to the next newer one.
    pub time: u64,
    /// From a group's weights to the next group's. Also used for slopes, means and scores.
    pub weight_group: u64,
    /// From a component's weight to the next one's.
    pub weight_component: u64,
}

/// How many components each group has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Components {
    Uniform {
        groups: usize,
        components: usize,
    },
    /// Group g owns rows `offsets[g]..offsets[g + 1]`.
    Ragged {
        offsets: Arc<[u32]>,
        largest: usize,
    },
}

/// The shape of a batch: groups, components of each, points of a window, and the places of the elements.
///
/// A *row* is one component of one group; rows are counted group by group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    components: Components,
    window: usize,
    layout: Layout,
    strides: Strides,
    losses_len: usize,
    weights_len: usize,
}

impl Shape {
    /// `groups` groups (0 is allowed) of `components` components each, windows of `window` points, row-major.
    ///
    /// # Errors
    /// Components outside 1..=[`MAX_COMPONENTS`], window outside 1..=[`MAX_WINDOW`], or more elements than can be
    /// addressed.
    pub fn new(groups: usize, components: usize, window: usize) -> Result<Self, ShapeError> {
        if !(1..=MAX_COMPONENTS).contains(&components) {
            return Err(ShapeError::Components { group: None, components });
        }
        Self::with_components(Components::Uniform { groups, components }, window)
    }

    /// Groups with their own numbers of components: group `g` owns rows `offsets[g]..offsets[g + 1]`, row-major.
    ///
    /// `offsets` has one entry more than there are groups and starts at 0. Groups may be empty.
    ///
    /// # Errors
    /// Offsets that are empty, do not start at 0 or fall; a group above [`MAX_COMPONENTS`]; a window outside
    /// 1..=[`MAX_WINDOW`]; more elements than can be addressed.
    pub fn ragged(offsets: impl Into<Vec<u32>>, window: usize) -> Result<Self, ShapeError> {
        let offsets = offsets.into();
        if offsets.first() != Some(&0) {
            return Err(ShapeError::OffsetsStart { first: offsets.first().copied() });
        }
        let mut largest = 0;
        for (group, pair) in offsets.windows(2).enumerate() {
            let (start, end) = (pair[0], pair[1]);
            if end < start {
                return Err(ShapeError::OffsetsFall { group, start, end });
            }
            let components = (end - start) as usize;
            if components > MAX_COMPONENTS {
                return Err(ShapeError::Components { group: Some(group), components });
            }
            largest = largest.max(components);
        }
        Self::with_components(Components::Ragged { offsets: offsets.into(), largest }, window)
    }

    fn with_components(components: Components, window: usize) -> Result<Self, ShapeError> {
        if !(1..=MAX_WINDOW).contains(&window) {
            return Err(ShapeError::Window { window });
        }
        let strides = Strides { group: 0, component: 0, time: 0, weight_group: 0, weight_component: 0 };
        Self { components, window, layout: Layout::RowMajor, strides, losses_len: 0, weights_len: 0 }
            .with_layout(Layout::RowMajor)
    }

    /// The same groups, components and window in another layout.
    ///
    /// # Errors
    /// Custom strides for a ragged shape, strides under which two elements share a place, or more elements than can be
    /// addressed.
    pub fn with_layout(mut self, layout: Layout) -> Result<Self, ShapeError> {
        let too_large =
            ShapeError::TooLarge { groups: self.groups(), components: self.max_components(), window: self.window };
        let window = self.window as u64;
        self.layout = layout;
        let lengths = match (&self.components, layout) {
            (Components::Ragged { .. }, Layout::Strided(_)) => return Err(ShapeError::StridesOfRagged),
            (Components::Ragged { offsets, .. }, _) => {
                let rows = u64::from(offsets[offsets.len() - 1]);
                let (component, time) = if layout == Layout::TimeMajor { (1, rows) } else { (window, 1) };
                // Groups are addressed by their offsets, in units of the component strides.
                self.strides = Strides { group: 0, component, time, weight_group: 0, weight_component: 1 };
                // rows < 2^32 and window <= 2^12: no overflow.
                Some((rows * window, rows))
            }
            (&Components::Uniform { groups, components }, _) => {
                let (groups, components) = (groups as u64, components as u64);
                let rows = groups.checked_mul(components).ok_or_else(|| too_large.clone())?;
                let dense = rows.checked_mul(window).ok_or_else(|| too_large.clone())?;
                self.strides = match layout {
                    Layout::RowMajor => Strides {
                        group: components * window,
                        component: window,
                        time: 1,
                        weight_group: components,
                        weight_component: 1,
                    },
                    Layout::TimeMajor => {
                        Strides { group: 1, component: groups, time: rows, weight_group: 1, weight_component: groups }
                    }
                    Layout::Strided(strides) => strides,
                };
                if let Layout::Strided(s) = layout {
                    let losses = extent([(s.group, groups), (s.component, components), (s.time, window)], &too_large)?;
                    let weights =
                        extent([(s.weight_group, groups), (s.weight_component, components), (0, 1)], &too_large)?;
                    Some((losses, weights))
                } else {
                    Some((dense, rows))
                }
            }
        };
        let addressable = |elements: u64| {
            // Leave room for elements of 8 bytes within the address space.
            usize::try_from(elements).ok().filter(|&e| e <= isize::MAX as usize / 8).ok_or_else(|| too_large.clone())
        };
        let (losses, weights) = lengths.ok_or_else(|| too_large.clone())?;
        self.losses_len = addressable(losses)?;
        self.weights_len = addressable(weights)?;
        Ok(self)
    }

    /// Number of groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        match &self.components {
            Components::Uniform { groups, .. } => *groups,
            Components::Ragged { offsets, .. } => offsets.len() - 1,
        }
    }

    /// Number of components of group `group`, which must be below [`Shape::groups`].
    ///
    /// # Panics
    /// For a group of a ragged shape that does not exist.
    #[must_use]
    pub fn components(&self, group: usize) -> usize {
        match &self.components {
            Components::Uniform { components, .. } => *components,
            Components::Ragged { offsets, .. } => (offsets[group + 1] - offsets[group]) as usize,
        }
    }

    /// The number of components that every group has; `None` for a ragged shape.
    #[must_use]
    pub fn uniform_components(&self) -> Option<usize> {
        match &self.components {
            Components::Uniform { components, .. } => Some(*components),
            Components::Ragged { .. } => None,
        }
    }

    /// Components of the largest group; 0 if there is none.
    #[must_use]
    pub fn max_components(&self) -> usize {
        match &self.components {
            Components::Uniform { components, .. } => *components,
            Components::Ragged { largest, .. } => *largest,
        }
    }

    /// Components of the smallest group that has some.
    pub(crate) fn min_components(&self) -> Option<usize> {
        match &self.components {
            Components::Uniform { groups, components } => (*groups > 0).then_some(*components),
            Components::Ragged { offsets, .. } => {
                offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).filter(|&n| n > 0).min()
            }
        }
    }

    /// The offsets of a ragged shape, in rows, one more than groups; `None` for a uniform one.
    #[must_use]
    pub fn offsets(&self) -> Option<&[u32]> {
        match &self.components {
            Components::Uniform { .. } => None,
            Components::Ragged { offsets, .. } => Some(offsets),
        }
    }

    /// Rows: components of all groups together.
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.components {
            Components::Uniform { groups, components } => groups * components,
            Components::Ragged { offsets, .. } => offsets[offsets.len() - 1] as usize,
        }
    }

    /// Points of a window.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Distances between neighbours. In a ragged shape the group strides are 0: groups start at their offset times the
    /// component stride.
    #[must_use]
    pub fn strides(&self) -> Strides {
        self.strides
    }

    /// Elements that the losses span.
    #[must_use]
    pub fn losses_len(&self) -> usize {
        self.losses_len
    }

    /// Elements that the weights span; also those of slopes, means and scores.
    #[must_use]
    pub fn weights_len(&self) -> usize {
        self.weights_len
    }

    /// Where a loss lies: group `group`, component `component`, point `time` (0 is the oldest).
    ///
    /// # Panics
    /// For a group of a ragged shape that does not exist.
    #[must_use]
    pub fn loss_index(&self, group: usize, component: usize, time: usize) -> usize {
        self.loss_base(group) + component * self.strides.component as usize + time * self.strides.time as usize
    }

    /// Where a weight lies; also its slope, mean and score.
    ///
    /// # Panics
    /// For a group of a ragged shape that does not exist.
    #[must_use]
    pub fn weight_index(&self, group: usize, component: usize) -> usize {
        self.weight_base(group) + component * self.strides.weight_component as usize
    }

    /// Where a group's losses start.
    pub(crate) fn loss_base(&self, group: usize) -> usize {
        match &self.components {
            Components::Uniform { .. } => group * self.strides.group as usize,
            Components::Ragged { offsets, .. } => offsets[group] as usize * self.strides.component as usize,
        }
    }

    /// Where a group's weights start.
    pub(crate) fn weight_base(&self, group: usize) -> usize {
        match &self.components {
            Components::Uniform { .. } => group * self.strides.weight_group as usize,
            Components::Ragged { offsets, .. } => offsets[group] as usize,
        }
    }

    /// The shape of the groups `groups` alone, in the same layout. With [`Layout::RowMajor`] its elements are
    /// [`Shape::loss_range`] and [`Shape::weight_range`] of this one.
    ///
    /// # Errors
    /// Never for groups within this shape and the two fast layouts; custom strides are kept.
    ///
    /// # Panics
    /// If `groups` is not within this shape.
    pub fn slice(&self, groups: Range<usize>) -> Result<Self, ShapeError> {
        assert!(
            groups.start <= groups.end && groups.end <= self.groups(),
            "groups {groups:?} are not within the shape's {}",
            self.groups()
        );
        match &self.components {
            Components::Uniform { components, .. } => Self::new(groups.len(), *components, self.window)?,
            Components::Ragged { offsets, .. } => {
                let first = offsets[groups.start];
                let offsets: Vec<u32> = offsets[groups.start..=groups.end].iter().map(|o| o - first).collect();
                Self::ragged(offsets, self.window)?
            }
        }
        .with_layout(self.layout)
    }

    /// Where the losses of groups `groups` lie in a row-major shape.
    #[must_use]
    pub fn loss_range(&self, groups: Range<usize>) -> Range<usize> {
        self.first_row(groups.start) * self.window..self.first_row(groups.end) * self.window
    }

    /// Where the weights of groups `groups` lie in a row-major shape.
    #[must_use]
    pub fn weight_range(&self, groups: Range<usize>) -> Range<usize> {
        self.first_row(groups.start)..self.first_row(groups.end)
    }

    /// The first row of group `group`; of the end, if `group` is the number of groups.
    fn first_row(&self, group: usize) -> usize {
        match &self.components {
            Components::Uniform { components, .. } => group * components,
            Components::Ragged { offsets, .. } => offsets[group] as usize,
        }
    }
}

/// Elements that axes of (stride, count) span, if no two of their elements share a place.
fn extent(mut axes: [(u64, u64); 3], too_large: &ShapeError) -> Result<u64, ShapeError> {
    if axes.iter().any(|&(_, count)| count == 0) {
        return Ok(0);
    }
    axes.sort_unstable();
    let mut span: u64 = 1;
    for (stride, count) in axes {
        if count == 1 {
            continue;
        }
        if stride < span {
            return Err(ShapeError::StridesOverlap { stride, extent: span });
        }
        span =
            stride.checked_mul(count - 1).and_then(|steps| steps.checked_add(span)).ok_or_else(|| too_large.clone())?;
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// Every element has its own place within the length, and none is left over: checked by counting.
    fn assert_bijective(shape: &Shape) {
        let mut losses = vec![0u8; shape.losses_len()];
        let mut weights = vec![0u8; shape.weights_len()];
        for group in 0..shape.groups() {
            for component in 0..shape.components(group) {
                weights[shape.weight_index(group, component)] += 1;
                for time in 0..shape.window() {
                    losses[shape.loss_index(group, component, time)] += 1;
                }
            }
        }
        assert!(losses.iter().chain(&weights).all(|&count| count == 1), "{shape:?}");
    }

    #[test]
    fn dense_layouts_fill_their_space_without_sharing() {
        for layout in [Layout::RowMajor, Layout::TimeMajor] {
            for (groups, components, window) in [(0, 1, 1), (1, 1, 1), (7, 3, 5), (3, 1, 4), (2, 9, 2)] {
                assert_bijective(&Shape::new(groups, components, window).unwrap().with_layout(layout).unwrap());
            }
            for offsets in [vec![0], vec![0, 0], vec![0, 3, 3, 4, 9], vec![0, 0, 0, 2]] {
                assert_bijective(&Shape::ragged(offsets, 3).unwrap().with_layout(layout).unwrap());
            }
        }
    }

    #[test]
    fn strides_that_overlap_are_refused_and_others_span_what_they_touch() {
        let shape = Shape::new(4, 3, 5).unwrap();
        let strides = Strides { group: 1, component: 8, time: 32, weight_group: 4, weight_component: 1 };
        let strided = shape.clone().with_layout(Layout::Strided(strides)).unwrap();
        assert_eq!(strided.losses_len(), 3 + 2 * 8 + 4 * 32 + 1);
        assert_eq!(strided.weights_len(), 3 * 4 + 2 + 1);
        let overlap = Strides { component: 3, ..strides };
        assert_eq!(
            shape.clone().with_layout(Layout::Strided(overlap)),
            Err(ShapeError::StridesOverlap { stride: 3, extent: 4 })
        );
        let huge = Strides { time: u64::MAX / 2, ..strides };
        assert!(matches!(shape.with_layout(Layout::Strided(huge)), Err(ShapeError::TooLarge { .. })));
        assert_eq!(
            Shape::ragged(vec![0, 2], 3).unwrap().with_layout(Layout::Strided(strides)),
            Err(ShapeError::StridesOfRagged)
        );
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        assert_eq!(Shape::new(1, 0, 5), Err(ShapeError::Components { group: None, components: 0 }));
        assert_eq!(Shape::new(1, 4097, 5), Err(ShapeError::Components { group: None, components: 4097 }));
        assert_eq!(Shape::new(1, 1, 0), Err(ShapeError::Window { window: 0 }));
        assert_eq!(Shape::new(1, 1, 4097), Err(ShapeError::Window { window: 4097 }));
        assert!(matches!(Shape::new(usize::MAX, 4096, 4096), Err(ShapeError::TooLarge { .. })));
        assert!(matches!(Shape::new(usize::MAX / 16, 3, 5), Err(ShapeError::TooLarge { .. })));
        assert_eq!(Shape::ragged(vec![], 5), Err(ShapeError::OffsetsStart { first: None }));
        assert_eq!(Shape::ragged(vec![1, 2], 5), Err(ShapeError::OffsetsStart { first: Some(1) }));
        assert_eq!(Shape::ragged(vec![0, 5, 4], 5), Err(ShapeError::OffsetsFall { group: 1, start: 5, end: 4 }));
        assert_eq!(
            Shape::ragged(vec![0, 1, 4098], 5),
            Err(ShapeError::Components { group: Some(1), components: 4097 })
        );
    }

    #[test]
    fn a_slice_is_the_groups_it_names() {
        for shape in [Shape::new(9, 3, 5).unwrap(), Shape::ragged(vec![0, 3, 3, 4, 9, 9, 11], 5).unwrap()] {
            let part = shape.slice(2..5).unwrap();
            assert_eq!(part.groups(), 3);
            assert_eq!(shape.loss_range(2..5).len(), part.losses_len());
            assert_eq!(shape.weight_range(2..5).len(), part.weights_len());
            for group in 0..3 {
                assert_eq!(part.components(group), shape.components(group + 2));
                for component in 0..part.components(group) {
                    assert_eq!(
                        part.loss_index(group, component, 1) + shape.loss_range(2..5).start,
                        shape.loss_index(group + 2, component, 1)
                    );
                }
            }
        }
    }
}
