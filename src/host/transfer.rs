//! One chunk's way to the device and back.

use super::chunks::Chunk;
use super::context::{Context, IN_FLIGHT};
use super::error::HostError;
use crate::batch::{Batch, Outputs};
use crate::config::Normalize;
use crate::gpu::device::{empty_buffer, filled_buffer, scoped};
use crate::gpu::{Bindings, DeviceError, KernelOptions, Slot, Stage};
use crate::shape::Shape;
use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};
use rayon::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wgpu::BufferUsages;

/// The buffers of one chunk, kept for the next one that is no larger.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    buffers: HashMap<&'static str, wgpu::Buffer>,
}

/// Differs for every chunk of the process, for a long time.
pub(super) fn next_epoch() -> u32 {
    static EPOCHS: AtomicU32 = AtomicU32::new(0x5af7_ada9);
    EPOCHS.fetch_add(1, Ordering::Relaxed)
}

/// A part of the read-back buffer.
#[derive(Clone, Copy, Debug)]
struct Part {
    slot: Slot,
    start: u64,
    bytes: u64,
}

/// Which submission somebody waits for, and for how many they have waited.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    submission: Mutex<Option<wgpu::SubmissionIndex>>,
    count: AtomicU32,
}

impl Waiting {
    pub(super) fn begin(&self, submission: &wgpu::SubmissionIndex) {
        *self.submission.lock().unwrap_or_else(PoisonError::into_inner) = Some(submission.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows whenever there is something new to wait for.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// The submission; `None` means the latest.
    pub(super) fn submission(&self) -> Option<wgpu::SubmissionIndex> {
        self.submission.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A chunk that was submitted.
pub(super) struct InFlight {
    submission: wgpu::SubmissionIndex,
    epoch: u32,
    transfer: Transfer,
    chunk: Chunk,
    parts: Vec<Part>,
    mapped: Mapped,
    /// The staging buffer, for the next chunk to be written to.
    staging_mapped: Mapped,
}

/// Hears when a buffer has been mapped, or that it could not be.
type Mapped = OneshotReceiver<Result<(), wgpu::BufferAsyncError>>;

/// Asks for a buffer to be mapped once the device is done with it.
fn map(buffer: wgpu::BufferSlice<'_>, mode: wgpu::MapMode) -> Mapped {
    let (sender, mapped) = oneshot_channel();
    buffer.map_async(mode, move |result| {
        // The receiver is gone if the caller gave up: nobody wants the answer.
        let _ = sender.send(result);
    });
    mapped
}

/// Bytes that one thread copies at a time. One thread alone does not fill the bus of a fast GPU.
const COPY_BYTES: usize = 1 << 16;

/// Copies to mapped memory, on all cores where it is worth it.
fn copy_to_mapped(target: wgpu::WriteOnly<'_, [u8]>, source: &[u8]) {
    let (pieces, mut rest) = target.into_chunks::<COPY_BYTES>();
    let (whole, last) = source.split_at(pieces.len() * COPY_BYTES);
    let pieces: Vec<_> = pieces.into_iter().zip(whole.chunks_exact(COPY_BYTES)).collect();
    pieces
        .into_par_iter()
        .with_min_len(16)
        .for_each(|(target, source)| wgpu::WriteOnly::<[u8]>::from(target).copy_from_slice(source));
    rest.copy_from_slice(last);
}

/// The key of the witness: a word that differs from chunk to chunk and comes back behind the results.
///
/// A driver may drop a command buffer without an error anywhere (Metal does, short of memory); then the word that comes
/// back is not the chunk's.
const EPOCH: &str = "epoch";
/// The key of a buffer full of [`UNWRITTEN`].
const UNWRITTEN_WORDS: &str = "unwritten";
/// What stands in every output of a kernel before it runs, and no kernel writes: a driver may skip a dispatch, or give it up
/// half way, and do the copies around it. No flag of a status word, and a NaN unlike the kernels'.
const UNWRITTEN: u32 = 0xffde_ad00;
/// The read-back buffer's key.
const READ_BACK: &str = "read back";
/// The staging buffer's key.
const STAGING: &str = "staging";

impl Transfer {
    /// A buffer of at least `bytes`: the one at hand, or a new one.
    fn buffer(
        &mut self,
        context: &Context,
        name: &'static str,
        bytes: u64,
        usage: BufferUsages,
    ) -> Result<wgpu::Buffer, DeviceError> {
        if let Some(buffer) = self.buffers.get(name).filter(|buffer| buffer.size() >= bytes) {
            return Ok(buffer.clone());
        }
        let buffer = empty_buffer(&context.device, name, bytes, usage)?;
        self.buffers.insert(name, buffer.clone());
        Ok(buffer)
    }

    /// Puts what a chunk uploads into the staging buffer, one after the other. It is mapped whenever no chunk uses it, so that
    /// the host writes to memory that the device reads, and that exists already: making it costs more than filling it.
    fn stage(&mut self, context: &Context, uploads: &[(&wgpu::Buffer, &[u8])]) -> Result<wgpu::Buffer, DeviceError> {
        let bytes = uploads.iter().map(|(_, contents)| contents.len() as u64).sum();
        let at_hand = self.buffers.get(STAGING).filter(|buffer| buffer.size() >= bytes).cloned();
        let staging = match at_hand {
            Some(buffer) => buffer,
            None => scoped(&context.device, || {
                context.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("softadapt staging"),
                    size: bytes,
                    usage: BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
                    mapped_at_creation: true,
                })
            })?,
        };
        {
            let mut view = staging.slice(..bytes).get_mapped_range_mut().map_err(|_| context.mapping_error())?;
            let mut rest = view.slice(..);
            for (_, contents) in uploads {
                let (own, others) = rest.split_at(contents.len());
                copy_to_mapped(own, contents);
                rest = others;
            }
        }
        // wgpu panics if a view outlives the mapping.
        staging.unmap();
        self.buffers.insert(STAGING, staging.clone());
        Ok(staging)
    }

    /// A buffer of at least `bytes` bytes of [`UNWRITTEN`].
    fn unwritten(&mut self, context: &Context, bytes: u64) -> Result<wgpu::Buffer, DeviceError> {
        if let Some(buffer) = self.buffers.get(UNWRITTEN_WORDS).filter(|buffer| buffer.size() >= bytes) {
            return Ok(buffer.clone());
        }
        let words = vec![UNWRITTEN; (bytes / 4) as usize];
        let contents = bytemuck::cast_slice(&words);
        let buffer = filled_buffer(&context.device, UNWRITTEN_WORDS, BufferUsages::COPY_SRC, contents)?;
        self.buffers.insert(UNWRITTEN_WORDS, buffer.clone());
        Ok(buffer)
    }

    /// Uploads a chunk, records its kernels and the way back, submits. Does not wait.
    ///
    /// `details`: slopes and means are wanted too, so the staged kernels run; otherwise the fused one.
    pub(super) fn start(
        mut self,
        context: &Context,
        chunk: Chunk,
        shape: &Shape,
        batch: &Batch<'_, f32>,
        details: bool,
    ) -> Result<InFlight, HostError> {
        let options = KernelOptions {
            status: true,
            per_group_beta: batch.betas.is_some(),
            per_group_points: batch.points.is_some(),
            keep_previous: batch.previous.is_some(),
            means: details,
            choice: context.choice,
        };
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let plan = &chunk.plan;
        let bytes = |slot: Slot| 4 * slot.words(plan);
        let mut device_buffer = |slot: Slot| self.buffer(context, slot.name(), bytes(slot), storage);

        let losses = chunk.losses(shape, batch.losses);
        let loss_buffer = device_buffer(Slot::Losses)?;
        let weights = device_buffer(Slot::Weights)?;
        let status = device_buffer(Slot::Status)?;
        let betas = batch.betas.map(|_| device_buffer(Slot::Betas)).transpose()?;
        let points = batch.points.map(|_| device_buffer(Slot::Points)).transpose()?;
        let mut detail = |slot: Slot| details.then(|| device_buffer(slot)).transpose();
        let (slopes, means, scores) = (detail(Slot::Slopes)?, detail(Slot::Means)?, detail(Slot::Scores)?);

        let epoch = next_epoch();
        let witness = self.buffer(context, EPOCH, 4, storage)?;
        let own = chunk.groups.clone();
        let previous = batch.previous.map(|previous| chunk.rows(shape, previous));
        let mut uploads: Vec<(&wgpu::Buffer, &[u8])> =
            vec![(&loss_buffer, bytemuck::cast_slice(&losses)), (&witness, bytemuck::bytes_of(&epoch))];
        if let (Some(buffer), Some(values)) = (&betas, batch.betas) {
            uploads.push((buffer, bytemuck::cast_slice(&values[own.clone()])));
        }
        if let (Some(buffer), Some(values)) = (&points, batch.points) {
            uploads.push((buffer, bytemuck::cast_slice(&values[own.clone()])));
        }
        if let Some(previous) = &previous {
            uploads.push((&weights, bytemuck::cast_slice(previous)));
        }
        uploads.retain(|(_, contents)| !contents.is_empty());
        let staging = self.stage(context, &uploads)?;

        let bindings = Bindings {
            losses: Some(loss_buffer.as_entire_buffer_binding()),
            weights: Some(weights.as_entire_buffer_binding()),
            status: Some(status.as_entire_buffer_binding()),
            betas: betas.as_ref().map(wgpu::Buffer::as_entire_buffer_binding),
            points: points.as_ref().map(wgpu::Buffer::as_entire_buffer_binding),
            slopes: slopes.as_ref().map(wgpu::Buffer::as_entire_buffer_binding),
            means: means.as_ref().map(wgpu::Buffer::as_entire_buffer_binding),
            scores: scores.as_ref().map(wgpu::Buffer::as_entire_buffer_binding),
        };
        let bound = if details {
            context.kernels.staged(plan, options)?.bind(&bindings)?
        } else {
            vec![context.kernels.kernel(plan, Stage::Fused, options)?.bind(&bindings)?]
        };

        // One buffer for the way back, so that there is one mapping to wait for.
        let mut parts = Vec::new();
        let mut end = 0;
        let sources = [
            (Slot::Weights, Some(&weights)),
            (Slot::Status, Some(&status)),
            (Slot::Slopes, slopes.as_ref()),
            (Slot::Means, means.as_ref()),
            // Only to see that it was written.
            (Slot::Scores, scores.as_ref().filter(|_| plan.config().normalize != Normalize::None)),
        ];
        let sources: Vec<_> = sources.into_iter().filter_map(|(slot, buffer)| Some((slot, buffer?))).collect();
        for &(slot, _) in &sources {
            let bytes = bytes(slot);
            parts.push(Part { slot, start: end, bytes });
            end += bytes;
        }
        let outputs = || sources.iter().filter(|(slot, _)| *slot != Slot::Weights);
        let unwritten = self.unwritten(context, outputs().map(|&(slot, _)| bytes(slot)).max().unwrap_or(4))?;
        let read_back = self.buffer(context, READ_BACK, end + 4, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
        let (submission, mapped, staging_mapped) = scoped(&context.device, || {
            let mut encoder = context.device.create_command_encoder(&Default::default());
            let mut place = 0;
            for (buffer, contents) in &uploads {
                let bytes = contents.len() as u64;
                encoder.copy_buffer_to_buffer(&staging, place, buffer, 0, bytes);
                place += bytes;
            }
            for &(slot, buffer) in outputs() {
                encoder.copy_buffer_to_buffer(&unwritten, 0, buffer, 0, bytes(slot));
            }
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                for kernel in &bound {
                    kernel.record(&mut pass);
                }
            }
            for (part, (_, buffer)) in parts.iter().zip(&sources) {
                encoder.copy_buffer_to_buffer(buffer, 0, &read_back, part.start, part.bytes);
            }
            encoder.copy_buffer_to_buffer(&witness, 0, &read_back, end, 4);
            let submission = context.queue.submit([encoder.finish()]);
            let mapped = map(read_back.slice(..end + 4), wgpu::MapMode::Read);
            (submission, mapped, map(staging.slice(..), wgpu::MapMode::Write))
        })?;
        Ok(InFlight { submission, epoch, transfer: self, chunk, parts, mapped, staging_mapped })
    }
}

impl InFlight {
    /// Waits for the chunk and puts its results where they belong. Returns the buffers for another chunk.
    pub(super) async fn finish(
        self,
        context: &Context,
        shape: &Shape,
        outputs: &mut Outputs<'_, f32>,
        waiting: &Waiting,
    ) -> Result<Transfer, HostError> {
        waiting.begin(&self.submission);
        // Mapping is the one call that fails on a lost device.
        for mapped in [&self.mapped, &self.staging_mapped] {
            match mapped.receive().await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return Err(context.mapping_error().into()),
            }
        }
        let read_back = &self.transfer.buffers[READ_BACK];
        let end = self.parts.iter().map(|part| part.start + part.bytes).max().unwrap_or(0);
        let view = read_back
            .slice(..end + 4)
            .get_mapped_range()
            .map_err(|error| DeviceError::Internal { message: error.to_string() })?;
        if view[end as usize..] != self.epoch.to_ne_bytes() {
            return Err(DeviceError::Skipped.into());
        }
        let own = self.chunk.plan.shape();
        for part in self.parts.iter().filter(|part| part.slot != Slot::Weights) {
            let words: &[u32] = bytemuck::cast_slice(&view[part.start as usize..(part.start + part.bytes) as usize]);
            let count = if part.slot == Slot::Status { own.groups() } else { own.weights_len() };
            if words[..count].contains(&UNWRITTEN) {
                return Err(DeviceError::Skipped.into());
            }
        }
        for part in &self.parts {
            let view = &view[part.start as usize..(part.start + part.bytes) as usize];
            let rows = |view: &[u8], values: &mut [f32]| {
                self.chunk.scatter(shape, &bytemuck::cast_slice(view)[..own.weights_len()], values);
            };
            match part.slot {
                Slot::Weights => rows(view, outputs.weights),
                Slot::Slopes => outputs.slopes.iter_mut().for_each(|values| rows(view, values)),
                Slot::Means => outputs.means.iter_mut().for_each(|values| rows(view, values)),
                Slot::Scores => {}
                _ => {
                    if let Some(status) = &mut outputs.status {
                        status[self.chunk.groups.clone()].copy_from_slice(&bytemuck::cast_slice(view)[..own.groups()]);
                    }
                }
            }
        }
        // wgpu panics if a view outlives the mapping.
        drop(view);
        read_back.unmap();
        Ok(self.transfer)
    }
}

impl Context {
    /// Uploads losses in chunks, as batches are, and does nothing with them. Returns the time from the first word to the device's
    /// being done.
    pub(super) async fn upload_all(&self, losses: &[f32], waiting: &Waiting) -> Result<Duration, HostError> {
        let words = (self.chunk_bytes / 4).max(1) as usize;
        let target = empty_buffer(
            &self.device,
            "uploaded",
            self.chunk_bytes.min(4 * losses.len() as u64),
            BufferUsages::COPY_DST,
        )?;
        let start = Instant::now();
        let mut in_flight: VecDeque<(Transfer, wgpu::SubmissionIndex, Mapped)> = VecDeque::new();
        let mut chunks = losses.chunks(words);
        loop {
            let chunk = chunks.next();
            let mut transfer = Transfer::default();
            if in_flight.len() == IN_FLIGHT || chunk.is_none() {
                let Some((oldest, submission, mapped)) = in_flight.pop_front() else { break };
                waiting.begin(&submission);
                if !matches!(mapped.receive().await, Some(Ok(()))) {
                    return Err(self.mapping_error().into());
                }
                transfer = oldest;
            }
            let Some(chunk) = chunk else { continue };
            let uploads = [(&target, bytemuck::cast_slice(chunk))];
            let staging = transfer.stage(self, &uploads)?;
            let (submission, mapped) = scoped(&self.device, || {
                let mut encoder = self.device.create_command_encoder(&Default::default());
                encoder.copy_buffer_to_buffer(&staging, 0, &target, 0, 4 * chunk.len() as u64);
                let submission = self.queue.submit([encoder.finish()]);
                (submission, map(staging.slice(..), wgpu::MapMode::Write))
            })?;
            in_flight.push_back((transfer, submission, mapped));
        }
        Ok(start.elapsed())
    }
}
