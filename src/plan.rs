//! A configuration and a shape that fit each other, and the numbers that follow from the two.

use crate::coefficients;
use crate::config::{Config, LossWeighting, MAX_ORDER, Score, Slope, WARN_ORDER};
use crate::error::PlanError;
use crate::shape::Shape;
use std::fmt;

/// A checked pair of configuration and shape: what every path takes. Needs no device.
///
/// ```
/// use softadapt::{Config, Plan, Shape};
///
/// // 1000 experiments, 3 losses each, the last 5 epochs of each loss.
/// let plan = Plan::new(Config::original(), Shape::new(1000, 3, 5)?)?;
/// assert_eq!(plan.order(), Some(4));
/// assert_eq!(plan.shape().losses_len(), 15_000);
///
/// // What does not fit is an error with its numbers.
/// let error = Plan::new(Config::original().with_order(6), Shape::new(1000, 3, 5)?).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "the slope needs 7 points, the window has 5: widen the window or lower the accuracy order"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    config: Config,
    shape: Shape,
    order: Option<usize>,
    differences: Vec<f64>,
}

impl Plan {
    /// Checks that the configuration is valid and fits the shape.
    ///
    /// # Errors
    /// The first thing that does not fit, with its numbers.
    pub fn new(config: Config, shape: Shape) -> Result<Self, PlanError> {
        config.validate()?;
        let window = shape.window();
        let resolve = |order: Option<u32>| match order {
            Some(order) => Ok(order as usize),
            None if (2..=MAX_ORDER as usize + 1).contains(&window) => Ok(window - 1),
            None => Err(PlanError::DefaultOrder { window }),
        };
        let Score::Slope(slope) = config.score;
        let (order, needed) = match slope {
            Slope::Forward { order } | Slope::Backward { order } => {
                let order = resolve(order)?;
                (Some(order), order + 1)
            }
            Slope::LeastSquares => (None, window.max(2)),
            Slope::Last => (Some(1), 2),
        };
        if needed > window {
            return Err(PlanError::WindowTooShort { window, needed });
        }
        let differences = match slope {
            Slope::Backward { .. } => coefficients::backward(needed - 1),
            Slope::Forward { .. } | Slope::Last => coefficients::forward(needed - 1),
            Slope::LeastSquares => coefficients::least_squares(needed),
        };
        let components = shape.max_components();
        if let Some(prior) = &config.prior {
            if prior.len() != components {
                return Err(PlanError::PriorLength { factors: prior.len(), components });
            }
            let leading_zeros = prior.iter().take_while(|&&factor| factor == 0.0).count();
            if let Some(components) = shape.min_components().filter(|&n| n <= leading_zeros) {
                return Err(PlanError::PriorZeroForGroup { components });
            }
        }
        if config.floor * components as f64 > 1.0 {
            return Err(PlanError::FloorTooHigh { floor: config.floor, components });
        }
        Ok(Self { config, shape, order, differences })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The same configuration for another shape, such as a [`Shape::slice`] of this one.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn with_shape(&self, shape: Shape) -> Result<Self, PlanError> {
        let mut config = self.config.clone();
        if let Some(prior) = &mut config.prior {
            // A slice of a ragged batch can have a smaller largest group, which uses the first factors.
            prior.truncate(shape.max_components().max(1));
        }
        // The default order belongs to this plan's window.
        if let (Score::Slope(Slope::Forward { order: o } | Slope::Backward { order: o }), Some(order)) =
            (&mut config.score, self.order)
        {
            *o = Some(order as u32);
        }
        if shape.max_components() == 0 {
            config.prior = None;
        }
        Self::new(config, shape)
    }

    /// The accuracy order of the finite difference: resolved if it was left to the window, 1 for
    /// [`Slope::Last`], `None` for [`Slope::LeastSquares`].
    #[must_use]
    pub fn order(&self) -> Option<usize> {
        self.order
    }

    /// How many of the newest points the slope uses: order + 1, or the whole window. A group with fewer is not ready.
    #[must_use]
    pub fn slope_points(&self) -> usize {
        self.differences.len() + 1
    }

    /// How many of the newest points the mean is taken over, in a full window.
    #[must_use]
    pub fn mean_points(&self) -> usize {
        match self.config.loss_weighting {
            LossWeighting::SlopePoints => self.slope_points(),
            LossWeighting::None | LossWeighting::Window => self.shape.window(),
        }
    }

    /// How many of the newest points take part in the weights. Older ones have no effect on them, whatever they hold.
    #[must_use]
    pub fn points_used(&self) -> usize {
        if self.is_loss_weighted() { self.slope_points().max(self.mean_points()) } else { self.slope_points() }
    }

    /// Whether mean losses take part in the weights.
    #[must_use]
    pub fn is_loss_weighted(&self) -> bool {
        self.config.loss_weighting != LossWeighting::None
    }

    /// The coefficients `d_j` of the slope in first-difference form, oldest first:
    /// `slope = sum_j d_j (L[j + 1] - L[j])` over the slope's points.
    #[must_use]
    pub fn differences(&self) -> &[f64] {
        &self.differences
    }

    /// What is legal but probably not wanted.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(order) = self.order.filter(|&order| order >= WARN_ORDER as usize) {
            // sum |c_k|, c_k = d_(k-1) - d_k: how much the stencil can magnify an error of the points.
            let d = |j: usize| self.differences.get(j).copied().unwrap_or(0.0);
            let magnification = d(0).abs() + (1..=order).map(|k| (d(k - 1) - d(k)).abs()).sum::<f64>();
            warnings.push(Warning::HighOrder { order, magnification });
        }
        warnings
    }
}

