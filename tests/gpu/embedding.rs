//! The rules of a good guest in somebody else's GPU program, each with a test. This file plays the host.

use crate::common::problem::POISON;
use crate::context;
use softadapt::gpu::{
    BindError, Bindings, BoundKernel, Kernel, KernelError, KernelOptions, Kernels, Requirements, Slot, Stage,
};
use softadapt::{Batch, Config, LossWeighting, Normalize, Plan, Shape, Status, reference};
use std::sync::OnceLock;
use wgpu::BufferUsages;

/// A device of the test's adapter as a host would make it.
pub(crate) fn new_device(features: wgpu::Features, limits: wgpu::Limits) -> (wgpu::Device, wgpu::Queue) {
    // One instance for all: wgpu numbers objects by instance, and panics on another one's.
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    let instance = INSTANCE.get_or_init(|| wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle()));
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let name = &context().adapter().name;
    let adapter = adapters.into_iter().find(|a| a.get_info().name == *name).unwrap();
    let descriptor = wgpu::DeviceDescriptor {
        required_features: features & adapter.features(),
        required_limits: limits,
        ..Default::default()
    };
    pollster::block_on(adapter.request_device(&descriptor)).unwrap()
}

/// A buffer that holds `contents` and `extra` bytes more.
pub(crate) fn buffer(device: &wgpu::Device, contents: &[u8], extra: u64) -> wgpu::Buffer {
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: contents.len() as u64 + extra,
        usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
        mapped_at_creation: true,
    });
    buffer.slice(..contents.len() as u64).get_mapped_range_mut().unwrap().copy_from_slice(contents);
    buffer.unmap();
    buffer
}

/// A buffer full of poison: what is left of it was not written.
pub(crate) fn poisoned_buffer(device: &wgpu::Device, bytes: u64) -> wgpu::Buffer {
    let words = vec![POISON; bytes as usize / 4];
    buffer(device, bytemuck::cast_slice(&words), 0)
}

pub(crate) fn submit(device: &wgpu::Device, queue: &wgpu::Queue, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
    let mut encoder = device.create_command_encoder(&Default::default());
    record(&mut encoder.begin_compute_pass(&Default::default()));
    queue.submit([encoder.finish()]);
}

/// All words of a buffer as f32.
pub(crate) fn read(device: &wgpu::Device, queue: &wgpu::Queue, source: &wgpu::Buffer) -> Vec<f32> {
    let target = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: source.size(),
        usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(source, 0, &target, 0, source.size());
    queue.submit([encoder.finish()]);
    target.slice(..).map_async(wgpu::MapMode::Read, |result| result.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    bytemuck::pod_collect_to_vec(&target.slice(..).get_mapped_range().unwrap())
}

fn binding(buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BufferBinding<'_> {
    wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(bytes) }
}

/// The fused kernel with whole buffers for losses and weights.
pub(crate) fn bind(kernel: &Kernel, losses: &wgpu::Buffer, weights: &wgpu::Buffer) -> BoundKernel {
    kernel
        .bind(&Bindings {
            losses: Some(losses.as_entire_buffer_binding()),
            weights: Some(weights.as_entire_buffer_binding()),
            ..Bindings::default()
        })
        .unwrap()
}

fn host() -> (&'static wgpu::Device, &'static wgpu::Queue) {
    (context().device(), context().queue())
}

fn plan(config: Config, groups: usize) -> Plan {
    Plan::new(config, Shape::new(groups, 3, 5).unwrap()).unwrap()
}

/// Distinct losses that fall at different rates.
fn losses(plan: &Plan) -> Vec<f32> {
    (0..plan.shape().losses_len()).map(|i| 1.0 + ((i * 7919) % 1009) as f32 / 1009.0).collect()
}

