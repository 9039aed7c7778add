//! Batches and balancers that lie on the device, for benchmarks: timed there, and larger than one would make on the host, because
//! they repeat the groups of a small one.

use super::context::Context;
use super::error::HostError;
use super::measure::DevicePath;
use super::transfer::Waiting;
use crate::balancer::BalancerPlan;
use crate::config::Config;
use crate::error::BatchError;
use crate::gpu::device::{empty_buffer, filled_buffer, scoped};
use crate::gpu::{self, Bindings, BoundKernel, Choice, DeviceError, KernelOptions, MAX_BINDING, Slot, Tuning};
use crate::plan::Plan;
use crate::shape::{Layout, Shape};
use futures_intrusive::channel::shared::oneshot_channel;
use std::time::{Duration, Instant};
use wgpu::BufferUsages;

const STORAGE: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// Bytes that are read back at a time.
const READ_BYTES: u64 = 64 << 20;

/// The time of one submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lap {
    /// From the first to the last command, by the device's clock; `None` if it has none.
    pub device: Option<Duration>,
    /// From recording to the host's hearing that it is done.
    pub whole: Duration,
}

/// A batch on the device. Batches larger than a binding lie there in parts, each a batch of its own.
#[derive(Clone, Debug)]
pub struct Workload {
    pub(super) context: Context,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    plan: Plan,
    losses: wgpu::Buffer,
    weights: wgpu::Buffer,
}

/// A balancer for as many groups as its plan has, in as many parts as the device's largest binding asks for.
#[derive(Debug)]
pub struct StepWorkload {
    pub(super) context: Context,
    parts: Vec<StepPart>,
}

#[derive(Debug)]
struct StepPart {
    balancer: gpu::Balancer,
    losses: wgpu::Buffer,
    step: BoundKernel,
}

/// What a lap records.
pub(super) enum Work<'a> {
    /// Dispatches of one pass.
    Pass(&'a dyn Fn(&mut wgpu::ComputePass<'_>)),
    /// Copies: no pass, so timed from the end of an empty one before them to the beginning of one after.
    Copies(&'a dyn Fn(&mut wgpu::CommandEncoder)),
}

impl Context {
    /// Puts a batch on the device that repeats the groups of `pattern`: losses in the plan's layout, of the whole batch or of
    /// fewer groups of a uniform dense one.
    ///
    /// # Errors
    /// A pattern that is no whole number of groups, a device that is too small or out of memory.
    pub fn workload(&self, plan: &Plan, pattern: &[f32]) -> Result<Workload, HostError> {
        let shape = plan.shape();
        let whole = shape.losses_len();
        let (planes, group_words) = match (shape.uniform_components(), shape.layout()) {
            (Some(components), Layout::RowMajor) => (1, components * shape.window()),
            (Some(components), Layout::TimeMajor) => (components * shape.window(), 1),
            _ => (1, whole.max(1)),
        };
        let pattern_groups = pattern.len() / (planes * group_words);
        let is_repeated = pattern.len() != whole;
        if is_repeated && (pattern_groups == 0 || pattern.len() != pattern_groups * planes * group_words) {
            return Err(BatchError::Length { what: "losses", length: pattern.len(), needed: whole }.into());
        }
        let source = filled_buffer(&self.device, "softadapt pattern", STORAGE, bytemuck::cast_slice(pattern))?;
        let parts = if is_repeated {
            let most = self.most_bytes() as usize / 4 / (planes * group_words);
            part_sizes(shape.groups(), pattern_groups, most)
                .map(|groups| {
                    let shape = shape.slice(0..groups)?;
                    let part = self.part(plan.with_shape(shape)?)?;
                    let (from, to) = (pattern_groups * group_words, groups * group_words);
                    self.repeat(&source, &part.losses, planes, from, to)?;
                    Ok(part)
                })
                .collect::<Result<Vec<Part>, HostError>>()?
        } else {
            let weights = empty_buffer(&self.device, "softadapt weights", 4 * Slot::Weights.words(plan), STORAGE)?;
            vec![Part { plan: plan.clone(), losses: source, weights }]
        };
        Ok(Workload { context: self.clone(), parts })
    }

