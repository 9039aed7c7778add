//! The balancer on the device: the scripts of `tests/balancer.rs`, and the rules that a guest in a training loop keeps.

use crate::common::balancer::{
    Balances, Call, check, check_counters_far_out, check_independence, check_long_epochs, check_packages_loop,
    check_resumed, check_schedules, compare_shown, judge, random_script, run_configs, runs,
};
use crate::common::problem::{POISON, Problem, poisoned};
use crate::embedding::{buffer, new_device, poisoned_buffer, read};
use crate::{context, is_swiftshader, seeds};
use softadapt::gpu::{self, BindError, BoundKernel, KernelError, Kernels, Requirements, Slot};
use softadapt::host::HostError;
use softadapt::{
    BalancerConfig, BalancerPlan, BalancerState, BatchError, Config, CopyError, Feed, Outputs, Shape, Smoothing,
    Status, Weights, cpu, host,
};
use wgpu::BufferUsages;

impl Balances for host::Balancer {
    fn call(&mut self, call: &Call) {
        match call {
            Call::Push(losses) => self.push(losses).unwrap(),
            Call::Accumulate(losses) => self.accumulate(losses).unwrap(),
            Call::CloseEpoch => self.close_epoch().unwrap(),
            Call::Reset(groups) => self.reset(groups).unwrap(),
            Call::ResetMasked(mask) => self.reset_masked(mask).unwrap(),
            Call::Copy(pairs) => self.copy(pairs).unwrap(),
            Call::Betas(betas) => self.set_betas(betas).unwrap(),
            Call::Reload => {
                let state = BalancerState::from_bytes(self.plan(), &self.state().unwrap().to_bytes()).unwrap();
                *self = context().balancer(self.plan()).unwrap();
                self.load(&state).unwrap();
            }
        }
    }

    fn state(&self) -> BalancerState {
        self.state().unwrap()
    }
}

/// The batch path of the same device: the fused kernel, which `agreement` compares with the staged ones.
fn weigh(problem: &Problem) -> Weights<f32> {
    let mut weights = poisoned(&problem.plan);
    let mut outputs = Outputs::new(&mut weights.weights);
    outputs.status = Some(&mut weights.status);
    context().weigh_into(&problem.plan, &problem.batch(), &mut outputs).unwrap();
    weights
}

/// All pushes recorded into one command buffer, with copies of what is shown after each: nothing is submitted or waited for
/// between them.
fn check_recorded(label: &str, plan: &BalancerPlan, steps: &[Vec<f32>]) {
    let calls: Vec<Call> = steps.iter().cloned().map(Call::Push).collect();
    let (expected, _) = judge(plan, &calls, false, weigh);
    let (device, queue) = (context().device(), context().queue());
    let balancer = context().kernels().balancer(plan).unwrap();
    // Each step's losses start where a binding may.
    let (rows, groups) = (plan.losses_len(), plan.shape().groups());
    let pitch = rows.next_multiple_of(64);
    let mut losses = vec![POISON; pitch * steps.len()];
    for (place, step) in losses.chunks_exact_mut(pitch).zip(steps) {
        place[..rows].copy_from_slice(step);
    }
    let losses = buffer(device, bytemuck::cast_slice(&losses), 0);
    let shown = poisoned_buffer(device, (4 * (rows + groups) * steps.len()) as u64);
    let mut encoder = device.create_command_encoder(&Default::default());
    for step in 0..steps.len() {
        let bytes = wgpu::BufferSize::new(4 * rows as u64);
        let range = wgpu::BufferBinding { buffer: &losses, offset: (4 * pitch * step) as u64, size: bytes };
        balancer.step(range).unwrap().record_pass(&mut encoder, None);
        let place = (4 * (rows + groups) * step) as u64;
        encoder.copy_buffer_to_buffer(balancer.weights(), 0, &shown, place, 4 * rows as u64);
        encoder.copy_buffer_to_buffer(balancer.status(), 0, &shown, place + 4 * rows as u64, 4 * groups as u64);
    }
    queue.submit([encoder.finish()]);
    let shown = read(device, queue, &shown);
    for (step, (shown, expected)) in shown.chunks_exact(rows + groups).zip(&expected).enumerate() {
        let (weights, status) = shown.split_at(rows);
        let status: Vec<Status> = status.iter().map(|word| Status::from_bits(word.to_bits())).collect();
        compare_shown(&format!("{label}, step {step}"), plan, expected, weights, &status);
    }
}