/// The reference's weights, and whether `found` is near them: these are easy inputs.
fn assert_weights(plan: &Plan, losses: &[f32], found: &[f32]) {
    let wide: Vec<f64> = losses.iter().map(|&l| f64::from(l)).collect();
    let bounds = reference::error_bounds(plan, &Batch::new(&wide)).unwrap().weights;
    let exact = reference::weigh(plan, &Batch::new(&wide)).unwrap().weights;
    assert_eq!(found.len(), exact.len());
    for (i, ((found, exact), bound)) in found.iter().zip(&exact).zip(&bounds).enumerate() {
        assert!((f64::from(*found) - exact).abs() <= *bound && *bound < 1e-4, "weight {i}: {found} for {exact}");
    }
}

pub(crate) fn requirements_of_small_batches_are_the_downlevel_defaults() {
    let limits = wgpu::Limits::downlevel_defaults();
    let (device, queue) = new_device(wgpu::Features::empty(), limits.clone());
    let plan = plan(Config::loss_weighted().with_normalize(Normalize::L1), 100);
    for stage in Stage::ALL {
        let needs = Requirements::new(&plan, stage, KernelOptions { status: true, ..Default::default() }).unwrap();
        assert_eq!(needs.limits(), limits);
        assert_eq!(needs.features(), wgpu::Features::empty());
        needs.check(&device).unwrap();
    }
    // And it works on such a device.
    let losses = losses(&plan);
    let kernel = Kernels::new(&device).kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap();
    let input = buffer(&device, bytemuck::cast_slice(&losses), 0);
    let output = poisoned_buffer(&device, 4 * 300);
    let bound = bind(&kernel, &input, &output);
    submit(&device, &queue, |pass| bound.record(pass));
    assert_weights(&plan, &losses, &read(&device, &queue, &output));
}

pub(crate) fn limits_that_are_too_low_are_named() {
    let (device, _) = new_device(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults());
    let kernels = Kernels::new(&device);
    let all = KernelOptions { status: true, per_group_beta: true, per_group_points: true, ..Default::default() };
    let small = plan(Config::original().with_prior([1.0, 2.0, 3.0]), 10);
    let error = kernels.kernel(&small, Stage::Fused, all).unwrap_err();
    assert_eq!(error, KernelError::Limit { limit: "max_storage_buffers_per_shader_stage", allowed: 4, needed: 6 });
    // Requirements say so before there is a device, and a device made by them does.
    let needs = Requirements::new(&small, Stage::Fused, all).unwrap();
    assert_eq!(needs.check(&device), Err(error));
    let (device, _) = new_device(wgpu::Features::empty(), needs.limits());
    Kernels::new(&device).kernel(&small, Stage::Fused, all).unwrap();
    // Losses beyond one binding.
    let large = plan(Config::original(), 10_000_000);
    let error = kernels.kernel(&large, Stage::Fused, KernelOptions::default()).unwrap_err();
    let limit = "max_storage_buffer_binding_size";
    assert_eq!(error, KernelError::Limit { limit, allowed: 128 << 20, needed: 600_000_000 });
    // The kernels are still of use.
    kernels.kernel(&small, Stage::Fused, KernelOptions::default()).unwrap();
}

