//! What is computed: a pipeline of independent switches, with the three published variants as presets.

use crate::error::ConfigError;

/// The highest accuracy order of a finite difference.
pub const MAX_ORDER: u32 = 20;

/// The order from which f32 paths lose so many digits that a [`Warning`](crate::Warning) is due.
pub const WARN_ORDER: u32 = 10;

/// The largest magnitude of beta, 2^126: it leaves the f32 paths room to double it.
pub const MAX_BETA: f64 = 8.507_059_173_023_462e37;

/// What turns the recent history of a loss into one number before the softmax.
///
/// Methods that need other functions of the history (loss ratios, DWA, `ReLoBRaLo`) belong here beside
/// [`Slope`]; none is implemented yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Score {
    /// The rate of change of the loss per step.
    Slope(Slope),
}

/// How the rate of change is estimated from equally spaced points, one step apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Slope {
    /// Finite difference of an accuracy order at the **oldest** of the last `order + 1` points, as the published
    /// packages do.
    ///
    /// The derivative at the oldest point says little about where the loss is going now: on the packages' first
    /// README example, order 4, it gives the third component 4e-22 where [`Slope::Backward`] gives it 0.999997.
    Forward {
        /// Accuracy order, 1..=[`MAX_ORDER`]; `None` is window - 1.
        order: Option<u32>,
    },
    /// Finite difference of an accuracy order at the **newest** of the last `order + 1` points.
    Backward {
        /// Accuracy order, 1..=[`MAX_ORDER`]; `None` is window - 1.
        order: Option<u32>,
    },
    /// Slope of the straight line fitted to the whole window by least squares. Robust to noise.
    LeastSquares,
    /// Newest loss minus the one before it.
    Last,
}

/// What the scores are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Normalize {
    /// Nothing.
    #[default]
    None,
    /// Their sum, as the published packages do.
    ///
    /// While most losses fall the sum is negative and **the ranking turns over**: the loss that falls fastest gets
    /// the largest weight. [`Normalize::L1`] keeps the ranking.
    SignedSum,
    /// The sum of their magnitudes, as in the paper's Algorithm 1.
    L1,
    /// The larger of their 2-norm and epsilon, as nequip does.
    L2,
}

/// Whether exponentials are multiplied by mean losses, and over which points the mean is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum LossWeighting {
    /// Not multiplied.
    #[default]
    None,
    /// By the mean over the whole window, as the published packages do.
    Window,
    /// By the mean over the points that the slope uses.
    SlopePoints,
}

/// What the weights of a group add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Scale {
    /// 1.
    #[default]
    One,
    /// The number of components, so that equal weights are ones and learning rates keep their meaning.
    Components,
}

/// What a group gets that has a NaN or an infinity among the points that take part.
///
/// Never touches another group. Points that do not take part (older than the slope's points, with no mean asked for)
/// have no effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum OnNonFinite {
    /// Its previous weights where the caller provides them, neutral ones (uniform, or the prior's) where not.
    #[default]
    Hold,
    /// Weight 0 for the components at fault, the others share the whole; as `Hold` if none is left.
    Mask,
    /// NaN for all of its weights, as the published packages do.
    Propagate,
}

/// What a negative mean loss counts as under loss weighting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum OnNegativeMean {
    /// As zero.
    #[default]
    Clamp,
    /// As it is, like the published packages: weights can be negative, and as large as 1e8.
    AsIs,
}

