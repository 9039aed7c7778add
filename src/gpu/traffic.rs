//! Bytes that the kernels cannot do without: what a speed is compared with.
//!
//! A GPU moves memory in sectors of 32 bytes. A kernel has to move every sector that holds a word it reads or writes, once; how
//! often it really does is up to its caches, and to be measured. Parameters, which every workgroup reads, are left out.

use super::slots::{KernelOptions, Role, Slot, Stage, slots};
use crate::balancer::{BalancerPlan, Feed, Smoothing};
use crate::plan::Plan;
use crate::shape::{Shape, Strides};
use std::ops::{Add, AddAssign};

/// Bytes of a sector.
pub const SECTOR_BYTES: u64 = 32;
const SECTOR_WORDS: u64 = SECTOR_BYTES / 4;

/// Bytes that have to be moved, in whole sectors.
///
/// ```
/// use softadapt::gpu::{KernelOptions, Stage, Traffic};
/// use softadapt::{Config, Plan, Shape};
///
/// // 16 points a row are two sectors, of which a slope from the newest five needs one.
/// let plan = Plan::new(Config::original().with_order(4), Shape::new(1000, 8, 16)?)?;
/// let traffic = Traffic::of_stage(&plan, Stage::Fused, KernelOptions::default());
/// assert_eq!((traffic.read, traffic.written), (8000 * 32, 8000 * 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

impl Traffic {
    /// Bytes read and written.
    #[must_use]
    pub fn total(self) -> u64 {
        self.read + self.written
    }

    /// What one stage of a plan moves. Stages that run one after the other add up: what one leaves for the next is written
    /// and read again.
    #[must_use]
    pub fn of_stage(plan: &Plan, stage: Stage, options: KernelOptions) -> Self {
        let shape = plan.shape();
        let mut traffic = Self::default();
        for (slot, role) in slots(stage, plan, options) {
            let bytes = match slot {
                Slot::Losses => losses(shape, stage.points_read(plan)),
                Slot::Weights | Slot::Slopes | Slot::Means | Slot::Scores => weights(shape),
                _ => words(slot.words(plan)),
            };
            match role {
                Role::Input => traffic.read += bytes,
                Role::Output => traffic.written += bytes,
            }
        }
        traffic
    }

