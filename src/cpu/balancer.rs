//! The balancer of trainers without a GPU: the twin of `gpu::Balancer`, with the same meaning.

use super::{HELD, weigh_marking_held};
use crate::balancer::layout::{Clock, log_head, log_place};
use crate::balancer::schedule::Schedule;
use crate::balancer::state::entries;
use crate::balancer::{
    BATCHES_PER_SUM, BalancerPlan, BalancerState, CopyError, Feed, LogEntry, Smoothing, StateError, Window,
};
use crate::batch::{Batch, Outputs};
use crate::error::BatchError;
use crate::plan::Plan;
use crate::status::Status;

/// Weights for a training loop in host memory: fed with each step's losses, it always has current weights.
///
/// After it is made, pushes allocate nothing unless the accuracy order follows the number of points.
///
/// ```
/// use softadapt::{BalancerConfig, BalancerPlan, Config, Shape, cpu::Balancer};
///
/// let plan = BalancerPlan::new(BalancerConfig::new(Config::original()), Shape::new(1, 2, 3)?)?;
/// let mut balancer = Balancer::new(&plan);
/// for epoch in 0..5 {
///     let losses = [1.0 / (1.0 + epoch as f32), 3.0 - epoch as f32]; // yours
///     balancer.push(&losses)?;
///     let [first, second] = balancer.weights() else { unreachable!() };
///     assert!((first + second - 1.0).abs() < 1e-6);
/// }
/// assert!(balancer.status()[0].is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Balancer {
    plan: BalancerPlan,
    schedule: Option<Schedule>,
    /// `[2 * window][row]`: every point stands twice, a window apart, so that any window is one piece.
    ring: Vec<f32>,
    /// The slot of the next point. All groups are pushed together.
    cursor: usize,
    points: Vec<u32>,
    steps: Vec<u32>,
    published: Vec<bool>,
    /// Weights in the cycle's sum, and the sum; empty unless cycles are averaged.
    cycle: Vec<u32>,
    cycle_sums: Vec<f32>,
    /// Batches of the open epoch, and the sums of the newest ones and of those before; empty unless epochs are.
    batches: Vec<u32>,
    epoch_newest: Vec<f32>,
    epoch_older: Vec<f32>,
    weights: Vec<f32>,
    status: Vec<Status>,
    betas: Option<Vec<f32>>,
    log: Vec<u32>,
    scratch: Scratch,
    /// Plans by number of points, where the accuracy order follows it.
    grown: Vec<Option<Plan>>,
}

/// What a push works with.
#[derive(Clone, Debug)]
struct Scratch {
    /// Weights and status of all groups, before they are published.
    weights: Vec<f32>,
    status: Vec<Status>,
    /// Betas after the schedule.
    betas: Vec<f32>,
    /// Whether this push brings a group's update.
    due: Vec<bool>,
}

impl Balancer {
    /// A balancer to which nothing has been pushed: initial weights, flagged as not ready.
    #[must_use]
    pub fn new(plan: &BalancerPlan) -> Self {
        Self::from_state(&BalancerState::new(plan))
    }