    /// Makes a balancer for a plan whose layout is row-major, to be timed.
    ///
    /// # Errors
    /// A device that is too small or out of memory.
    pub fn step_workload(&self, plan: &BalancerPlan) -> Result<StepWorkload, HostError> {
        let shape = plan.shape();
        let components = shape.max_components();
        // Clock and counter, and the history.
        let most = self.most_bytes() as usize / 4 / (2 + components * shape.window());
        let parts = part_sizes(shape.groups(), 1, most)
            .map(|groups| {
                let shape = Shape::new(groups, components, shape.window())?;
                let plan = BalancerPlan::new(plan.config().clone(), shape)?;
                let balancer = self.kernels.balancer_with(&plan, self.choice)?;
                let losses = empty_buffer(&self.device, "losses", 4 * plan.losses_len().max(1) as u64, STORAGE)?;
                let step = balancer.step(losses.as_entire_buffer_binding())?;
                Ok(StepPart { balancer, losses, step })
            })
            .collect::<Result<Vec<StepPart>, HostError>>()?;
        Ok(StepWorkload { context: self.clone(), parts })
    }

    fn most_bytes(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(MAX_BINDING)
    }

    fn part(&self, plan: Plan) -> Result<Part, HostError> {
        let buffer = |label, slot: Slot| empty_buffer(&self.device, label, 4 * slot.words(&plan), STORAGE);
        let (losses, weights) = (buffer("losses", Slot::Losses)?, buffer("weights", Slot::Weights)?);
        Ok(Part { plan, losses, weights })
    }

    /// Fills `planes` planes of `to` words each by repeating those of the source, of `from` words each.
    fn repeat(
        &self,
        source: &wgpu::Buffer,
        target: &wgpu::Buffer,
        planes: usize,
        from: usize,
        to: usize,
    ) -> Result<(), DeviceError> {
        scoped(&self.device, || {
            for plane in 0..planes {
                let mut encoder = self.device.create_command_encoder(&Default::default());
                for place in (0..to).step_by(from) {
                    let words = from.min(to - place);
                    let (start, end) = (4 * (plane * from) as u64, 4 * (plane * to + place) as u64);
                    encoder.copy_buffer_to_buffer(source, start, target, end, 4 * words as u64);
                }
                self.queue.submit([encoder.finish()]);
            }
        })
    }

