//! The whole state of a balancer in host memory, and as bytes.
//!
//! The bytes, all numbers little endian: the head (magic, version, then the numbers that make states of different plans
//! different), the words of the state, weights, status, betas and log in this order, and a CRC-32 of all that. Bytes are not
//! trusted: everything that a reader relies on is checked.

use super::config::{Feed, Smoothing};
use super::error::{CopyError, StateError};
use super::layout::{Clock, STEPS_FOLD, StateLayout, log_head, log_place};
use super::plan::BalancerPlan;
use crate::status::Status;

const MAGIC: [u8; 8] = *b"softadap";
/// Of the format, not of the library.
const VERSION: u32 = 1;

/// Everything that a balancer remembers, independent of where it runs: [`cpu::Balancer`](crate::cpu::Balancer) and the GPU's
/// give and take it. Going on from it gives what an uninterrupted run gives, bit for bit on the same path and device.
#[derive(Clone, Debug, PartialEq)]
pub struct BalancerState {
    pub(crate) plan: BalancerPlan,
    /// As [`StateLayout`] says.
    pub(crate) words: Vec<u32>,
    /// In the plan's layout.
    pub(crate) weights: Vec<f32>,
    pub(crate) status: Vec<Status>,
    /// One per group, if groups have their own.
    pub(crate) betas: Option<Vec<f32>>,
    /// As [`StateLayout`] says.
    pub(crate) log: Vec<u32>,
}

/// One update of one group in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// Pushes of the group, since it was made or reset, up to the update; counts up to 2^31, then on from 2^30.
    pub step: u32,
    /// The group's status after it.
    pub status: Status,
    /// The weights that it published, or kept; one per component.
    pub weights: Vec<f32>,
}

