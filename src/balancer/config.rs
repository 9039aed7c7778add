//! What a training loop wants of its weights, over time.

use super::error::BalancerError;
use crate::config::{Config, MAX_BETA, Score, Slope};

/// The largest number of pushes that a cadence or a schedule may count to.
pub const MAX_PUSHES: u32 = 1 << 29;

/// The most updates that a log keeps.
pub const MAX_LOG: u32 = 65_535;

/// What one push is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Feed {
    /// Every call brings one point of every loss: of a batch, or of an epoch whose losses the trainer averages itself.
    #[default]
    EveryPush,
    /// Calls bring the losses of batches, which are added up on the device; closing the epoch pushes their mean as one
    /// point. For per-epoch weights without a host that reads losses.
    EpochMean,
}

/// Which of a group's points an update looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Window {
    /// The newest points, as many as the shape's window holds.
    #[default]
    Sliding,
    /// Those pushed since the last update: the window is cleared after each, as the training loops in the packages' README
    /// do. With an accuracy order of `None` the order follows the number of points (points - 1), as it does there.
    Tumbling,
}

/// What happens to new weights before they are published.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Smoothing {
    /// They are published as they are.
    #[default]
    None,
    /// Exponential moving average: `keep * published + (1 - keep) * new`. The first weights of a group are published as they
    /// are, and so are those that follow weights that are not finite.
    Exponential {
        /// Share of the published weights that stays, 0 to below 1.
        keep: f64,
    },
    /// Weights are computed at every push; an update publishes the mean of those computed since the last one, as nequip
    /// does. Pushes whose group holds its weights do not count.
    CycleMean,
}

/// How beta changes with the number of pushes `t` of a group since it was made or reset (the first push has `t = 0`): a
/// factor on the group's beta.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum BetaSchedule {
    /// Always 1.
    #[default]
    Constant,
    /// `from + (to - from) * min(t / over, 1)`
    Linear {
        /// Factor at the first push.
        from: f64,
        /// Factor from push `over` on.
        to: f64,
        /// Pushes, 1 to [`MAX_PUSHES`].
        over: u32,
    },
    /// `from + (to - from) * (1 - cos(pi * min(t / over, 1))) / 2`
    Cosine {
        /// Factor at the first push.
        from: f64,
        /// Factor from push `over` on.
        to: f64,
        /// Pushes, 1 to [`MAX_PUSHES`].
        over: u32,
    },
}

/// The weights of a group before its first update, and after it was reset. Its status is
/// [`NOT_READY`](crate::Status::NOT_READY) as long as it has them.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum InitialWeights {
    /// Equal ones that add up to what the configuration's scale says, or the prior's: what the batch paths call neutral.
    #[default]
    Neutral,
    /// 1 for every component, as the packages' README loops.
    Ones,
    /// One weight per component, the same for every group; for a ragged shape as many as its largest group has. Groups
    /// that want their own: write them to the weights before the first push.
    PerComponent(Vec<f64>),
}

/// What a balancer does at each push, and when it publishes weights.
///
/// ```
/// use softadapt::{BalancerConfig, BalancerPlan, Config, Shape, Smoothing};
///
/// // Every tenth push, from the newest eight losses, smoothed.
/// let config = BalancerConfig::new(Config::loss_weighted().with_order(4))
///     .with_every(10)
///     .with_smoothing(Smoothing::Exponential { keep: 0.9 });
/// let plan = BalancerPlan::new(config, Shape::new(1000, 3, 8)?)?;
/// assert_eq!(plan.losses_len(), 3000); // one step's
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct BalancerConfig {
    /// From a window of losses to weights. Its policy [`Hold`](crate::OnNonFinite::Hold) keeps the published weights.
    pub config: Config,
    /// What one push is.
    pub feed: Feed,
    /// Which points an update looks at.
    pub window: Window,
    /// Pushes from one update to the next, 1 to [`MAX_PUSHES`].
    pub every: u32,
    /// Pushes up to the first update of a group, 1 to [`MAX_PUSHES`]; `None` is `every`.
    pub first: Option<u32>,
    /// What happens to new weights before they are published.
    pub smoothing: Smoothing,
    /// How beta changes over time.
    pub beta_schedule: BetaSchedule,
    /// Whether every group has a beta of its own, in an array that its owner may rewrite at any time; it starts with the
    /// configuration's.
    pub per_group_beta: bool,
    /// The weights before the first update.
    pub initial: InitialWeights,
    /// How many updates are kept for reading back, 0 to [`MAX_LOG`]: weights, step and status of each.
    pub log: u32,
}