    /// One submission, after which the host waits.
    async fn lap(&self, clock: &Clock, work: &Work<'_>, waiting: &Waiting) -> Result<Lap, HostError> {
        let start = Instant::now();
        let (sender, mapped) = oneshot_channel();
        let submission = scoped(&self.device, || {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let stamps = |begin: Option<u32>, end: Option<u32>| {
                clock.queries.as_ref().map(|query_set| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: begin,
                    end_of_pass_write_index: end,
                })
            };
            let pass = |timestamp_writes| wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            match work {
                Work::Pass(record) => record(&mut encoder.begin_compute_pass(&pass(stamps(Some(0), Some(1))))),
                Work::Copies(record) => {
                    drop(encoder.begin_compute_pass(&pass(stamps(None, Some(0)))));
                    record(&mut encoder);
                    drop(encoder.begin_compute_pass(&pass(stamps(Some(1), None))));
                }
            }
            if let Some(queries) = &clock.queries {
                encoder.resolve_query_set(queries, 0..2, &clock.resolved, 0);
            }
            encoder.copy_buffer_to_buffer(&clock.resolved, 0, &clock.read_back, 0, 16);
            let submission = self.queue.submit([encoder.finish()]);
            clock.read_back.slice(..).map_async(wgpu::MapMode::Read, move |result| {
                let _ = sender.send(result);
            });
            submission
        })?;
        waiting.begin(&submission);
        if !matches!(mapped.receive().await, Some(Ok(()))) {
            return Err(self.mapping_error().into());
        }
        let whole = start.elapsed();
        let view = clock.read_back.slice(..).get_mapped_range();
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&view.map_err(|_| self.mapping_error())?);
        clock.read_back.unmap();
        let period = f64::from(self.queue.get_timestamp_period());
        let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64 * period;
        let device = clock.queries.as_ref().map(|_| Duration::from_nanos(nanoseconds as u64));
        Ok(Lap { device, whole })
    }

    /// So many laps, after one to warm up.
    pub(super) async fn laps(&self, runs: usize, work: &Work<'_>, waiting: &Waiting) -> Result<Vec<Lap>, HostError> {
        let clock = Clock::new(self)?;
        self.lap(&clock, work, waiting).await?;
        let mut laps = Vec::with_capacity(runs);
        for _ in 0..runs {
            laps.push(self.lap(&clock, work, waiting).await?);
        }
        Ok(laps)
    }

    /// Laps of `repeats` copies of so many bytes from one buffer to another.
    pub(super) async fn copy_laps(
        &self,
        bytes: u64,
        repeats: usize,
        runs: usize,
        waiting: &Waiting,
    ) -> Result<Vec<Lap>, HostError> {
        let buffer = |label| empty_buffer(&self.device, label, bytes, STORAGE);
        let (from, to) = (buffer("copied from")?, buffer("copied to")?);
        let work = Work::Copies(&|encoder| {
            for _ in 0..repeats {
                encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes);
            }
        });
        self.laps(runs, &work, waiting).await
    }

    /// Laps of `repeats` dispatches of one workgroup that does nothing.
    pub(super) async fn nothing_laps(
        &self,
        repeats: usize,
        runs: usize,
        waiting: &Waiting,
    ) -> Result<Vec<Lap>, HostError> {
        let pipeline = scoped(&self.device, || {
            let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("nothing"),
                source: wgpu::ShaderSource::Wgsl("@compute @workgroup_size(64) fn nothing() {}".into()),
            });
            self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some("nothing"),
                layout: None,
                module: &module,
                entry_point: Some("nothing"),
                compilation_options: Default::default(),
                cache: None,
            })
        })?;
        let work = Work::Pass(&|pass| {
            for _ in 0..repeats {
                pass.set_pipeline(&pipeline);
                pass.dispatch_workgroups(1, 1, 1);
            }
        });
        self.laps(runs, &work, waiting).await
    }

    /// The words of a buffer.
    async fn words(&self, buffer: &wgpu::Buffer, words: usize, waiting: &Waiting) -> Result<Vec<f32>, HostError> {
        let bytes = 4 * words as u64;
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let read_back = empty_buffer(&self.device, "softadapt read back", bytes.clamp(4, READ_BYTES), usage)?;
        let mut found = Vec::with_capacity(words);
        for start in (0..bytes).step_by(READ_BYTES as usize) {
            let part = READ_BYTES.min(bytes - start);
            let (sender, mapped) = oneshot_channel();
            let submission = scoped(&self.device, || {
                let mut encoder = self.device.create_command_encoder(&Default::default());
                encoder.copy_buffer_to_buffer(buffer, start, &read_back, 0, part);
                let submission = self.queue.submit([encoder.finish()]);
                read_back.slice(..part).map_async(wgpu::MapMode::Read, move |result| {
                    let _ = sender.send(result);
                });
                submission
            })?;
            waiting.begin(&submission);
            if !matches!(mapped.receive().await, Some(Ok(()))) {
                return Err(self.mapping_error().into());
            }
            let view = read_back.slice(..part).get_mapped_range().map_err(|_| self.mapping_error())?;
            found.extend_from_slice(bytemuck::pod_collect_to_vec::<u8, f32>(&view).as_slice());
            drop(view);
            read_back.unmap();
        }
        Ok(found)
    }
}

