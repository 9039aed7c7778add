//! The cases. Each runs in a process of its own, with the layer between wgpu and the driver.

use crate::FAULTS;
use softadapt::gpu::{self, Bindings, DeviceError, KernelError, KernelOptions, Kernels, Stage, is_lost};
use softadapt::host::{AdapterChoice, Context, HostError};
use softadapt::{BalancerConfig, BalancerPlan, BalancerState, Batch, Config, Outputs, Plan, Shape, Weights, cpu, wgpu};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A case with its name.
macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
}

pub(crate) const ALL: &[(&str, fn())] = cases![
    without_faults_the_layer_changes_nothing,
    lost_at_submit,
    lost_at_wait,
    lost_under_a_balancer,
    lost_under_two_threads,
    lost_with_work_in_flight,
    guests_learn_of_a_loss,
    guests_run_out_of_memory,
    out_of_memory_means_smaller_chunks,
    a_failed_push_changes_nothing,
    no_memory_for_a_pipeline,
    no_device,
    skipped_submits_are_seen,
    skipped_dispatches_are_seen,
    guests_see_skipped_dispatches,
    skipped_pushes_are_counted,
    waits_end,
];

/// From now on the driver has these faults, and no other.
fn faults(lines: &str) {
    std::fs::write(std::env::var_os(FAULTS).unwrap(), lines).unwrap();
}

/// How often a fault has been made so far.
fn made(fault: &str) -> usize {
    let file = format!("{}.log", std::env::var(FAULTS).unwrap());
    std::fs::read_to_string(file).unwrap_or_default().lines().filter(|line| *line == fault).count()
}

fn context() -> Context {
    let choice = std::env::var("SOFTADAPT_TEST_ADAPTER").map_or(AdapterChoice::Any, AdapterChoice::Named);
    let context = Context::new(&choice).unwrap();
    assert_eq!(context.adapter().backend, "vulkan");
    context
}

fn plan(groups: usize) -> Plan {
    Plan::new(Config::loss_weighted(), Shape::new(groups, 3, 5).unwrap()).unwrap()
}

fn losses(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| 1.0 + (((i + seed) * 7919) % 1013) as f32 / 97.0).collect()
}

/// Weights alone, by the fused kernel.
fn fused(context: &Context, plan: &Plan, losses: &[f32]) -> Result<Vec<f32>, HostError> {
    let mut weights = vec![f32::NAN; plan.shape().weights_len()];
    context.weigh_into(plan, &Batch::new(losses), &mut Outputs::new(&mut weights))?;
    Ok(weights)
}

/// Everything, by the staged kernels.
fn staged(context: &Context, plan: &Plan, losses: &[f32]) -> Result<Weights<f32>, HostError> {
    context.weigh(plan, &Batch::new(losses))
}

const LOST: HostError = HostError::Device(DeviceError::Lost);

fn without_faults_the_layer_changes_nothing() {
    let context = context();
    let plan = plan(1000);
    let losses = losses(plan.shape().losses_len(), 0);
    let found = staged(&context, &plan, &losses).unwrap();
    let by_cpu = cpu::weigh(&plan, &Batch::new(&losses)).unwrap();
    for (a, b) in found.weights.iter().zip(&by_cpu.weights) {
        assert!((a - b).abs() < 1e-5);
    }
    assert_eq!(fused(&context, &plan, &losses).unwrap(), found.weights);
}

/// Every call that can know says that the device is lost; a new context has the bits of the old one.
fn lost(fault: &str) {
    let context = context();
    let plan = plan(1000);
    let losses = losses(plan.shape().losses_len(), 0);
    let before = staged(&context, &plan, &losses).unwrap();
    assert!(!is_lost(context.device()));
    faults(&format!("{fault} 1"));
    assert_eq!(fused(&context, &plan, &losses).unwrap_err(), LOST);
    assert_eq!(made(fault), 1);
    assert!(is_lost(context.device()));
    faults("");
    // The device stays lost.
    assert_eq!(fused(&context, &plan, &losses).unwrap_err(), LOST);
    assert_eq!(staged(&context, &plan, &losses).unwrap_err(), LOST);
    let many = context.clone().with_chunk_bytes(600);
    assert_eq!(staged(&many, &plan, &losses).unwrap_err(), LOST);
    let measured = context.measure(&plan, &losses, softadapt::host::DevicePath::Fused, 1).unwrap_err();
    assert_eq!(measured, LOST);
    let kernel = context.kernels().kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap_err();
    assert_eq!(kernel, KernelError::Device(DeviceError::Lost));
    assert_eq!(context.balancer(&balancer_plan(10)).unwrap_err(), LOST);
    let fresh = self::context();
    assert_eq!(staged(&fresh, &plan, &losses).unwrap(), before);
    drop(context);
    assert_eq!(staged(&fresh, &plan, &losses).unwrap(), before);
}

