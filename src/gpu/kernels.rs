//! Pipelines of a device, and plans made ready for it.

use super::bindings::{Bindings, BoundKernel};
use super::device::{filled_buffer, scoped};
use super::error::{BindError, DeviceError, KernelError};
use super::params::{self, Params};
use super::requirements::{BufferRequirement, Requirements};
use super::slots::{BALANCE_BINDING, KernelOptions, Role, Slot, Stage, is_writable, slots};
use super::source::Source;
use super::tuning::{Reads, Tuning};
use crate::config::{Normalize, OnNegativeMean, OnNonFinite, Scale};
use crate::plan::Plan;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The pipelines of one device. Cheap to clone; clones share their pipelines. `Send + Sync`.
#[derive(Clone, Debug)]
pub struct Kernels {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    device: wgpu::Device,
    cache: Option<wgpu::PipelineCache>,
    /// Compiled so far. Kept for the life of the device: a trainer makes a handful.
    pipelines: Mutex<HashMap<PipelineKey, Pipeline>>,
}

/// Everything that a pipeline is specialised to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PipelineKey {
    pub(super) entry_point: &'static str,
    pub(super) source: Source,
    /// Names and values of the shader's overrides.
    pub(super) constants: Vec<(&'static str, u32)>,
    /// Slots with their roles, which make the layout.
    pub(super) slots: Vec<(Slot, Role)>,
}

/// A pipeline with the layout that its bind groups need.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Kernels {
    /// An empty set of pipelines for a device. Compiles nothing yet.
    #[must_use]
    pub fn new(device: &wgpu::Device) -> Self {
        Self::with_pipeline_cache(device, None)
    }

    /// As [`Kernels::new`], compiling through the caller's pipeline cache.
    #[must_use]
    pub fn with_pipeline_cache(device: &wgpu::Device, cache: Option<wgpu::PipelineCache>) -> Self {
        Self { inner: Arc::new(Inner { device: device.clone(), cache, pipelines: Mutex::default() }) }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// Smallest and largest number of lanes of the device's subgroups, if it has the feature.
    #[must_use]
    pub fn subgroup_sizes(&self) -> Option<(u32, u32)> {
        let has = self.inner.device.features().contains(wgpu::Features::SUBGROUP);
        let info = self.inner.device.adapter_info();
        has.then_some((info.subgroup_min_size, info.subgroup_max_size))
    }

    /// Makes one stage of a plan ready: compiles its pipeline unless that is done, and stores its parameters, which never
    /// change, in a buffer of its own.
    ///
    /// # Errors
    /// A limit of the device that is too low, or what wgpu reports.
    pub fn kernel(&self, plan: &Plan, stage: Stage, options: KernelOptions) -> Result<Kernel, KernelError> {
        let limits = self.inner.device.limits();
        let most = limits.max_compute_workgroups_per_dimension;
        let tuning = Tuning::choose(plan, stage, options.choice, self.subgroup_sizes(), most)?;
        Requirements::with_tuning(plan, stage, options, &tuning)?.check_limits(&limits)?;

        let params = Params::new(plan, &tuning, stage.points_read(plan));
        let usage = wgpu::BufferUsages::UNIFORM;
        let params = filled_buffer(&self.inner.device, "softadapt parameters", usage, bytemuck::bytes_of(&params))?;
        let slots = slots(stage, plan, options);
        let table = if slots.iter().any(|&(slot, _)| slot == Slot::Table) {
            let words = params::table(plan);
            let usage = wgpu::BufferUsages::STORAGE;
            Some(filled_buffer(&self.inner.device, "softadapt table", usage, bytemuck::cast_slice(&words))?)
        } else {
            None
        };
        let kernel = Kernel {
            kernels: self.clone(),
            plan: Arc::new(plan.clone()),
            stage,
            options,
            tuning,
            slots,
            params,
            table,
        };
        // Compiled now rather than when buffers are bound.
        kernel.pipeline(false)?;
        Ok(kernel)
    }

    pub(super) fn pipeline(&self, key: PipelineKey) -> Result<Pipeline, DeviceError> {
        // A thread that panicked while it held the lock cannot have left the map half changed.
        let mut pipelines = self.inner.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = scoped(&self.inner.device, || self.compile(&key))?;
        pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, key: &PipelineKey) -> Pipeline {
        let device = &self.inner.device;
        let entry_point = key.entry_point;
        let label = format!("softadapt {entry_point}");
        let entry = |binding: u32, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let entries: Vec<_> = std::iter::once(entry(0, wgpu::BufferBindingType::Uniform))
            .chain(key.slots.iter().map(|&(slot, _)| {
                let read_only = !is_writable(slot, key.source.shared);
                entry(slot.binding(), wgpu::BufferBindingType::Storage { read_only })
            }))
            .chain(key.source.balancer.map(|_| entry(BALANCE_BINDING, wgpu::BufferBindingType::Uniform)))
            .collect();
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(key.source.text().into()),
        });
        let constants: Vec<_> = key.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Every word of workgroup memory is written before it is read.
                zero_initialize_workgroup_memory: false,
            },
            cache: self.inner.cache.as_ref(),
        });
        Pipeline { pipeline, layout }
    }
}

