//! Errors of the parts that need no device: configurations, shapes, plans and batches.
//!
//! One enum per operation. Each message carries the offending numbers and the next step.
//! Errors depend on configurations, shapes and slice lengths, never on the values of losses: awkward values are
//! answered by a [`Status`](crate::Status) flag of their group.

use crate::balancer::Feed;
use std::fmt;

/// Why a [`Config`](crate::Config) is not one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// An order outside 1..=[`MAX_ORDER`](crate::MAX_ORDER).
    Order {
        /// The order asked for.
        order: u32,
    },
    /// `beta` is not finite, or too large for the f32 paths.
    Beta {
        /// The value given.
        beta: f64,
    },
    /// `epsilon` is negative or not finite.
    Epsilon {
        /// The value given.
        epsilon: f64,
    },
    /// `floor` is negative, above 1 or not finite.
    Floor {
        /// The value given.
        floor: f64,
    },
    /// A prior factor is negative or not finite.
    Prior {
        /// Position of the component.
        component: usize,
        /// The value given.
        factor: f64,
    },
    /// No prior factor is above zero, so that no component could have a weight.
    PriorAllZero {
        /// How many factors there are.
        factors: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order { order } => {
                write!(f, "accuracy order {order} is not supported: choose one from 1 to {}", crate::MAX_ORDER)
            }
            Self::Beta { beta } => {
                write!(f, "beta is {beta}, but must be finite and at most {:e} in magnitude", crate::MAX_BETA)
            }
            Self::Epsilon { epsilon } => {
                write!(f, "epsilon is {epsilon}, but must be finite and not negative (the packages use 1e-8)")
            }
            Self::Floor { floor } => {
                write!(f, "the minimum weight is {floor}, but must lie between 0 and 1 / components")
            }
            Self::Prior { component, factor } => {
                write!(f, "the prior of component {component} is {factor}, but must be finite and not negative")
            }
            Self::PriorAllZero { factors } => {
                write!(f, "all {factors} prior factors are zero: at least one component needs a positive one")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why numbers do not make a [`Shape`](crate::Shape).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShapeError {
    /// No component, or more than [`MAX_COMPONENTS`](crate::MAX_COMPONENTS).
    Components {
        /// The group, in a ragged shape.
        group: Option<usize>,
        /// The number of components given.
        components: usize,
    },
    /// No point, or more than [`MAX_WINDOW`](crate::MAX_WINDOW).
    Window {
        /// The number of points given.
        window: usize,
    },
    /// Ragged offsets need at least one entry, and the first has to be 0.
    OffsetsStart {
        /// The first entry, if there is one.
        first: Option<u32>,
    },
    /// Ragged offsets must not fall.
    OffsetsFall {
        /// The group at which they fall.
        group: usize,
        /// Where the group starts.
        start: u32,
        /// Where it ends, before its start.
        end: u32,
    },
    /// The number of elements does not fit 64 bits (or the address space).
    TooLarge {
        /// Groups.
        groups: usize,
        /// Components of a group.
        components: usize,
        /// Points of a window.
        window: usize,
    },
    /// Custom strides were given for a ragged shape, whose groups are addressed by offsets.
    StridesOfRagged,
    /// An axis of the weights, or of the losses, does not step over the axes inside it, so that two elements may share a
    /// place.
    StridesOverlap {
        /// The smallest stride at fault, in elements.
        stride: u64,
        /// The extent that it has to step over, in elements.
        extent: u64,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Components { group, components } => {
                if let Some(group) = group {
                    write!(f, "group {group} has {components} components")?;
                } else {
                    write!(f, "a group has {components} components")?;
                }
                write!(f, ": 1 to {} are supported", crate::MAX_COMPONENTS)?;
                if group.is_some() {
                    write!(f, ", and 0 in a ragged shape")?;
                }
                Ok(())
            }
            Self::Window { window } => {
                write!(f, "a window of {window} points is not supported: choose 1 to {}", crate::MAX_WINDOW)
            }
            Self::OffsetsStart { first: Some(first) } => {
                write!(f, "ragged offsets start at {first}, but must start at 0: cut the losses to the batch instead")
            }
            Self::OffsetsStart { first: None } => {
                write!(f, "ragged offsets are empty: give groups + 1 of them, a single 0 for no groups")
            }
            Self::OffsetsFall { group, start, end } => {
                write!(f, "ragged offsets fall at group {group}, from {start} to {end}: sort them")
            }
            Self::TooLarge { groups, components, window } => write!(
                f,
                "{groups} groups of {components} components and {window} points need more elements than can be addressed: split the batch"
            ),
            Self::StridesOfRagged => {
                write!(
                    f,
                    "a ragged shape is addressed by its offsets and takes no custom strides: use a row-major or time-major layout"
                )
            }
            Self::StridesOverlap { stride, extent } => write!(
                f,
                "a stride of {stride} elements steps into the {extent} elements of the next axis, where elements may share a place: let each axis step over the ones inside it"
            ),
        }
    }
}

impl std::error::Error for ShapeError {}

/// Why a configuration and a shape do not fit each other.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// The configuration is not valid by itself.
    Config(ConfigError),
    /// No order was given, and the window's default (points - 1) is out of range.
    DefaultOrder {
        /// Points of the window.
        window: usize,
    },
    /// The window has fewer points than the slope needs.
    WindowTooShort {
        /// Points of the window.
        window: usize,
        /// Points that the slope needs.
        needed: usize,
    },
    /// The prior has the wrong number of factors.
    PriorLength {
        /// Factors given.
        factors: usize,
        /// Components of a group, of the largest one in a ragged shape.
        components: usize,
    },
    /// The components of a small group of a ragged shape all have a prior of zero.
    PriorZeroForGroup {
        /// Components of the group.
        components: usize,
    },
    /// The minimum weight times the number of components is above 1.
    FloorTooHigh {
        /// The minimum weight.
        floor: f64,
        /// Components of the (largest) group.
        components: usize,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::DefaultOrder { window } => write!(
                f,
                "a window of {window} points has no default accuracy order (points - 1 must be 1 to {}): set the order",
                crate::MAX_ORDER
            ),
            Self::WindowTooShort { window, needed } => write!(
                f,
                "the slope needs {needed} points, the window has {window}: widen the window or lower the accuracy order"
            ),
            Self::PriorLength { factors, components } => {
                write!(f, "the prior has {factors} factors for {components} components: give one factor per component")
            }
            Self::PriorZeroForGroup { components } => write!(
                f,
                "the first {components} prior factors are all zero, but there is a group of {components} components: one of them needs a positive factor"
            ),
            Self::FloorTooHigh { floor, components } => write!(
                f,
                "a minimum weight of {floor} is too much for {components} components: choose at most {:e}",
                1.0 / *components as f64
            ),
        }
    }
}

impl std::error::Error for PlanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ConfigError> for PlanError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Why slices do not make a batch of a plan's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// A slice has the wrong number of elements.
    Length {
        /// Which slice.
        what: &'static str,
        /// Elements it has.
        length: usize,
        /// Elements it needs.
        needed: usize,
    },
    /// A balancer was fed in a way that its configuration does not say.
    Feed {
        /// What its configuration says.
        feed: Feed,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { what, length, needed } => {
                write!(f, "`{what}` has {length} elements, but the plan's shape needs {needed}")
            }
            Self::Feed { feed: Feed::EpochMean } => {
                f.write_str("this balancer takes the means of epochs: accumulate batches and close the epoch")
            }
            Self::Feed { feed: Feed::EveryPush } => {
                f.write_str("this balancer takes every push as a point: push, or choose the feed of epoch means")
            }
        }
    }
}

impl std::error::Error for BatchError {}