/// Groups of the parts: multiples of `unit` that are at most `most`, one unit at least.
fn part_sizes(groups: usize, unit: usize, most: usize) -> impl Iterator<Item = usize> {
    let step = (most / unit * unit).max(unit).min(groups.max(1));
    (0..groups).step_by(step).map(move |first| step.min(groups - first))
}

impl Workload {
    /// The plans of the parts, in order.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.parts.iter().map(|part| &part.plan)
    }

    /// The same losses for another configuration.
    ///
    /// # Errors
    /// A configuration that does not fit the shape.
    pub fn with_config(&self, config: &Config) -> Result<Self, HostError> {
        let part = |part: &Part| {
            let plan = Plan::new(config.clone(), part.plan.shape().clone())?;
            Ok(Part { plan, losses: part.losses.clone(), weights: part.weights.clone() })
        };
        let parts = self.parts.iter().map(part).collect::<Result<Vec<Part>, HostError>>()?;
        Ok(Self { context: self.context.clone(), parts })
    }

    /// The same batch with kernels laid out as the caller chooses.
    #[must_use]
    pub fn with_choice(mut self, choice: Choice) -> Self {
        self.context.choice = choice;
        self
    }

    pub(super) async fn time_all(
        &self,
        path: DevicePath,
        repeats: usize,
        runs: usize,
        waiting: &Waiting,
    ) -> Result<Vec<Lap>, HostError> {
        let context = &self.context;
        if path == DevicePath::Copy {
            // A buffer for each part, so that no copy waits for another.
            let targets = self
                .parts
                .iter()
                .map(|part| empty_buffer(&context.device, "copy", part.losses.size(), STORAGE))
                .collect::<Result<Vec<wgpu::Buffer>, DeviceError>>()?;
            let work = Work::Copies(&|encoder| {
                for _ in 0..repeats {
                    for (part, target) in self.parts.iter().zip(&targets) {
                        encoder.copy_buffer_to_buffer(&part.losses, 0, target, 0, target.size());
                    }
                }
            });
            return context.laps(runs, &work, waiting).await;
        }
        let bound = self.parts.iter().map(|part| part.bind(context, path)).collect::<Result<Vec<_>, HostError>>()?;
        let work = Work::Pass(&|pass| {
            for _ in 0..repeats {
                bound.iter().flatten().for_each(|kernel| kernel.record(pass));
            }
        });
        context.laps(runs, &work, waiting).await
    }

    /// Runs a path once, on weights that were zeros before.
    pub(super) async fn answer(&self, path: DevicePath, waiting: &Waiting) -> Result<Vec<Vec<f32>>, HostError> {
        let context = &self.context;
        let mut all = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let bound = part.bind(context, path)?;
            scoped(&context.device, || {
                let mut encoder = context.device.create_command_encoder(&Default::default());
                encoder.clear_buffer(&part.weights, 0, None);
                {
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    bound.iter().for_each(|kernel| kernel.record(&mut pass));
                }
                context.queue.submit([encoder.finish()]);
            })?;
            all.push(self.context.words(&part.weights, part.plan.shape().weights_len(), waiting).await?);
        }
        Ok(all)
    }
}

