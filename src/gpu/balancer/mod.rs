//! Weights that never leave the device: a balancer that a training loop feeds with each step's losses.

mod actions;
mod params;

pub(crate) use actions::Action;
pub(crate) use params::{Balance, constants, table};

use super::bindings::{Bound, BoundKernel, bound_kernel, check, check_overlaps};
use super::device::{check_alive, check_upload, empty_buffer, filled_buffer, scoped};
use super::error::{BindError, KernelError, LoadError};
use super::kernels::{self, Kernels, Pipeline, PipelineKey};
use super::params::Params;
use super::requirements::Requirements;
use super::slots::{BALANCE_BINDING, KernelOptions, Slot, Stage};
use super::source::{BalancerSource, Source};
use super::tuning::{Choice, Tuning, spread};
use crate::balancer::{BalancerPlan, BalancerState, Feed};
use crate::status::Status;
use std::sync::Arc;
use wgpu::BufferUsages;

/// Weights for a training loop, on the device: history, counters, weights and log in buffers of its own. Cheap to clone;
/// clones share them. `Send + Sync`.
///
/// Each method that returns a [`BoundKernel`] checks and binds once, outside of the loop; recording it is one dispatch that
/// allocates nothing, waits for nothing and cannot fail. Dispatches of a pass run in order: several steps may be recorded into
/// one command buffer, and a command buffer may be submitted again.
///
/// The kernels of a [`step`](Self::step) or [`close_epoch`](Self::close_epoch) are compiled when the balancer is made, the others
/// when they are first bound.
///
/// ```no_run
/// # fn train(device: &softadapt::wgpu::Device, queue: &softadapt::wgpu::Queue, losses: &softadapt::wgpu::Buffer)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use softadapt::gpu::Kernels;
/// use softadapt::{BalancerConfig, BalancerPlan, Config, Shape};
///
/// // 1000 models, 3 losses each, weights from the newest 5 points.
/// let plan = BalancerPlan::new(BalancerConfig::new(Config::loss_weighted()), Shape::new(1000, 3, 5)?)?;
/// let balancer = Kernels::new(device).balancer(&plan)?;
/// let step = balancer.step(losses.as_entire_buffer_binding())?;
/// for _ in 0..100 {
///     let mut encoder = device.create_command_encoder(&Default::default());
///     let mut pass = encoder.begin_compute_pass(&Default::default());
///     // Your kernels, which write this step's losses `[group][component]` ...
///     step.record(&mut pass);
///     // ... and read `balancer.weights()`.
///     drop(pass);
///     queue.submit([encoder.finish()]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Balancer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kernels: Kernels,
    plan: BalancerPlan,
    tuning: Tuning,
    params: wgpu::Buffer,
    balance: wgpu::Buffer,
    table: wgpu::Buffer,
    state: wgpu::Buffer,
    weights: wgpu::Buffer,
    status: wgpu::Buffer,
    betas: Option<wgpu::Buffer>,
    log: Option<wgpu::Buffer>,
}

/// What a balancer asks of the batch kernels' texts: status words, its own or one beta, and weights that stay where a group
/// holds.
fn kernel_options(plan: &BalancerPlan) -> KernelOptions {
    KernelOptions {
        status: true,
        per_group_beta: plan.config().per_group_beta,
        keep_previous: true,
        ..KernelOptions::default()
    }
}

