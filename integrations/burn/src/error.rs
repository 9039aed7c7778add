//! Errors: one enum per operation.

use softadapt::gpu::KernelError;
use softadapt::{BalancerError, BatchError, CopyError, StateError};
use std::fmt;

/// Why there is no device for Burn and others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// The adapter gives no device.
    Request {
        /// What wgpu says.
        message: String,
    },
    /// Burn does not take the device, or makes none.
    Burn {
        /// What Burn says.
        message: String,
    },
    /// Not a device of Burn's wgpu backend.
    NotWgpu {
        /// The device.
        device: String,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { message } => write!(f, "the adapter gives no device: {message}"),
            Self::Burn { message } => write!(
                f,
                "Burn has not made the device: {message}. If it exists already, pass its setup to register_device"
            ),
            Self::NotWgpu { device } => {
                write!(f, "{device} is not a device of Burn's wgpu backend: register those only")
            }
        }
    }
}

impl std::error::Error for DeviceError {}

/// Why a balancer cannot be made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SetupError {
    /// Configuration and shape do not fit.
    Plan(BalancerError),
    /// The plan's shape is ragged or strided: tensors are `[member, component]`.
    Shape,
    /// The device cannot run the kernel.
    Kernel(KernelError),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::Shape => f.write_str(
                "a plan for tensors has the same components for every member and the row-major layout: take Shape::new",
            ),
            Self::Kernel(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Plan(error) => Some(error),
            Self::Shape => None,
            Self::Kernel(error) => Some(error),
        }
    }
}

impl From<BalancerError> for SetupError {
    fn from(error: BalancerError) -> Self {
        Self::Plan(error)
    }
}

impl From<KernelError> for SetupError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

/// Why a balancer did not do as asked. Never because of the values of losses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepError {
    /// Losses of another shape.
    Shape {
        /// The tensor's.
        found: Vec<usize>,
        /// `[members, components]`; a single member may leave out the first.
        expected: [usize; 2],
    },
    /// Losses on another device.
    Device {
        /// The tensor's.
        found: String,
        /// The balancer's.
        expected: String,
    },
    /// Fed in a way that the configuration does not say.
    Batch(BatchError),
    /// Members to reset or copy that are not there, or are named twice.
    Members(CopyError),
    /// Betas for a balancer whose configuration does not say `per_group_beta`, or not one for each member.
    Betas {
        /// How many were given.
        given: usize,
        /// How many the balancer has: one for each member, or none.
        expected: usize,
    },
    /// An earlier call failed on the device. With fusion, Burn runs calls later than they are made: their errors come out
    /// at the next call. The weights since then are NaN; load a state to go on.
    Failed {
        /// What went wrong.
        message: String,
    },
    /// Burn could not read a tensor back.
    Read {
        /// What Burn says.
        message: String,
    },
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { found, expected: [members, components] } => write!(
                f,
                "losses of shape {found:?}, but the balancer weighs {members} members of {components} components: give \
                 [{members}, {components}]{}",
                if *members == 1 { format!(" or [{components}]") } else { String::new() }
            ),
            Self::Device { found, expected } => {
                write!(
                    f,
                    "losses on {found}, the balancer lives on {expected}: move the losses or make the balancer there"
                )
            }
            Self::Batch(error) => error.fmt(f),
            Self::Members(error) => error.fmt(f),
            Self::Betas { given, expected: 0 } => write!(
                f,
                "{given} betas were given, but the members have none of their own: configure with_per_group_beta(true)"
            ),
            Self::Betas { given, expected } => {
                write!(f, "{given} betas were given for {expected} members: give one for each")
            }
            Self::Failed { message } => {
                write!(f, "an earlier step failed on the device: {message}. Load a state, or make a new balancer")
            }
            Self::Read { message } => write!(f, "Burn cannot read back: {message}"),
        }
    }
}

impl std::error::Error for StepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Batch(error) => Some(error),
            Self::Members(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BatchError> for StepError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl From<CopyError> for StepError {
    fn from(error: CopyError) -> Self {
        Self::Members(error)
    }
}

/// Why a record is not the state of this balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// Burn cannot make sense of the record.
    Record(burn::store::RecordError),
    /// The bytes in it are not a state of the balancer's plan.
    State(StateError),
    /// The record cannot be read back.
    Read {
        /// What Burn says.
        message: String,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::State(error) => error.fmt(f),
            Self::Read { message } => write!(f, "Burn cannot read back: {message}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Record(error) => Some(error),
            Self::State(error) => Some(error),
            Self::Read { .. } => None,
        }
    }
}

impl From<burn::store::RecordError> for LoadError {
    fn from(error: burn::store::RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<StateError> for LoadError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}