pub(crate) fn buffers_are_described_and_just_large_enough() {
    let (device, queue) = host();
    let plan = plan(Config::loss_weighted(), 70);
    let options = KernelOptions { status: true, per_group_beta: true, per_group_points: true, ..Default::default() };
    let kernel = context().kernels().kernel(&plan, Stage::Fused, options).unwrap();
    let described: Vec<(Slot, u64)> = kernel.buffers().iter().map(|b| (b.slot, b.bytes)).collect();
    assert_eq!(
        described,
        [(Slot::Losses, 4200), (Slot::Weights, 840), (Slot::Status, 280), (Slot::Betas, 280), (Slot::Points, 280)]
    );
    // Buffers of just that size and usage will do.
    let losses = losses(&plan);
    let contents = |slot: Slot, bytes: u64| match slot {
        Slot::Losses => bytemuck::cast_slice(&losses).to_vec(),
        Slot::Betas => bytemuck::cast_slice(&[0.1f32; 70]).to_vec(),
        Slot::Points => bytemuck::cast_slice(&[5u32; 70]).to_vec(),
        _ => bytemuck::cast_slice(&vec![POISON; bytes as usize / 4]).to_vec(),
    };
    let buffers: Vec<wgpu::Buffer> =
        kernel.buffers().iter().map(|b| buffer(device, &contents(b.slot, b.bytes), 0)).collect();
    let at = |i: usize| Some(buffers[i].as_entire_buffer_binding());
    let bound = kernel
        .bind(&Bindings {
            losses: at(0),
            weights: at(1),
            status: at(2),
            betas: at(3),
            points: at(4),
            ..Bindings::default()
        })
        .unwrap();
    submit(device, queue, |pass| bound.record(pass));
    assert_weights(&plan, &losses, &read(device, queue, &buffers[1]));
    assert!(read(device, queue, &buffers[2]).iter().all(|word| word.to_bits() == 0));
}

pub(crate) fn bad_bindings_are_refused_and_the_kernel_lives() {
    let (device, queue) = host();
    let plan = plan(Config::original(), 64);
    let losses = losses(&plan);
    let kernel = context().kernels().kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap();
    let input = buffer(device, bytemuck::cast_slice(&losses), 4096);
    let output = poisoned_buffer(device, 4096);
    let without_storage = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 8192,
        usage: BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let alignment = device.limits().min_storage_buffer_offset_alignment;
    let bind = |losses, weights| kernel.bind(&Bindings { losses, weights, ..Bindings::default() }).map(|_| ());
    let good_losses = || Some(binding(&input, 0, 3840));
    let good_weights = || Some(binding(&output, 0, 768));
    let slot = Slot::Losses;
    let cases = [
        (bind(None, good_weights()), BindError::Missing { slot }),
        (bind(good_losses(), None), BindError::Missing { slot: Slot::Weights }),
        (
            bind(Some(binding(&without_storage, 0, 3840)), good_weights()),
            BindError::Usage { slot, needed: "BufferUsages::STORAGE" },
        ),
        (bind(Some(binding(&input, 4, 3840)), good_weights()), BindError::Alignment { slot, offset: 4, alignment }),
        (bind(Some(binding(&input, 0, 3842)), good_weights()), BindError::Size { slot, size: 3842 }),
        (
            bind(Some(binding(&input, 0, 3836)), good_weights()),
            BindError::TooSmall { slot, available: 3836, needed: 3840 },
        ),
        (
            bind(Some(binding(&input, 4352, 3840)), good_weights()),
            BindError::OutOfRange { slot, offset: 4352, size: 3840, buffer: 7936 },
        ),
        (
            bind(Some(binding(&input, 1 << 40, 3840)), good_weights()),
            BindError::OutOfRange { slot, offset: 1 << 40, size: 3840, buffer: 7936 },
        ),
        (
            bind(good_losses(), Some(binding(&input, 0, 768))),
            BindError::Overlap { output: Slot::Weights, other: slot, from: 0, to: 768 },
        ),
        (
            bind(good_losses(), Some(binding(&input, 3584, 768))),
            BindError::Overlap { output: Slot::Weights, other: slot, from: 3584, to: 3840 },
        ),
        (
            kernel
                .bind(&Bindings {
                    losses: good_losses(),
                    weights: good_weights(),
                    betas: good_weights(),
                    ..Bindings::default()
                })
                .map(|_| ()),
            BindError::Unexpected { slot: Slot::Betas },
        ),
    ];
    for (result, expected) in cases {
        let error = result.unwrap_err();
        assert_eq!(error, expected);
        assert!(error.to_string().len() > 20);
    }
    let bound =
        kernel.bind(&Bindings { losses: good_losses(), weights: good_weights(), ..Bindings::default() }).unwrap();
    submit(device, queue, |pass| bound.record(pass));
    let found = read(device, queue, &output);
    assert_weights(&plan, &losses, &found[..192]);
    assert!(found[192..].iter().all(|&w| w == POISON), "nothing beyond the weights is written");
}