impl BalancerState {
    /// The state of a balancer to which nothing has been pushed.
    #[must_use]
    pub fn new(plan: &BalancerPlan) -> Self {
        let layout = plan.layout();
        Self {
            words: vec![0; layout.words],
            weights: plan.initial_weights(),
            status: vec![Status::NOT_READY; layout.groups],
            betas: plan.config().per_group_beta.then(|| vec![plan.config().config.beta as f32; layout.groups]),
            log: vec![0; layout.log_words],
            plan: plan.clone(),
        }
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

    /// One beta per group, where groups have their own.
    #[must_use]
    pub fn betas(&self) -> Option<&[f32]> {
        self.betas.as_deref()
    }

    /// How many points the window of a group holds; `None` for a group that does not exist.
    #[must_use]
    pub fn points(&self, group: usize) -> Option<u32> {
        (group < self.layout().groups).then(|| self.clock(group).points)
    }

    /// How many pushes a group has had since it was made or reset, counted up to 2^31, then on from 2^30; `None` for a group
    /// that does not exist.
    #[must_use]
    pub fn pushes(&self, group: usize) -> Option<u32> {
        let layout = self.layout();
        (group < layout.groups).then(|| self.words[layout.steps + group])
    }

    /// The logged updates of a group, oldest first. Empty without a log, and for a group that does not exist.
    #[must_use]
    pub fn log(&self, group: usize) -> Vec<LogEntry> {
        entries(&self.plan, &self.log, group)
    }

    /// Replaces a group by one of another state, with its losses, counters, weights, status, and beta where both have
    /// one; its log is empty then. So groups that were pushed apart come together in one batch, and the other way round: they
    /// go on with the bits that they would have had. Of the two plans only what a group remembers has to be equal.
    ///
    /// # Errors
    /// A group that does not exist, groups of different size, or states that remember different things; nothing is
    /// replaced then.
    pub fn copy_group(&mut self, group: usize, other: &Self, from: usize) -> Result<(), CopyError> {
        other.plan.check_groups(&[from])?;
        self.plan.check_groups(&[group])?;
        let (source, target) = (other.layout(), self.plan.layout());
        let components = self.plan.shape().components(group);
        let sizes = [other.plan.shape().components(from), components];
        if sizes[0] != sizes[1] {
            return Err(CopyError::Components { from: (from, sizes[0]), to: (group, sizes[1]) });
        }
        let remembered = |layout: &StateLayout| {
            let (cycle, epoch) = (u32::from(layout.cycle.is_some()), u32::from(layout.batches.is_some()));
            [("points", layout.window as u32), ("sums of cycles", cycle), ("sums of epochs", epoch)]
        };
        for ((what, from), (_, to)) in remembered(source).into_iter().zip(remembered(target)) {
            if from != to {
                return Err(CopyError::Memory { what, from, to });
            }
        }
        // Every ring stands where those of its own state do.
        let (clock, cursor) = (other.clock(from), self.clock(group).cursor);
        self.words[target.clocks + group] = Clock { cursor, ..clock }.word();
        let counts =
            [(Some(source.steps), Some(target.steps)), (source.cycle, target.cycle), (source.batches, target.batches)];
        for (old, new) in counts {
            if let (Some(old), Some(new)) = (old, new) {
                self.words[new + group] = other.words[old + from];
            }
        }
        for component in 0..components {
            let old_row = other.plan.plan().shape().loss_index(from, component, 0);
            let new_row = self.plan.plan().shape().loss_index(group, component, 0);
            for age in 0..target.window {
                let old_slot = (clock.cursor as usize + age) % source.window;
                let new_slot = (cursor as usize + age) % target.window;
                self.words[target.ring + new_slot * target.rows + new_row] =
                    other.words[source.ring + old_slot * source.rows + old_row];
            }
            // The two sums of an epoch lie behind one another.
            let newest = (source.epoch_sums, target.epoch_sums);
            let older = (newest.0.map(|sums| sums + source.rows), newest.1.map(|sums| sums + target.rows));
            for (old, new) in [(source.cycle_sums, target.cycle_sums), newest, older] {
                if let (Some(old), Some(new)) = (old, new) {
                    self.words[new + new_row] = other.words[old + old_row];
                }
            }
            let weight = other.weights[other.plan.shape().weight_index(from, component)];
            self.weights[self.plan.shape().weight_index(group, component)] = weight;
        }
        self.status[group] = other.status[from];
        if let (Some(betas), Some(old)) = (&mut self.betas, &other.betas) {
            betas[group] = old[from];
        }
        if target.log > 0 {
            self.log[group] = log_head(0, 0);
        }
        Ok(())
    }

    /// The state as bytes, for a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(bytes_needed(&self.plan));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        for (_, number) in fingerprint(&self.plan) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut extend = |word: u32| bytes.extend_from_slice(&word.to_le_bytes());
        self.words.iter().copied().for_each(&mut extend);
        self.weights.iter().map(|weight| weight.to_bits()).for_each(&mut extend);
        self.status.iter().map(|status| status.bits()).for_each(&mut extend);
        self.betas.iter().flatten().map(|beta| beta.to_bits()).for_each(&mut extend);
        self.log.iter().copied().for_each(&mut extend);
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The state of a balancer of this plan from what [`BalancerState::to_bytes`] gave. The plan's beta, cadence and other
    /// settings may have changed since; its shape, smoothing, feed, log and whether groups have betas may not.
    ///
    /// # Errors
    /// Bytes of anything else, of another version or plan, cut off, or damaged.
    pub fn from_bytes(plan: &BalancerPlan, bytes: &[u8]) -> Result<Self, StateError> {
        let needed = bytes_needed(plan) as u64;
        let cut = StateError::Length { bytes: bytes.len() as u64, needed };
        let mut rest = bytes;
        if take(&mut rest, MAGIC.len()).is_none_or(|magic| magic != MAGIC) {
            return Err(StateError::NotAState);
        }
        let found = u32::from_le_bytes(take_array(&mut rest).ok_or_else(|| cut.clone())?);
        if found != VERSION {
            return Err(StateError::Version { found, supported: VERSION });
        }
        for (what, expected) in fingerprint(plan) {
            let found = u64::from_le_bytes(take_array(&mut rest).ok_or_else(|| cut.clone())?);
            if found != expected {
                return Err(StateError::Plan { what, found, expected });
            }
        }
        if bytes.len() as u64 != needed {
            return Err(cut);
        }
        let (payload, sum) = rest.split_at(rest.len() - 4);
        let found = u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
        let computed = crc32fast::hash(&bytes[..bytes.len() - 4]);
        if found != computed {
            return Err(StateError::Checksum { found, computed });
        }
        let words = payload.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        Self::from_words(plan, words)
    }

    /// The same state under a plan that may have other settings.
    ///
    /// # Errors
    /// A plan that a state of this one does not fit.
    pub(crate) fn for_plan(&self, plan: &BalancerPlan) -> Result<Self, StateError> {
        for ((what, found), (_, expected)) in fingerprint(&self.plan).into_iter().zip(fingerprint(plan)) {
            if found != expected {
                return Err(StateError::Plan { what, found, expected });
            }
        }
        Ok(Self { plan: plan.clone(), ..self.clone() })
    }

    /// The state from the words of its parts, one after the other, as many as the plan says.
    pub(crate) fn from_words(plan: &BalancerPlan, mut words: impl Iterator<Item = u32>) -> Result<Self, StateError> {
        let layout = plan.layout();
        let mut take = |count: usize| -> Vec<u32> { words.by_ref().take(count).collect() };
        let floats = |words: Vec<u32>| -> Vec<f32> { words.into_iter().map(f32::from_bits).collect() };
        let state = Self {
            plan: plan.clone(),
            words: take(layout.words),
            weights: floats(take(plan.losses_len())),
            status: take(layout.groups).into_iter().map(Status::from_bits).collect(),
            betas: plan.config().per_group_beta.then(|| floats(take(layout.groups))),
            log: take(layout.log_words),
        };
        state.check()?;
        Ok(state)
    }

    /// The number of words that [`BalancerState::from_words`] takes.
    pub(crate) fn words_needed(plan: &BalancerPlan) -> usize {
        let layout = plan.layout();
        let betas = if plan.config().per_group_beta { layout.groups } else { 0 };
        layout.words + plan.losses_len() + layout.groups + betas + layout.log_words
    }

    /// Whether every number that readers use as a place or a count is one.
    fn check(&self) -> Result<(), StateError> {
        let layout = self.layout();
        let window = layout.window as u32;
        for group in 0..layout.groups {
            let clock = self.clock(group);
            let bad = |what: &'static str, value: u32| Err(StateError::Group { what, group, value });
            // Bits that mean nothing would be lost on the way through a balancer.
            let word = self.words[layout.clocks + group];
            if clock.word() != word {
                return bad("the clock", word);
            }
            // All groups are pushed together, so that their rings turn together.
            if clock.cursor >= window || clock.cursor != self.clock(0).cursor {
                return bad("the history's next place", clock.cursor);
            }
            if clock.points > window {
                return bad("the number of points", clock.points);
            }
            let steps = self.words[layout.steps + group];
            if steps > STEPS_FOLD || steps < clock.points {
                return bad("the number of pushes", steps);
            }
            // One a push at most until the cycle ends: it is far from overflow and has to stay so.
            let summed = layout.cycle.map_or(0, |cycle| self.words[cycle + group]);
            if summed > steps.min(STEPS_FOLD / 2) {
                return bad("the number of weights in the cycle's sum", summed);
            }
        }
        check_log(layout, &self.log)
    }

    pub(crate) fn layout(&self) -> &StateLayout {
        self.plan.layout()
    }

    pub(crate) fn clock(&self, group: usize) -> Clock {
        Clock::from_word(self.words[self.layout().clocks + group])
    }
}

/// A balancer's log, read back from its buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct BalancerLog {
    plan: BalancerPlan,
    words: Vec<u32>,
}