pub(crate) fn real_runs_get_the_batch_paths_weights_at_every_step() {
    let runs = runs();
    let shape = |window| Shape::ragged(runs.offsets.clone(), window).unwrap();
    for window in [5, 6, 8, 12] {
        for (setting, config) in
            run_configs(if is_swiftshader() { 5 } else { 75 }, &shape(window)).into_iter().enumerate()
        {
            let plan = BalancerPlan::new(config, shape(window)).unwrap();
            check_recorded(&format!("window {window}, setting {setting}"), &plan, &runs.steps);
        }
    }
}

pub(crate) fn random_scripts_show_what_lists_of_losses_would() {
    for seed in seeds(1000..1120) {
        let (plan, calls) = random_script(seed, false);
        let mut balancer = context().balancer(&plan).unwrap();
        check(&format!("seed {seed}"), &plan, &calls, &mut balancer, false, weigh);
    }
}

fn make(plan: &BalancerPlan) -> host::Balancer {
    context().balancer(plan).unwrap()
}

fn resume(plan: &BalancerPlan, state: &BalancerState) -> host::Balancer {
    let balancer = make(plan);
    balancer.load(state).unwrap();
    balancer
}

pub(crate) fn tumbling_windows_reproduce_the_loop_of_the_packages_readme() {
    check_packages_loop(make);
}

pub(crate) fn what_befalls_a_group_changes_no_bit_of_another() {
    check_independence(make, 2000..2040);
}

pub(crate) fn schedules_follow_their_formulas() {
    check_schedules(make, weigh);
}

pub(crate) fn means_of_long_epochs_are_near() {
    check_long_epochs(make, &[1, 2, 255, 256, 257, 1000]);
}

pub(crate) fn counters_never_overflow() {
    check_counters_far_out(resume);
}

pub(crate) fn a_resumed_run_has_the_bits_of_an_uninterrupted_one() {
    check_resumed(make, 3000..3030);
}

fn plan(config: BalancerConfig) -> BalancerPlan {
    BalancerPlan::new(config, Shape::new(70, 3, 5).unwrap()).unwrap()
}

fn weighted() -> BalancerConfig {
    BalancerConfig::new(Config::loss_weighted().with_order(4))
}

/// Distinct losses of one step.
fn losses(plan: &BalancerPlan, step: usize) -> Vec<f32> {
    (0..plan.losses_len()).map(|i| 1.0 + ((i * 7919 + step * 104_729) % 1009) as f32 / 1009.0).collect()
}

/// States go from the CPU to the GPU and back: what was remembered is the same word for word, and so is what is remembered of
/// the pushes after that.
pub(crate) fn states_move_between_cpu_and_gpu() {
    let smoothings = [Smoothing::None, Smoothing::Exponential { keep: 0.9 }, Smoothing::CycleMean];
    for (number, smoothing) in smoothings.into_iter().enumerate() {
        let config = weighted().with_smoothing(smoothing).with_every(2).with_log(3).with_per_group_beta(true);
        let plan = plan(config);
        let mut twin = cpu::Balancer::new(&plan);
        (0..7 + number).for_each(|step| twin.push(&losses(&plan, step)).unwrap());
        let balancer = resume(&plan, &twin.state());
        assert!(balancer.state().unwrap().to_bytes() == twin.state().to_bytes(), "{smoothing:?}: there");
        for step in 100..107 {
            balancer.push(&losses(&plan, step)).unwrap();
            twin.push(&losses(&plan, step)).unwrap();
            let state = balancer.state().unwrap();
            assert_eq!(state.status(), twin.status());
            for (found, expected) in state.weights().iter().zip(twin.weights()) {
                // Both are within the same bound of the reference, which is far below this for such losses.
                assert!((found - expected).abs() < 1e-5, "{smoothing:?}, step {step}: {found} for {expected}");
            }
        }
        let state = balancer.state().unwrap();
        let mut back = cpu::Balancer::new(&plan);
        back.load(&state).unwrap();
        assert!(back.state().to_bytes() == state.to_bytes(), "{smoothing:?}: back");
    }
}

