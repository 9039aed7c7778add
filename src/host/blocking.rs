//! The blocking half: every function here waits, and nothing outside of this file does. Left out of builds for browsers.
//!
//! wgpu 30 panics in `Device::poll` when a device is really lost while it waits, so every wait of ours is guarded.

use super::adapter::{AdapterChoice, AdapterReport, adapters_async};
use super::balancer::Balancer;
use super::context::Context;
use super::error::HostError;
use super::measure::{DevicePath, DeviceTimes};
use super::transfer::Waiting;
use super::workload::{Lap, StepWorkload, Workload};
use crate::balancer::{BalancerLog, BalancerState};
use crate::batch::{Batch, Outputs, Weights};
use crate::gpu::DeviceError;
use crate::plan::Plan;
use crate::status::Status;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How long one submission may take. Display drivers give up after a few seconds; software adapters can be slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a device may be idle while somebody waits for it.
const IDLE_PATIENCE: Duration = Duration::from_secs(5);

/// All adapters of all backends that the binary was built with, the fastest kinds first. Blocks.
#[must_use]
pub fn adapters() -> Vec<AdapterReport> {
    pollster::block_on(adapters_async())
}

impl Context {
    /// Takes an adapter and makes a device with all that it offers. Blocks.
    ///
    /// # Errors
    /// No adapter fits, or it gives no device.
    pub fn new(choice: &AdapterChoice) -> Result<Self, HostError> {
        pollster::block_on(Self::new_async(choice))
    }

    /// Weights, slopes, means and status of every group. Blocks.
    ///
    /// # Errors
    /// Slices of the wrong length, a device that is too small, out of memory, lost or stuck.
    pub fn weigh(&self, plan: &Plan, batch: &Batch<'_, f32>) -> Result<Weights<f32>, HostError> {
        let mut weights = Weights::zeros(plan);
        self.weigh_into(plan, batch, &mut weights.outputs())?;
        Ok(weights)
    }

    /// As [`Context::weigh`], into the caller's slices. With weights and status alone the fused kernel does everything;
    /// slopes and means make it the staged kernels, whose weights have the same bits.
    ///
    /// # Errors
    /// As [`Context::weigh`]. The outputs are incomplete after an error of the device.
    pub fn weigh_into(
        &self,
        plan: &Plan,
        batch: &Batch<'_, f32>,
        outputs: &mut Outputs<'_, f32>,
    ) -> Result<(), HostError> {
        let waiting = Waiting::default();
        drive(&self.device, &waiting, self.weigh_all(plan, batch, outputs, &waiting))
    }

    /// Runs the kernels of a plan `runs` times on losses that lie on the device, after one run to warm up, and times each
    /// run by timestamp queries. The batch must fit one binding. Blocks.
    ///
    /// # Errors
    /// A device without timestamps, a batch that does not fit, or what wgpu reports.
    pub fn measure(
        &self,
        plan: &Plan,
        losses: &[f32],
        path: DevicePath,
        runs: usize,
    ) -> Result<DeviceTimes, HostError> {
        let waiting = Waiting::default();
        drive(&self.device, &waiting, self.measure_all(plan, losses, path, runs, &waiting))
    }
}

impl Context {
    /// Times copies from one buffer to another on the device: `runs` submissions of `repeats` copies of `bytes` bytes, after one
    /// submission to warm up. Blocks.
    ///
    /// # Errors
    /// A device that is out of memory, or what wgpu reports.
    pub fn time_copies(&self, bytes: u64, repeats: usize, runs: usize) -> Result<Vec<Lap>, HostError> {
        let waiting = Waiting::default();
        drive(&self.device, &waiting, self.copy_laps(bytes, repeats, runs, &waiting))
    }

    /// As [`Context::time_copies`], of dispatches that do nothing. Blocks.
    ///
    /// # Errors
    /// What wgpu reports.
    pub fn time_nothing(&self, repeats: usize, runs: usize) -> Result<Vec<Lap>, HostError> {
        let waiting = Waiting::default();
        drive(&self.device, &waiting, self.nothing_laps(repeats, runs, &waiting))
    }

    /// Times a plain upload: the losses through staging buffers that are used again, as batches are, and nothing else. Blocks.
    ///
    /// # Errors
    /// A device that is out of memory, or what wgpu reports.
    pub fn time_upload(&self, losses: &[f32]) -> Result<Duration, HostError> {
        let waiting = Waiting::default();
        drive(&self.device, &waiting, self.upload_all(losses, &waiting))
    }
}