impl BalancerLog {
    pub(crate) fn new(plan: &BalancerPlan, words: Vec<u32>) -> Result<Self, StateError> {
        check_log(plan.layout(), &words)?;
        Ok(Self { plan: plan.clone(), words })
    }

    /// The logged updates of a group, oldest first. Empty without a log, and for a group that does not exist.
    #[must_use]
    pub fn entries(&self, group: usize) -> Vec<LogEntry> {
        entries(&self.plan, &self.words, group)
    }
}

/// Whether every place in a log is one.
fn check_log(layout: &StateLayout, log: &[u32]) -> Result<(), StateError> {
    if layout.log == 0 {
        return Ok(());
    }
    for (group, &value) in log[..layout.groups].iter().enumerate() {
        let (next, kept) = log_place(value);
        if next >= layout.log || kept > layout.log {
            return Err(StateError::Group { what: "the place in the log", group, value });
        }
    }
    Ok(())
}

/// The updates of a group in a log whose places have been checked, oldest first.
pub(crate) fn entries(plan: &BalancerPlan, log: &[u32], group: usize) -> Vec<LogEntry> {
    let layout = plan.layout();
    if layout.log == 0 || group >= layout.groups {
        return Vec::new();
    }
    let (next, kept) = log_place(log[group]);
    let (shape, ring) = (plan.shape(), plan.plan().shape());
    (0..kept)
        .map(|age| (next + layout.log - kept + age) % layout.log)
        .map(|entry| LogEntry {
            step: log[layout.log_steps + entry * layout.groups + group],
            status: Status::from_bits(log[layout.log_status + entry * layout.groups + group]),
            weights: (0..shape.components(group))
                .map(|component| ring.loss_index(group, component, 0))
                .map(|row| f32::from_bits(log[layout.log_weights + entry * layout.rows + row]))
                .collect(),
        })
        .collect()
}

/// What has to be equal for a state to fit a plan.
fn fingerprint(plan: &BalancerPlan) -> [(&'static str, u64); 9] {
    let (config, shape) = (plan.config(), plan.shape());
    // Which group has how many components.
    let sizes = shape.offsets().map_or(0, |offsets| {
        let bytes: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        crc32fast::hash(&bytes)
    });
    [
        ("a number of groups of", shape.groups() as u64),
        ("a number of rows of", shape.rows() as u64),
        ("groups of sizes with the checksum", sizes.into()),
        ("weights that span", shape.weights_len() as u64),
        ("a distance between weights of neighbouring components of", shape.strides().weight_component),
        ("a window of", shape.window() as u64),
        ("a sum of weights per cycle (0 no, 1 yes):", u64::from(config.smoothing == Smoothing::CycleMean)),
        ("a feed (0 pushes, 1 epochs) of", u64::from(config.feed == Feed::EpochMean)),
        (
            "a log (times 2, plus 1 with betas per group) of",
            2 * u64::from(config.log) + u64::from(config.per_group_beta),
        ),
    ]
}

fn bytes_needed(plan: &BalancerPlan) -> usize {
    MAGIC.len() + 4 + 8 * fingerprint(plan).len() + 4 * BalancerState::words_needed(plan) + 4
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    take(rest, N)?.try_into().ok()
}
