//! A balancer on a device of our own: uploads each step's losses, submits, and reads back when asked.

use super::context::Context;
use super::error::HostError;
use super::transfer::{Waiting, next_epoch};
use crate::balancer::{BalancerLog, BalancerPlan, BalancerState, Feed};
use crate::error::BatchError;
use crate::gpu::device::{check_alive, check_upload, empty_buffer, filled_buffer, scoped};
use crate::gpu::{self, BindError, BoundKernel, DeviceError, LoadError};
use crate::status::Status;
use futures_intrusive::channel::shared::oneshot_channel;
use wgpu::BufferUsages;

/// As [`gpu::Balancer`], for programs without a device: takes losses from slices and submits by itself. Pushing does not wait;
/// reading does. A driver may drop a push without an error; [`BalancerState::pushes`] counts those that arrived.
#[derive(Clone, Debug)]
pub struct Balancer {
    pub(super) context: Context,
    balancer: gpu::Balancer,
    losses: wgpu::Buffer,
    /// The step, or where epochs are averaged, the batch's accumulation.
    push: BoundKernel,
    close_epoch: Option<BoundKernel>,
    /// Comes back behind what is read: a driver may drop work without an error.
    witness: wgpu::Buffer,
}

impl Context {
    /// Makes a balancer on this device.
    ///
    /// # Errors
    /// A limit of the device that is too low, or what wgpu reports.
    pub fn balancer(&self, plan: &BalancerPlan) -> Result<Balancer, HostError> {
        let balancer = self.kernels.balancer(plan)?;
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let bytes = 4 * plan.losses_len().max(1) as u64;
        let losses = empty_buffer(&self.device, "softadapt losses", bytes, storage)?;
        let range = losses.as_entire_buffer_binding();
        let (push, close_epoch) = match plan.config().feed {
            Feed::EveryPush => (balancer.step(range)?, None),
            Feed::EpochMean => (balancer.accumulate(range)?, Some(balancer.close_epoch()?)),
        };
        let witness = empty_buffer(&self.device, "softadapt witness", 4, storage)?;
        Ok(Balancer { context: self.clone(), balancer, losses, push, close_epoch, witness })
    }
}