pub(crate) fn inputs_and_outputs_can_share_a_buffer() {
    let (device, queue) = host();
    let plan = plan(Config::loss_weighted().with_normalize(Normalize::L2), 64);
    let losses = losses(&plan);
    let options = KernelOptions { status: true, per_group_beta: true, ..Default::default() };
    // Losses, weights, status and betas in one buffer, at 256 bytes' alignment.
    let mut contents = vec![POISON; 8192 / 4];
    contents[..960].copy_from_slice(&losses);
    contents[1792..1856].fill(0.1);
    let one = buffer(device, bytemuck::cast_slice(&contents), 0);
    let parts = || Bindings {
        losses: Some(binding(&one, 0, 3840)),
        weights: Some(binding(&one, 4096, 768)),
        status: Some(binding(&one, 5120, 256)),
        betas: Some(binding(&one, 7168, 256)),
        ..Bindings::default()
    };
    let kernel = context().kernels().kernel(&plan, Stage::Fused, options).unwrap();
    let bound = kernel.bind(&parts()).unwrap();
    submit(device, queue, |pass| bound.record(pass));
    let found = read(device, queue, &one);
    assert_weights(&plan, &losses, &found[1024..1216]);
    assert!(found[1280..1344].iter().all(|word| word.to_bits() == Status::OK.bits()));
    assert_eq!(found[..960], losses, "the losses are as they were");

    // The stages too, all in one buffer.
    let staged = context().kernels().staged(&plan, options).unwrap();
    let two = buffer(device, bytemuck::cast_slice(&contents), 4096);
    let bound = staged
        .bind(&Bindings {
            losses: Some(binding(&two, 0, 3840)),
            weights: Some(binding(&two, 4096, 768)),
            status: Some(binding(&two, 5120, 256)),
            betas: Some(binding(&two, 7168, 256)),
            slopes: Some(binding(&two, 8192, 768)),
            means: Some(binding(&two, 9216, 768)),
            scores: Some(binding(&two, 10_240, 768)),
            ..Bindings::default()
        })
        .unwrap();
    submit(device, queue, |pass| bound.iter().for_each(|stage| stage.record(pass)));
    assert_eq!(read(device, queue, &two)[1024..1216], found[1024..1216], "staged and fused have the same bits");

    // What stages hand to each other is writable for the device also where it is read: it may share a buffer with plain
    // inputs even if the outputs lie elsewhere.
    let softmax = context().kernels().kernel(&plan, Stage::Softmax, options).unwrap();
    let apart = poisoned_buffer(device, 4096);
    let bound = softmax
        .bind(&Bindings {
            scores: Some(binding(&two, 10_240, 768)),
            means: Some(binding(&two, 9216, 768)),
            betas: Some(binding(&two, 7168, 256)),
            weights: Some(binding(&apart, 0, 768)),
            status: Some(binding(&apart, 1024, 256)),
            ..Bindings::default()
        })
        .unwrap();
    submit(device, queue, |pass| bound.record(pass));
    assert_eq!(read(device, queue, &apart)[..192], found[1024..1216]);
}

pub(crate) fn two_plans_in_one_encoder_do_not_disturb_each_other() {
    let (device, queue) = host();
    let plans =
        [plan(Config::original(), 50), plan(Config::original().with_beta(-3.0), 50), plan(Config::normalized(), 7)];
    let losses = losses(&plans[0]);
    let input = buffer(device, bytemuck::cast_slice(&losses), 0);
    let mut encoder = device.create_command_encoder(&Default::default());
    let outputs: Vec<wgpu::Buffer> = plans
        .iter()
        .map(|plan| {
            let output = poisoned_buffer(device, 4 * plan.shape().weights_len() as u64);
            let kernel = context().kernels().kernel(plan, Stage::Fused, KernelOptions::default()).unwrap();
            let bound = bind(&kernel, &input, &output);
            bound.record_pass(&mut encoder, None);
            output
        })
        .collect();
    queue.submit([encoder.finish()]);
    for (plan, output) in plans.iter().zip(&outputs) {
        assert_weights(plan, &losses[..plan.shape().losses_len()], &read(device, queue, output));
    }
}

