//! Errors of the device half. No wgpu type appears in them, so that they stay the same across wgpu's major versions.

use super::slots::Slot;
use crate::balancer::{Feed, StateError};
use crate::error::BatchError;
use std::fmt;

/// Why a kernel cannot be made, or a device does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelError {
    /// The device allows less than the plan needs.
    Limit {
        /// wgpu's name of the limit.
        limit: &'static str,
        /// What the device allows.
        allowed: u64,
        /// What the plan needs.
        needed: u64,
    },
    /// A buffer is larger than this library binds at once on any device.
    BindingTooLarge {
        /// Which.
        slot: Slot,
        /// Bytes that the plan needs in it.
        bytes: u64,
        /// The most that is bound.
        most: u64,
    },
    /// The batch has more workgroups than a dispatch can have.
    TooManyGroups {
        /// Groups of the batch.
        groups: usize,
    },
    /// wgpu reported an error.
    Device(DeviceError),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit, allowed, needed } => write!(
                f,
                "the plan needs {limit} of {needed}, the device was made with {allowed}: request a higher limit or split the batch"
            ),
            Self::BindingTooLarge { slot, bytes, most } => write!(
                f,
                "`{slot}` takes {bytes} bytes, but at most {most} are bound at once, because larger bindings go wrong on some systems: split the batch"
            ),
            Self::TooManyGroups { groups } => {
                write!(f, "{groups} groups need more workgroups than one dispatch can have: split the batch")
            }
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KernelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Device(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DeviceError> for KernelError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

/// What wgpu reported of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// No memory for a buffer or pipeline. The device lives on after a buffer, and is lost after a pipeline.
    OutOfMemory {
        /// wgpu's words.
        message: String,
    },
    /// A call that wgpu's validation refused, such as a buffer of another device.
    Validation {
        /// wgpu's words.
        message: String,
    },
    /// A failure inside wgpu or the driver.
    Internal {
        /// wgpu's words.
        message: String,
    },
    /// The device did not finish within the time allowed.
    TimedOut {
        /// How long was waited.
        seconds: u64,
    },
    /// The device finished without an error, but did not do what was submitted: its results are not used.
    Skipped,
    /// The device is lost; nothing on it can be used any more. Make a new one.
    Lost,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory { message } => write!(f, "out of device memory ({message}): use smaller batches"),
            Self::Validation { message } => write!(f, "wgpu refused a call: {message}"),
            Self::Internal { message } => write!(f, "the GPU driver failed: {message}"),
            Self::TimedOut { seconds } => {
                write!(f, "the GPU did not finish within {seconds} seconds: use smaller batches, or make a new device")
            }
            Self::Skipped => write!(f, "the GPU skipped work without reporting an error: use smaller batches"),
            Self::Lost => write!(f, "the GPU device is lost: make a new device and start over on it"),
        }
    }
}

impl std::error::Error for DeviceError {}

impl DeviceError {
    /// Not by `From`, which would put wgpu's type into the interface.
    pub(crate) fn of(error: wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { source } => Self::OutOfMemory { message: source.to_string() },
            wgpu::Error::Validation { description, .. } => Self::Validation { message: description },
            wgpu::Error::Internal { description, .. } => Self::Internal { message: description },
        }
    }
}

/// Why buffers cannot be bound to a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindError {
    /// The kernel needs a buffer that was not given.
    Missing {
        /// Which.
        slot: Slot,
    },
    /// A buffer was given that the kernel was not made for.
    Unexpected {
        /// Which.
        slot: Slot,
    },
    /// The buffer was created without a usage that the kernel needs.
    Usage {
        /// Which.
        slot: Slot,
        /// wgpu's name of the usage.
        needed: &'static str,
    },
    /// The range's offset is not a multiple of the device's storage offset alignment.
    Alignment {
        /// Which.
        slot: Slot,
        /// Bytes from the start of the buffer.
        offset: u64,
        /// Bytes.
        alignment: u32,
    },
    /// The range's size is not a multiple of 4.
    Size {
        /// Which.
        slot: Slot,
        /// Bytes.
        size: u64,
    },
    /// The range does not lie within its buffer.
    OutOfRange {
        /// Which.
        slot: Slot,
        /// Bytes from the start of the buffer.
        offset: u64,
        /// Bytes of the range.
        size: u64,
        /// Bytes of the buffer.
        buffer: u64,
    },
    /// The range, or what the buffer has left from its start, is too small.
    TooSmall {
        /// Which.
        slot: Slot,
        /// Bytes that there are.
        available: u64,
        /// Bytes that the plan needs.
        needed: u64,
    },
    /// An output overlaps another range in the same buffer.
    Overlap {
        /// The output.
        output: Slot,
        /// The other.
        other: Slot,
        /// First byte that both cover.
        from: u64,
        /// End of what both cover.
        to: u64,
    },
    /// A balancer is fed in a way that its configuration does not say.
    Feed {
        /// What its configuration says.
        feed: Feed,
    },
    /// The kernel could not be finished for buffers that inputs and outputs share, or does not fit the device.
    Kernel(KernelError),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { slot } => write!(f, "no buffer was given for `{slot}`"),
            Self::Unexpected { slot } => {
                write!(f, "a buffer was given for `{slot}`, which this kernel does not use: change its options")
            }
            Self::Usage { slot, needed } => {
                write!(f, "the buffer for `{slot}` was created without {needed}: add it to its usages")
            }
            Self::Alignment { slot, offset, alignment } => write!(
                f,
                "`{slot}` starts at byte {offset}, which is not a multiple of the device's storage offset alignment {alignment}"
            ),
            Self::Size { slot, size } => write!(f, "the range for `{slot}` has {size} bytes, not a multiple of 4"),
            Self::OutOfRange { slot, offset, size, buffer } => write!(
                f,
                "the range for `{slot}` has {size} bytes from byte {offset} on, but its buffer ends at {buffer}"
            ),
            Self::TooSmall { slot, available, needed } => {
                write!(f, "the range for `{slot}` has {available} bytes, the plan needs {needed}")
            }
            Self::Overlap { output, other, from, to } => write!(
                f,
                "`{output}` is written and overlaps `{other}` in bytes {from}..{to} of their buffer: use disjoint ranges"
            ),
            Self::Feed { feed } => BatchError::Feed { feed: *feed }.fmt(f),
            Self::Kernel(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Kernel(error) => Some(error),
            _ => None,
        }
    }
}

impl From<KernelError> for BindError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<DeviceError> for BindError {
    fn from(error: DeviceError) -> Self {
        Self::Kernel(KernelError::Device(error))
    }
}

/// Why a balancer cannot go on from a state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// It is the state of another plan.
    State(StateError),
    /// wgpu reported an error.
    Device(DeviceError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::State(error) => Some(error),
            Self::Device(error) => Some(error),
        }
    }
}

impl From<StateError> for LoadError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<DeviceError> for LoadError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}
