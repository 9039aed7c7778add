//! Adaptive loss weights (`SoftAdapt`) inside a [Burn](https://burn.dev) training loop, on the tensors that Burn already
//! holds.
#![doc = include_str!("front_page.md")]

// The README's example is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod balancer;
mod device;
mod engine;
mod error;
#[cfg(feature = "train")]
pub mod metrics;
mod operation;
mod record;

pub use balancer::LossBalancer;
pub use device::{burn_device, device_descriptor, register_device, shared_device, shared_device_async};
pub use error::{DeviceError, LoadError, SetupError, StepError};
pub use record::BalancerRecord;

/// The core crate, whose configurations, plans and states this one takes.
pub use softadapt;