/// A legal setting that deserves a second thought; see [`Plan::warnings`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// An accuracy order of [`WARN_ORDER`] or more on an f32 path.
    HighOrder {
        /// The order.
        order: usize,
        /// Sum of the magnitudes of the stencil's coefficients: the factor by which errors of the points can grow.
        magnification: f64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HighOrder { order, magnification } => write!(
                f,
                "accuracy order {order} magnifies rounding and noise up to {magnification:.0} times: 8 is a practical limit in f32, 4 a good choice"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::config::MAX_ORDER;

    fn shape(components: usize, window: usize) -> Shape {
        Shape::new(1, components, window).unwrap()
    }

    #[test]
    fn orders_and_windows_are_matched() {
        let plan = |order: Option<u32>, window| {
            Plan::new(Config::original().with_slope(Slope::Forward { order }), shape(2, window))
        };
        assert_eq!(plan(None, 5).unwrap().order(), Some(4));
        assert_eq!(plan(Some(2), 5).unwrap().slope_points(), 3);
        assert_eq!(plan(None, 21).unwrap().order(), Some(20));
        assert_eq!(plan(None, 22), Err(PlanError::DefaultOrder { window: 22 }));
        assert_eq!(plan(None, 1), Err(PlanError::DefaultOrder { window: 1 }));
        assert_eq!(plan(Some(5), 5), Err(PlanError::WindowTooShort { window: 5, needed: 6 }));
        assert!(matches!(plan(Some(0), 5), Err(PlanError::Config(_))));
        assert!(matches!(plan(Some(MAX_ORDER + 1), 50), Err(PlanError::Config(_))));
        let least_squares = Config::original().with_slope(Slope::LeastSquares);
        assert_eq!(Plan::new(least_squares, shape(2, 1)), Err(PlanError::WindowTooShort { window: 1, needed: 2 }));
    }

    #[test]
    fn prior_and_floor_are_matched_to_components() {
        let with = |config: Config, shape: Shape| Plan::new(config, shape).map(|_| ());
        assert_eq!(
            with(Config::original().with_prior([1.0, 2.0]), shape(3, 5)),
            Err(PlanError::PriorLength { factors: 2, components: 3 })
        );
        assert_eq!(
            with(Config::original().with_floor(0.4), shape(3, 5)),
            Err(PlanError::FloorTooHigh { floor: 0.4, components: 3 })
        );
        let ragged = Shape::ragged(vec![0, 2, 3], 5).unwrap();
        assert_eq!(
            with(Config::original().with_prior([0.0, 1.0]), ragged.clone()),
            Err(PlanError::PriorZeroForGroup { components: 1 })
        );
        assert_eq!(with(Config::original().with_prior([1.0, 0.0]), ragged), Ok(()));
    }

    #[test]
    fn the_points_that_take_part_follow_from_slope_and_mean() {
        let counts = |config: Config| {
            let plan = Plan::new(config, shape(2, 9)).unwrap();
            (plan.slope_points(), plan.mean_points(), plan.points_used(), plan.is_loss_weighted())
        };
        let order_2 = || Config::original().with_order(2);
        assert_eq!(counts(order_2()), (3, 9, 3, false));
        assert_eq!(counts(order_2().with_loss_weighting(LossWeighting::Window)), (3, 9, 9, true));
        assert_eq!(counts(order_2().with_loss_weighting(LossWeighting::SlopePoints)), (3, 3, 3, true));
        assert_eq!(counts(Config::original().with_slope(Slope::LeastSquares)), (9, 9, 9, false));
        assert_eq!(counts(Config::original().with_slope(Slope::Last)), (2, 9, 2, false));
    }

    #[test]
    fn high_orders_warn_with_their_magnification() {
        let warnings = |order| Plan::new(Config::original().with_order(order), shape(2, 21)).unwrap().warnings();
        assert!(warnings(9).is_empty());
        let [Warning::HighOrder { order: 10, magnification }] = warnings(10)[..] else { panic!() };
        assert!((magnification - 237.0).abs() < 1.0, "{magnification}");
    }
}