/// The wgpu calls of a dispatch, made by hand.
fn record_by_hand(pass: &mut wgpu::ComputePass<'_>, pipeline: &wgpu::ComputePipeline, group: &wgpu::BindGroup) {
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, group, &[]);
    pass.dispatch_workgroups(1, 1, 1);
}

/// Numbers in the debug text of a submission: wgpu counts them per device.
fn number(submission: &wgpu::SubmissionIndex) -> u64 {
    let text = format!("{submission:?}");
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// 10 000 steps, 100 to a command buffer: recording allocates what wgpu allocates for the same calls made by hand and nothing
/// more, nobody but this loop submits, and neither buffers nor memory grow.
pub(crate) fn ten_thousand_steps_allocate_submit_and_wait_for_nothing() {
    const STEPS: usize = 100;
    // A device of its own, so that other tests' submissions and buffers are not counted.
    let (device, queue) = new_device(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults());
    let plan = plan(weighted().with_every(3));
    let balancer = Kernels::new(&device).balancer(&plan).unwrap();
    let input = buffer(&device, bytemuck::cast_slice(&losses(&plan, 0)), 0);
    let step = balancer.step(input.as_entire_buffer_binding()).unwrap();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl("@compute @workgroup_size(1) fn nothing() {}".into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("nothing"),
        compilation_options: Default::default(),
        cache: None,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[] }),
        entries: &[],
    });
    let recorded = |record: &dyn Fn(&mut wgpu::ComputePass<'_>)| {
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let info = allocation_counter::measure(|| (0..STEPS).for_each(|_| record(&mut pass)));
        drop(pass);
        (info.count_total, encoder.finish())
    };
    let record_step = |pass: &mut wgpu::ComputePass<'_>| step.record(pass);
    let (by_hand, _) = recorded(&|pass| record_by_hand(pass, &pipeline, &group));
    queue.submit([recorded(&record_step).1]);
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let buffers = || device.get_internal_counters().hal.buffers.read();
    let before = (number(&queue.submit([])), buffers());
    let rounds = 10_000 / STEPS;
    for _ in 0..rounds {
        let (ours, commands) = recorded(&record_step);
        assert_eq!(ours, by_hand, "allocations of {STEPS} dispatches");
        queue.submit([commands]);
    }
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let after = (number(&queue.submit([])), buffers());
    assert_eq!(after.0 - before.0, rounds as u64 + 1, "submissions");
    assert_eq!(after.1, before.1, "buffers");
    // All of them counted: 100 and 10 000 pushes, one update every third.
    let status = read(&device, &queue, balancer.status());
    assert!(status.iter().all(|word| word.to_bits() == Status::OK.bits()));
    let target = mappable(&device, balancer.snapshot_bytes());
    let mut encoder = device.create_command_encoder(&Default::default());
    balancer.record_snapshot(&mut encoder, &target, 0).unwrap();
    queue.submit([encoder.finish()]);
    let state = plan.read_snapshot(&map(&device, &target)).unwrap();
    assert_eq!(state.pushes(69), Some(10_100));
}

