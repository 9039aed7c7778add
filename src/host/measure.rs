//! Times of kernels on the device itself, for benchmarks.

use super::context::Context;
use super::error::HostError;
use super::transfer::Waiting;
use crate::gpu::Stage;
use crate::plan::Plan;
use std::time::Duration;

/// Which kernels to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DevicePath {
    /// The fused kernel.
    Fused,
    /// The staged kernels, one after the other.
    Staged,
    /// One of the staged kernels alone.
    Stage(Stage),
    /// A copy of the losses to another buffer on the device: what its memory allows, for comparison.
    Copy,
}

/// What [`Context::measure`] saw.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeviceTimes {
    /// Time of each run on the device, between its first and its last command. Transfers are left out.
    pub runs: Vec<Duration>,
    /// The weights of one more run, in the plan's layout; empty for [`DevicePath::Copy`].
    pub weights: Vec<f32>,
}

impl Context {
    /// Runs the kernels of a plan `runs` times on losses that lie on the device, after one run to warm up, and times each
    /// run by timestamp queries. The batch must fit one binding. While it waits, somebody has to poll the device.
    ///
    /// # Errors
    /// A device without timestamps, a batch that does not fit, or what wgpu reports.
    pub async fn measure_async(
        &self,
        plan: &Plan,
        losses: &[f32],
        path: DevicePath,
        runs: usize,
    ) -> Result<DeviceTimes, HostError> {
        self.measure_all(plan, losses, path, runs, &Waiting::default()).await
    }

    /// All runs; `waiting` learns what is being waited for.
    pub(super) async fn measure_all(
        &self,
        plan: &Plan,
        losses: &[f32],
        path: DevicePath,
        runs: usize,
        waiting: &Waiting,
    ) -> Result<DeviceTimes, HostError> {
        self.judge(self.measure_runs(plan, losses, path, runs, waiting).await)
    }

    async fn measure_runs(
        &self,
        plan: &Plan,
        losses: &[f32],
        path: DevicePath,
        runs: usize,
        waiting: &Waiting,
    ) -> Result<DeviceTimes, HostError> {
        crate::batch::Batch::new(losses).check(plan)?;
        if !self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(HostError::NoTimestamps { adapter: self.adapter().name.clone() });
        }
        let workload = self.workload(plan, losses)?;
        let laps = workload.time_all(path, 1, runs, waiting).await?;
        let weights = match path {
            DevicePath::Copy => Vec::new(),
            _ => workload.answer(path, waiting).await?.concat(),
        };
        Ok(DeviceTimes { runs: laps.into_iter().filter_map(|lap| lap.device).collect(), weights })
    }
}