/// The whole pipeline of switches:
///
/// `score -> normalize -> x beta -> max-subtracted softmax -> x mean loss -> x prior -> renormalise -> floor -> scale`
///
/// For component `i` of a group, with score `z_i`, mean loss `f_i` (1 without loss weighting) and prior `p_i`
/// (1 without one):
///
/// `a_i = p_i f_i exp(beta z_i - m) / (sum_j p_j f_j exp(beta z_j - m) + epsilon')`, `m = max_j beta z_j`
///
/// (SoftAdapt, arXiv 1912.12355, Algorithm 1; the packages `softadapt` 0.0.5 and `tfsoftadapt` 0.0.1), then
/// `weight_i = scale * (floor + (1 - k floor) a_i)` for a group of `k` components with a positive prior.
///
/// Differences from the packages, each where theirs gives NaN, zero or a value off by epsilon:
/// * `m` is `max(beta z)`, not `beta max(z)`: the same for positive beta, finite for negative. `epsilon'` is epsilon
///   converted to this shift, so that the weights are the packages' own wherever theirs are finite.
/// * Where all scores of a group are equal (one component, beta 0, constant losses) epsilon is left out: the weights are
///   exactly uniform, or proportional to `p_i f_i`.
/// * Where loss weighting leaves only components whose exponentials would underflow in f32 (87 below the largest),
///   epsilon is left out and their own maximum is subtracted.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Config {
    /// The score of a component.
    pub score: Score,
    /// What scores are divided by.
    pub normalize: Normalize,
    /// Whether exponentials are multiplied by mean losses.
    pub loss_weighting: LossWeighting,
    /// Sensitivity, for every group that is not given its own. Positive favours losses that rise (or fall slowest),
    /// negative those that fall fastest, 0 gives uniform weights. At most [`MAX_BETA`] in magnitude.
    pub beta: f64,
    /// One static factor per component, applied to the weights before they are renormalised; for a ragged shape as many
    /// as its largest group has, each group using the first ones. 0 switches a component off.
    pub prior: Option<Vec<f64>>,
    /// Added to the sum that weights are divided by; the smallest divisor under [`Normalize::L2`]. The packages use
    /// 1e-8, which shrinks the weights of loss-weighted groups whose losses are about as small; 0 makes loss weighting
    /// independent of the scale of the losses.
    pub epsilon: f64,
    /// Minimum weight of a component that is neither masked nor has a prior of 0, as a fraction of what the weights add
    /// up to. 0 (none) to 1 / components. Weights are mixed with uniform ones, so their order stays.
    pub floor: f64,
    /// What the weights of a group add up to.
    pub scale: Scale,
    /// Policy for non-finite losses.
    pub on_non_finite: OnNonFinite,
    /// Policy for negative mean losses under loss weighting.
    pub on_negative_mean: OnNegativeMean,
}

impl Config {
    /// The published *original* variant: forward difference, no normalisation, beta 0.1, epsilon 1e-8.
    ///
    /// **What may mislead:** scores are slopes in units of the loss, so a component with large values rules the softmax
    /// ([`Normalize::L1`] makes scores comparable), and forward slopes look at the oldest point of the window
    /// ([`Slope::Backward`], [`Slope::LeastSquares`] and [`Slope::Last`] look at the present).
    #[must_use]
    pub fn original() -> Self {
        Self {
            score: Score::Slope(Slope::Forward { order: None }),
            normalize: Normalize::None,
            loss_weighting: LossWeighting::None,
            beta: 0.1,
            prior: None,
            epsilon: 1e-8,
            floor: 0.0,
            scale: Scale::One,
            on_non_finite: OnNonFinite::Hold,
            on_negative_mean: OnNegativeMean::Clamp,
        }
    }

    /// The published *normalized* variant: slopes divided by their **signed** sum.
    ///
    /// **What may mislead:** while most losses fall, the sum is negative and the fastest-falling loss gets the largest
    /// weight, the opposite of the original variant. [`Normalize::L1`] is what the paper's Algorithm 1 does and keeps
    /// the ranking. Where slopes nearly cancel, scores become arbitrarily large.
    #[must_use]
    pub fn normalized() -> Self {
        Self { normalize: Normalize::SignedSum, ..Self::original() }
    }

