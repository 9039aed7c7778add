//! Times of kernels on the device itself, for benchmarks.

use super::context::Context;
use super::error::HostError;
use super::transfer::Waiting;
use crate::gpu::device::{empty_buffer, filled_buffer, scoped};
use crate::gpu::{Bindings, DeviceError, KernelOptions, Slot, Stage};
use crate::plan::Plan;
use futures_intrusive::channel::shared::oneshot_channel;
use std::time::Duration;
use wgpu::BufferUsages;

/// Which kernels to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DevicePath {
    /// The fused kernel.
    Fused,
    /// The staged kernels, one after the other.
    Staged,
    /// A copy of the losses to another buffer on the device: what its memory allows, for comparison.
    Copy,
}

/// What [`Context::measure`] saw.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeviceTimes {
    /// Time of each run on the device, between its first and its last command. Transfers are left out.
    pub runs: Vec<Duration>,
    /// The weights of the last run, in the plan's layout; empty for [`DevicePath::Copy`].
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
        let device = &self.device;
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let row_bytes = 4 * Slot::Weights.words(plan);
        let empty = |label, size, usage| empty_buffer(device, label, size, usage);
        let source = filled_buffer(device, "losses", usage, bytemuck::cast_slice(losses))?;
        let weights = empty("weights", row_bytes, usage)?;
        let bound = match path {
            DevicePath::Fused => {
                let kernel = self.kernels.kernel(plan, Stage::Fused, KernelOptions::default())?;
                vec![kernel.bind(&Bindings {
                    losses: Some(source.as_entire_buffer_binding()),
                    weights: Some(weights.as_entire_buffer_binding()),
                    ..Bindings::default()
                })?]
            }
            DevicePath::Staged => {
                let [slopes, means, scores] = ["slopes", "means", "scores"].map(|name| empty(name, row_bytes, usage));
                let (slopes, means, scores) = (slopes?, means?, scores?);
                self.kernels.staged(plan, KernelOptions::default())?.bind(&Bindings {
                    losses: Some(source.as_entire_buffer_binding()),
                    weights: Some(weights.as_entire_buffer_binding()),
                    slopes: Some(slopes.as_entire_buffer_binding()),
                    means: Some(means.as_entire_buffer_binding()),
                    scores: Some(scores.as_entire_buffer_binding()),
                    ..Bindings::default()
                })?
            }
            DevicePath::Copy => Vec::new(),
        };
        let copy = match path {
            DevicePath::Copy => Some(empty("copy", source.size(), usage)?),
            _ => None,
        };
        let queries = scoped(device, || {
            device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("softadapt times"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            })
        })?;
        let resolved = empty("times", 16, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?;
        let period = f64::from(self.queue.get_timestamp_period());
        let mut times = Vec::with_capacity(runs);
        let mut answer = Vec::new();
        for run in 0..=runs {
            let last = run == runs && path != DevicePath::Copy;
            let extra = if last { row_bytes } else { 0 };
            let read_back = empty("read back", 16 + extra, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
            let (sender, mapped) = oneshot_channel();
            let submission = scoped(device, || {
                let mut encoder = device.create_command_encoder(&Default::default());
                let stamp = |encoder: &mut wgpu::CommandEncoder, begin: Option<u32>, end: Option<u32>| {
                    let writes = wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: begin,
                        end_of_pass_write_index: end,
                    };
                    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: None,
                        timestamp_writes: Some(writes),
                    });
                };
                if let Some(copy) = &copy {
                    // A copy is no pass: it is timed from the end of an empty pass before it to the start of one after.
                    stamp(&mut encoder, None, Some(0));
                    encoder.copy_buffer_to_buffer(&source, 0, copy, 0, source.size());
                    stamp(&mut encoder, Some(1), None);
                } else {
                    let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(0),
                        end_of_pass_write_index: Some(1),
                    });
                    let mut pass =
                        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
                    for kernel in &bound {
                        kernel.record(&mut pass);
                    }
                }
                encoder.resolve_query_set(&queries, 0..2, &resolved, 0);
                encoder.copy_buffer_to_buffer(&resolved, 0, &read_back, 0, 16);
                if last {
                    encoder.copy_buffer_to_buffer(&weights, 0, &read_back, 16, row_bytes);
                }
                let submission = self.queue.submit([encoder.finish()]);
                read_back.slice(..).map_async(wgpu::MapMode::Read, move |result| {
                    let _ = sender.send(result);
                });
                submission
            })?;
            waiting.begin(&submission);
            if !matches!(mapped.receive().await, Some(Ok(()))) {
                return Err(self.mapping_error().into());
            }
            let view = read_back
                .slice(..)
                .get_mapped_range()
                .map_err(|error| DeviceError::Internal { message: error.to_string() })?;
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&view[..16]);
            if run > 0 {
                let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64 * period;
                times.push(Duration::from_nanos(nanoseconds as u64));
            }
            if last {
                answer = bytemuck::pod_collect_to_vec(&view[16..]);
                answer.truncate(plan.shape().weights_len());
            }
        }
        Ok(DeviceTimes { runs: times, weights: answer })
    }
}
