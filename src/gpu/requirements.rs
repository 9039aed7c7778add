//! What a device must offer, readable before there is one.

use super::error::KernelError;
use super::params::Params;
use super::slots::{KernelOptions, Slot, Stage, slots};
use super::tuning::Tuning;
use crate::plan::Plan;

/// The most bytes that we bind at once, whatever the device allows: Metal computes wrongly with bindings of 4 GiB, Vulkan
/// and DX12 cap them.
pub(crate) const MAX_BINDING: u64 = (1 << 31) - 256;

/// What a plan needs of a device. No feature is required; subgroups are used where the device has them.
///
/// ```
/// # #[cfg(feature = "gpu")] {
/// use softadapt::gpu::{KernelOptions, Requirements, Stage};
/// use softadapt::{Config, Plan, Shape};
///
/// let plan = Plan::new(Config::original(), Shape::new(1000, 3, 5)?)?;
/// let needs = Requirements::new(&plan, Stage::Fused, KernelOptions::default())?;
/// // A small batch asks for nothing above wgpu's downlevel defaults.
/// assert!(needs.limits().check_limits(&softadapt::wgpu::Limits::downlevel_defaults()));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    storage_buffers: u32,
    binding_bytes: u64,
    workgroup: u32,
    workgroup_bytes: u32,
    workgroups: u32,
}

impl Requirements {
    /// What a stage of a plan needs.
    ///
    /// # Errors
    /// More workgroups than any device can count, a buffer larger than this library binds, or a choice that cannot be had.
    pub fn new(plan: &Plan, stage: Stage, options: KernelOptions) -> Result<Self, KernelError> {
        // What the portable path needs: subgroups only lower it.
        let per_dimension = wgpu::Limits::downlevel_defaults().max_compute_workgroups_per_dimension;
        let tuning = Tuning::choose(plan, stage, options.choice, None, per_dimension)?;
        Self::with_tuning(plan, stage, options, &tuning)
    }

    pub(crate) fn with_tuning(
        plan: &Plan,
        stage: Stage,
        options: KernelOptions,
        tuning: &Tuning,
    ) -> Result<Self, KernelError> {
        let slots = slots(stage, plan, options);
        let bytes = slots.iter().map(|&(slot, _)| (slot, 4 * slot.words(plan)));
        Self::of(bytes, slots.len(), tuning.workgroup_bytes(), tuning)
    }

    /// What kernels need that bind `storage_buffers` buffers at once, among them these with their bytes.
    pub(crate) fn of(
        bytes: impl IntoIterator<Item = (Slot, u64)>,
        storage_buffers: usize,
        workgroup_bytes: u32,
        tuning: &Tuning,
    ) -> Result<Self, KernelError> {
        let mut largest = 4;
        for (slot, bytes) in bytes {
            if bytes > MAX_BINDING {
                return Err(KernelError::BindingTooLarge { slot, bytes, most: MAX_BINDING });
            }
            largest = largest.max(bytes);
        }
        Ok(Self {
            storage_buffers: storage_buffers as u32,
            binding_bytes: largest,
            workgroup: tuning.workgroup,
            workgroup_bytes,
            workgroups: tuning.workgroups.into_iter().max().unwrap_or(1),
        })
    }

    /// Features to request a device with: none.
    #[must_use]
    pub fn features(&self) -> wgpu::Features {
        wgpu::Features::empty()
    }

    /// Features that make the kernels faster where an adapter has them.
    #[must_use]
    pub fn wanted_features() -> wgpu::Features {
        wgpu::Features::SUBGROUP
    }

    /// Limits to request a device with: wgpu's downlevel defaults, raised where the plan needs it.
    #[must_use]
    pub fn limits(&self) -> wgpu::Limits {
        let mut limits = wgpu::Limits::downlevel_defaults();
        limits.max_storage_buffers_per_shader_stage =
            limits.max_storage_buffers_per_shader_stage.max(self.storage_buffers);
        limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.max(self.binding_bytes);
        limits.max_buffer_size = limits.max_buffer_size.max(self.binding_bytes);
        limits
    }

    /// Whether a device fits.
    ///
    /// # Errors
    /// The first limit that is too low, with both numbers.
    pub fn check(&self, device: &wgpu::Device) -> Result<(), KernelError> {
        self.check_limits(&device.limits())
    }

    /// Whether limits are enough.
    ///
    /// # Errors
    /// The first limit that is too low, with both numbers.
    pub fn check_limits(&self, limits: &wgpu::Limits) -> Result<(), KernelError> {
        let checks = [
            (
                "max_storage_buffers_per_shader_stage",
                limits.max_storage_buffers_per_shader_stage.into(),
                self.storage_buffers.into(),
            ),
            ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size, self.binding_bytes),
            ("max_uniform_buffer_binding_size", limits.max_uniform_buffer_binding_size, size_of::<Params>() as u64),
            // wgpu 30 checks neither workgroup sizes that come from an override nor workgroup memory.
            (
                "max_compute_invocations_per_workgroup",
                limits.max_compute_invocations_per_workgroup.into(),
                self.workgroup.into(),
            ),
            ("max_compute_workgroup_size_x", limits.max_compute_workgroup_size_x.into(), self.workgroup.into()),
            (
                "max_compute_workgroup_storage_size",
                limits.max_compute_workgroup_storage_size.into(),
                self.workgroup_bytes.into(),
            ),
            (
                "max_compute_workgroups_per_dimension",
                limits.max_compute_workgroups_per_dimension.into(),
                self.workgroups.into(),
            ),
        ];
        for (limit, allowed, needed) in checks {
            if needed > allowed {
                return Err(KernelError::Limit { limit, allowed, needed });
            }
        }
        Ok(())
    }
}

/// What a buffer for a kernel must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferRequirement {
    /// Which buffer.
    pub slot: Slot,
    /// Bytes that the plan needs in it.
    pub bytes: u64,
    /// Usages that it must have been created with, beside those its owner needs.
    pub usage: wgpu::BufferUsages,
    /// Whether the kernel reads or writes it.
    pub role: super::slots::Role,
}