    /// The published *loss-weighted* variant: exponentials times the mean loss of the whole window.
    ///
    /// **What may mislead:** with losses of about epsilon (1e-8) the weights no longer add up to 1 and shrink with the
    /// losses; `with_epsilon(0.0)` turns that off. Negative mean losses are clamped to zero;
    /// [`OnNegativeMean::AsIs`] is what the packages do.
    #[must_use]
    pub fn loss_weighted() -> Self {
        Self { loss_weighting: LossWeighting::Window, ..Self::original() }
    }

    /// This configuration with another score.
    #[must_use]
    pub fn with_slope(mut self, slope: Slope) -> Self {
        self.score = Score::Slope(slope);
        self
    }

    /// This configuration with another accuracy order, where its slope has one.
    #[must_use]
    pub fn with_order(mut self, order: u32) -> Self {
        let Score::Slope(slope) = &mut self.score;
        if let Slope::Forward { order: o } | Slope::Backward { order: o } = slope {
            *o = Some(order);
        }
        self
    }

    /// This configuration with another normalisation.
    #[must_use]
    pub fn with_normalize(mut self, normalize: Normalize) -> Self {
        self.normalize = normalize;
        self
    }

    /// This configuration with another loss weighting.
    #[must_use]
    pub fn with_loss_weighting(mut self, loss_weighting: LossWeighting) -> Self {
        self.loss_weighting = loss_weighting;
        self
    }

    /// This configuration with another beta.
    #[must_use]
    pub fn with_beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// This configuration with one static factor per component.
    #[must_use]
    pub fn with_prior(mut self, prior: impl Into<Vec<f64>>) -> Self {
        self.prior = Some(prior.into());
        self
    }

    /// This configuration with another epsilon.
    #[must_use]
    pub fn with_epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// This configuration with a minimum weight.
    #[must_use]
    pub fn with_floor(mut self, floor: f64) -> Self {
        self.floor = floor;
        self
    }

    /// This configuration with another scale.
    #[must_use]
    pub fn with_scale(mut self, scale: Scale) -> Self {
        self.scale = scale;
        self
    }

    /// This configuration with another policy for non-finite losses.
    #[must_use]
    pub fn with_on_non_finite(mut self, policy: OnNonFinite) -> Self {
        self.on_non_finite = policy;
        self
    }

    /// This configuration with another policy for negative mean losses.
    #[must_use]
    pub fn with_on_negative_mean(mut self, policy: OnNegativeMean) -> Self {
        self.on_negative_mean = policy;
        self
    }

    /// Checks everything that can be checked without a shape or a device.
    ///
    /// # Errors
    /// The first setting out of range, with its value. What depends on the shape (window against order, prior and floor
    /// against components) is checked by [`Plan::new`](crate::Plan::new).
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Score::Slope(slope) = self.score;
        if let Slope::Forward { order: Some(order) } | Slope::Backward { order: Some(order) } = slope
            && !(1..=MAX_ORDER).contains(&order)
        {
            return Err(ConfigError::Order { order });
        }
        // Written as "not inside" so that NaN is an error too.
        if !(self.beta.abs() <= MAX_BETA) {
            return Err(ConfigError::Beta { beta: self.beta });
        }
        if !(self.epsilon >= 0.0 && self.epsilon <= f64::from(f32::MAX)) {
            return Err(ConfigError::Epsilon { epsilon: self.epsilon });
        }
        if !(0.0..=1.0).contains(&self.floor) {
            return Err(ConfigError::Floor { floor: self.floor });
        }
        if let Some(prior) = &self.prior {
            for (component, &factor) in prior.iter().enumerate() {
                if !(factor >= 0.0 && factor <= f64::from(f32::MAX)) {
                    return Err(ConfigError::Prior { component, factor });
                }
            }
            if prior.iter().all(|&factor| factor == 0.0) {
                return Err(ConfigError::PriorAllZero { factors: prior.len() });
            }
        }
        Ok(())
    }
}

/// [`Config::original`].
impl Default for Config {
    fn default() -> Self {
        Self::original()
    }
}
