//! Errors of the host layer.

use crate::balancer::{BalancerError, CopyError, StateError};
use crate::error::{BatchError, PlanError, ShapeError};
use crate::gpu::{BindError, DeviceError, KernelError};
use std::fmt;

/// Why a batch could not be weighed on a GPU. The context stays usable, except after [`DeviceError::Lost`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HostError {
    /// No adapter fits the choice.
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// Names of the adapters that there are.
        available: Vec<String>,
    },
    /// The adapter gave no device.
    NoDevice {
        /// The adapter.
        adapter: String,
        /// wgpu's words.
        message: String,
    },
    /// One group alone needs more bytes than the device can bind.
    GroupTooLarge {
        /// Bytes of the group's losses.
        bytes: u64,
        /// The most that can be bound.
        allowed: u64,
    },
    /// The device cannot measure time.
    NoTimestamps {
        /// The adapter.
        adapter: String,
    },
    /// Slices of the wrong length.
    Batch(BatchError),
    /// A part of the batch has no shape.
    Shape(ShapeError),
    /// A part of the batch makes no plan.
    Plan(PlanError),
    /// A part of a balancer makes no plan.
    Balancer(BalancerError),
    /// Groups cannot be reset or copied.
    Copy(CopyError),
    /// A state does not fit the balancer.
    State(StateError),
    /// A kernel could not be made or bound.
    Kernel(BindError),
    /// The device failed.
    Device(DeviceError),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAdapter { wanted, available } if available.is_empty() => {
                write!(f, "no GPU adapter found ({wanted} wanted): install a Vulkan driver, or use the CPU path")
            }
            Self::NoAdapter { wanted, available } => {
                write!(f, "no GPU adapter is {wanted}; there are: {}", available.join(", "))
            }
            Self::NoDevice { adapter, message } => write!(f, "{adapter} gave no device: {message}"),
            Self::GroupTooLarge { bytes, allowed } => write!(
                f,
                "the losses of one group take {bytes} bytes, the device can bind {allowed}: shorten the window or use the CPU path"
            ),
            Self::NoTimestamps { adapter } => write!(f, "{adapter} cannot measure time on the device"),
            Self::Batch(error) => error.fmt(f),
            Self::Shape(error) => error.fmt(f),
            Self::Plan(error) => error.fmt(f),
            Self::Balancer(error) => error.fmt(f),
            Self::Copy(error) => error.fmt(f),
            Self::State(error) => error.fmt(f),
            Self::Kernel(error) => error.fmt(f),
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Batch(error) => Some(error),
            Self::Shape(error) => Some(error),
            Self::Plan(error) => Some(error),
            Self::Balancer(error) => Some(error),
            Self::Copy(error) => Some(error),
            Self::State(error) => Some(error),
            Self::Kernel(error) => Some(error),
            Self::Device(error) => Some(error),
            _ => None,
        }
    }
}

impl HostError {
    /// Whether smaller chunks may help.
    pub(super) fn is_out_of_memory(&self) -> bool {
        matches!(
            self,
            Self::Device(DeviceError::OutOfMemory { .. })
                | Self::Kernel(BindError::Kernel(KernelError::Device(DeviceError::OutOfMemory { .. })))
        )
    }
}

impl From<BatchError> for HostError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl From<ShapeError> for HostError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

impl From<PlanError> for HostError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<BalancerError> for HostError {
    fn from(error: BalancerError) -> Self {
        Self::Balancer(error)
    }
}

impl From<CopyError> for HostError {
    fn from(error: CopyError) -> Self {
        Self::Copy(error)
    }
}

impl From<StateError> for HostError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<KernelError> for HostError {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Device(error) => Self::Device(error),
            error => Self::Kernel(error.into()),
        }
    }
}

impl From<BindError> for HostError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Kernel(error) => error.into(),
            error => Self::Kernel(error),
        }
    }
}

impl From<DeviceError> for HostError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}