pub(crate) fn later_dispatches_see_earlier_results() {
    // The weights of one dispatch are the losses of the next, 20 times in one pass; against the same chain on the CPU.
    let (device, queue) = host();
    let shape = Shape::new(40, 4, 4).unwrap();
    let first = Plan::new(Config::original().with_slope(softadapt::Slope::Last), shape).unwrap();
    let second = Plan::new(first.config().clone(), Shape::new(10, 4, 4).unwrap()).unwrap();
    let losses = losses(&first);
    let input = buffer(device, bytemuck::cast_slice(&losses), 0);
    let (middle, output) = (poisoned_buffer(device, 640), poisoned_buffer(device, 160));
    let link = |plan: &Plan, from: &wgpu::Buffer, to: &wgpu::Buffer| {
        let kernel = context().kernels().kernel(plan, Stage::Fused, KernelOptions::default()).unwrap();
        bind(&kernel, from, to)
    };
    let chain = [link(&first, &input, &middle), link(&second, &middle, &output)];
    submit(device, queue, |pass| {
        for _ in 0..20 {
            chain.iter().for_each(|kernel| kernel.record(pass));
        }
    });
    assert_weights(&second, &read(device, queue, &middle), &read(device, queue, &output));
}

pub(crate) fn betas_can_be_rewritten_between_submits() {
    let (device, queue) = host();
    let plan = plan(Config::original(), 3);
    let losses = losses(&plan);
    let options = KernelOptions { per_group_beta: true, ..Default::default() };
    let kernel = context().kernels().kernel(&plan, Stage::Fused, options).unwrap();
    let input = buffer(device, bytemuck::cast_slice(&losses), 0);
    let betas = buffer(device, bytemuck::cast_slice(&[0.0f32; 3]), 0);
    let output = poisoned_buffer(device, 36);
    let bound = kernel
        .bind(&Bindings {
            losses: Some(input.as_entire_buffer_binding()),
            weights: Some(output.as_entire_buffer_binding()),
            betas: Some(betas.as_entire_buffer_binding()),
            ..Bindings::default()
        })
        .unwrap();
    for values in [[0.1f32, 2.0, -1.0], [5.0, 0.0, 0.5]] {
        queue.write_buffer(&betas, 0, bytemuck::cast_slice(&values));
        submit(device, queue, |pass| bound.record(pass));
        let found = read(device, queue, &output);
        for (group, &beta) in values.iter().enumerate() {
            let alone = Plan::new(plan.config().clone().with_beta(f64::from(beta)), plan.shape().slice(0..1).unwrap());
            assert_weights(&alone.unwrap(), &losses[group * 15..][..15], &found[group * 3..][..3]);
        }
    }
}