fn lost_at_submit() {
    lost("lose_at_submit");
}

fn lost_at_wait() {
    lost("lose_at_wait");
}

fn balancer_plan(groups: usize) -> BalancerPlan {
    let config = BalancerConfig::new(Config::loss_weighted()).with_log(20);
    BalancerPlan::new(config, Shape::new(groups, 3, 5).unwrap()).unwrap()
}

/// Words of two states that go on the same way.
fn assert_same_state(a: &BalancerState, b: &BalancerState) {
    assert_eq!(a.to_bytes(), b.to_bytes());
}

/// A run of ten pushes loses its device behind the fifth; what was stored then goes on elsewhere, with the bits of a run
/// without a loss.
fn lost_under_a_balancer() {
    let plan = balancer_plan(100);
    let step = |i: usize| losses(plan.losses_len(), 1000 * i);
    for fault in ["lose_at_submit", "lose_at_wait"] {
        let context = context();
        let whole = context.balancer(&plan).unwrap();
        let broken = context.balancer(&plan).unwrap();
        for i in 0..10 {
            whole.push(&step(i)).unwrap();
        }
        for i in 0..5 {
            broken.push(&step(i)).unwrap();
        }
        let (expected, stored) = (whole.state().unwrap(), broken.state().unwrap().to_bytes());
        faults(&format!("{fault} 1"));
        if fault == "lose_at_submit" {
            assert_eq!(broken.push(&step(5)).unwrap_err(), LOST);
        } else {
            // Nobody waits at a push.
            _ = broken.push(&step(5));
        }
        assert_eq!(broken.weights().unwrap_err(), LOST);
        assert_eq!(broken.status().unwrap_err(), LOST);
        assert_eq!(broken.state().unwrap_err(), LOST);
        assert_eq!(broken.log().unwrap_err(), LOST);
        assert_eq!(broken.push(&step(6)).unwrap_err(), LOST);
        assert_eq!(broken.reset(&[1]).unwrap_err(), LOST);
        assert_eq!(broken.copy(&[(0, 1)]).unwrap_err(), LOST);
        let state = BalancerState::from_bytes(&plan, &stored).unwrap();
        assert_eq!(broken.load(&state).unwrap_err(), LOST);
        faults("");
        let resumed = self::context().balancer(&plan).unwrap();
        resumed.load(&state).unwrap();
        for i in 5..10 {
            resumed.push(&step(i)).unwrap();
        }
        assert_same_state(&resumed.state().unwrap(), &expected);
    }
}

