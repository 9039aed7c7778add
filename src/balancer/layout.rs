//! Where each word of a balancer's state lies: the one home of these places, for the CPU, the shaders and the checkpoint.
//!
//! Everything is structure of arrays with groups innermost, so that neighbouring GPU threads touch neighbouring words.

use super::config::{BalancerConfig, Feed, Smoothing};
use crate::error::ShapeError;
use crate::shape::Shape;

/// Bits of a clock word, lowest first: the ring's next slot, the points in the window, and whether weights of the group
/// have been published. `shaders/balancer.wgsl` has the same numbers.
pub(crate) const CURSOR_BITS: u32 = 13;
pub(crate) const POINTS_SHIFT: u32 = 13;
pub(crate) const FIELD_MASK: u32 = (1 << CURSOR_BITS) - 1;
pub(crate) const PUBLISHED_BIT: u32 = 1 << 31;
const _: () = assert!(crate::MAX_WINDOW <= FIELD_MASK as usize, "the number of points fits its field");

/// Step counters at or above this are lowered by a multiple of the cadence: they never overflow.
pub(crate) const STEPS_FOLD: u32 = 1 << 31;

/// Places in words from the start of the state and log buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateLayout {
    pub(crate) groups: usize,
    pub(crate) rows: usize,
    pub(crate) window: usize,
    /// Updates that the log keeps.
    pub(crate) log: usize,
    /// `[group]` clock words.
    pub(crate) clocks: usize,
    /// `[group]` pushes since the group was made or reset.
    pub(crate) steps: usize,
    /// `[group]` weights in the cycle's sum.
    pub(crate) cycle: Option<usize>,
    /// `[group]` batches of the open epoch.
    pub(crate) batches: Option<usize>,
    /// `[slot][row]` losses.
    pub(crate) ring: usize,
    /// `[row]` sums of the cycle's weights.
    pub(crate) cycle_sums: Option<usize>,
    /// `[row]` sums of the newest batches, then `[row]` sums of those before them.
    pub(crate) epoch_sums: Option<usize>,
    /// Words of the state.
    pub(crate) words: usize,
    /// `[updates]` places in the log, behind the `[group]` words that say where it stands: steps `[group]`, status
    /// `[group]` and weights `[row]` of each update.
    pub(crate) log_steps: usize,
    pub(crate) log_status: usize,
    pub(crate) log_weights: usize,
    /// Words of the log, 0 without one.
    pub(crate) log_words: usize,
}

impl StateLayout {
    /// `ring` is the shape of the history, whose rows lie innermost.
    pub(crate) fn new(config: &BalancerConfig, ring: &Shape) -> Result<Self, ShapeError> {
        let too_large =
            ShapeError::TooLarge { groups: ring.groups(), components: ring.max_components(), window: ring.window() };
        let (groups, rows, window, log) = (ring.groups(), ring.rows(), ring.window(), config.log as usize);
        let mut words = Some(0usize);
        let mut take = |each: usize, times: usize| {
            let start = words;
            words = each.checked_mul(times).and_then(|more| start?.checked_add(more));
            start.ok_or_else(|| too_large.clone())
        };
        let clocks = take(groups, 1)?;
        let steps = take(groups, 1)?;
        let averages = config.smoothing == Smoothing::CycleMean;
        let accumulates = config.feed == Feed::EpochMean;
        let cycle = averages.then(|| take(groups, 1)).transpose()?;
        let batches = accumulates.then(|| take(groups, 1)).transpose()?;
        let ring = take(rows, window)?;
        let cycle_sums = averages.then(|| take(rows, 1)).transpose()?;
        let epoch_sums = accumulates.then(|| take(rows, 2)).transpose()?;
        let state_words = take(0, 0)?;

        let mut log_end = Some(groups);
        let mut take = |each: usize| {
            let start = log_end;
            log_end = each.checked_mul(log).and_then(|more| start?.checked_add(more));
            start.ok_or_else(|| too_large.clone())
        };
        let log_steps = take(groups)?;
        let log_status = take(groups)?;
        let log_weights = take(rows)?;
        let log_words = if log == 0 { 0 } else { take(0)? };
        // Room for words of four bytes within the address space.
        if [state_words, log_words].iter().any(|&words| words > isize::MAX as usize / 8) {
            return Err(too_large);
        }
        Ok(Self {
            groups,
            rows,
            window,
            log,
            clocks,
            steps,
            cycle,
            batches,
            ring,
            cycle_sums,
            epoch_sums,
            words: state_words,
            log_steps,
            log_status,
            log_weights,
            log_words,
        })
    }
}

/// A clock word taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The ring's slot for the next point, 0 to below the window.
    pub(crate) cursor: u32,
    /// Points in the window.
    pub(crate) points: u32,
    /// Whether weights of this group have been published since it was made or reset.
    pub(crate) published: bool,
}

impl Clock {
    pub(crate) fn from_word(word: u32) -> Self {
        Self {
            cursor: word & FIELD_MASK,
            points: word >> POINTS_SHIFT & FIELD_MASK,
            published: word & PUBLISHED_BIT != 0,
        }
    }

    pub(crate) fn word(self) -> u32 {
        self.cursor | self.points << POINTS_SHIFT | if self.published { PUBLISHED_BIT } else { 0 }
    }
}

/// Where a group's log stands, as a word: the entry that is written next, and how many there are.
pub(crate) fn log_head(next: usize, kept: usize) -> u32 {
    // Both are at most MAX_LOG, which is below 2^16.
    next as u32 | (kept as u32) << 16
}

/// The two numbers of [`log_head`].
pub(crate) fn log_place(head: u32) -> (usize, usize) {
    (head as usize & 0xffff, head as usize >> 16)
}