impl Balancer {
    /// The balancer on the device, for kernels of the program's own that read its weights.
    #[must_use]
    pub fn on_device(&self) -> &gpu::Balancer {
        &self.balancer
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &BalancerPlan {
        self.balancer.plan()
    }

    /// As [`cpu::Balancer::push`](crate::cpu::Balancer::push). Uploads and submits; does not wait.
    ///
    /// # Errors
    /// A slice of the wrong length, a balancer whose points are the means of epochs, or what wgpu reports.
    pub fn push(&self, losses: &[f32]) -> Result<(), HostError> {
        self.feed(Feed::EveryPush, losses)
    }

    /// As [`cpu::Balancer::accumulate`](crate::cpu::Balancer::accumulate). Uploads and submits; does not wait.
    ///
    /// # Errors
    /// A slice of the wrong length, a balancer whose points are pushed one by one, or what wgpu reports.
    pub fn accumulate(&self, losses: &[f32]) -> Result<(), HostError> {
        self.feed(Feed::EpochMean, losses)
    }

    fn feed(&self, feed: Feed, losses: &[f32]) -> Result<(), HostError> {
        let (own, needed) = (self.plan().config().feed, self.plan().losses_len());
        if own != feed {
            return Err(BatchError::Feed { feed: own }.into());
        }
        if losses.len() != needed {
            return Err(BatchError::Length { what: "losses", length: losses.len(), needed }.into());
        }
        self.context.judge(self.write(&self.losses, losses))?;
        self.submit(&self.push)
    }

    /// As [`cpu::Balancer::close_epoch`](crate::cpu::Balancer::close_epoch). Submits; does not wait.
    ///
    /// # Errors
    /// A balancer whose points are pushed one by one, or what wgpu reports.
    pub fn close_epoch(&self) -> Result<(), HostError> {
        match &self.close_epoch {
            Some(close_epoch) => self.submit(close_epoch),
            None => Err(BatchError::Feed { feed: Feed::EveryPush }.into()),
        }
    }

    /// As [`cpu::Balancer::reset`](crate::cpu::Balancer::reset). Submits; does not wait.
    ///
    /// # Errors
    /// A group that does not exist, or what wgpu reports.
    pub fn reset(&self, groups: &[usize]) -> Result<(), HostError> {
        self.plan().check_groups(groups)?;
        self.choose(groups.iter().map(|&group| group as u32), gpu::Balancer::reset)
    }

    /// As [`cpu::Balancer::reset_masked`](crate::cpu::Balancer::reset_masked). Submits; does not wait.
    ///
    /// # Errors
    /// A slice of the wrong length, or what wgpu reports.
    pub fn reset_masked(&self, mask: &[bool]) -> Result<(), HostError> {
        let needed = self.plan().shape().groups();
        if mask.len() != needed {
            return Err(BatchError::Length { what: "mask", length: mask.len(), needed }.into());
        }
        self.choose(mask.iter().map(|&chosen| u32::from(chosen)), gpu::Balancer::reset_masked)
    }

    /// As [`cpu::Balancer::copy`](crate::cpu::Balancer::copy), pairs of (from, to). Submits; does not wait.
    ///
    /// # Errors
    /// A group that does not exist, groups of different size, one that is replaced and named again, or what wgpu reports.
    pub fn copy(&self, pairs: &[(usize, usize)]) -> Result<(), HostError> {
        self.plan().check_copies(pairs)?;
        self.choose(pairs.iter().flat_map(|&(from, to)| [from as u32, to as u32]), gpu::Balancer::copy)
    }

    /// Replaces the groups' betas, one per group.
    ///
    /// # Errors
    /// A slice of the wrong length (0 fits a balancer without), or what wgpu reports.
    pub fn set_betas(&self, betas: &[f32]) -> Result<(), HostError> {
        let needed = if self.balancer.betas().is_some() { self.plan().shape().groups() } else { 0 };
        if betas.len() != needed {
            return Err(BatchError::Length { what: "betas", length: betas.len(), needed }.into());
        }
        match self.balancer.betas() {
            Some(buffer) => self.context.judge(self.write(buffer, betas)),
            None => Ok(()),
        }
    }

    /// Takes effect before what is submitted next.
    fn write(&self, buffer: &wgpu::Buffer, values: &[f32]) -> Result<(), HostError> {
        let contents = bytemuck::cast_slice(values);
        check_upload(&self.context.device, contents.len() as u64)?;
        Ok(scoped(&self.context.device, || self.context.queue.write_buffer(buffer, 0, contents))?)
    }

    /// Goes on from a state of this plan, wherever it was made.
    ///
    /// # Errors
    /// The state of another plan, or what wgpu reports; the balancer is unchanged then.
    pub fn load(&self, state: &BalancerState) -> Result<(), HostError> {
        self.context.judge(self.balancer.load(&self.context.queue, state).map_err(HostError::from))
    }

    /// The published weights in the plan's layout. While it waits, somebody has to poll the device, unless a browser does.
    ///
    /// # Errors
    /// What wgpu reports, or a device that is lost.
    pub async fn weights_async(&self) -> Result<Vec<f32>, HostError> {
        self.read_weights(&Waiting::default()).await
    }

    /// One status word per group, of its last update. Waits as [`Balancer::weights_async`].
    ///
    /// # Errors
    /// As [`Balancer::weights_async`].
    pub async fn status_async(&self) -> Result<Vec<Status>, HostError> {
        self.read_status(&Waiting::default()).await
    }

    /// The whole state, to be stored or to go on from on another path. Waits as [`Balancer::weights_async`].
    ///
    /// # Errors
    /// As [`Balancer::weights_async`].
    pub async fn state_async(&self) -> Result<BalancerState, HostError> {
        self.read_state(&Waiting::default()).await
    }

    /// The log of updates. Waits as [`Balancer::weights_async`].
    ///
    /// # Errors
    /// As [`Balancer::weights_async`].
    pub async fn log_async(&self) -> Result<BalancerLog, HostError> {
        self.read_log(&Waiting::default()).await
    }

    pub(super) async fn read_weights(&self, waiting: &Waiting) -> Result<Vec<f32>, HostError> {
        let bytes = 4 * self.plan().losses_len() as u64;
        self.read_buffer(self.balancer.weights(), bytes, waiting, bytemuck::pod_collect_to_vec).await
    }

    pub(super) async fn read_status(&self, waiting: &Waiting) -> Result<Vec<Status>, HostError> {
        let bytes = 4 * self.plan().shape().groups() as u64;
        self.read_buffer(self.balancer.status(), bytes, waiting, bytemuck::pod_collect_to_vec).await
    }

    pub(super) async fn read_log(&self, waiting: &Waiting) -> Result<BalancerLog, HostError> {
        let bytes = 4 * self.plan().layout().log_words as u64;
        let empty = self.balancer.status();
        let source = self.balancer.log().unwrap_or(empty);
        Ok(self.read_buffer(source, bytes, waiting, |bytes| self.plan().read_log(bytes)).await??)
    }

    pub(super) async fn read_state(&self, waiting: &Waiting) -> Result<BalancerState, HostError> {
        let record = |encoder: &mut wgpu::CommandEncoder, target: &wgpu::Buffer| {
            self.balancer.record_snapshot(encoder, target, 0)
        };
        let read = |bytes: &[u8]| self.plan().read_snapshot(bytes);
        Ok(self.read(self.balancer.snapshot_bytes(), record, waiting, read).await??)
    }

    async fn read_buffer<T>(
        &self,
        source: &wgpu::Buffer,
        bytes: u64,
        waiting: &Waiting,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, HostError> {
        let record = |encoder: &mut wgpu::CommandEncoder, target: &wgpu::Buffer| {
            if bytes > 0 {
                encoder.copy_buffer_to_buffer(source, 0, target, 0, bytes);
            }
            Ok(())
        };
        self.read(bytes, record, waiting, read).await
    }

    /// Records copies to a buffer of `bytes` bytes, waits for them, and reads them.
    async fn read<T>(
        &self,
        bytes: u64,
        record: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer) -> Result<(), BindError>,
        waiting: &Waiting,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, HostError> {
        self.context.judge(self.read_copies(bytes, record, waiting, read).await)
    }

    async fn read_copies<T>(
        &self,
        bytes: u64,
        record: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer) -> Result<(), BindError>,
        waiting: &Waiting,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, HostError> {
        let Context { device, queue, .. } = &self.context;
        let target = empty_buffer(device, "read back", bytes + 4, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
        let epoch = next_epoch();
        check_upload(device, 4)?;
        let (sender, mapped) = oneshot_channel();
        let submission = scoped(device, || {
            queue.write_buffer(&self.witness, 0, bytemuck::bytes_of(&epoch));
            let mut encoder = device.create_command_encoder(&Default::default());
            record(&mut encoder, &target)?;
            encoder.copy_buffer_to_buffer(&self.witness, 0, &target, bytes, 4);
            let submission = queue.submit([encoder.finish()]);
            target.slice(..).map_async(wgpu::MapMode::Read, move |result| {
                // The receiver is gone if the caller gave up: nobody wants the answer.
                let _ = sender.send(result);
            });
            Ok::<_, BindError>(submission)
        })??;
        waiting.begin(&submission);
        // Mapping is the one call that fails on a lost device.
        if !matches!(mapped.receive().await, Some(Ok(()))) {
            return Err(self.context.mapping_error().into());
        }
        let view = target
            .slice(..)
            .get_mapped_range()
            .map_err(|error| DeviceError::Internal { message: error.to_string() })?;
        let (contents, witness) = view.split_at(bytes as usize);
        if *witness != epoch.to_ne_bytes() {
            return Err(DeviceError::Skipped.into());
        }
        Ok(read(contents))
    }

    /// Binds a list of words of this call's own, and submits.
    fn choose(
        &self,
        words: impl Iterator<Item = u32>,
        bind: impl FnOnce(&gpu::Balancer, wgpu::BufferBinding<'_>) -> Result<BoundKernel, BindError>,
    ) -> Result<(), HostError> {
        let words: Vec<u32> = words.collect();
        if words.is_empty() {
            return Ok(());
        }
        let contents = bytemuck::cast_slice(&words);
        let list = filled_buffer(&self.context.device, "softadapt groups", BufferUsages::STORAGE, contents)
            .map_err(HostError::from)
            .and_then(|list| Ok(bind(&self.balancer, list.as_entire_buffer_binding())?));
        self.submit(&self.context.judge(list)?)
    }

    fn submit(&self, kernel: &BoundKernel) -> Result<(), HostError> {
        let Context { device, queue, .. } = &self.context;
        let submitted = scoped(device, || {
            let mut encoder = device.create_command_encoder(&Default::default());
            kernel.record_pass(&mut encoder, None);
            queue.submit([encoder.finish()]);
        });
        // After a loss wgpu submits without a word.
        self.context.judge(submitted.and_then(|()| check_alive(device)).map_err(HostError::from))
    }
}

impl From<LoadError> for HostError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::State(error) => Self::State(error),
            LoadError::Device(error) => Self::Device(error),
        }
    }
}
