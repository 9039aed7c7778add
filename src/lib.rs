//! Adaptive loss weights (SoftAdapt, arXiv 1912.12355) for thousands of independent experiments at once.
#![doc = include_str!("front_page.md")]

// The README's example is compiled with the documentation tests.
#[cfg(all(doctest, feature = "gpu"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod balancer;
mod batch;
mod coefficients;
mod config;
mod error;
mod plan;
mod shape;
mod single;
mod status;

pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "gpu")]
pub mod host;
pub mod reference;

pub use balancer::{
    BalancerConfig, BalancerError, BalancerLog, BalancerPlan, BalancerState, BetaSchedule, CopyError, Feed,
    InitialWeights, LogEntry, MAX_LOG, MAX_PUSHES, Smoothing, StateError, Window,
};
pub use batch::{Batch, Outputs, Weights};
pub use config::{
    Config, LossWeighting, MAX_BETA, MAX_ORDER, Normalize, OnNegativeMean, OnNonFinite, Scale, Score, Slope, WARN_ORDER,
};
pub use error::{BatchError, ConfigError, PlanError, ShapeError};
pub use plan::{Plan, Warning};
pub use shape::{Layout, MAX_COMPONENTS, MAX_WINDOW, Shape, Strides};
pub use status::Status;

/// The wgpu that the interface of [`gpu`] and [`host`] speaks.
#[cfg(feature = "gpu")]
pub use wgpu;
