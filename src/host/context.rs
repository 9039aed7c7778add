//! A device of our own, and batches on it.

use super::adapter::{AdapterChoice, AdapterReport, choose};
use super::chunks::{Chunk, DEFAULT_CHUNK_BYTES, split};
use super::error::HostError;
use super::transfer::{InFlight, Transfer, Waiting};
use crate::batch::{Batch, Outputs, Weights};
use crate::gpu::{Choice, DeviceError, Kernels, MAX_BINDING, Requirements};
use crate::plan::Plan;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

/// Chunks in flight: one uploads, one computes, one is read back.
pub(super) const IN_FLIGHT: usize = 3;

/// A device with its queue and pipelines. Cheap to clone; clones share the device. `Send + Sync`.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) kernels: Kernels,
    report: AdapterReport,
    pub(super) chunk_bytes: u64,
    pub(super) choice: Choice,
    /// Whether wgpu has reported the device's loss.
    lost: Arc<AtomicBool>,
}

impl Context {
    /// Takes an adapter and makes a device with all that it offers.
    ///
    /// # Errors
    /// No adapter fits, or it gives no device.
    pub async fn new_async(choice: &AdapterChoice) -> Result<Self, HostError> {
        let (adapter, report) = choose(choice).await?;
        let wanted = Requirements::wanted_features() | wgpu::Features::TIMESTAMP_QUERY;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("softadapt"),
            required_features: adapter.features() & wanted,
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let no_device = |message: String| HostError::NoDevice { adapter: report.name.clone(), message };
        // A driver that fails here can make wgpu panic.
        let (device, queue) = guarded(adapter.request_device(&descriptor))
            .await
            .map_err(|()| no_device("the driver failed".to_owned()))?
            .map_err(|error| no_device(error.to_string()))?;

        // The device is ours, so this callback is too. Errors need no handler: every call of ours is in scopes of its own,
        // and what programs do with [`Context::device`] is theirs to handle.
        let lost = Arc::new(AtomicBool::new(false));
        let on_lost = Arc::clone(&lost);
        device.set_device_lost_callback(move |_, _| on_lost.store(true, Ordering::Release));
        let kernels = Kernels::new(&device);
        Ok(Self { device, queue, kernels, report, chunk_bytes: DEFAULT_CHUNK_BYTES, choice: Choice::default(), lost })
    }

    /// This context with another size of chunks, in bytes of losses. Larger batches are split; results do not depend on
    /// the size.
    #[must_use]
    pub fn with_chunk_bytes(mut self, bytes: u64) -> Self {
        self.chunk_bytes = bytes.max(1);
        self
    }

    /// This context with kernels laid out as the caller chooses: what `softadapt bench --tune` found best. Results do not depend
    /// on it; a batch that it does not fit is refused.
    #[must_use]
    pub fn with_choice(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }

    /// The adapter.
    #[must_use]
    pub fn adapter(&self) -> &AdapterReport {
        &self.report
    }

    /// The device, for programs that go on to record kernels of their own.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// The device's pipelines.
    #[must_use]
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// Weights, slopes, means and status of every group. While it waits, somebody has to poll the device, unless a browser
    /// does.
    ///
    /// # Errors
    /// Slices of the wrong length, a device that is too small, out of memory or lost.
    pub async fn weigh_async(&self, plan: &Plan, batch: &Batch<'_, f32>) -> Result<Weights<f32>, HostError> {
        let mut weights = Weights::zeros(plan);
        self.weigh_into_async(plan, batch, &mut weights.outputs()).await?;
        Ok(weights)
    }

    /// As [`Context::weigh_async`], into the caller's slices. With weights and status alone the fused kernel does
    /// everything; slopes and means make it the staged kernels, whose weights have the same bits.
    ///
    /// # Errors
    /// As [`Context::weigh_async`]. The outputs are incomplete after an error of the device.
    pub async fn weigh_into_async(
        &self,
        plan: &Plan,
        batch: &Batch<'_, f32>,
        outputs: &mut Outputs<'_, f32>,
    ) -> Result<(), HostError> {
        self.weigh_all(plan, batch, outputs, &Waiting::default()).await
    }

    /// All chunks of a batch; `waiting` learns what is being waited for.
    pub(super) async fn weigh_all(
        &self,
        plan: &Plan,
        batch: &Batch<'_, f32>,
        outputs: &mut Outputs<'_, f32>,
        waiting: &Waiting,
    ) -> Result<(), HostError> {
        batch.check(plan)?;
        outputs.check(plan)?;
        self.judge(self.weigh_in_chunks(plan, batch, outputs, waiting).await)
    }

    async fn weigh_in_chunks(
        &self,
        plan: &Plan,
        batch: &Batch<'_, f32>,
        outputs: &mut Outputs<'_, f32>,
        waiting: &Waiting,
    ) -> Result<(), HostError> {
        let shape = plan.shape();
        let limits = self.device.limits();
        let allowed = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(MAX_BINDING);
        let mut bytes = self.chunk_bytes.min(allowed);
        let details = outputs.slopes.is_some() || outputs.means.is_some();
        let mut in_flight: VecDeque<InFlight> = VecDeque::with_capacity(IN_FLIGHT);
        let mut parts: VecDeque<_> = split(shape, 0..shape.groups(), bytes).into();
        while let Some(groups) = parts.pop_front() {
            let chunk = Chunk::new(plan, groups.clone())?;
            let needed = 4 * chunk.plan.shape().losses_len() as u64;
            if needed > allowed {
                return Err(HostError::GroupTooLarge { bytes: needed, allowed });
            }
            let oldest = if in_flight.len() == IN_FLIGHT { in_flight.pop_front() } else { None };
            let transfer = match oldest {
                Some(oldest) => oldest.finish(self, shape, outputs, waiting).await?,
                None => Transfer::default(),
            };
            match transfer.start(self, chunk, shape, batch, details) {
                Ok(started) => in_flight.push_back(started),
                // Smaller chunks may fit, once those in flight have given back their memory; below some pages they will not.
                Err(error) if error.is_out_of_memory() && bytes > 1 << 14 => {
                    for rest in in_flight.drain(..) {
                        rest.finish(self, shape, outputs, waiting).await?;
                    }
                    bytes /= 4;
                    parts = split(shape, groups.start..shape.groups(), bytes).into();
                }
                Err(error) => return Err(error),
            }
        }
        for rest in in_flight {
            rest.finish(self, shape, outputs, waiting).await?;
        }
        Ok(())
    }

    /// The result of calls to wgpu, which fail in many ways on a lost device, or not at all.
    pub(super) fn judge<T>(&self, result: Result<T, HostError>) -> Result<T, HostError> {
        match result {
            Err(_) if self.is_lost() => Err(DeviceError::Lost.into()),
            Ok(_) if self.has_been_lost() => Err(DeviceError::Lost.into()),
            result => result,
        }
    }

    /// Whether wgpu has reported the device's loss.
    fn has_been_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether the device can no longer be used.
    pub(super) fn is_lost(&self) -> bool {
        self.has_been_lost() || crate::gpu::is_lost(&self.device)
    }

    /// What it means that a buffer could not be mapped.
    pub(super) fn mapping_error(&self) -> DeviceError {
        if self.is_lost() {
            DeviceError::Lost
        } else {
            DeviceError::Internal { message: "a buffer could not be mapped".to_owned() }
        }
    }
}

/// The future, with a panic inside it turned into an error.
async fn guarded<T>(future: impl Future<Output = T>) -> Result<T, ()> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(Err(())),
    })
    .await
}
