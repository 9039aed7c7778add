//! A GPU for programs that have none of their own: picks an adapter, makes a device, moves batches there and back.
//!
//! Here, and nowhere else in the crate, devices are made, work is submitted and waited for. Every blocking call has an
//! async twin, `..._async`, and is made of it; `blocking.rs` holds all that wait and is left out of builds for browsers.
//! A device that is lost, finds no memory, never finishes or skips work is an error ([`DeviceError`](crate::gpu::DeviceError));
//! results count only where the kernels have written every one of them. Programs with a device of their own use [`gpu`](crate::gpu) instead.
//!
//! ```no_run
//! use softadapt::host::{AdapterChoice, Context};
//! use softadapt::{Batch, Config, Plan, Shape};
//!
//! let context = Context::new(&AdapterChoice::Any)?;
//! let plan = Plan::new(Config::original(), Shape::new(2, 3, 5)?)?;
//! let losses: Vec<f32> = (0..30).map(|i| 1.0 / (1.0 + i as f32)).collect();
//! let answer = context.weigh(&plan, &Batch::new(&losses))?;
//! println!("{:?} on {}", answer.weights, context.adapter());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod balancer;
#[cfg(not(target_arch = "wasm32"))]
mod blocking;
mod chunks;
mod context;
mod error;
mod measure;
mod transfer;
mod workload;

pub use adapter::{AdapterChoice, AdapterReport, adapters_async};
pub use balancer::Balancer;
#[cfg(not(target_arch = "wasm32"))]
pub use blocking::adapters;
pub use context::Context;
pub use error::HostError;
pub use measure::{DevicePath, DeviceTimes};
pub use workload::{Lap, StepWorkload, Workload};