fn mappable(device: &wgpu::Device, bytes: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes,
        usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

fn map(device: &wgpu::Device, buffer: &wgpu::Buffer) -> Vec<u8> {
    buffer.slice(..).map_async(wgpu::MapMode::Read, |result| result.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let bytes = buffer.slice(..).get_mapped_range().unwrap().to_vec();
    buffer.unmap();
    bytes
}

/// Steps of one pass run in order, beside those of another balancer on the same losses.
pub(crate) fn steps_of_one_pass_run_in_order() {
    let (device, queue) = (context().device(), context().queue());
    let plans = [plan(weighted()), plan(weighted().with_smoothing(Smoothing::Exponential { keep: 0.5 }))];
    let steps: Vec<Vec<f32>> = (0..9).map(|step| losses(&plans[0], step)).collect();
    let inputs: Vec<_> = steps.iter().map(|step| buffer(device, bytemuck::cast_slice(step), 0)).collect();
    let together: Vec<_> = plans.iter().map(|plan| context().kernels().balancer(plan).unwrap()).collect();
    let bound: Vec<Vec<BoundKernel>> = together
        .iter()
        .map(|balancer| inputs.iter().map(|input| balancer.step(input.as_entire_buffer_binding()).unwrap()).collect())
        .collect();
    crate::embedding::submit(device, queue, |pass| {
        for step in 0..steps.len() {
            bound.iter().for_each(|bound| bound[step].record(pass));
        }
    });
    for (plan, together) in plans.iter().zip(&together) {
        let alone = make(plan);
        steps.iter().for_each(|step| alone.push(step).unwrap());
        let found = read(device, queue, together.weights());
        assert_eq!(crate::common::problem::bits(&found), crate::common::problem::bits(&alone.weights().unwrap()));
    }
}

/// The log is copied in the middle of the loop and read when the loop is done.
pub(crate) fn the_log_is_read_while_the_loop_goes_on() {
    let (device, queue) = (context().device(), context().queue());
    let plan = plan(weighted().with_log(4).with_every(2));
    let balancer = make(&plan);
    let log = balancer.on_device().log().unwrap();
    let target = mappable(device, log.size());
    let mut shown = Vec::new();
    for step in 0..30 {
        balancer.push(&losses(&plan, step)).unwrap();
        if step % 2 == 1 && step < 20 {
            shown.push(balancer.weights().unwrap());
        }
        if step == 19 {
            let mut encoder = device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(log, 0, &target, 0, log.size());
            queue.submit([encoder.finish()]);
            target.slice(..).map_async(wgpu::MapMode::Read, |result| result.unwrap());
        }
    }
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let bytes = target.slice(..).get_mapped_range().unwrap().to_vec();
    let read = plan.read_log(&bytes).unwrap();
    for group in 0..70 {
        let entries = read.entries(group);
        assert_eq!(entries.iter().map(|entry| entry.step).collect::<Vec<_>>(), [14, 16, 18, 20]);
        for (entry, weights) in entries.iter().zip(&shown[6..]) {
            assert_eq!(entry.weights, weights[3 * group..3 * group + 3]);
        }
    }
    assert_eq!(balancer.log().unwrap().entries(3)[3].step, 30);
    assert!(plan.read_log(&bytes[4..]).is_err());
    assert!(read.entries(70).is_empty());
}

pub(crate) fn bad_buffers_are_refused_and_the_balancer_lives() {
    let device = context().device();
    let plan = plan(weighted());
    let on_device = context().kernels().balancer(&plan).unwrap();
    let step = |buffer: &wgpu::Buffer, offset: u64, bytes: Option<u64>| {
        let size = bytes.and_then(wgpu::BufferSize::new);
        on_device.step(wgpu::BufferBinding { buffer, offset, size }).map(|_| ()).unwrap_err()
    };
    let slot = Slot::Losses;
    let small = poisoned_buffer(device, 4 * 209);
    assert_eq!(step(&small, 0, None), BindError::TooSmall { slot, available: 836, needed: 840 });
    let large = poisoned_buffer(device, 4 * 1024);
    assert!(matches!(step(&large, 4, None), BindError::Alignment { offset: 4, .. }));
    assert_eq!(step(&large, 0, Some(838)), BindError::Size { slot, size: 838 });
    assert!(matches!(step(&large, 0, Some(8192)), BindError::OutOfRange { .. }));
    let copy_only = mappable(device, 4096);
    assert_eq!(step(&copy_only, 0, None), BindError::Usage { slot, needed: "BufferUsages::STORAGE" });
    // The balancer's own buffers.
    assert!(matches!(step(on_device.weights(), 0, None), BindError::Overlap { output: Slot::Weights, .. }));
    assert_eq!(on_device.close_epoch().map(|_| ()), Err(BindError::Feed { feed: Feed::EveryPush }));
    let whole = || large.as_entire_buffer_binding();
    assert_eq!(on_device.accumulate(whole()).map(|_| ()), Err(BindError::Feed { feed: Feed::EveryPush }));
    let tiny = poisoned_buffer(device, 4);
    let mask = on_device.reset_masked(tiny.as_entire_buffer_binding()).map(|_| ());
    assert_eq!(mask, Err(BindError::TooSmall { slot: Slot::Chosen, available: 4, needed: 280 }));
    let pairs = on_device.copy(tiny.as_entire_buffer_binding()).map(|_| ());
    assert_eq!(pairs, Err(BindError::TooSmall { slot: Slot::Chosen, available: 4, needed: 8 }));
    let mut encoder = device.create_command_encoder(&Default::default());
    let slot = Slot::State;
    let needed = on_device.snapshot_bytes();
    let snapshot = |target: &wgpu::Buffer, offset, encoder: &mut wgpu::CommandEncoder| {
        on_device.record_snapshot(encoder, target, offset).unwrap_err()
    };
    let error = snapshot(&tiny, 0, &mut encoder);
    assert_eq!(error, BindError::TooSmall { slot, available: 4, needed });
    assert_eq!(
        snapshot(&mappable(device, needed + 8), 2, &mut encoder),
        BindError::Alignment { slot, offset: 2, alignment: 4 }
    );
    assert!(matches!(snapshot(&mappable(device, needed + 8), 12, &mut encoder), BindError::TooSmall { .. }));
    // Nothing was recorded that spoils the encoder, and a good range still works.
    on_device.step(whole()).unwrap().record_pass(&mut encoder, None);
    context().queue().submit([encoder.finish()]);

    let balancer = make(&plan);
    let length = HostError::Batch(BatchError::Length { what: "losses", length: 3, needed: 210 });
    assert_eq!(balancer.push(&[1.0; 3]), Err(length));
    assert_eq!(balancer.accumulate(&[1.0; 210]), Err(HostError::Batch(BatchError::Feed { feed: Feed::EveryPush })));
    assert_eq!(balancer.close_epoch(), Err(HostError::Batch(BatchError::Feed { feed: Feed::EveryPush })));
    assert_eq!(balancer.reset(&[70]), Err(HostError::Copy(CopyError::Group { group: 70, groups: 70 })));
    assert!(balancer.reset_masked(&[true; 69]).is_err());
    assert_eq!(balancer.copy(&[(0, 1), (1, 2)]), Err(HostError::Copy(CopyError::Twice { group: 1 })));
    assert!(balancer.set_betas(&[1.0; 70]).is_err());
    let other = BalancerPlan::new(weighted(), Shape::new(71, 3, 5).unwrap()).unwrap();
    assert!(matches!(balancer.load(&BalancerState::new(&other)), Err(HostError::State(_))));
    balancer.reset(&[]).unwrap();
    assert!(balancer.state().unwrap().to_bytes() == BalancerState::new(&plan).to_bytes(), "nothing has changed");
}

/// Words of lists on the device that are no group, and pairs that are none, are passed over.
pub(crate) fn lists_on_the_device_may_hold_anything() {
    let (device, queue) = (context().device(), context().queue());
    let plan = BalancerPlan::new(weighted(), Shape::ragged(vec![0, 3, 5, 8, 11], 5).unwrap()).unwrap();
    let balancer = make(&plan);
    let mut twin = cpu::Balancer::new(&plan);
    for step in 0..7 {
        balancer.push(&losses(&plan, step)).unwrap();
        twin.push(&losses(&plan, step)).unwrap();
    }
    twin.load(&balancer.state().unwrap()).unwrap();
    let words = |words: &[u32]| buffer(device, bytemuck::cast_slice(words), 0);
    let list = words(&[u32::MAX, 1, 4, 1, 1 << 31]);
    let pairs = words(&[0, 2, 0, 1, 3, 4, u32::MAX, 3, 3, 3]);
    let kernels = [
        balancer.on_device().reset(list.as_entire_buffer_binding()).unwrap(),
        balancer.on_device().copy(pairs.as_entire_buffer_binding()).unwrap(),
    ];
    crate::embedding::submit(device, queue, |pass| kernels.iter().for_each(|kernel| kernel.record(pass)));
    twin.reset(&[1]).unwrap();
    twin.copy(&[(0, 2)]).unwrap();
    assert!(balancer.state().unwrap().to_bytes() == twin.state().to_bytes());
}

pub(crate) fn small_devices_are_enough_and_others_are_named() {
    let (device, queue) = new_device(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults());
    let kernels = Kernels::new(&device);
    let plain = plan(BalancerConfig::new(Config::original()));
    let balancer = kernels.balancer(&plain).unwrap();
    let input = buffer(&device, bytemuck::cast_slice(&losses(&plain, 0)), 0);
    let step = balancer.step(input.as_entire_buffer_binding()).unwrap();
    crate::embedding::submit(&device, &queue, |pass| (0..5).for_each(|_| step.record(pass)));
    // Constant losses: equal weights.
    assert!(read(&device, &queue, balancer.weights()).iter().all(|weight| *weight == 1.0 / 3.0));
    // Four storage buffers are too few for a reset, and for more options.
    let limit = |needed| KernelError::Limit { limit: "max_storage_buffers_per_shader_stage", allowed: 4, needed };
    let reset = balancer.reset(input.as_entire_buffer_binding()).map(|_| ());
    assert_eq!(reset, Err(BindError::Kernel(limit(5))));
    let full = plan(weighted().with_log(2).with_per_group_beta(true));
    assert_eq!(kernels.balancer(&full).map(|_| ()), Err(limit(6)));
    let needs = Requirements::balancer(&full).unwrap();
    let (device, _) = new_device(wgpu::Features::empty(), needs.limits());
    needs.check(&device).unwrap();
    let balancer = Kernels::new(&device).balancer(&full).unwrap();
    let list = poisoned_buffer(&device, 8);
    balancer.reset(list.as_entire_buffer_binding()).unwrap();
    balancer.copy(list.as_entire_buffer_binding()).unwrap();
    // States beyond one binding.
    let large = BalancerPlan::new(weighted(), Shape::new(20_000_000, 3, 30).unwrap()).unwrap();
    let slot = Slot::State;
    assert!(matches!(Requirements::balancer(&large), Err(KernelError::BindingTooLarge { slot: s, .. }) if s == slot));
    assert!(matches!(kernels.balancer(&large), Err(KernelError::BindingTooLarge { .. })));
}

pub(crate) fn no_groups_are_no_trouble() {
    for shape in [Shape::new(0, 3, 5).unwrap(), Shape::ragged(vec![0, 0], 5).unwrap()] {
        let plan = BalancerPlan::new(weighted().with_log(2), shape).unwrap();
        let balancer = make(&plan);
        balancer.push(&[]).unwrap();
        balancer.reset_masked(&vec![true; plan.shape().groups()]).unwrap();
        let state = balancer.state().unwrap();
        balancer.load(&state).unwrap();
        assert!(state.weights().is_empty());
    }
}

pub(crate) fn a_lost_device_is_an_error() {
    let context = host::Context::new(&crate::choice()).unwrap();
    let plan = plan(weighted());
    let balancer = context.balancer(&plan).unwrap();
    balancer.push(&losses(&plan, 0)).unwrap();
    context.device().destroy();
    assert!(balancer.weights().is_err());
    assert!(balancer.state().is_err());
    assert!(balancer.push(&losses(&plan, 1)).is_err());
    assert!(context.balancer(&plan).is_err());
    // Others live.
    make(&plan).push(&losses(&plan, 1)).unwrap();
}

pub(crate) fn types_are_send_sync_and_clone() {
    fn holds<T: Send + Sync + Clone>() {}
    holds::<gpu::Balancer>();
    holds::<host::Balancer>();
    holds::<cpu::Balancer>();
    holds::<BalancerState>();
}
