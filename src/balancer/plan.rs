//! A balancer's configuration and a shape that fit each other.

use super::config::{BalancerConfig, InitialWeights, Window};
use super::error::{BalancerError, CopyError, StateError};
use super::layout::{STEPS_FOLD, StateLayout};
use super::state::{BalancerLog, BalancerState};
use crate::batch::{Batch, Outputs};
use crate::config::{Score, Slope};
use crate::cpu;
use crate::plan::{Plan, Warning};
use crate::shape::{Layout, Shape, Strides};

/// A checked pair of balancer configuration and shape: what [`cpu::Balancer`](crate::cpu::Balancer) and the GPU's take. Needs
/// no device.
///
/// The shape's window is how many points of each loss are remembered. Its layout says how **one step's** losses and the
/// weights lie: `[group][component]` for [`Layout::RowMajor`], `[component][group]` for [`Layout::TimeMajor`], the weight
/// strides of [`Layout::Strided`]; always as many elements as [`Shape::weights_len`].
#[derive(Clone, Debug, PartialEq)]
pub struct BalancerPlan {
    config: BalancerConfig,
    shape: Shape,
    /// From the ring to weights.
    plan: Plan,
    layout: StateLayout,
    /// One weight per component, or per row of a ragged shape.
    initial: Vec<f32>,
}

impl BalancerPlan {
    /// Checks that the configuration is valid and fits the shape.
    ///
    /// # Errors
    /// The first thing that does not fit, with its numbers.
    pub fn new(config: BalancerConfig, shape: Shape) -> Result<Self, BalancerError> {
        config.validate()?;
        let ring = ring_shape(&shape)?;
        let plan = Plan::new(config.config.clone(), ring)?;
        if config.window == Window::Tumbling {
            let counts = [config.first_update(), config.every];
            let needed = if config.order_grows() { 2 } else { plan.slope_points() };
            let most = counts[0].max(counts[1]);
            if most as usize > shape.window() {
                return Err(BalancerError::WindowTooShort { window: shape.window(), points: most });
            }
            let least = counts[0].min(counts[1]);
            if (least as usize) < needed {
                return Err(BalancerError::TooFewPoints { points: least, needed });
            }
        }
        let layout = StateLayout::new(&config, plan.shape())?;
        let initial = initial_weights(&config, &plan)?;
        Ok(Self { config, shape, plan, layout, initial })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &BalancerConfig {
        &self.config
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Elements of one step's losses; also of the weights.
    #[must_use]
    pub fn losses_len(&self) -> usize {
        self.shape.weights_len()
    }

    /// How many points a group needs for its first weights.
    #[must_use]
    pub fn points_needed(&self) -> usize {
        if self.config.order_grows() { 2 } else { self.plan.slope_points() }
    }

    /// What is legal but probably not wanted.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        self.plan.warnings()
    }

    /// Bytes of the buffers that a balancer makes on a device, or of what its twin keeps in host memory (whose history takes
    /// twice the space).
    #[must_use]
    pub fn device_bytes(&self) -> u64 {
        4 * BalancerState::words_needed(self) as u64
    }

    /// The state from a snapshot that a balancer recorded: the bytes of the mapped buffer.
    ///
    /// # Errors
    /// Bytes that are no snapshot of this plan.
    pub fn read_snapshot(&self, bytes: &[u8]) -> Result<BalancerState, StateError> {
        let needed = self.device_bytes();
        if bytes.len() as u64 != needed {
            return Err(StateError::Length { bytes: bytes.len() as u64, needed });
        }
        BalancerState::from_words(self, bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)))
    }

    /// The log from a copy of a balancer's log buffer: the bytes of the mapped buffer.
    ///
    /// # Errors
    /// Bytes that are no log of this plan.
    pub fn read_log(&self, bytes: &[u8]) -> Result<BalancerLog, StateError> {
        let needed = 4 * self.layout.log_words as u64;
        if bytes.len() as u64 != needed {
            return Err(StateError::Length { bytes: bytes.len() as u64, needed });
        }
        let words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        BalancerLog::new(self, words)
    }

    /// The weights of every group before its first update, in the plan's layout.
    #[must_use]
    pub fn initial_weights(&self) -> Vec<f32> {
        let shape = &self.shape;
        let mut weights = vec![0.0; shape.weights_len()];
        for group in 0..shape.groups() {
            for component in 0..shape.components(group) {
                weights[shape.weight_index(group, component)] = self.initial_weight(group, component);
            }
        }
        weights
    }

    /// Checks that groups exist, for a reset.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check_groups(&self, groups: &[usize]) -> Result<(), CopyError> {
        let count = self.shape.groups();
        match groups.iter().find(|&&group| group >= count) {
            Some(&group) => Err(CopyError::Group { group, groups: count }),
            None => Ok(()),
        }
    }

    /// Checks pairs of groups (from, to) for a copy of one group's state onto another's.
    ///
    /// # Errors
    /// A group that does not exist, two groups of different size, or a group that is replaced and named again.
    pub fn check_copies(&self, pairs: &[(usize, usize)]) -> Result<(), CopyError> {
        // What each group is in this copy: nothing yet, copied, or replaced.
        let mut roles = std::collections::HashMap::new();
        for &(from, to) in pairs {
            self.check_groups(&[from, to])?;
            let sizes = [from, to].map(|group| self.shape.components(group));
            if sizes[0] != sizes[1] {
                return Err(CopyError::Components { from: (from, sizes[0]), to: (to, sizes[1]) });
            }
            if roles.insert(to, true).is_some() {
                return Err(CopyError::Twice { group: to });
            }
            if roles.insert(from, false) == Some(true) {
                return Err(CopyError::Twice { group: from });
            }
        }
        Ok(())
    }

    /// From the ring, rows innermost, to weights in the caller's layout.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// As [`BalancerPlan::plan`], from the newest `points` points alone and with the accuracy order that goes with them.
    pub(crate) fn grown(&self, points: usize) -> Result<Plan, BalancerError> {
        let mut config = self.config.config.clone();
        let Score::Slope(slope) = &mut config.score;
        if let Slope::Forward { order } | Slope::Backward { order } = slope {
            *order = Some(points.saturating_sub(1) as u32);
        }
        let ring = match self.shape.offsets() {
            Some(offsets) => Shape::ragged(offsets, points)?,
            None => Shape::new(self.shape.groups(), self.shape.max_components(), points)?,
        };
        let layout = if self.shape.offsets().is_some() {
            Layout::TimeMajor
        } else {
            Layout::Strided(self.plan.shape().strides())
        };
        Ok(Plan::new(config, ring.with_layout(layout)?)?)
    }

    pub(crate) fn layout(&self) -> &StateLayout {
        &self.layout
    }

    /// One weight per component; per row of a ragged shape.
    pub(crate) fn initial(&self) -> &[f32] {
        &self.initial
    }

    /// The initial weight of a component of a group.
    pub(crate) fn initial_weight(&self, group: usize, component: usize) -> f32 {
        self.initial()[self.shape.offsets().map_or(0, |offsets| offsets[group] as usize) + component]
    }

    /// What `steps` is lowered by when it reaches [`STEPS_FOLD`]: a multiple of the cadence, so that updates stay due when
    /// they were, and at most 2^30, so that every schedule stays over.
    pub(crate) fn steps_fold(&self) -> u32 {
        let every = self.config.every;
        (STEPS_FOLD / 2) / every * every
    }

    /// The number of pushes after one more.
    pub(crate) fn next_steps(&self, steps: u32) -> u32 {
        if steps >= STEPS_FOLD { steps - self.steps_fold() + 1 } else { steps + 1 }
    }

    /// Whether the push that made it `steps` pushes brings an update.
    pub(crate) fn is_due(&self, steps: u32) -> bool {
        let first = self.config.first_update();
        steps >= first && (steps - first).is_multiple_of(self.config.every)
    }
}

