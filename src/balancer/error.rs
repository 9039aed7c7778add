//! Errors of balancers that need no device. One enum per operation; see `src/error.rs`.

use super::config::{MAX_LOG, MAX_PUSHES};
use crate::error::{ConfigError, PlanError, ShapeError};
use std::fmt;

/// Why a [`BalancerConfig`](crate::BalancerConfig) is not one, or does not fit a shape.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BalancerError {
    /// The configuration of the weights is not one.
    Config(ConfigError),
    /// The configuration of the weights does not fit the shape.
    Plan(PlanError),
    /// The state does not fit 64 bits (or the address space).
    Shape(ShapeError),
    /// Pushes between updates outside 1..=[`MAX_PUSHES`].
    Every {
        /// The number given.
        every: u32,
    },
    /// Pushes up to the first update outside 1..=[`MAX_PUSHES`].
    First {
        /// The number given.
        first: u32,
    },
    /// A tumbling window cannot hold the points that come between updates.
    WindowTooShort {
        /// Points that the shape's window holds.
        window: usize,
        /// Points that are pushed up to an update.
        points: u32,
    },
    /// A tumbling window would never hold as many points as the slope needs.
    TooFewPoints {
        /// Points that are pushed up to an update.
        points: u32,
        /// Points that the slope needs.
        needed: usize,
    },
    /// The share that exponential smoothing keeps is not in 0..1.
    Keep {
        /// The share given.
        keep: f64,
    },
    /// A schedule over no push, or over more than [`MAX_PUSHES`].
    ScheduleLength {
        /// The number of pushes given.
        over: u32,
    },
    /// A factor of a schedule that is not finite, or takes beta out of range.
    ScheduleFactor {
        /// The factor given.
        factor: f64,
        /// The configuration's beta.
        beta: f64,
    },
    /// A log of more than [`MAX_LOG`] updates.
    Log {
        /// The number of updates given.
        updates: u32,
    },
    /// An initial weight that is not finite in f32.
    InitialWeight {
        /// Position of the component.
        component: usize,
        /// The weight given.
        weight: f64,
    },
    /// The number of initial weights is not the number of components.
    InitialLength {
        /// How many weights were given.
        weights: usize,
        /// Components of the largest group.
        components: usize,
    },
}

impl fmt::Display for BalancerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Plan(error) => error.fmt(f),
            Self::Shape(error) => error.fmt(f),
            Self::Every { every } => {
                write!(f, "an update every {every} pushes is not possible: choose 1 to {MAX_PUSHES}")
            }
            Self::First { first } => {
                write!(f, "a first update after {first} pushes is not possible: choose 1 to {MAX_PUSHES}")
            }
            Self::WindowTooShort { window, points } => write!(
                f,
                "up to {points} points are pushed between updates, the tumbling window holds {window}: widen the window or update more often"
            ),
            Self::TooFewPoints { points, needed } => write!(
                f,
                "the slope needs {needed} points, the tumbling window is cleared after {points}: update less often or lower the accuracy order"
            ),
            Self::Keep { keep } => {
                write!(f, "exponential smoothing keeps a share of {keep}, but it must be at least 0 and below 1")
            }
            Self::ScheduleLength { over } => {
                write!(f, "a schedule over {over} pushes is not possible: choose 1 to {MAX_PUSHES}")
            }
            Self::ScheduleFactor { factor, beta } => write!(
                f,
                "the schedule's factor {factor} on beta {beta} is not finite or above {:e}: lower one of them",
                crate::MAX_BETA
            ),
            Self::Log { updates } => write!(f, "a log of {updates} updates is too long: choose 0 to {MAX_LOG}"),
            Self::InitialWeight { component, weight } => {
                write!(f, "the initial weight of component {component} is {weight}, but must be a finite f32")
            }
            Self::InitialLength { weights, components } => {
                write!(f, "{weights} initial weights were given for {components} components: give one for each")
            }
        }
    }
}

impl std::error::Error for BalancerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Plan(error) => Some(error),
            Self::Shape(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ConfigError> for BalancerError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<PlanError> for BalancerError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<ShapeError> for BalancerError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

/// Why groups cannot be copied onto others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyError {
    /// A group that does not exist.
    Group {
        /// The group named.
        group: usize,
        /// How many there are.
        groups: usize,
    },
    /// Two groups with different numbers of components.
    Components {
        /// The group to be copied, and its number of components.
        from: (usize, usize),
        /// The group to be replaced, and its number of components.
        to: (usize, usize),
    },
    /// A group that is replaced is named a second time: the outcome would depend on the order.
    Twice {
        /// The group.
        group: usize,
    },
    /// Two states whose groups remember different things.
    Memory {
        /// What they have different numbers of.
        what: &'static str,
        /// The number in the state that is copied from.
        from: u32,
        /// The number in the other.
        to: u32,
    },
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { group, groups } => {
                write!(f, "there is no group {group}: groups are numbered from 0, and there are {groups}")
            }
            Self::Components { from, to } => write!(
                f,
                "group {} has {} components, group {} has {}: copy between groups of one size",
                from.0, from.1, to.0, to.1
            ),
            Self::Twice { group } => write!(
                f,
                "group {group} is to be replaced and named again in the same copy: copy in several calls, one after the other"
            ),
            Self::Memory { what, from, to } => write!(
                f,
                "a group with {from} {what} cannot replace one with {to}: copy between plans of one window, smoothing and feed"
            ),
        }
    }
}

impl std::error::Error for CopyError {}

/// Why bytes are not the state of a balancer of this plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// They do not begin as a state does.
    NotAState,
    /// They were written in another version of the format.
    Version {
        /// The version found.
        found: u32,
        /// The one that this version of the library reads and writes.
        supported: u32,
    },
    /// There are fewer or more bytes than the state has.
    Length {
        /// Bytes given.
        bytes: u64,
        /// Bytes that the state of the plan takes.
        needed: u64,
    },
    /// They are the state of another plan.
    Plan {
        /// What differs.
        what: &'static str,
        /// Its value in the state.
        found: u64,
        /// Its value in the plan.
        expected: u64,
    },
    /// Some bytes were changed after they were written.
    Checksum {
        /// The sum found.
        found: u32,
        /// The sum of the bytes.
        computed: u32,
    },
    /// A number of a group's is impossible.
    Group {
        /// What it is.
        what: &'static str,
        /// The group.
        group: usize,
        /// The number.
        value: u32,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAState => f.write_str("these bytes are not the state of a balancer"),
            Self::Version { found, supported } => write!(
                f,
                "the state has format version {found}, this library reads version {supported}: use the library that wrote it"
            ),
            Self::Length { bytes, needed } => {
                write!(
                    f,
                    "the state of this plan takes {needed} bytes, there are {bytes}: it is cut off or another plan's"
                )
            }
            Self::Plan { what, found, expected } => {
                write!(
                    f,
                    "the state has {what} {found}, the plan has {expected}: load it with the plan that it was saved under"
                )
            }
            Self::Checksum { found, computed } => {
                write!(f, "the state is damaged: its checksum is {found:08x}, that of its bytes {computed:08x}")
            }
            Self::Group { what, group, value } => {
                write!(f, "the state is damaged: {what} of group {group} is {value}")
            }
        }
    }
}

impl std::error::Error for StateError {}