    /// What one step of a balancer moves, with full windows and an update of every group.
    #[must_use]
    pub fn of_step(plan: &BalancerPlan) -> Self {
        let (config, layout) = (plan.config(), plan.layout());
        let (groups, rows) = (words(layout.groups as u64), words(layout.rows as u64));
        let weights = weights(plan.shape());
        let points = plan.plan().points_used() as u64;
        // The clock and the counter of each group; the ring, of which the newest point comes from the push.
        let mut read = 2 * groups + words((points - 1) * layout.rows as u64);
        let mut written = 2 * groups + rows + weights + groups;
        match config.feed {
            Feed::EveryPush => read += weights,
            Feed::EpochMean => {
                read += groups + 2 * rows;
                written += groups;
            }
        }
        match config.smoothing {
            Smoothing::None => {}
            Smoothing::Exponential { .. } => read += weights,
            Smoothing::CycleMean => {
                read += groups + rows;
                written += groups + rows;
            }
        }
        if config.per_group_beta {
            read += groups;
        }
        if layout.log > 0 {
            // The place in the log; weights and status were written just before, by the same lanes.
            read += groups;
            written += 3 * groups + rows;
        }
        if let Some(offsets) = plan.shape().offsets() {
            read += words(offsets.len() as u64);
        }
        Self { read, written }
    }
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { read: self.read + other.read, written: self.written + other.written }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Bytes of the sectors that so many neighbouring words touch, from a sector's start.
fn words(count: u64) -> u64 {
    count.div_ceil(SECTOR_WORDS) * SECTOR_BYTES
}

/// Bytes of the sectors that hold the newest `points` points of all rows.
fn losses(shape: &Shape, points: usize) -> u64 {
    let Strides { group, component, time, .. } = shape.strides();
    let first = (shape.window() - points) as u64 * time;
    sectors(first, axes(shape, group, component, Some((time, points as u64))))
}

/// Bytes of the sectors that hold a word for every row.
fn weights(shape: &Shape) -> u64 {
    let Strides { weight_group, weight_component, .. } = shape.strides();
    sectors(0, axes(shape, weight_group, weight_component, None))
}

/// (stride, count) of every axis. Ragged shapes have rows for components, and no groups.
fn axes(shape: &Shape, group: u64, component: u64, time: Option<(u64, u64)>) -> Vec<(u64, u64)> {
    let rows = match shape.uniform_components() {
        Some(components) => vec![(group, shape.groups() as u64), (component, components as u64)],
        None => vec![(component, shape.rows() as u64)],
    };
    rows.into_iter().chain(time).collect()
}

/// Bytes of the distinct sectors that the words at `first` plus multiples of the strides lie in. Strides do not overlap
/// ([`Shape::with_layout`] sees to it), so that the axes in the order of their strides visit words in the order of theirs.
fn sectors(first: u64, mut axes: Vec<(u64, u64)>) -> u64 {
    if axes.iter().any(|&(_, count)| count == 0) {
        return 0;
    }
    axes.retain(|&(_, count)| count > 1);
    axes.sort_unstable();
    // Axes without gaps are one run of words.
    let mut run = 1;
    let gaps = axes.iter().position(|&(stride, count)| {
        let dense = stride == run;
        if dense {
            run *= count;
        }
        !dense
    });
    let outer = axes.split_off(gaps.unwrap_or(axes.len()));
    let (mut found, mut next_sector) = (0, 0);
    visit(first, &outer, &mut |start| {
        let (from, to) = (start / SECTOR_WORDS, (start + run - 1) / SECTOR_WORDS + 1);
        found += to - from.max(next_sector).min(to);
        next_sector = next_sector.max(to);
    });
    found * SECTOR_BYTES
}

/// Calls `with` for every place of the axes, innermost first in the slice, in ascending order.
fn visit(start: u64, axes: &[(u64, u64)], with: &mut impl FnMut(u64)) {
    match axes.split_last() {
        None => with(start),
        Some((&(stride, count), inner)) => (0..count).for_each(|i| visit(start + i * stride, inner, with)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::balancer::BalancerConfig;
    use crate::config::Config;
    use crate::shape::Layout;

    fn plan(config: Config, shape: Shape) -> Plan {
        Plan::new(config.with_order(4), shape).unwrap()
    }

    fn staged(plan: &Plan, stages: &[Stage]) -> Traffic {
        stages.iter().fold(Traffic::default(), |sum, &s| sum + Traffic::of_stage(plan, s, KernelOptions::default()))
    }

    /// Counted by hand.
    #[test]
    fn row_major_plans_move_the_sectors_of_the_points_they_use() {
        let fused = |config, groups, components, window| {
            let plan = plan(config, Shape::new(groups, components, window).unwrap());
            let traffic = Traffic::of_stage(&plan, Stage::Fused, KernelOptions::default());
            (traffic.read, traffic.written)
        };
        // All five points: dense. 8 groups are 24 rows, 120 words, 15 sectors; 24 weights are 3.
        assert_eq!(fused(Config::original(), 8, 3, 5), (15 * 32, 3 * 32));
        // One group: 15 words touch 2 sectors, 3 weights touch 1.
        assert_eq!(fused(Config::original(), 1, 3, 5), (2 * 32, 32));
        // 16 points a row: 11..16 lie in the second of two sectors; the mean needs both.
        assert_eq!(fused(Config::normalized(), 10, 8, 16), (80 * 32, 10 * 32));
        assert_eq!(fused(Config::loss_weighted(), 10, 8, 16), (160 * 32, 10 * 32));
        // 64 points: one sector of eight.
        assert_eq!(fused(Config::original(), 10, 16, 64), (160 * 32, 20 * 32));
        assert_eq!(fused(Config::loss_weighted(), 10, 16, 64), (160 * 256, 20 * 32));
        // 12 points a row, the newest 5: words 7..12, 19..24, 31..36, 43..48 of every 48: sectors 0, 1; 2; 3, 4; 5.
        assert_eq!(fused(Config::original(), 2, 2, 12), (6 * 32, 32));
        // 6 points: words 1..6, 7..12, 13..18, 19..24: sectors 0, 1 and 2, shared by neighbours.
        assert_eq!(fused(Config::original(), 2, 2, 6), (3 * 32, 32));
        assert_eq!(fused(Config::original(), 0, 3, 5), (0, 0));
    }

    #[test]
    fn time_major_plans_move_whole_planes() {
        let shape = Shape::new(1000, 3, 16).unwrap().with_layout(Layout::TimeMajor).unwrap();
        let traffic = |config| Traffic::of_stage(&plan(config, shape.clone()), Stage::Fused, KernelOptions::default());
        // 3000 rows are 375 sectors a plane.
        assert_eq!(traffic(Config::original()), Traffic { read: 5 * 375 * 32, written: 375 * 32 });
        assert_eq!(traffic(Config::loss_weighted()), Traffic { read: 16 * 375 * 32, written: 375 * 32 });
    }

    #[test]
    fn strides_and_ragged_shapes_count_what_they_touch() {
        // Every word in a sector of its own, weights dense.
        let strides = Strides { group: 8, component: 80, time: 800, weight_group: 2, weight_component: 1 };
        let shape = Shape::new(10, 2, 5).unwrap().with_layout(Layout::Strided(strides)).unwrap();
        let traffic = Traffic::of_stage(&plan(Config::original(), shape), Stage::Fused, KernelOptions::default());
        assert_eq!(traffic, Traffic { read: 100 * 32, written: 3 * 32 });
        // 9 rows of 5 points: 45 words, 6 sectors; 4 offsets, 1; 9 weights, 2.
        let shape = Shape::ragged(vec![0, 2, 2, 9], 5).unwrap();
        let traffic = Traffic::of_stage(&plan(Config::original(), shape), Stage::Fused, KernelOptions::default());
        assert_eq!(traffic, Traffic { read: 7 * 32, written: 2 * 32 });
    }

    #[test]
    fn stages_move_what_they_hand_on() {
        let rows = 8 * 32;
        let shape = Shape::new(8, 8, 16).unwrap();
        let original = plan(Config::original(), shape.clone());
        // Losses to slopes, slopes to weights. (Without normalisation slopes are the scores.)
        assert_eq!(
            staged(&original, &[Stage::Slopes, Stage::Softmax]),
            Traffic { read: 64 * 32 + rows, written: 2 * rows }
        );
        // With mean losses: the losses twice, the means once.
        let weighted = plan(Config::loss_weighted(), shape);
        assert_eq!(
            staged(&weighted, &[Stage::Slopes, Stage::Average, Stage::Softmax]),
            Traffic { read: 64 * 32 + 64 * 64 + 2 * rows, written: 3 * rows }
        );
    }

    #[test]
    fn options_cost_a_word_a_group() {
        let plan = plan(Config::original(), Shape::new(800, 3, 5).unwrap());
        let all = KernelOptions { status: true, per_group_beta: true, per_group_points: true, ..Default::default() };
        let [plain, full] =
            [KernelOptions::default(), all].map(|options| Traffic::of_stage(&plan, Stage::Fused, options));
        assert_eq!((full.read - plain.read, full.written - plain.written), (2 * 3200, 3200));
    }

    #[test]
    fn a_step_moves_the_ring_and_the_clocks() {
        let shape = Shape::new(800, 3, 8).unwrap();
        let config = BalancerConfig::new(Config::original().with_order(4));
        let step =
            |config: &BalancerConfig| Traffic::of_step(&BalancerPlan::new(config.clone(), shape.clone()).unwrap());
        // A word for each group, and one for each row.
        let (group, row) = (3200, 9600);
        // Clock, counter, four points of the ring and the push; clock, counter, status, a point and the weights.
        let plain = step(&config);
        assert_eq!(plain, Traffic { read: 2 * group + 5 * row, written: 3 * group + 2 * row });
        let logged = step(&config.clone().with_log(4));
        assert_eq!((logged.read - plain.read, logged.written - plain.written), (group, 3 * group + row));
        let smoothed = step(&config.with_smoothing(Smoothing::CycleMean));
        assert_eq!((smoothed.read - plain.read, smoothed.written - plain.written), (group + row, group + row));
    }
}