    fn from_state(state: &BalancerState) -> Self {
        let plan = state.plan.clone();
        let layout = plan.layout();
        let words = |start: usize, count: usize| &state.words[start..start + count];
        let floats = |start: Option<usize>| -> Vec<f32> {
            start.map_or(Vec::new(), |start| words(start, layout.rows).iter().copied().map(f32::from_bits).collect())
        };
        let counts = |start: Option<usize>| start.map_or(Vec::new(), |start| words(start, layout.groups).to_vec());
        let slots: Vec<f32> =
            words(layout.ring, layout.rows * layout.window).iter().copied().map(f32::from_bits).collect();
        let clocks: Vec<Clock> = words(layout.clocks, layout.groups).iter().copied().map(Clock::from_word).collect();
        let schedule = Schedule::new(plan.config().beta_schedule);
        Self {
            schedule,
            ring: slots.repeat(2),
            cursor: clocks.first().map_or(0, |clock| clock.cursor as usize),
            points: clocks.iter().map(|clock| clock.points).collect(),
            steps: words(layout.steps, layout.groups).to_vec(),
            published: clocks.iter().map(|clock| clock.published).collect(),
            cycle: counts(layout.cycle),
            cycle_sums: floats(layout.cycle_sums),
            batches: counts(layout.batches),
            epoch_newest: floats(layout.epoch_sums),
            epoch_older: floats(layout.epoch_sums.map(|start| start + layout.rows)),
            weights: state.weights.clone(),
            status: state.status.clone(),
            betas: state.betas.clone(),
            log: state.log.clone(),
            scratch: Scratch {
                weights: vec![0.0; plan.losses_len()],
                status: vec![Status::OK; layout.groups],
                betas: vec![0.0; if schedule.is_some() { layout.groups } else { 0 }],
                due: vec![false; layout.groups],
            },
            grown: if plan.config().order_grows() { vec![None; layout.window + 1] } else { Vec::new() },
            plan,
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &BalancerPlan {
        &self.plan
    }

    /// The published weights in the plan's layout, [`BalancerPlan::losses_len`] elements.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// One status word per group, of its last update.
    #[must_use]
    pub fn status(&self) -> &[Status] {
        &self.status
    }

    /// The groups' betas, to be rewritten at any time; `None` unless the configuration gives each group its own.
    #[must_use]
    pub fn betas_mut(&mut self) -> Option<&mut [f32]> {
        self.betas.as_deref_mut()
    }

    /// The logged updates of a group, oldest first; see [`BalancerState::log`].
    #[must_use]
    pub fn log(&self, group: usize) -> Vec<LogEntry> {
        entries(&self.plan, &self.log, group)
    }

    /// Takes one step's losses, laid out as the weights, and updates the weights of the groups whose update is due.
    ///
    /// # Errors
    /// A slice of the wrong length, or a balancer whose points are the means of epochs; it is unchanged then.
    pub fn push(&mut self, losses: &[f32]) -> Result<(), BatchError> {
        self.check_feed(Feed::EveryPush)?;
        self.check_losses(losses)?;
        let (shape, ring) = (self.plan.shape(), self.plan.plan().shape());
        let slots = [self.cursor, self.cursor + shape.window()].map(|slot| slot * ring.rows());
        each_row(&self.plan, |_, weight, row| {
            for slot in slots {
                self.ring[slot + row] = losses[weight];
            }
        });
        self.advance(&[]);
        Ok(())
    }

    /// Adds the losses of a batch, laid out as the weights, to the open epoch.
    ///
    /// # Errors
    /// A slice of the wrong length, or a balancer whose points are pushed one by one; it is unchanged then.
    pub fn accumulate(&mut self, losses: &[f32]) -> Result<(), BatchError> {
        self.check_feed(Feed::EpochMean)?;
        self.check_losses(losses)?;
        each_row(&self.plan, |group, weight, row| {
            let batches = self.batches[group];
            let (newest, older) = (&mut self.epoch_newest[row], &mut self.epoch_older[row]);
            if batches == 0 {
                (*newest, *older) = (0.0, 0.0);
            }
            *newest = finite_sum(*newest, losses[weight]);
            if batches % BATCHES_PER_SUM == BATCHES_PER_SUM - 1 {
                (*newest, *older) = (0.0, finite_sum(*older, *newest));
            }
        });
        for batches in &mut self.batches {
            *batches = batches.saturating_add(1);
        }
        Ok(())
    }

    /// Pushes the mean of the open epoch's batches as one point and opens the next epoch. An epoch without a batch leaves a
    /// gap: the group's window begins anew.
    ///
    /// # Errors
    /// A balancer whose points are pushed one by one; it is unchanged then.
    pub fn close_epoch(&mut self) -> Result<(), BatchError> {
        self.check_feed(Feed::EpochMean)?;
        let (shape, ring) = (self.plan.shape(), self.plan.plan().shape());
        let slots = [self.cursor, self.cursor + shape.window()].map(|slot| slot * ring.rows());
        each_row(&self.plan, |group, _, row| {
            let mean = finite_sum(self.epoch_newest[row], self.epoch_older[row]) / self.batches[group] as f32;
            for slot in slots {
                self.ring[slot + row] = if self.batches[group] == 0 { 0.0 } else { mean };
            }
        });
        let batches = std::mem::take(&mut self.batches);
        self.advance(&batches);
        self.batches = batches;
        self.batches.fill(0);
        Ok(())
    }

    /// Gives groups a new start: initial weights, no point, no log; other groups are not touched. Their betas stay.
    ///
    /// # Errors
    /// A group that does not exist; nothing is reset then.
    pub fn reset(&mut self, groups: &[usize]) -> Result<(), CopyError> {
        self.plan.check_groups(groups)?;
        for &group in groups {
            self.reset_group(group);
        }
        Ok(())
    }

    /// As [`Balancer::reset`], of the groups whose entry is set; one entry per group.
    ///
    /// # Errors
    /// A slice of the wrong length; nothing is reset then.
    pub fn reset_masked(&mut self, mask: &[bool]) -> Result<(), BatchError> {
        let needed = self.plan.shape().groups();
        if mask.len() != needed {
            return Err(BatchError::Length { what: "mask", length: mask.len(), needed });
        }
        for (group, _) in mask.iter().enumerate().filter(|(_, chosen)| **chosen) {
            self.reset_group(group);
        }
        Ok(())
    }

    fn reset_group(&mut self, group: usize) {
        let shape = self.plan.shape();
        for component in 0..shape.components(group) {
            self.weights[shape.weight_index(group, component)] = self.plan.initial_weight(group, component);
        }
        self.status[group] = Status::NOT_READY;
        self.points[group] = 0;
        self.steps[group] = 0;
        self.published[group] = false;
        for counts in [&mut self.cycle, &mut self.batches] {
            if let Some(count) = counts.get_mut(group) {
                *count = 0;
            }
        }
        if self.plan.layout().log > 0 {
            self.log[group] = log_head(0, 0);
        }
    }

    /// Copies the whole state of groups onto others, pairs of (from, to): losses, weights, counters, log. Betas stay: they are
    /// the caller's.
    ///
    /// # Errors
    /// A group that does not exist, groups of different size, or one that is replaced and named again; nothing is copied
    /// then.
    pub fn copy(&mut self, pairs: &[(usize, usize)]) -> Result<(), CopyError> {
        self.plan.check_copies(pairs)?;
        let (shape, ring) = (self.plan.shape(), self.plan.plan().shape());
        let layout = self.plan.layout();
        for &(from, to) in pairs {
            for component in 0..shape.components(from) {
                let weights = [from, to].map(|group| shape.weight_index(group, component));
                self.weights[weights[1]] = self.weights[weights[0]];
                let rows = [from, to].map(|group| ring.loss_index(group, component, 0));
                for slot in self.ring.chunks_exact_mut(layout.rows) {
                    slot[rows[1]] = slot[rows[0]];
                }
                for sums in [&mut self.cycle_sums, &mut self.epoch_newest, &mut self.epoch_older] {
                    if !sums.is_empty() {
                        sums[rows[1]] = sums[rows[0]];
                    }
                }
                for entry in 0..layout.log {
                    let start = layout.log_weights + entry * layout.rows;
                    self.log[start + rows[1]] = self.log[start + rows[0]];
                }
            }
            self.status[to] = self.status[from];
            self.published[to] = self.published[from];
            for counts in [&mut self.points, &mut self.steps, &mut self.cycle, &mut self.batches] {
                if !counts.is_empty() {
                    counts[to] = counts[from];
                }
            }
            if layout.log > 0 {
                self.log[to] = self.log[from];
            }
            for entry in 0..layout.log {
                for start in [layout.log_steps, layout.log_status] {
                    let start = start + entry * layout.groups;
                    self.log[start + to] = self.log[start + from];
                }
            }
        }
        Ok(())
    }

    /// The whole state, to be stored or to go on from on another path.
    #[must_use]
    pub fn state(&self) -> BalancerState {
        let mut state = BalancerState::new(&self.plan);
        let layout = self.plan.layout();
        for group in 0..layout.groups {
            let clock =
                Clock { cursor: self.cursor as u32, points: self.points[group], published: self.published[group] };
            state.words[layout.clocks + group] = clock.word();
        }
        let mut put = |start: Option<usize>, words: &mut dyn Iterator<Item = u32>| {
            for (place, word) in start.into_iter().flat_map(|start| start..).zip(words) {
                state.words[place] = word;
            }
        };
        let slots = &self.ring[..layout.rows * layout.window];
        put(Some(layout.steps), &mut self.steps.iter().copied());
        put(layout.cycle, &mut self.cycle.iter().copied());
        put(layout.batches, &mut self.batches.iter().copied());
        put(Some(layout.ring), &mut slots.iter().map(|loss| loss.to_bits()));
        put(layout.cycle_sums, &mut self.cycle_sums.iter().map(|sum| sum.to_bits()));
        let epoch = self.epoch_newest.iter().chain(&self.epoch_older);
        put(layout.epoch_sums, &mut epoch.map(|sum| sum.to_bits()));
        state.weights.clone_from(&self.weights);
        state.status.clone_from(&self.status);
        state.betas.clone_from(&self.betas);
        state.log.clone_from(&self.log);
        state
    }

    /// Goes on from a state of this plan, wherever it was made.
    ///
    /// # Errors
    /// The state of another plan; the balancer is unchanged then.
    pub fn load(&mut self, state: &BalancerState) -> Result<(), StateError> {
        let state = state.for_plan(&self.plan)?;
        *self = Self::from_state(&state);
        Ok(())
    }

    fn check_feed(&self, feed: Feed) -> Result<(), BatchError> {
        if self.plan.config().feed == feed { Ok(()) } else { Err(BatchError::Feed { feed: self.plan.config().feed }) }
    }

    fn check_losses(&self, losses: &[f32]) -> Result<(), BatchError> {
        let needed = self.plan.losses_len();
        if losses.len() == needed {
            Ok(())
        } else {
            Err(BatchError::Length { what: "losses", length: losses.len(), needed })
        }
    }

    /// The new point stands in the ring: counts it, and computes and publishes what is due. A group with 0 `batches` has a
    /// gap instead of a point; without an entry it has a point.
    fn advance(&mut self, batches: &[u32]) {
        let window = self.plan.shape().window();
        let averages = self.plan.config().smoothing == Smoothing::CycleMean;
        let mut wanted = averages;
        for group in 0..self.points.len() {
            let gap = batches.get(group) == Some(&0);
            self.points[group] = if gap { 0 } else { (self.points[group] + 1).min(window as u32) };
            let steps = self.steps[group];
            if let Some(schedule) = &self.schedule {
                let beta = self.betas.as_ref().map_or(self.plan.config().config.beta as f32, |betas| betas[group]);
                self.scratch.betas[group] = beta * schedule.factor(steps);
            }
            self.steps[group] = self.plan.next_steps(steps);
            let due = self.plan.is_due(self.steps[group]);
            self.scratch.due[group] = due;
            wanted |= due;
        }
        if wanted && self.plan.config().order_grows() {
            for points in 0..=window {
                let has = |group: usize| self.points[group] as usize == points && (averages || self.scratch.due[group]);
                if (0..self.points.len()).any(has) {
                    // Too few points are answered by the plan for the fewest that are enough.
                    self.weigh(Some(points.max(2)));
                    self.publish(|twin, group| twin.points[group] as usize == points);
                }
            }
        } else if wanted {
            self.weigh(None);
            self.publish(|_, _| true);
        }
        if self.plan.config().window == Window::Tumbling {
            for (points, due) in self.points.iter_mut().zip(&self.scratch.due) {
                *points = if *due { 0 } else { *points };
            }
        }
        self.cursor = (self.cursor + 1) % window;
    }

    /// Weights of all groups into the scratch, from the window that ends at the cursor; with the accuracy order for `points`
    /// points where it grows.
    fn weigh(&mut self, points: Option<usize>) {
        let plan = match points {
            None => self.plan.plan(),
            Some(points) => {
                if self.grown[points].is_none() {
                    self.grown[points] = self.plan.grown(points).ok();
                }
                let Some(plan) = &self.grown[points] else { return };
                plan
            }
        };
        let (rows, window) = (self.plan.shape().rows(), plan.shape().window());
        let end = (self.cursor + self.plan.shape().window() + 1) * rows;
        let betas = if self.schedule.is_some() { Some(&self.scratch.betas[..]) } else { self.betas.as_deref() };
        let batch = Batch {
            losses: &self.ring[end - window * rows..end],
            betas,
            points: Some(&self.points),
            previous: Some(&self.weights),
        };
        let mut outputs = Outputs::new(&mut self.scratch.weights);
        outputs.status = Some(&mut self.scratch.status);
        // Lengths are the plan's own.
        let _ = weigh_marking_held(plan, &batch, &mut outputs);
    }

    /// Publishes what the scratch holds of the groups that `chosen` names and whose update is due, and adds up the others'
    /// where cycles are averaged.
    fn publish(&mut self, chosen: impl Fn(&Self, usize) -> bool) {
        let shape = self.plan.shape().clone();
        let ring = self.plan.plan().shape().clone();
        let smoothing = self.plan.config().smoothing;
        let keep = if let Smoothing::Exponential { keep } = smoothing { keep } else { 0.0 };
        let (keep, take) = (keep as f32, (1.0 - keep) as f32);
        for group in 0..shape.groups() {
            let due = self.scratch.due[group];
            if !chosen(self, group) || !(due || smoothing == Smoothing::CycleMean) {
                continue;
            }
            let marked = self.scratch.status[group];
            let held = marked.contains(HELD);
            let summed = self.cycle.get(group).copied().unwrap_or(0);
            let count = summed + u32::from(!held);
            for component in 0..shape.components(group) {
                let place = shape.weight_index(group, component);
                let new = self.scratch.weights[place];
                match smoothing {
                    Smoothing::None => {
                        if !held {
                            self.weights[place] = new;
                        }
                    }
                    Smoothing::Exponential { .. } => {
                        let old = self.weights[place];
                        let blends = self.published[group] && old.is_finite() && new.is_finite();
                        if !held {
                            self.weights[place] = if blends { keep * old + take * new } else { new };
                        }
                    }
                    Smoothing::CycleMean => {
                        let sum = &mut self.cycle_sums[ring.loss_index(group, component, 0)];
                        if !held {
                            *sum = if summed == 0 { new } else { finite_sum(*sum, new) };
                        }
                        if due && count > 0 {
                            self.weights[place] = *sum / count as f32;
                        }
                    }
                }
            }
            self.status[group] = marked.without(HELD);
            if smoothing == Smoothing::CycleMean {
                self.cycle[group] = if due { 0 } else { count };
            }
            if due {
                self.published[group] |= count > 0;
                self.log_update(group);
            }
        }
    }

    fn log_update(&mut self, group: usize) {
        let layout = self.plan.layout();
        if layout.log == 0 {
            return;
        }
        let (shape, ring) = (self.plan.shape(), self.plan.plan().shape());
        let (entry, kept) = log_place(self.log[group]);
        self.log[layout.log_steps + entry * layout.groups + group] = self.steps[group];
        self.log[layout.log_status + entry * layout.groups + group] = self.status[group].bits();
        for component in 0..shape.components(group) {
            let row = ring.loss_index(group, component, 0);
            self.log[layout.log_weights + entry * layout.rows + row] =
                self.weights[shape.weight_index(group, component)].to_bits();
        }
        self.log[group] = log_head((entry + 1) % layout.log, (kept + 1).min(layout.log));
    }
}

/// `a + b`, NaN for everything that is not finite, and from then on.
fn finite_sum(a: f32, b: f32) -> f32 {
    let sum = a + b;
    if sum.is_finite() { sum } else { f32::NAN }
}

/// Calls `f` with the group, the place among the weights and the place among the rows of every component.
fn each_row(plan: &BalancerPlan, mut f: impl FnMut(usize, usize, usize)) {
    let (shape, ring) = (plan.shape(), plan.plan().shape());
    for group in 0..shape.groups() {
        for component in 0..shape.components(group) {
            f(group, shape.weight_index(group, component), ring.loss_index(group, component, 0));
        }
    }
}
