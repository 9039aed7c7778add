//! Weights for a training loop: what a balancer is asked for, what it must remember, and how that is stored.
//!
//! Nothing here needs a device. `cpu::Balancer` and `gpu::Balancer` do what a [`BalancerPlan`] says, with one meaning.

mod config;
mod error;
pub(crate) mod layout;
mod plan;
pub(crate) mod schedule;
pub(crate) mod state;

pub use config::{BalancerConfig, BetaSchedule, Feed, InitialWeights, MAX_LOG, MAX_PUSHES, Smoothing, Window};
pub use error::{BalancerError, CopyError, StateError};
pub use plan::BalancerPlan;
pub use state::{BalancerLog, BalancerState, LogEntry};

/// Batch losses whose sum joins the running sum of an epoch at a time, so that the mean of `b` batches is at most
/// `256 + b / 256` roundings away from exact.
pub(crate) const BATCHES_PER_SUM: u32 = 256;