impl BalancerConfig {
    /// Weights at every push from a sliding window, not smoothed, neutral before the first update, no log.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            feed: Feed::EveryPush,
            window: Window::Sliding,
            every: 1,
            first: None,
            smoothing: Smoothing::None,
            beta_schedule: BetaSchedule::Constant,
            per_group_beta: false,
            initial: InitialWeights::Neutral,
            log: 0,
        }
    }

    /// The training loops of the packages' README with `epochs_to_make_updates = every`: weights of 1 until `every + 1`
    /// epochs have passed, then an update every `every` epochs, lists cleared after each. The shape's window must hold
    /// `every + 1` points.
    ///
    /// **What may mislead:** the first update sees one point more than the others, and without an accuracy order it takes
    /// a higher one. The packages crash for `every` = 1, for 7 and for 9 and above; here all work up to 20, and with an
    /// accuracy order up to any window.
    #[must_use]
    pub fn packages_loop(config: Config, every: u32) -> Self {
        Self::new(config)
            .with_window(Window::Tumbling)
            .with_every(every)
            .with_first(every.saturating_add(1))
            .with_initial(InitialWeights::Ones)
    }

    /// This configuration with another kind of push.
    #[must_use]
    pub fn with_feed(mut self, feed: Feed) -> Self {
        self.feed = feed;
        self
    }

    /// This configuration with another kind of window.
    #[must_use]
    pub fn with_window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// This configuration with another number of pushes between updates.
    #[must_use]
    pub fn with_every(mut self, pushes: u32) -> Self {
        self.every = pushes;
        self
    }

    /// This configuration with another number of pushes up to the first update.
    #[must_use]
    pub fn with_first(mut self, pushes: u32) -> Self {
        self.first = Some(pushes);
        self
    }

    /// This configuration with another smoothing.
    #[must_use]
    pub fn with_smoothing(mut self, smoothing: Smoothing) -> Self {
        self.smoothing = smoothing;
        self
    }

    /// This configuration with another beta schedule.
    #[must_use]
    pub fn with_beta_schedule(mut self, schedule: BetaSchedule) -> Self {
        self.beta_schedule = schedule;
        self
    }

    /// This configuration with a beta per group, or without.
    #[must_use]
    pub fn with_per_group_beta(mut self, per_group: bool) -> Self {
        self.per_group_beta = per_group;
        self
    }

    /// This configuration with other initial weights.
    #[must_use]
    pub fn with_initial(mut self, initial: InitialWeights) -> Self {
        self.initial = initial;
        self
    }

    /// This configuration with a log of the newest `updates` updates.
    #[must_use]
    pub fn with_log(mut self, updates: u32) -> Self {
        self.log = updates;
        self
    }

    /// Pushes up to the first update of a group.
    #[must_use]
    pub fn first_update(&self) -> u32 {
        self.first.unwrap_or(self.every)
    }

    /// Whether the accuracy order follows the number of points: tumbling windows without an order of their own.
    #[must_use]
    pub fn order_grows(&self) -> bool {
        let Score::Slope(slope) = self.config.score;
        self.window == Window::Tumbling
            && matches!(slope, Slope::Forward { order: None } | Slope::Backward { order: None })
    }

    /// Checks everything that can be checked without a shape or a device.
    ///
    /// # Errors
    /// The first setting out of range, with its value. What depends on the shape is checked by
    /// [`BalancerPlan::new`](crate::BalancerPlan::new).
    pub fn validate(&self) -> Result<(), BalancerError> {
        self.config.validate()?;
        if !(1..=MAX_PUSHES).contains(&self.every) {
            return Err(BalancerError::Every { every: self.every });
        }
        if !(1..=MAX_PUSHES).contains(&self.first_update()) {
            return Err(BalancerError::First { first: self.first_update() });
        }
        if let Smoothing::Exponential { keep } = self.smoothing
            && !(0.0..1.0).contains(&keep)
        {
            return Err(BalancerError::Keep { keep });
        }
        if let BetaSchedule::Linear { from, to, over } | BetaSchedule::Cosine { from, to, over } = self.beta_schedule {
            if !(1..=MAX_PUSHES).contains(&over) {
                return Err(BalancerError::ScheduleLength { over });
            }
            for factor in [from, to] {
                // Written as "not inside" so that NaN is an error too.
                if !(factor.abs() * self.config.beta.abs().max(1.0) <= MAX_BETA) {
                    return Err(BalancerError::ScheduleFactor { factor, beta: self.config.beta });
                }
            }
        }
        if self.log > MAX_LOG {
            return Err(BalancerError::Log { updates: self.log });
        }
        if let InitialWeights::PerComponent(weights) = &self.initial {
            for (component, &weight) in weights.iter().enumerate() {
                if !((weight as f32).is_finite()) {
                    return Err(BalancerError::InitialWeight { component, weight });
                }
            }
        }
        Ok(())
    }
}