/// The same groups and components with the history's order of losses, `[slot][component][group]` or `[slot][row]`, and
/// the caller's order of weights.
fn ring_shape(shape: &Shape) -> Result<Shape, BalancerError> {
    let ring = shape.clone().with_layout(Layout::TimeMajor)?;
    if shape.offsets().is_some() {
        // Weights of ragged shapes are `[row]` in every layout.
        return Ok(ring);
    }
    let Strides { weight_group, weight_component, .. } = shape.strides();
    let losses = ring.strides();
    Ok(ring.with_layout(Layout::Strided(Strides { weight_group, weight_component, ..losses }))?)
}

fn initial_weights(config: &BalancerConfig, plan: &Plan) -> Result<Vec<f32>, BalancerError> {
    let shape = plan.shape();
    let components = shape.max_components();
    // One group of a uniform shape stands for all.
    let per_row = |weight: &dyn Fn(usize) -> f32| -> Vec<f32> {
        match shape.offsets() {
            None => (0..components).map(weight).collect(),
            Some(_) => (0..shape.groups()).flat_map(|group| (0..shape.components(group)).map(weight)).collect(),
        }
    };
    match &config.initial {
        InitialWeights::Ones => Ok(per_row(&|_| 1.0)),
        InitialWeights::PerComponent(weights) => {
            if weights.len() != components {
                return Err(BalancerError::InitialLength { weights: weights.len(), components });
            }
            Ok(per_row(&|component| weights[component] as f32))
        }
        InitialWeights::Neutral => {
            // What the batch path gives to groups without a point.
            let shape = match shape.offsets() {
                None => Shape::new(1, components, shape.window())?,
                Some(_) => shape.clone().with_layout(Layout::RowMajor)?,
            };
            let plan = plan.with_shape(shape)?;
            let losses = vec![0.0; plan.shape().losses_len()];
            let points = vec![0; plan.shape().groups()];
            let mut weights = vec![0.0; plan.shape().weights_len()];
            let batch = Batch { points: Some(&points), ..Batch::new(&losses) };
            // The slices have the shape's lengths: there is nothing to go wrong.
            let _ = cpu::weigh_into(&plan, &batch, &mut Outputs::new(&mut weights));
            Ok(weights)
        }
    }
}