impl Workload {
    /// Times a path: `runs` submissions of `repeats` times all parts, after one submission to warm up. Blocks.
    ///
    /// # Errors
    /// A choice of the context's that does not fit, a device that is out of memory, or what wgpu reports.
    pub fn time(&self, path: DevicePath, repeats: usize, runs: usize) -> Result<Vec<Lap>, HostError> {
        let waiting = Waiting::default();
        drive(&self.context.device, &waiting, self.time_all(path, repeats, runs, &waiting))
    }

    /// Runs a path once and returns the weights of every part, in its plan's layout; places that were not written are 0. Blocks.
    ///
    /// # Errors
    /// As [`Workload::time`].
    pub fn weigh(&self, path: DevicePath) -> Result<Vec<Vec<f32>>, HostError> {
        let waiting = Waiting::default();
        drive(&self.context.device, &waiting, self.answer(path, &waiting))
    }
}

impl StepWorkload {
    /// Times steps: `runs` submissions of `repeats` steps with the losses pushed last, after one submission to warm up. Blocks.
    ///
    /// # Errors
    /// What wgpu reports.
    pub fn time(&self, repeats: usize, runs: usize) -> Result<Vec<Lap>, HostError> {
        let waiting = Waiting::default();
        drive(&self.context.device, &waiting, self.time_all(repeats, runs, &waiting))
    }

    /// The published weights, row-major. Blocks.
    ///
    /// # Errors
    /// What wgpu reports.
    pub fn weights(&self) -> Result<Vec<f32>, HostError> {
        let waiting = Waiting::default();
        drive(&self.context.device, &waiting, self.read_weights(&waiting))
    }
}

impl Balancer {
    /// The published weights in the plan's layout. Blocks.
    ///
    /// # Errors
    /// What wgpu reports, or a device that is lost or stuck.
    pub fn weights(&self) -> Result<Vec<f32>, HostError> {
        let waiting = Waiting::default();
        drive(&self.context.device, &waiting, self.read_weights(&waiting))
    }

    /// One status word per group, of its last update. Blocks.
    ///
    /// # Errors
    /// As [`Balancer::weights`].
    pub fn status(&self) -> Result<Vec<Status>, HostError> {
        let waiting = Waiting::default();
        drive(&self.context.device, &waiting, self.read_status(&waiting))
    }

    /// The whole state, to be stored or to go on from on another path. Blocks.
    ///
    /// # Errors
    /// As [`Balancer::weights`].
    pub fn state(&self) -> Result<BalancerState, HostError> {
        let waiting = Waiting::default();
        drive(&self.context.device, &waiting, self.read_state(&waiting))
    }

    /// The log of updates. Blocks.
    ///
    /// # Errors
    /// As [`Balancer::weights`].
    pub fn log(&self) -> Result<BalancerLog, HostError> {
        let waiting = Waiting::default();
        drive(&self.context.device, &waiting, self.read_log(&waiting))
    }
}

/// Waits for a future whose progress depends on a device's submissions: for the one that it says it waits for, or the
/// latest.
fn drive<T>(
    device: &wgpu::Device,
    waiting: &Waiting,
    future: impl Future<Output = Result<T, HostError>>,
) -> Result<T, HostError> {
    let mut future = pin!(future);
    // What was waited for when the device was first seen idle, and when that was.
    let mut idle: Option<(u32, Instant)> = None;
    loop {
        let mut context = std::task::Context::from_waker(Waker::noop());
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        let wait = wgpu::PollType::Wait { submission_index: waiting.submission(), timeout: Some(PATIENCE) };
        match catch_unwind(AssertUnwindSafe(|| device.poll(wait))) {
            // The device has nothing left to do and yet the future waits: the answer may be with another thread that polls
            // the same device, but not for long.
            Ok(Ok(status)) if status.is_queue_empty() => match idle {
                Some((count, since)) if count == waiting.count() => {
                    if since.elapsed() > IDLE_PATIENCE {
                        return Err(DeviceError::Skipped.into());
                    }
                    std::thread::sleep(Duration::from_micros(100));
                }
                _ => idle = Some((waiting.count(), Instant::now())),
            },
            Ok(Ok(_)) => {}
            Ok(Err(wgpu::PollError::Timeout)) => {
                return Err(DeviceError::TimedOut { seconds: PATIENCE.as_secs() }.into());
            }
            Ok(Err(error)) => return Err(DeviceError::Internal { message: error.to_string() }.into()),
            Err(_) => return Err(DeviceError::Lost.into()),
        }
    }
}