/// A stage that is recorded again sees nothing of an earlier run's flags.
pub(crate) fn recorded_again_flags_do_not_stay() {
    let (device, queue) = host();
    let plan = plan(Config::normalized(), 2);
    let options = KernelOptions { status: true, per_group_beta: true, ..Default::default() };
    let staged = context().kernels().staged(&plan, options).unwrap();
    let described: Vec<Slot> = staged.buffers().iter().map(|b| b.slot).collect();
    assert_eq!(described, [Slot::Losses, Slot::Slopes, Slot::Status, Slot::Scores, Slot::Weights, Slot::Betas]);
    // Constant losses: a slope sum of 0 in both groups.
    let input = buffer(device, bytemuck::cast_slice(&[3.0f32; 30]), 0);
    let betas = buffer(device, bytemuck::cast_slice(&[f32::NAN, 0.1]), 0);
    let [slopes, scores, weights, status] = [(); 4].map(|()| poisoned_buffer(device, 24));
    let bound = staged
        .bind(&Bindings {
            losses: Some(input.as_entire_buffer_binding()),
            slopes: Some(slopes.as_entire_buffer_binding()),
            scores: Some(scores.as_entire_buffer_binding()),
            weights: Some(weights.as_entire_buffer_binding()),
            status: Some(status.as_entire_buffer_binding()),
            betas: Some(betas.as_entire_buffer_binding()),
            ..Bindings::default()
        })
        .unwrap();
    let flags = || read(device, queue, &status)[..2].iter().map(|w| Status::from_bits(w.to_bits())).collect::<Vec<_>>();
    submit(device, queue, |pass| bound.iter().for_each(|stage| stage.record(pass)));
    assert_eq!(flags(), [Status::NON_FINITE_BETA, Status::ZERO_SLOPE_SUM]);
    queue.write_buffer(&betas, 0, bytemuck::cast_slice(&[0.1f32, 0.1]));
    submit(device, queue, |pass| bound[2].record(pass));
    // A held group says only why; what `normalize` had to say comes with `normalize`.
    assert_eq!(flags(), [Status::OK, Status::ZERO_SLOPE_SUM]);
    submit(device, queue, |pass| bound[1..].iter().for_each(|stage| stage.record(pass)));
    assert_eq!(flags(), [Status::ZERO_SLOPE_SUM; 2]);
}

pub(crate) fn stages_work_alone() {
    let (device, queue) = host();
    let plan = plan(Config::loss_weighted().with_normalize(Normalize::SignedSum), 33);
    let losses = losses(&plan);
    let wide: Vec<f64> = losses.iter().map(|&l| f64::from(l)).collect();
    let exact = reference::weigh(&plan, &Batch::new(&wide)).unwrap();
    let kernels = context().kernels();
    let rows = 4 * plan.shape().weights_len() as u64;
    let input = buffer(device, bytemuck::cast_slice(&losses), 0);
    let near = |found: &[f32], exact: &[f64], what: &str| {
        for (found, exact) in found.iter().zip(exact) {
            assert!((f64::from(*found) - exact).abs() < 1e-5 * (1.0 + exact.abs()), "{what}: {found} for {exact}");
        }
    };
    // Losses to slopes, losses to means.
    let slopes = poisoned_buffer(device, rows);
    let means = poisoned_buffer(device, rows);
    for (stage, output) in [(Stage::Slopes, &slopes), (Stage::Average, &means)] {
        let kernel = kernels.kernel(&plan, stage, KernelOptions::default()).unwrap();
        let mut bindings = Bindings { losses: Some(input.as_entire_buffer_binding()), ..Bindings::default() };
        match stage {
            Stage::Slopes => bindings.slopes = Some(output.as_entire_buffer_binding()),
            _ => bindings.means = Some(output.as_entire_buffer_binding()),
        }
        let bound = kernel.bind(&bindings).unwrap();
        submit(device, queue, |pass| bound.record(pass));
    }
    near(&read(device, queue, &slopes), &exact.slopes, "slope");
    near(&read(device, queue, &means), &exact.means, "mean");
    // Slopes of the host's own making to scores: 1, 2, 3, ... in every group.
    let own: Vec<f32> = (0..99).map(|i| 1.0 + (i % 3) as f32).collect();
    let own_slopes = buffer(device, bytemuck::cast_slice(&own), 0);
    let scores = poisoned_buffer(device, rows);
    let unweighted = Plan::new(plan.config().clone().with_loss_weighting(LossWeighting::None), plan.shape().clone());
    let unweighted = unweighted.unwrap();
    let bound = kernels
        .kernel(&unweighted, Stage::Normalize, KernelOptions::default())
        .unwrap()
        .bind(&Bindings {
            slopes: Some(own_slopes.as_entire_buffer_binding()),
            scores: Some(scores.as_entire_buffer_binding()),
            ..Bindings::default()
        })
        .unwrap();
    submit(device, queue, |pass| bound.record(pass));
    near(&read(device, queue, &scores), &[1.0 / 6.0, 2.0 / 6.0, 0.5], "score");
    // Scores of the host's own making to weights.
    let weights = poisoned_buffer(device, rows);
    let bound = kernels
        .kernel(&unweighted, Stage::Softmax, KernelOptions::default())
        .unwrap()
        .bind(&Bindings {
            scores: Some(own_slopes.as_entire_buffer_binding()),
            weights: Some(weights.as_entire_buffer_binding()),
            ..Bindings::default()
        })
        .unwrap();
    submit(device, queue, |pass| bound.record(pass));
    let e: Vec<f64> = [-0.2f64, -0.1, 0.0].iter().map(|x| x.exp()).collect();
    let sum: f64 = e.iter().sum();
    near(&read(device, queue, &weights), &[e[0] / sum, e[1] / sum, e[2] / sum], "weight");
}