/// One stage of a plan, ready on a device: a pipeline and the plan's parameters. Cheap to clone, `Send + Sync`.
#[derive(Clone, Debug)]
pub struct Kernel {
    kernels: Kernels,
    plan: Arc<Plan>,
    stage: Stage,
    options: KernelOptions,
    tuning: Tuning,
    pub(super) slots: Vec<(Slot, Role)>,
    pub(super) params: wgpu::Buffer,
    pub(super) table: Option<wgpu::Buffer>,
}

impl Kernel {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What was asked for beside the plan.
    #[must_use]
    pub fn options(&self) -> KernelOptions {
        self.options
    }

    /// How the kernel is laid out on the device.
    #[must_use]
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Every buffer that [`Kernel::bind`] wants, with the bytes and usages it needs.
    #[must_use]
    pub fn buffers(&self) -> Vec<BufferRequirement> {
        self.slots
            .iter()
            .filter(|(slot, _)| *slot != Slot::Table)
            .map(|&(slot, role)| BufferRequirement {
                slot,
                bytes: 4 * slot.words(&self.plan),
                usage: wgpu::BufferUsages::STORAGE,
                role,
            })
            .collect()
    }

    /// Checks the caller's buffers and binds them. The buffers' contents may change freely between dispatches.
    ///
    /// Inputs and outputs may be disjoint ranges of one buffer; the first such call compiles a second pipeline, whose
    /// inputs are declared writable because wgpu asks for it.
    ///
    /// # Errors
    /// A buffer that is missing, not wanted, too small, misaligned, without the storage usage, or overlaps an output; what
    /// wgpu reports, such as a buffer of another device. The kernel stays usable.
    pub fn bind(&self, bindings: &Bindings<'_>) -> Result<BoundKernel, BindError> {
        bindings.bind(self)
    }

    pub(super) fn device(&self) -> &wgpu::Device {
        self.kernels.device()
    }

    pub(super) fn pipeline(&self, shared: bool) -> Result<Pipeline, DeviceError> {
        self.kernels.pipeline(PipelineKey {
            entry_point: self.stage.entry_point(),
            source: Source::new(&self.plan, self.options, &self.tuning, shared),
            constants: constants(self.stage, &self.plan, self.options, &self.tuning),
            slots: self.slots.clone(),
        })
    }
}

/// Values of the overrides of `shaders/params.wgsl`.
pub(super) fn constants(
    stage: Stage,
    plan: &Plan,
    options: KernelOptions,
    tuning: &Tuning,
) -> Vec<(&'static str, u32)> {
    let config = plan.config();
    let weighted = plan.is_loss_weighted();
    let (want_slope, want_mean) = match stage {
        Stage::Slopes => (true, false),
        Stage::Average => (false, true),
        Stage::Fused => (true, weighted),
        Stage::Normalize | Stage::Softmax => (false, false),
    };
    let merge = stage == Stage::Softmax && config.normalize != Normalize::None && options.status;
    let turns = (tuning.reads == Reads::Whole).then_some(("TURNS", tuning.turns));
    let values = [
        ("WORKGROUP", tuning.workgroup),
        ("TEAM", tuning.team),
        ("GROUPS_INNERMOST", tuning.groups_innermost.into()),
        ("COMPONENTS", tuning.components),
        ("POINTS_READ", tuning.points_read),
        ("SLOPE_POINTS", tuning.slope_points),
        ("WANT_SLOPE", want_slope.into()),
        ("WANT_MEAN", want_mean.into()),
        ("LEAST_SQUARES", params::is_least_squares(config).into()),
        (
            "NORMALIZE",
            match config.normalize {
                Normalize::None => 0,
                Normalize::SignedSum => 1,
                Normalize::L1 => 2,
                Normalize::L2 => 3,
            },
        ),
        ("LOSS_WEIGHTED", weighted.into()),
        ("HAS_FACTORS", (weighted || config.prior.is_some()).into()),
        ("NEGATIVE_AS_IS", (config.on_negative_mean == OnNegativeMean::AsIs).into()),
        (
            "ON_NON_FINITE",
            match config.on_non_finite {
                OnNonFinite::Hold => 0,
                OnNonFinite::Mask => 1,
                OnNonFinite::Propagate => 2,
            },
        ),
        ("SCALE_TO_COMPONENTS", (config.scale == Scale::Components).into()),
        ("KEEP_PREVIOUS", options.keep_previous.into()),
        ("MERGE_STATUS", merge.into()),
    ];
    values.into_iter().chain(turns).collect()
}