fn lost_under_two_threads() {
    let context = context();
    let plan = plan(300);
    let losses = losses(plan.shape().losses_len(), 0);
    std::thread::scope(|scope| {
        let threads = [(); 3].map(|()| {
            scope.spawn(|| {
                loop {
                    if let Err(error) = fused(&context, &plan, &losses) {
                        assert_eq!(error, LOST);
                        return;
                    }
                }
            })
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        faults("lose_at_wait 1");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(made("lose_at_wait"), 1);
}

/// Dropped while a lost device has work to do.
fn lost_with_work_in_flight() {
    let context = context();
    let balancer = context.balancer(&balancer_plan(1000)).unwrap();
    for i in 0..20 {
        balancer.push(&losses(3000, i)).unwrap();
    }
    faults("lose_at_wait 1");
    drop(balancer);
    drop(context);
    faults("");
    assert!(fused(&self::context(), &plan(10), &losses(150, 0)).is_ok());
}

/// A program with a device, a handler and a scope of its own.
struct Host {
    device: wgpu::Device,
    queue: wgpu::Queue,
    errors: Arc<AtomicUsize>,
    losses: Arc<AtomicUsize>,
}

impl Host {
    fn new() -> Self {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        let name = context().adapter().name.clone();
        let adapter = adapters.into_iter().find(|adapter| adapter.get_info().name == name).unwrap();
        let descriptor = wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        let [errors, losses] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let (on_error, on_loss) = (Arc::clone(&errors), Arc::clone(&losses));
        device.on_uncaptured_error(Arc::new(move |_error: wgpu::Error| {
            on_error.fetch_add(1, Ordering::SeqCst);
        }));
        device.set_device_lost_callback(move |_, _| {
            on_loss.fetch_add(1, Ordering::SeqCst);
        });
        Self { device, queue, errors, losses }
    }

    fn buffer(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    fn words(&self, source: &wgpu::Buffer) -> Vec<u32> {
        let target = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: source.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(source, 0, &target, 0, source.size());
        self.queue.submit([encoder.finish()]);
        target.slice(..).map_async(wgpu::MapMode::Read, |result| result.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        bytemuck::pod_collect_to_vec(&target.slice(..).get_mapped_range().unwrap())
    }
}

fn guests_learn_of_a_loss() {
    let host = Host::new();
    let plan = plan(100);
    let kernels = Kernels::new(&host.device);
    let kernel = kernels.kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap();
    let balancer = kernels.balancer(&balancer_plan(100)).unwrap();
    let [losses, weights] = [6000, 1200].map(|bytes| host.buffer(bytes));
    let bindings = || Bindings {
        losses: Some(losses.as_entire_buffer_binding()),
        weights: Some(weights.as_entire_buffer_binding()),
        ..Bindings::default()
    };
    let bound = kernel.bind(&bindings()).unwrap();
    faults("lose_at_submit 1");
    let submit = || {
        let mut encoder = host.device.create_command_encoder(&Default::default());
        bound.record_pass(&mut encoder, None);
        host.queue.submit([encoder.finish()]);
    };
    submit();
    assert_eq!(made("lose_at_submit"), 1);
    let told = host.errors.load(Ordering::SeqCst);
    let scope = host.device.push_error_scope(wgpu::ErrorFilter::Validation);
    // Whatever makes something says so; what binds or records cannot know, and does no harm.
    assert!(is_lost(&host.device));
    let lost = KernelError::Device(DeviceError::Lost);
    assert_eq!(kernels.kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap_err(), lost);
    assert_eq!(kernels.kernel(&plan, Stage::Softmax, KernelOptions::default()).unwrap_err(), lost);
    assert_eq!(kernels.balancer(&balancer_plan(7)).unwrap_err(), lost);
    assert_eq!(
        balancer.load(&host.queue, &BalancerState::new(&balancer_plan(100))).unwrap_err(),
        gpu::LoadError::Device(DeviceError::Lost)
    );
    _ = kernel.bind(&bindings());
    _ = balancer.step(losses.as_entire_buffer_binding());
    assert!(pollster::block_on(scope.pop()).is_none(), "the host's scope saw our error");
    assert_eq!(host.errors.load(Ordering::SeqCst), told, "the host's handler saw our error");
    // The callback is still the host's. wgpu calls it at a poll, which may panic on a lost device.
    _ = catch_unwind(AssertUnwindSafe(|| host.device.poll(wgpu::PollType::Poll)));
    assert_eq!(host.losses.load(Ordering::SeqCst), 1);
}

fn guests_run_out_of_memory() {
    let host = Host::new();
    let kernels = Kernels::new(&host.device);
    let plan = plan(100);
    kernels.kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap();
    // More than 64 MB of state, the size of the blocks that wgpu takes from the driver.
    let large =
        BalancerPlan::new(BalancerConfig::new(Config::original()), Shape::new(1_600_000, 3, 5).unwrap()).unwrap();
    let scope = host.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    faults("oom_above 1");
    let error = kernels.balancer(&large).unwrap_err();
    assert!(matches!(error, KernelError::Device(DeviceError::OutOfMemory { .. })), "{error}");
    assert!(made("oom_above") > 0);
    let filler = fill(&host.device);
    for error in [
        kernels.balancer(&balancer_plan(100)).unwrap_err(),
        kernels.kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap_err(),
    ] {
        assert!(matches!(error, KernelError::Device(DeviceError::OutOfMemory { .. })), "{error}");
    }
    assert!(!is_lost(&host.device));
    faults("");
    drop(filler);
    assert!(pollster::block_on(scope.pop()).is_none(), "the host's scope saw our error");
    assert_eq!(host.errors.load(Ordering::SeqCst), 0, "the host's handler saw our error");
    assert!(!is_lost(&host.device));
    kernels.kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap();
    kernels.balancer(&large).unwrap();
}

/// Takes all memory that wgpu has taken from the driver already, while the driver gives no more.
fn fill(device: &wgpu::Device) -> Vec<wgpu::Buffer> {
    let mut taken = Vec::new();
    for size in [1 << 24, 1 << 20, 1 << 16, 1 << 12, 256, 16, 4] {
        loop {
            let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            if pollster::block_on(scope.pop()).is_some() {
                break;
            }
            taken.push(buffer);
        }
    }
    taken
}

/// Batches are taken apart until their chunks fit; if none does, that is an error and the context lives.
fn out_of_memory_means_smaller_chunks() {
    // 307 MB of losses of long windows, few of whose points count.
    let config = Config::original().with_order(1);
    let plan = Plan::new(config, Shape::new(100_000, 3, 256).unwrap()).unwrap();
    let losses = losses(plan.shape().losses_len(), 0);
    let expected = fused(&context(), &plan, &losses).unwrap();
    let context = context();
    // As large as a binding may be, three at a time: more than the driver has.
    let unbounded = context.clone().with_chunk_bytes(u64::MAX);
    faults("oom_budget 450000000");
    assert_eq!(fused(&unbounded, &plan, &losses).unwrap(), expected);
    assert!(made("oom_budget") > 0);
    assert_eq!(fused(&unbounded, &plan, &losses).unwrap(), expected, "once more");
    // Nothing fits.
    let few = self::plan(100);
    let few_losses = &losses[..few.shape().losses_len()];
    let fresh = self::context();
    faults("oom_budget 1");
    for context in [&fresh, &context] {
        let filler = fill(context.device());
        let error = fused(context, &few, few_losses).unwrap_err();
        assert!(matches!(error, HostError::Device(DeviceError::OutOfMemory { .. })), "{error}");
        let error = staged(context, &few, few_losses).unwrap_err();
        assert!(matches!(error, HostError::Device(DeviceError::OutOfMemory { .. })), "{error}");
        let error = context.balancer(&balancer_plan(10)).unwrap_err();
        assert!(matches!(error, HostError::Device(DeviceError::OutOfMemory { .. })), "{error}");
        drop(filler);
    }
    faults("");
    assert_eq!(staged(&fresh, &few, few_losses).unwrap(), staged(&context, &few, few_losses).unwrap());
}

/// Calls that find no memory for what they send are errors, change nothing, and can be made again.
fn a_failed_push_changes_nothing() {
    let context = context();
    let plan = balancer_plan(1000);
    let step = |i: usize| losses(plan.losses_len(), 1000 * i);
    let [whole, broken] = [(); 2].map(|()| context.balancer(&plan).unwrap());
    for i in 0..4 {
        whole.push(&step(i)).unwrap();
        let stored = broken.state().unwrap();
        assert_eq!(stored.pushes(17), Some(i as u32));
        faults("oom_above 1");
        let filler = fill(context.device());
        let errors = [
            broken.push(&step(i)).unwrap_err(),
            broken.reset(&[3]).unwrap_err(),
            broken.copy(&[(3, 4)]).unwrap_err(),
            broken.weights().unwrap_err(),
            broken.state().unwrap_err(),
            broken.load(&stored).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, HostError::Device(DeviceError::OutOfMemory { .. })), "{error}");
        }
        faults("");
        drop(filler);
        assert_same_state(&broken.state().unwrap(), &stored);
        broken.push(&step(i)).unwrap();
        assert_eq!(broken.weights().unwrap(), whole.weights().unwrap());
    }
    assert_same_state(&broken.state().unwrap(), &whole.state().unwrap());
}

fn no_memory_for_a_pipeline() {
    let context = context();
    let plan = plan(10);
    let losses = losses(150, 0);
    faults("oom_pipeline 1");
    let error = fused(&context, &plan, &losses).unwrap_err();
    assert!(matches!(error, HostError::Device(DeviceError::OutOfMemory { .. } | DeviceError::Lost)), "{error}");
    assert_eq!(made("oom_pipeline"), 1);
    faults("");
    // wgpu gives the device up.
    let again = fused(&context, &plan, &losses);
    assert!(again.is_ok() || again == Err(LOST), "{again:?}");
    assert!(fused(&self::context(), &plan, &losses).is_ok());
}

fn no_device() {
    let name = context().adapter().name.clone();
    faults("no_device 1");
    let error = Context::new(&AdapterChoice::Named(name.clone())).unwrap_err();
    assert!(matches!(&error, HostError::NoDevice { adapter, .. } if *adapter == name), "{error}");
    assert!(made("no_device") > 0);
    faults("");
    assert!(Context::new(&AdapterChoice::Named(name)).is_ok());
}

const SKIPPED: HostError = HostError::Device(DeviceError::Skipped);

/// Weighs a batch, and another one while `fault` is there, whose results must not be taken for the first one's.
fn skipped(fault: &str) {
    let context = context();
    let plan = plan(1000);
    let [first, second] = [0, 17].map(|seed| losses(plan.shape().losses_len(), seed));
    for chunk_bytes in [u64::MAX, 10_000] {
        let context = context.clone().with_chunk_bytes(chunk_bytes);
        let before = staged(&context, &plan, &first).unwrap();
        faults(&format!("{fault} 1"));
        assert_eq!(fused(&context, &plan, &second).unwrap_err(), SKIPPED);
        assert_eq!(staged(&context, &plan, &second).unwrap_err(), SKIPPED);
        assert!(made(fault) > 0);
        faults("");
        assert_eq!(staged(&context, &plan, &first).unwrap(), before);
        assert_eq!(fused(&context, &plan, &first).unwrap(), before.weights);
    }
}

fn skipped_submits_are_seen() {
    skipped("skip_submit");
}

fn skipped_dispatches_are_seen() {
    skipped("skip_dispatch");
}

/// A guest that fills the status words before a dispatch sees which groups have no results.
fn guests_see_skipped_dispatches() {
    let host = Host::new();
    let plan = plan(100);
    let options = KernelOptions { status: true, ..KernelOptions::default() };
    let kernel = Kernels::new(&host.device).kernel(&plan, Stage::Fused, options).unwrap();
    let [losses, weights, status] = [6000, 1200, 400].map(|bytes| host.buffer(bytes));
    let bound = kernel
        .bind(&Bindings {
            losses: Some(losses.as_entire_buffer_binding()),
            weights: Some(weights.as_entire_buffer_binding()),
            status: Some(status.as_entire_buffer_binding()),
            ..Bindings::default()
        })
        .unwrap();
    host.queue.write_buffer(&losses, 0, bytemuck::cast_slice(&self::losses(1500, 0)));
    for fault in ["", "skip_dispatch 1"] {
        faults(fault);
        host.queue.write_buffer(&status, 0, bytemuck::cast_slice(&[u32::MAX; 100]));
        let mut encoder = host.device.create_command_encoder(&Default::default());
        bound.record_pass(&mut encoder, None);
        host.queue.submit([encoder.finish()]);
        let unwritten = host.words(&status).iter().filter(|&&word| word == u32::MAX).count();
        assert_eq!(unwritten, if fault.is_empty() { 0 } else { 100 });
    }
    assert_eq!(made("skip_dispatch"), 1);
}

/// A push does not wait, so it cannot know; the state counts what has arrived, can be read and stepped again.
fn skipped_pushes_are_counted() {
    for fault in ["skip_submit", "skip_dispatch"] {
        let context = context();
        let plan = balancer_plan(50);
        let step = |i: usize| losses(plan.losses_len(), 1000 * i);
        let [whole, broken] = [(); 2].map(|()| context.balancer(&plan).unwrap());
        for i in 0..6 {
            whole.push(&step(i)).unwrap();
            if i == 3 {
                // What went before has to be done before the driver begins to fail.
                assert_eq!(broken.state().unwrap().pushes(0), Some(3));
                faults(&format!("{fault} 1"));
                broken.push(&step(i)).unwrap();
                if fault == "skip_submit" {
                    assert_eq!(broken.weights().unwrap_err(), SKIPPED);
                }
                faults("");
                let state = broken.state().unwrap();
                assert!((0..50).all(|group| state.pushes(group) == Some(3)), "the push was skipped");
            }
            broken.push(&step(i)).unwrap();
        }
        assert_same_state(&broken.state().unwrap(), &whole.state().unwrap());
    }
}

fn waits_end() {
    let context = context();
    let plan = plan(1000);
    let losses = losses(plan.shape().losses_len(), 0);
    faults("time_out 1");
    let error = fused(&context, &plan, &losses).unwrap_err();
    assert!(matches!(error, HostError::Device(DeviceError::TimedOut { .. })), "{error}");
    faults("");
    assert!(fused(&context, &plan, &losses).is_ok());
}
