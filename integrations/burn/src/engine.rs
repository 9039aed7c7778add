//! The GPU side: core's kernels on Burn's buffers.
//!
//! Burn's tensors are ranges of buffers that it shares between tensors. The balancer's own buffers belong to us, so losses
//! are read where they lie, and no kernel sees one buffer both as input and as output; the weights are copied into the
//! tensor that goes back, a range of one of Burn's buffers.

use crate::device::Handles;
use crate::error::SetupError;
use burn_cubecl::cubecl::client::Client;
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::cubecl::wgpu::{AutoCompiler, WgpuResource, WgpuServer};
use softadapt::gpu::{self, Kernels};
use softadapt::{BalancerPlan, BalancerState, wgpu};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What runs behind every wgpu device of Burn's.
type Server = WgpuServer<AutoCompiler>;

/// What to do with the state before the weights are copied out.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Nothing.
    Read,
    /// Take one step's losses and update the weights.
    Push,
    /// Add a batch's losses to the open epoch.
    Accumulate,
    /// Push the mean of the open epoch.
    CloseEpoch,
    /// Back to the initial state: members.
    Reset(Arc<[usize]>),
    /// Members' states onto others: (from, to).
    Copy(Arc<[(usize, usize)]>),
    /// One beta per member.
    Betas(Arc<[f32]>),
    /// All of it.
    Load(Arc<BalancerState>),
}

impl Command {
    /// Whether it reads losses; the others are given something else in their place.
    pub(crate) fn takes_losses(&self) -> bool {
        matches!(self, Self::Push | Self::Accumulate)
    }
}

/// A balancer on a wgpu device that Burn works on too. Commands run one after the other, on whatever thread Burn runs them.
#[derive(Debug)]
pub(crate) struct Engine {
    handles: Handles,
    balancer: gpu::Balancer,
    /// The first failure since the last load.
    failure: Mutex<Option<String>>,
}

impl Engine {
    pub(crate) fn new(handles: Handles, plan: &BalancerPlan) -> Result<Self, SetupError> {
        let balancer = Kernels::new(&handles.device).balancer(plan)?;
        Ok(Self { handles, balancer, failure: Mutex::new(None) })
    }

    /// The failure of an earlier command, until a state is loaded.
    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// Bytes of a snapshot.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.balancer.snapshot_bytes()
    }

    /// Runs a command on losses (ignored by most) and returns new memory with the weights after it. Submits, never waits.
    ///
    /// A failure is kept for the caller's next call, since fusion runs this after the caller has gone on, and answered by
    /// `None`.
    pub(crate) fn run(&self, client: &Client, losses: Handle, command: &Command) -> Option<Handle> {
        let bytes = 4 * self.balancer.plan().losses_len();
        let output = client.empty(bytes);
        let result = self.try_run(client, losses, command, output.clone());
        self.keep(result).map(|()| output)
    }

    /// Copies the whole state into new memory.
    pub(crate) fn snapshot(&self, client: &Client) -> Option<Handle> {
        let output = client.empty(self.snapshot_bytes() as usize);
        let result = client.get_resource::<Server>(output.clone()).map_err(text).and_then(|place| {
            let mut encoder = self.encoder();
            let place = place.resource();
            self.balancer.record_snapshot(&mut encoder, &place.buffer, place.offset).map_err(text)?;
            self.handles.queue.submit([encoder.finish()]);
            Ok(())
        });
        self.keep(result).map(|()| output)
    }

    fn keep<T>(&self, result: Result<T, String>) -> Option<T> {
        let message = match result {
            Ok(value) => return Some(value),
            Err(message) => message,
        };
        log::error!("softadapt: {message}");
        lock(&self.failure).get_or_insert(message);
        None
    }

    fn try_run(&self, client: &Client, losses: Handle, command: &Command, output: Handle) -> Result<(), String> {
        // Asking for the losses' place also submits Burn's work on them: ours comes after it in the queue, and whatever Burn
        // does with the weights after ours. Both must live until then: Burn may move the memory of handles it sees no more.
        let losses = client.get_resource::<Server>(losses).map_err(text)?;
        let output = client.get_resource::<Server>(output).map_err(text)?;
        // The first command of every balancer: were these the handles of another device than Burn's, wgpu would say so here,
        // and to nobody else. Later commands cost no scope.
        let scope = matches!(command, Command::Read)
            .then(|| self.handles.device.push_error_scope(wgpu::ErrorFilter::Validation));
        let mut encoder = self.encoder();
        self.record(&mut encoder, losses.resource(), command)?;
        let place = output.resource();
        encoder.copy_buffer_to_buffer(
            self.balancer.weights(),
            0,
            &place.buffer,
            place.offset,
            4 * self.balancer.plan().losses_len() as u64,
        );
        self.handles.queue.submit([encoder.finish()]);
        if let Some(error) = scope.and_then(|scope| pollster::block_on(scope.pop())) {
            return Err(error.to_string());
        }
        if matches!(command, Command::Load(_)) {
            *lock(&self.failure) = None;
        }
        Ok(())
    }

    /// Records the command, or writes through the queue what takes effect before the next submit.
    fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        losses: &WgpuResource,
        command: &Command,
    ) -> Result<(), String> {
        let kernel = match command {
            Command::Read => return Ok(()),
            Command::Load(state) => {
                return self.balancer.load(&self.handles.queue, state).map_err(text);
            }
            Command::Betas(betas) => {
                let bytes: Vec<u8> = betas.iter().flat_map(|beta| beta.to_ne_bytes()).collect();
                if let Some(buffer) = self.balancer.betas() {
                    self.handles.queue.write_buffer(buffer, 0, &bytes);
                }
                return Ok(());
            }
            // Binding anew costs microseconds, less than finding out whether Burn has used the place before.
            Command::Push => self.balancer.step(binding(losses)).map_err(text)?,
            Command::Accumulate => self.balancer.accumulate(binding(losses)).map_err(text)?,
            Command::CloseEpoch => self.balancer.close_epoch().map_err(text)?,
            Command::Reset(members) => {
                let Some(list) = list(&self.handles.device, members.iter().copied())? else { return Ok(()) };
                self.balancer.reset(list.as_entire_buffer_binding()).map_err(text)?
            }
            Command::Copy(pairs) => {
                let Some(list) = list(&self.handles.device, pairs.iter().flat_map(|&(from, to)| [from, to]))? else {
                    return Ok(());
                };
                self.balancer.copy(list.as_entire_buffer_binding()).map_err(text)?
            }
        };
        kernel.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        Ok(())
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.handles.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("softadapt") })
    }
}

fn binding(place: &WgpuResource) -> wgpu::BufferBinding<'_> {
    wgpu::BufferBinding { buffer: &place.buffer, offset: place.offset, size: wgpu::BufferSize::new(place.size) }
}

/// A buffer of u32; none for an empty list.
fn list(device: &wgpu::Device, words: impl Iterator<Item = usize>) -> Result<Option<wgpu::Buffer>, String> {
    let bytes: Vec<u8> = words.flat_map(|word| (word as u32).to_ne_bytes()).collect();
    if bytes.is_empty() {
        return Ok(None);
    }
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("softadapt list"),
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: true,
    });
    buffer.slice(..).get_mapped_range_mut().map_err(text)?.copy_from_slice(&bytes);
    buffer.unmap();
    Ok(Some(buffer))
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// A thread that panicked while it held a lock cannot have left anything half changed: commands that fail change nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
