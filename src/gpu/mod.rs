//! Kernels for somebody else's GPU program.
//!
//! Nothing here makes a device, submits, polls, waits, or touches the host's handlers and error scopes. Everything that
//! can go wrong is checked before anything is recorded; recording cannot fail.
//!
//! 1. [`Requirements`] says what a device must offer, before there is one.
//! 2. [`Kernels`] belongs to a device and keeps pipelines. Make one, clone it freely.
//! 3. [`Kernels::kernel`] makes a plan ready: [`Kernel::buffers`] says the bytes and usages of every buffer.
//! 4. [`Kernel::bind`] checks the host's buffers and returns a [`BoundKernel`].
//! 5. [`BoundKernel::record`] records one dispatch into the host's pass. Later dispatches in the pass see its results.
//!
//! ```no_run
//! # fn embed(device: &softadapt::wgpu::Device, pass: &mut softadapt::wgpu::ComputePass<'_>,
//! #          losses: &softadapt::wgpu::Buffer, weights: &softadapt::wgpu::Buffer)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use softadapt::gpu::{Bindings, KernelOptions, Kernels, Stage};
//! use softadapt::{Config, Plan, Shape};
//!
//! let plan = Plan::new(Config::original(), Shape::new(1000, 3, 5)?)?;
//! let kernels = Kernels::new(device);
//! let kernel = kernels.kernel(&plan, Stage::Fused, KernelOptions::default())?;
//! let bound = kernel.bind(&Bindings {
//!     losses: Some(losses.as_entire_buffer_binding()),
//!     weights: Some(weights.as_entire_buffer_binding()),
//!     ..Bindings::default()
//! })?;
//! bound.record(pass); // as often as you like
//! # Ok(())
//! # }
//! ```
//!
//! A driver may drop work, or give it up half way, without an error anywhere. A host that wants to know fills the buffer for
//! [`Slot::Status`] with a word that is no status, such as `u32::MAX`, before the dispatch: a word that is left belongs to a group
//! without results. ([`host`](crate::host) does so by itself; a balancer's [state](crate::BalancerState::pushes) counts the
//! pushes that arrived.)
//!
//! A training loop that has each step's losses instead of windows takes a [`Balancer`]: steps 3 to 5 become
//! [`Kernels::balancer`], [`Balancer::step`] and the same recording.

mod balancer;
mod bindings;
pub(crate) mod device;
mod error;
mod kernels;
mod params;
mod requirements;
mod slots;
mod source;
mod staged;
#[cfg(test)]
mod tests;
mod traffic;
mod tuning;

pub use balancer::{Balancer, balancer_shader_text};
pub use bindings::{Bindings, BoundKernel};
pub use device::is_lost;
pub use error::{BindError, DeviceError, KernelError, LoadError};
pub use kernels::{Kernel, Kernels};
pub(crate) use requirements::MAX_BINDING;
pub use requirements::{BufferRequirement, Requirements};
pub use slots::{KernelOptions, Role, Slot, Stage};
pub use staged::Staged;
pub use traffic::{SECTOR_BYTES, Traffic};
pub use tuning::{Choice, Reads, Tuning};

/// The text of a stage's shader module for a plan, as it is compiled: for tools that check it without a device. With
/// `subgroup_sizes` (smallest, largest) the module may use subgroup shuffles; `shared` is the text for buffers that inputs
/// and outputs share. Browsers' compiler wants `enable subgroups;` in front of texts with shuffles, which naga 30 refuses.
///
/// # Errors
/// More workgroups than any device can count, or a choice that cannot be had.
pub fn shader_text(
    plan: &crate::Plan,
    stage: Stage,
    options: KernelOptions,
    subgroup_sizes: Option<(u32, u32)>,
    shared: bool,
) -> Result<String, KernelError> {
    let tuning = Tuning::choose(plan, stage, options.choice, subgroup_sizes, 65_535)?;
    Ok(source::Source::new(plan, options, &tuning, shared).text())
}
