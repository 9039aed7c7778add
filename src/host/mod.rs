//! A GPU for programs that have none of their own: picks an adapter, makes a device, moves batches there and back.
//!
//! Here, and nowhere else in the crate, devices are made, work is submitted and waited for. Every blocking call has an
//! async twin and is made of it (`blocking.rs` is the only file that waits); the async half has nothing that a browser
//! forbids. Programs with a device of their own use [`gpu`](crate::gpu) instead.
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
mod blocking;
mod chunks;
mod context;
mod error;
mod measure;
mod transfer;

pub use adapter::{AdapterChoice, AdapterReport, adapters};
pub use context::Context;
pub use error::HostError;
pub use measure::{DevicePath, DeviceTimes};