/// The text of a balancer's kernels, and the values of its overrides.
pub(crate) fn text(plan: &BalancerPlan, tuning: &Tuning) -> (Source, Vec<(&'static str, u32)>) {
    let options = kernel_options(plan);
    let balancer = Some(BalancerSource::new(plan.config()));
    let source = Source { balancer, ..Source::new(plan.plan(), options, tuning, false) };
    let mut values = kernels::constants(Stage::Fused, plan.plan(), options, tuning);
    values.extend(constants(plan));
    (source, values)
}

impl Kernels {
    /// Makes a balancer: buffers of its own ([`BalancerPlan::device_bytes`]), and the kernel of its step.
    ///
    /// # Errors
    /// A limit of the device that is too low, or what wgpu reports.
    pub fn balancer(&self, plan: &BalancerPlan) -> Result<Balancer, KernelError> {
        self.balancer_with(plan, Choice::default())
    }

    /// As [`Kernels::balancer`], laid out on the device as the caller chooses. The ring is always read directly.
    ///
    /// # Errors
    /// As [`Kernels::balancer`]; a choice that cannot be had.
    pub fn balancer_with(&self, plan: &BalancerPlan, choice: Choice) -> Result<Balancer, KernelError> {
        let device = self.device();
        let limits = device.limits();
        let most = limits.max_compute_workgroups_per_dimension;
        let tuning = Tuning::choose(plan.plan(), Stage::Fused, choice, self.subgroup_sizes(), most)?;
        // What pushes need; the others' limits are checked when they are bound.
        Requirements::actions(plan, &tuning, &[Action::Step, Action::Accumulate])?.check_limits(&limits)?;

        let points_read = plan.plan().points_used();
        let params = Params::new(plan.plan(), &tuning, points_read);
        let uniform = BufferUsages::UNIFORM;
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let layout = plan.layout();
        // wgpu binds no empty range.
        let filled = |label: &str, mut words: Vec<u32>| {
            words.resize(words.len().max(1), 0);
            filled_buffer(device, label, storage, bytemuck::cast_slice(&words))
        };
        let zeroed = |label: &str, words: usize| empty_buffer(device, label, 4 * words.max(1) as u64, storage);
        let beta = plan.config().config.beta as f32;
        let betas =
            plan.config().per_group_beta.then(|| filled("softadapt betas", vec![beta.to_bits(); layout.groups]));
        let balancer = Balancer {
            inner: Arc::new(Inner {
                params: filled_buffer(device, "softadapt parameters", uniform, bytemuck::bytes_of(&params))?,
                balance: filled_buffer(device, "softadapt balance", uniform, bytemuck::bytes_of(&Balance::new(plan)))?,
                table: filled("softadapt table", table(plan))?,
                state: zeroed("softadapt state", layout.words)?,
                weights: filled("softadapt weights", plan.initial_weights().iter().map(|w| w.to_bits()).collect())?,
                status: filled("softadapt status", vec![Status::NOT_READY.bits(); layout.groups])?,
                betas: betas.transpose()?,
                log: (layout.log > 0).then(|| zeroed("softadapt log", layout.log_words)).transpose()?,
                kernels: self.clone(),
                plan: plan.clone(),
                tuning,
            }),
        };
        // Compiled now rather than when buffers are bound.
        balancer.pipeline(Action::Step)?;
        if plan.config().feed == Feed::EpochMean {
            balancer.pipeline(Action::Accumulate)?;
        }
        Ok(balancer)
    }
}

impl Balancer {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &BalancerPlan {
        &self.inner.plan
    }

    /// How the step is laid out on the device.
    #[must_use]
    pub fn tuning(&self) -> &Tuning {
        &self.inner.tuning
    }

    /// The published weights: f32 in the plan's layout, [`BalancerPlan::losses_len`] words. For every usage as storage and as
    /// source and target of copies; a group that holds keeps what was written to it.
    #[must_use]
    pub fn weights(&self) -> &wgpu::Buffer {
        &self.inner.weights
    }

    /// One [`Status`] word per group, of its last update.
    #[must_use]
    pub fn status(&self) -> &wgpu::Buffer {
        &self.inner.status
    }

    /// f32, one beta per group, to be rewritten at any time; `None` unless the configuration gives each group its own.
    #[must_use]
    pub fn betas(&self) -> Option<&wgpu::Buffer> {
        self.inner.betas.as_ref()
    }

    /// The log of updates, for [`BalancerPlan::read_log`]; `None` without one. Copy it to a buffer of yours and map that
    /// when it suits you: the loop goes on meanwhile.
    #[must_use]
    pub fn log(&self) -> Option<&wgpu::Buffer> {
        self.inner.log.as_ref()
    }

    /// Push and weights in one dispatch: takes one step's losses, f32 laid out as the weights, and updates the weights of
    /// the groups whose update is due.
    ///
    /// # Errors
    /// A range that is too small, misaligned, without the storage usage or within the balancer's own buffers; a balancer
    /// whose points are the means of epochs; what wgpu reports. The balancer stays usable.
    pub fn step(&self, losses: wgpu::BufferBinding<'_>) -> Result<BoundKernel, BindError> {
        self.check_feed(Feed::EveryPush)?;
        self.bind(Action::Step, Some((Slot::Losses, losses, self.losses_bytes())), self.inner.tuning.workgroups)
    }

    /// Adds the losses of a batch, f32 laid out as the weights, to the open epoch.
    ///
    /// # Errors
    /// As [`Balancer::step`], but for a balancer whose points are pushed one by one.
    pub fn accumulate(&self, losses: wgpu::BufferBinding<'_>) -> Result<BoundKernel, BindError> {
        self.check_feed(Feed::EpochMean)?;
        self.bind(Action::Accumulate, Some((Slot::Losses, losses, self.losses_bytes())), self.inner.tuning.workgroups)
    }

    /// Push and weights in one dispatch: pushes the mean of the open epoch's batches as one point, and opens the next epoch.
    /// An epoch without a batch leaves a gap: the group's window begins anew.
    ///
    /// # Errors
    /// A balancer whose points are pushed one by one; what wgpu reports.
    pub fn close_epoch(&self) -> Result<BoundKernel, BindError> {
        self.check_feed(Feed::EpochMean)?;
        self.bind(Action::Step, None, self.inner.tuning.workgroups)
    }

    /// Gives groups a new start: initial weights, no point, no log; other groups are not touched, betas stay. `groups` is a
    /// list of u32, as many as the range holds; words that are no group are passed over, so that a list of fixed length can be
    /// rewritten at any time.
    ///
    /// # Errors
    /// As [`Balancer::step`], whatever the feed.
    pub fn reset(&self, groups: wgpu::BufferBinding<'_>) -> Result<BoundKernel, BindError> {
        let bytes = range_bytes(&groups) / 4 * 4;
        self.bind_chosen(Action::ResetListed, groups, bytes.max(4), bytes / 4)
    }

    /// As [`Balancer::reset`], of the groups whose word of `mask`, `[groups]` u32, is not 0.
    ///
    /// # Errors
    /// As [`Balancer::step`], whatever the feed.
    pub fn reset_masked(&self, mask: wgpu::BufferBinding<'_>) -> Result<BoundKernel, BindError> {
        let groups = self.inner.plan.shape().groups() as u64;
        self.bind_chosen(Action::ResetMasked, mask, 4 * groups.max(1), groups)
    }

    /// Copies the whole state of groups onto others; betas stay. `pairs` is a list of (from, to), two u32 each, as many as
    /// the range holds; pairs with a word that is no group, or of groups of different size, are passed over. A group that
    /// is replaced must not be named a second time ([`BalancerPlan::check_copies`] tells): what it then holds is a mixture.
    ///
    /// # Errors
    /// As [`Balancer::step`], whatever the feed.
    pub fn copy(&self, pairs: wgpu::BufferBinding<'_>) -> Result<BoundKernel, BindError> {
        let bytes = range_bytes(&pairs) / 8 * 8;
        let components = self.inner.plan.shape().max_components() as u64;
        self.bind_chosen(Action::Copy, pairs, bytes.max(8), bytes / 8 * components)
    }

    /// Bytes of a snapshot.
    #[must_use]
    pub fn snapshot_bytes(&self) -> u64 {
        4 * BalancerState::words_needed(&self.inner.plan) as u64
    }

    /// Records copies of everything that the balancer remembers, as it is at this point of the encoder, to
    /// [`Balancer::snapshot_bytes`] bytes of a buffer of the caller's. Once these have been mapped,
    /// [`BalancerPlan::read_snapshot`] makes a state of them.
    ///
    /// # Errors
    /// A buffer that is too small or was created without `COPY_DST`, or an offset that is not a multiple of 4.
    pub fn record_snapshot(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        target: &wgpu::Buffer,
        offset: u64,
    ) -> Result<(), BindError> {
        let slot = Slot::State;
        if !target.usage().contains(BufferUsages::COPY_DST) {
            return Err(BindError::Usage { slot, needed: "BufferUsages::COPY_DST" });
        }
        if !offset.is_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT) {
            return Err(BindError::Alignment { slot, offset, alignment: wgpu::COPY_BUFFER_ALIGNMENT as u32 });
        }
        let (available, needed) = (target.size().saturating_sub(offset), self.snapshot_bytes());
        if available < needed {
            return Err(BindError::TooSmall { slot, available, needed });
        }
        let mut place = offset;
        for (buffer, words) in self.parts() {
            let bytes = 4 * words as u64;
            if bytes > 0 {
                encoder.copy_buffer_to_buffer(buffer, 0, target, place, bytes);
            }
            place += bytes;
        }
        Ok(())
    }

    /// Goes on from a state of this plan, wherever it was made. Takes effect before whatever is submitted to the queue next,
    /// as `Queue::write_buffer` does; submits nothing.
    ///
    /// # Errors
    /// The state of another plan, or what wgpu reports; the balancer is unchanged then.
    pub fn load(&self, queue: &wgpu::Queue, state: &BalancerState) -> Result<(), LoadError> {
        let state = state.for_plan(&self.inner.plan)?;
        let contents: [Option<&[u8]>; 5] = [
            Some(bytemuck::cast_slice(&state.words)),
            Some(bytemuck::cast_slice(&state.weights)),
            Some(bytemuck::cast_slice(&state.status)),
            state.betas.as_deref().map(bytemuck::cast_slice),
            self.inner.log.as_ref().map(|_| bytemuck::cast_slice(&state.log)),
        ];
        let device = self.inner.kernels.device();
        check_upload(device, contents.into_iter().flatten().map(|contents| contents.len() as u64).sum())?;
        scoped(device, || {
            for ((buffer, _), contents) in self.parts().zip(contents.into_iter().flatten()) {
                queue.write_buffer(buffer, 0, contents);
            }
        })?;
        Ok(check_alive(device)?)
    }

    /// The buffers of the state with the words that count, in the order of [`BalancerState::from_words`].
    fn parts(&self) -> impl Iterator<Item = (&wgpu::Buffer, usize)> {
        let inner = &*self.inner;
        let layout = inner.plan.layout();
        [
            Some((&inner.state, layout.words)),
            Some((&inner.weights, inner.plan.losses_len())),
            Some((&inner.status, layout.groups)),
            inner.betas.as_ref().map(|betas| (betas, layout.groups)),
            inner.log.as_ref().map(|log| (log, layout.log_words)),
        ]
        .into_iter()
        .flatten()
    }

    fn check_feed(&self, feed: Feed) -> Result<(), BindError> {
        let own = self.inner.plan.config().feed;
        if own == feed { Ok(()) } else { Err(BindError::Feed { feed: own }) }
    }

    fn losses_bytes(&self) -> u64 {
        4 * self.inner.plan.losses_len().max(1) as u64
    }

    /// Binds a kernel of `invocations` lanes that reads which groups are meant.
    fn bind_chosen(
        &self,
        action: Action,
        chosen: wgpu::BufferBinding<'_>,
        bytes: u64,
        invocations: u64,
    ) -> Result<BoundKernel, BindError> {
        let limits = self.inner.kernels.device().limits();
        // Those of pushes were checked when the balancer was made: they are bound as often as losses move.
        Requirements::actions(&self.inner.plan, &self.inner.tuning, &[action])?.check_limits(&limits)?;
        let most = limits.max_compute_workgroups_per_dimension;
        let workgroups = spread(invocations.div_ceil(self.inner.tuning.workgroup.into()), most)
            .ok_or(KernelError::TooManyGroups { groups: usize::try_from(invocations).unwrap_or(usize::MAX) })?;
        self.bind(action, Some((Slot::Chosen, chosen, bytes)), workgroups)
    }

    /// Checks the caller's range and binds it beside the balancer's own buffers.
    fn bind(
        &self,
        action: Action,
        given: Option<(Slot, wgpu::BufferBinding<'_>, u64)>,
        workgroups: [u32; 3],
    ) -> Result<BoundKernel, BindError> {
        let inner = &*self.inner;
        let device = inner.kernels.device();
        let alignment = device.limits().min_storage_buffer_offset_alignment;
        let own = |slot: Slot| match slot {
            Slot::Weights => Some(&inner.weights),
            Slot::Status => Some(&inner.status),
            Slot::Betas => inner.betas.as_ref(),
            Slot::Table => Some(&inner.table),
            Slot::State => Some(&inner.state),
            Slot::WeightLog => inner.log.as_ref(),
            _ => None,
        };
        let mut ranges = Vec::new();
        for (slot, role) in action.slots(&inner.plan) {
            match (own(slot), &given) {
                (Some(buffer), _) => ranges.push(Bound { slot, role, buffer, offset: 0, bytes: buffer.size() }),
                (None, Some((_, binding, bytes))) => ranges.push(check(binding, slot, role, alignment, *bytes)?),
                (None, None) => return Err(BindError::Missing { slot }),
            }
        }
        check_overlaps(&ranges)?;
        let pipeline = self.pipeline(action)?;
        let owned = [(0, &inner.params), (BALANCE_BINDING, &inner.balance)].into_iter();
        bound_kernel(device, pipeline, owned, &ranges, workgroups, action.entry_point())
    }

    fn pipeline(&self, action: Action) -> Result<Pipeline, KernelError> {
        let inner = &*self.inner;
        let (source, constants) = text(&inner.plan, &inner.tuning);
        let slots = action.slots(&inner.plan);
        Ok(inner.kernels.pipeline(PipelineKey { entry_point: action.entry_point(), source, constants, slots })?)
    }
}

/// Bytes from a range's start to its end.
fn range_bytes(binding: &wgpu::BufferBinding<'_>) -> u64 {
    binding.size.map_or(binding.buffer.size().saturating_sub(binding.offset), wgpu::BufferSize::get)
}

/// The text of a balancer's kernels, as it is compiled: for tools that check it without a device. With `subgroup_sizes`
/// (smallest, largest) it may use subgroup shuffles. All entry points stand in one text: `step_stage`, `accumulate_stage`,
/// `reset_listed`, `reset_masked`, `copy_groups`.
///
/// # Errors
/// More workgroups than any device can count.
pub fn balancer_shader_text(plan: &BalancerPlan, subgroup_sizes: Option<(u32, u32)>) -> Result<String, KernelError> {
    let tuning = Tuning::choose(plan.plan(), Stage::Fused, Choice::default(), subgroup_sizes, 65_535)?;
    Ok(text(plan, &tuning).0.text())
}

impl Requirements {
    /// What all kernels of a balancer need. Pushes alone need less: a device made with wgpu's downlevel defaults does for
    /// small ones.
    ///
    /// # Errors
    /// More workgroups than any device can count, or a buffer larger than this library binds.
    pub fn balancer(plan: &BalancerPlan) -> Result<Self, KernelError> {
        let per_dimension = wgpu::Limits::downlevel_defaults().max_compute_workgroups_per_dimension;
        let tuning = Tuning::choose(plan.plan(), Stage::Fused, Choice::default(), None, per_dimension)?;
        Self::actions(plan, &tuning, &Action::ALL)
    }

    pub(crate) fn actions(plan: &BalancerPlan, tuning: &Tuning, actions: &[Action]) -> Result<Self, KernelError> {
        let layout = plan.layout();
        let words = [
            (Slot::State, layout.words),
            (Slot::WeightLog, layout.log_words),
            (Slot::Weights, plan.losses_len()),
            (Slot::Table, table(plan).len()),
        ];
        let buffers = actions.iter().map(|action| action.slots(plan).len()).max().unwrap_or(0);
        let workgroup_bytes = tuning.workgroup_bytes() + STEP_BYTES;
        Self::of(words.map(|(slot, words)| (slot, 4 * words.max(1) as u64)), buffers, workgroup_bytes, tuning)
    }
}

/// Workgroup memory of `shaders/step.wgsl`.
pub(crate) const STEP_BYTES: u32 = 8;
