//! A device of our own, and batches on it.

use super::adapter::{AdapterChoice, AdapterReport, choose};
use super::blocking::{block_on, drive};
use super::chunks::{Chunk, DEFAULT_CHUNK_BYTES, split};
use super::error::HostError;
use super::transfer::{InFlight, Transfer};
use crate::batch::{Batch, Outputs, Weights};
use crate::gpu::{DeviceError, Kernels};
use crate::plan::Plan;
use crate::status::Status;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

/// Chunks in flight: one uploads, one computes, one is read back.
const IN_FLIGHT: usize = 3;

/// A device with its queue and pipelines. Cheap to clone; clones share the device. `Send + Sync`.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) kernels: Kernels,
    report: AdapterReport,
    chunk_bytes: u64,
    /// What wgpu reported outside of any call. The device is ours, so its handlers are too.
    reported: Arc<Mutex<Option<DeviceError>>>,
}

impl Context {
    /// Takes an adapter and makes a device with all that it offers. Blocks.
    ///
    /// # Errors
    /// No adapter fits, or it gives no device.
    pub fn new(choice: &AdapterChoice) -> Result<Self, HostError> {
        block_on(Self::new_async(choice))
    }

    /// As [`Context::new`], async.
    ///
    /// # Errors
    /// As [`Context::new`].
    pub async fn new_async(choice: &AdapterChoice) -> Result<Self, HostError> {
        let (adapter, report) = choose(choice).await?;
        let wanted = wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
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

        let reported = Arc::new(Mutex::new(None));
        let store = |reported: &Arc<Mutex<Option<DeviceError>>>, error: DeviceError| {
            reported.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        let on_error = Arc::clone(&reported);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| store(&on_error, error.into())));
        let on_lost = Arc::clone(&reported);
        device.set_device_lost_callback(move |_, _| {
            *on_lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(DeviceError::Lost);
        });
        let kernels = Kernels::new(&device);
        Ok(Self { device, queue, kernels, report, chunk_bytes: DEFAULT_CHUNK_BYTES, reported })
    }

    /// This context with another size of chunks, in bytes of losses. Larger batches are split; results do not depend on
    /// the size.
    #[must_use]
    pub fn with_chunk_bytes(mut self, bytes: u64) -> Self {
        self.chunk_bytes = bytes.max(1);
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

    /// Weights, slopes, means and status of every group. Blocks.
    ///
    /// # Errors
    /// Slices of the wrong length, a device that is too small, out of memory or lost.
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
        drive(&self.device, self.weigh_into_async(plan, batch, outputs))
    }

    /// As [`Context::weigh_into`], async: while it waits, somebody has to poll the device, unless a browser does.
    ///
    /// # Errors
    /// As [`Context::weigh_into`].
    pub async fn weigh_into_async(
        &self,
        plan: &Plan,
        batch: &Batch<'_, f32>,
        outputs: &mut Outputs<'_, f32>,
    ) -> Result<(), HostError> {
        batch.check(plan)?;
        outputs.check(plan)?;
        let limits = self.device.limits();
        let allowed = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let mut bytes = self.chunk_bytes.min(allowed);
        loop {
            let result = self.weigh_in_chunks(plan, batch, outputs, bytes, allowed).await;
            self.check_reported()?;
            match result {
                // On a lost device calls fail in many ways, or not at all.
                Err(_) if crate::gpu::is_lost(&self.device) => return Err(DeviceError::Lost.into()),
                // A smaller chunk may fit; below a page or two it will not.
                Err(error) if error.is_out_of_memory() && bytes > 1 << 14 => bytes /= 4,
                result => return result,
            }
        }
    }

    async fn weigh_in_chunks(
        &self,
        plan: &Plan,
        batch: &Batch<'_, f32>,
        outputs: &mut Outputs<'_, f32>,
        bytes: u64,
        allowed: u64,
    ) -> Result<(), HostError> {
        let shape = plan.shape();
        let details = outputs.slopes.is_some() || outputs.means.is_some();
        let mut in_flight: VecDeque<InFlight> = VecDeque::with_capacity(IN_FLIGHT);
        for groups in split(shape, bytes) {
            let chunk = Chunk::new(plan, groups)?;
            let needed = 4 * chunk.plan.shape().losses_len() as u64;
            if needed > allowed {
                return Err(HostError::GroupTooLarge { bytes: needed, allowed });
            }
            let transfer = if in_flight.len() == IN_FLIGHT
                && let Some(oldest) = in_flight.pop_front()
            {
                oldest.finish(shape, outputs).await?
            } else {
                Transfer::default()
            };
            in_flight.push_back(transfer.start(self, chunk, shape, batch, details)?);
        }
        for rest in in_flight {
            rest.finish(shape, outputs).await?;
        }
        Ok(())
    }

    /// An error that wgpu reported outside of our scopes since the last call.
    fn check_reported(&self) -> Result<(), HostError> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        match &*reported {
            // A loss is for good.
            Some(DeviceError::Lost) => Err(DeviceError::Lost.into()),
            Some(_) => reported.take().map_or(Ok(()), |error| Err(error.into())),
            None => Ok(()),
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

/// The status words of a read-back range.
pub(super) fn copy_status(words: &[u32], status: &mut [Status]) {
    for (place, word) in status.iter_mut().zip(words) {
        *place = Status::from_bits(*word);
    }
}
