//! The caller's buffers: checked, bound, and recorded.

use super::device::{check_alive, scoped};
use super::error::BindError;
use super::kernels::{Kernel, Pipeline};
use super::slots::{Role, Slot, is_writable};

/// Buffers, or ranges of buffers, for a kernel: those that [`Kernel::buffers`] lists.
#[derive(Clone, Debug, Default)]
pub struct Bindings<'a> {
    /// For [`Slot::Losses`].
    pub losses: Option<wgpu::BufferBinding<'a>>,
    /// For [`Slot::Weights`].
    pub weights: Option<wgpu::BufferBinding<'a>>,
    /// For [`Slot::Status`].
    pub status: Option<wgpu::BufferBinding<'a>>,
    /// For [`Slot::Betas`].
    pub betas: Option<wgpu::BufferBinding<'a>>,
    /// For [`Slot::Points`].
    pub points: Option<wgpu::BufferBinding<'a>>,
    /// For [`Slot::Slopes`].
    pub slopes: Option<wgpu::BufferBinding<'a>>,
    /// For [`Slot::Means`].
    pub means: Option<wgpu::BufferBinding<'a>>,
    /// For [`Slot::Scores`].
    pub scores: Option<wgpu::BufferBinding<'a>>,
}

/// A checked range of a buffer.
pub(super) struct Bound<'a> {
    pub(super) slot: Slot,
    pub(super) role: Role,
    pub(super) buffer: &'a wgpu::Buffer,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl<'a> Bindings<'a> {
    fn get(&self, slot: Slot) -> Option<&wgpu::BufferBinding<'a>> {
        match slot {
            Slot::Losses => self.losses.as_ref(),
            Slot::Weights => self.weights.as_ref(),
            Slot::Status => self.status.as_ref(),
            Slot::Betas => self.betas.as_ref(),
            Slot::Points => self.points.as_ref(),
            Slot::Slopes => self.slopes.as_ref(),
            Slot::Means => self.means.as_ref(),
            Slot::Scores => self.scores.as_ref(),
            Slot::Table | Slot::State | Slot::WeightLog | Slot::Chosen => None,
        }
    }

    pub(super) fn bind(&self, kernel: &Kernel) -> Result<BoundKernel, BindError> {
        let device = kernel.device();
        let wanted = |slot: Slot| kernel.slots.iter().any(|&(s, _)| s == slot);
        if let Some(slot) = Slot::ALL.into_iter().find(|&slot| self.get(slot).is_some() && !wanted(slot)) {
            return Err(BindError::Unexpected { slot });
        }
        let alignment = device.limits().min_storage_buffer_offset_alignment;
        let mut ranges = Vec::with_capacity(kernel.slots.len());
        for &(slot, role) in kernel.slots.iter().filter(|&&(slot, _)| slot != Slot::Table) {
            let binding = self.get(slot).ok_or(BindError::Missing { slot })?;
            ranges.push(check(binding, slot, role, alignment, 4 * slot.words(kernel.plan()))?);
        }
        check_overlaps(&ranges)?;
        let writable_in =
            |buffer: &wgpu::Buffer| ranges.iter().any(|r| is_writable(r.slot, false) && r.buffer == buffer);
        // What stages hand to each other is writable in every text.
        let shared = ranges.iter().any(|r| !is_writable(r.slot, false) && writable_in(r.buffer));

        let pipeline = kernel.pipeline(shared)?;
        let owned = std::iter::once((0, &kernel.params))
            .chain(kernel.table.as_ref().map(|table| (Slot::Table.binding(), table)));
        let workgroups = kernel.tuning().workgroups;
        bound_kernel(device, pipeline, owned, &ranges, workgroups, kernel.stage().entry_point())
    }
}

/// Refuses outputs that overlap any other range.
pub(super) fn check_overlaps(ranges: &[Bound<'_>]) -> Result<(), BindError> {
    for (i, output) in ranges.iter().enumerate().filter(|(_, range)| range.role == Role::Output) {
        for (j, other) in ranges.iter().enumerate() {
            let from = output.offset.max(other.offset);
            let to = (output.offset + output.bytes).min(other.offset + other.bytes);
            if i != j && output.buffer == other.buffer && from < to {
                return Err(BindError::Overlap { output: output.slot, other: other.slot, from, to });
            }
        }
    }
    Ok(())
}

/// Binds whole buffers of our own, by binding number, and checked ranges.
pub(super) fn bound_kernel<'b>(
    device: &wgpu::Device,
    pipeline: Pipeline,
    owned: impl Iterator<Item = (u32, &'b wgpu::Buffer)>,
    ranges: &[Bound<'_>],
    workgroups: [u32; 3],
    entry_point: &'static str,
) -> Result<BoundKernel, BindError> {
    let entries: Vec<_> = owned
        .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .chain(ranges.iter().map(|range| wgpu::BindGroupEntry {
            binding: range.slot.binding(),
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: range.buffer,
                offset: range.offset,
                size: wgpu::BufferSize::new(range.bytes),
            }),
        }))
        .collect();
    let bind_group = scoped(device, || {
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("softadapt"),
            layout: &pipeline.layout,
            entries: &entries,
        })
    })?;
    check_alive(device)?;
    Ok(BoundKernel { pipeline: pipeline.pipeline, bind_group, workgroups, entry_point })
}

/// The first `needed` bytes of a range of a caller's buffer.
pub(super) fn check<'a>(
    binding: &wgpu::BufferBinding<'a>,
    slot: Slot,
    role: Role,
    alignment: u32,
    needed: u64,
) -> Result<Bound<'a>, BindError> {
    let buffer = binding.buffer;
    let offset = binding.offset;
    if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
        return Err(BindError::Usage { slot, needed: "BufferUsages::STORAGE" });
    }
    if !offset.is_multiple_of(u64::from(alignment)) {
        return Err(BindError::Alignment { slot, offset, alignment });
    }
    let left = buffer.size().saturating_sub(offset);
    let size = binding.size.map_or(left, wgpu::BufferSize::get);
    if binding.size.is_some() && !size.is_multiple_of(4) {
        return Err(BindError::Size { slot, size });
    }
    if offset > buffer.size() || size > left {
        return Err(BindError::OutOfRange { slot, offset, size, buffer: buffer.size() });
    }
    if size < needed {
        return Err(BindError::TooSmall { slot, available: size, needed });
    }
    // Bound as small as the plan needs, so that limits and overlaps concern only what the kernel touches.
    Ok(Bound { slot, role, buffer, offset, bytes: needed })
}

/// A kernel with its buffers: one dispatch that can be recorded any number of times. Cheap to clone, `Send + Sync`.
#[derive(Clone, Debug)]
pub struct BoundKernel {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 3],
    entry_point: &'static str,
}

impl BoundKernel {
    /// The shader's entry point, such as `fused`: which kernel this is.
    #[must_use]
    pub fn entry_point(&self) -> &'static str {
        self.entry_point
    }

    /// Records the dispatch into a compute pass. Uses bind group 0 and leaves it and the pipeline set.
    ///
    /// Allocates nothing and cannot fail. Dispatches of one pass run in order: a later one sees this one's results.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = self.workgroups;
        if z == 0 {
            // No groups, no work.
            return;
        }
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }

    /// Records the dispatch into a compute pass of its own, whose beginning and end can be timed.
    pub fn record_pass(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        let label = self.entry_point;
        let mut pass =
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes });
        self.record(&mut pass);
    }
}