pub(crate) fn passes_of_our_own_take_timestamps() {
    if !context().device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        return;
    }
    use softadapt::host::DevicePath;
    let plan = plan(Config::loss_weighted(), 1000);
    let losses = losses(&plan);
    for path in [DevicePath::Fused, DevicePath::Staged] {
        let times = context().measure(&plan, &losses, path, 3).unwrap();
        assert!(times.runs.len() == 3 && times.runs.iter().all(|t| !t.is_zero()), "{times:?}");
        assert_weights(&plan, &losses, &times.weights);
    }
    let copy = context().measure(&plan, &losses, DevicePath::Copy, 3).unwrap();
    assert!(copy.runs.len() == 3 && copy.weights.is_empty());
}

pub(crate) fn empty_batches_record_nothing() {
    let plan = plan(Config::original(), 0);
    assert!(context().weigh(&plan, &Batch::new(&[])).unwrap().weights.is_empty());
    let (device, queue) = host();
    let kernel = context().kernels().kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap();
    let (input, output) = (poisoned_buffer(device, 4), poisoned_buffer(device, 4));
    let bound = bind(&kernel, &input, &output);
    submit(device, queue, |pass| bound.record(pass));
    assert_eq!(read(device, queue, &output), [POISON]);
    // Groups without components have a status all the same.
    let empty_groups = Plan::new(Config::original(), Shape::ragged(vec![0, 0, 0], 5).unwrap()).unwrap();
    assert_eq!(context().weigh(&empty_groups, &Batch::new(&[])).unwrap().status, [Status::OK; 2]);
}

/// All of wgpu's validation and no arithmetic.
pub(crate) fn everything_works_on_the_noop_device() {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let kernels = Kernels::new(&device);
    let plan = plan(Config::loss_weighted().with_normalize(Normalize::L1), 10);
    let options = KernelOptions { status: true, ..Default::default() };
    let make = || poisoned_buffer(&device, 4096);
    let (losses, weights, status, slopes, means, scores) = (make(), make(), make(), make(), make(), make());
    let bound = kernels
        .staged(&plan, options)
        .unwrap()
        .bind(&Bindings {
            losses: Some(losses.as_entire_buffer_binding()),
            weights: Some(weights.as_entire_buffer_binding()),
            status: Some(status.as_entire_buffer_binding()),
            slopes: Some(slopes.as_entire_buffer_binding()),
            means: Some(means.as_entire_buffer_binding()),
            scores: Some(scores.as_entire_buffer_binding()),
            ..Bindings::default()
        })
        .unwrap();
    assert_eq!(bound.len(), 4);
    submit(&device, &queue, |pass| bound.iter().for_each(|kernel| kernel.record(pass)));
}

pub(crate) fn types_are_send_sync_and_clone() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<Kernels>();
    check::<Kernel>();
    check::<BoundKernel>();
    check::<softadapt::gpu::Staged>();
    check::<softadapt::host::Context>();
}