impl Part {
    /// The kernels of a path, with buffers between them where there are several.
    fn bind(&self, context: &Context, path: DevicePath) -> Result<Vec<BoundKernel>, HostError> {
        let options = KernelOptions { choice: context.choice, ..KernelOptions::default() };
        let bytes = 4 * Slot::Weights.words(&self.plan);
        let between = |name| empty_buffer(&context.device, name, bytes, STORAGE);
        match path {
            DevicePath::Copy => Ok(Vec::new()),
            DevicePath::Fused => {
                let kernel = context.kernels.kernel(&self.plan, gpu::Stage::Fused, options)?;
                Ok(vec![kernel.bind(&Bindings {
                    losses: Some(self.losses.as_entire_buffer_binding()),
                    weights: Some(self.weights.as_entire_buffer_binding()),
                    ..Bindings::default()
                })?])
            }
            DevicePath::Staged | DevicePath::Stage(_) => {
                let (slopes, means, scores) = (between("slopes")?, between("means")?, between("scores")?);
                let staged = context.kernels.staged(&self.plan, options)?;
                let bound = staged.bind(&Bindings {
                    losses: Some(self.losses.as_entire_buffer_binding()),
                    weights: Some(self.weights.as_entire_buffer_binding()),
                    slopes: Some(slopes.as_entire_buffer_binding()),
                    means: Some(means.as_entire_buffer_binding()),
                    scores: Some(scores.as_entire_buffer_binding()),
                    ..Bindings::default()
                })?;
                let stages = staged.kernels().map(gpu::Kernel::stage);
                let wanted = |stage| path == DevicePath::Staged || path == DevicePath::Stage(stage);
                Ok(stages.zip(bound).filter(|&(stage, _)| wanted(stage)).map(|(_, kernel)| kernel).collect())
            }
        }
    }
}

impl StepWorkload {
    /// Pushes one step's losses, row-major, of fewer groups than there are, which are repeated. Does not wait.
    ///
    /// # Errors
    /// Losses that are no whole number of groups, or what wgpu reports.
    pub fn push(&self, pattern: &[f32]) -> Result<(), HostError> {
        let context = &self.context;
        let source = filled_buffer(&context.device, "softadapt pattern", STORAGE, bytemuck::cast_slice(pattern))?;
        for part in &self.parts {
            context.repeat(&source, &part.losses, 1, pattern.len(), part.balancer.plan().losses_len())?;
        }
        scoped(&context.device, || {
            let mut encoder = context.device.create_command_encoder(&Default::default());
            self.record(&mut encoder.begin_compute_pass(&Default::default()));
            context.queue.submit([encoder.finish()]);
        })?;
        Ok(())
    }

    /// How the step is laid out on the device; `None` without groups.
    #[must_use]
    pub fn tuning(&self) -> Option<&Tuning> {
        self.parts.first().map(|part| part.balancer.tuning())
    }

    /// Dispatches of a step.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.parts.len()
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.parts.iter().for_each(|part| part.step.record(pass));
    }

    pub(super) async fn time_all(&self, repeats: usize, runs: usize, waiting: &Waiting) -> Result<Vec<Lap>, HostError> {
        let work = Work::Pass(&|pass| (0..repeats).for_each(|_| self.record(pass)));
        self.context.laps(runs, &work, waiting).await
    }

    pub(super) async fn read_weights(&self, waiting: &Waiting) -> Result<Vec<f32>, HostError> {
        let mut all = Vec::new();
        for part in &self.parts {
            let words = part.balancer.plan().losses_len();
            all.extend(self.context.words(part.balancer.weights(), words, waiting).await?);
        }
        Ok(all)
    }
}

/// Two timestamps on their way to the host.
struct Clock {
    /// `None` where the device cannot measure time.
    queries: Option<wgpu::QuerySet>,
    resolved: wgpu::Buffer,
    read_back: wgpu::Buffer,
}

impl Clock {
    fn new(context: &Context) -> Result<Self, DeviceError> {
        let device = &context.device;
        let timestamps = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let resolved = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        Ok(Self {
            queries: timestamps
                .then(|| {
                    scoped(device, || {
                        device.create_query_set(&wgpu::QuerySetDescriptor {
                            label: Some("softadapt times"),
                            ty: wgpu::QueryType::Timestamp,
                            count: 2,
                        })
                    })
                })
                .transpose()?,
            resolved: empty_buffer(device, "times", 16, resolved)?,
            read_back: empty_buffer(device, "times", 16, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?,
        })
    }
}
