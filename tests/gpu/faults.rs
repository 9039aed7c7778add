//! Devices that are lost, wrong, or out of memory; hosts whose handlers must stay in place.

use crate::common::problem::POISON;
use crate::context;
use crate::embedding::{buffer, new_device, poisoned_buffer, read, submit};
use softadapt::gpu::{BindError, Bindings, DeviceError, KernelError, KernelOptions, Kernels, Stage, is_lost};
use softadapt::host::{AdapterChoice, Context, HostError};
use softadapt::{Batch, BatchError, Config, Outputs, Plan, Shape};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn plan(groups: usize) -> Plan {
    Plan::new(Config::original(), Shape::new(groups, 3, 5).unwrap()).unwrap()
}

fn losses(plan: &Plan) -> Vec<f32> {
    (0..plan.shape().losses_len()).map(|i| ((i * 31) % 17) as f32).collect()
}

pub(crate) fn host_handlers_and_scopes_see_nothing_of_ours() {
    let (device, _queue) = new_device(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults());
    let (other, _) = new_device(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults());
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    device.on_uncaptured_error(Arc::new(move |_error: wgpu::Error| {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let kernels = Kernels::new(&device);
    let kernel = kernels.kernel(&plan(4), Stage::Fused, KernelOptions::default()).unwrap();
    // Goes wrong inside of wgpu: a buffer of another device.
    let (foreign, own) = (poisoned_buffer(&other, 4096), poisoned_buffer(&device, 4096));
    let error = kernel.bind(&Bindings {
        losses: Some(foreign.as_entire_buffer_binding()),
        weights: Some(own.as_entire_buffer_binding()),
        ..Bindings::default()
    });
    assert!(matches!(error.unwrap_err(), BindError::Kernel(KernelError::Device(DeviceError::Validation { .. }))));
    assert!(pollster::block_on(scope.pop()).is_none(), "the host's scope saw our error");
    assert_eq!(seen.load(Ordering::SeqCst), 0, "the host's handler saw our error");
    // The host's handler is still the one that is called.
    let _refused = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

pub(crate) fn a_lost_device_is_an_error_and_a_new_context_works() {
    let choice = AdapterChoice::Named(context().adapter().name.clone());
    let doomed = Context::new(&choice).unwrap();
    let plan = plan(100);
    let losses = losses(&plan);
    let before = doomed.weigh(&plan, &Batch::new(&losses)).unwrap();
    assert!(!is_lost(doomed.device()));
    doomed.device().destroy();
    assert!(is_lost(doomed.device()));
    for _ in 0..2 {
        let error = doomed.weigh(&plan, &Batch::new(&losses)).unwrap_err();
        assert_eq!(error, HostError::Device(DeviceError::Lost));
    }
    let error = doomed.kernels().kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap_err();
    assert_eq!(error, KernelError::Device(DeviceError::Lost));
    let fresh = Context::new(&choice).unwrap();
    assert_eq!(fresh.weigh(&plan, &Batch::new(&losses)).unwrap(), before);
}

pub(crate) fn buffers_of_another_device_are_refused() {
    let [(device, queue), (other, _)] =
        [(); 2].map(|()| new_device(wgpu::Features::empty(), wgpu::Limits::downlevel_defaults()));
    let plan = plan(4);
    let kernel = Kernels::new(&device).kernel(&plan, Stage::Fused, KernelOptions::default()).unwrap();
    let (own, foreign) = (poisoned_buffer(&device, 4096), poisoned_buffer(&other, 4096));
    let bind = |losses: &wgpu::Buffer, weights: &wgpu::Buffer| {
        kernel.bind(&Bindings {
            losses: Some(losses.as_entire_buffer_binding()),
            weights: Some(weights.as_entire_buffer_binding()),
            ..Bindings::default()
        })
    };
    assert!(bind(&own, &foreign).is_err());
    let destroyed = buffer(&device, &[0; 4096], 0);
    destroyed.destroy();
    assert!(bind(&destroyed, &own).is_err(), "a destroyed buffer");
    let bound = bind(&poisoned_buffer(&device, 4096), &own).unwrap();
    submit(&device, &queue, |pass| bound.record(pass));
    assert!(read(&device, &queue, &own)[..12].iter().all(|&w| w == 1.0 / 3.0), "the kernel lives");
}

pub(crate) fn wrong_slices_are_refused() {
    let plan = plan(4);
    let losses = losses(&plan);
    let mut weights = vec![POISON; 12];
    let error = context().weigh_into(&plan, &Batch::new(&losses[1..]), &mut Outputs::new(&mut weights)).unwrap_err();
    assert_eq!(error, HostError::Batch(BatchError::Length { what: "losses", length: 59, needed: 60 }));
    assert_eq!(weights, [POISON; 12]);
    let error = context().weigh_into(&plan, &Batch::new(&losses), &mut Outputs::new(&mut weights[1..])).unwrap_err();
    assert_eq!(error, HostError::Batch(BatchError::Length { what: "weights", length: 11, needed: 12 }));
}

pub(crate) fn adapters_that_do_not_exist_are_named() {
    let error = Context::new(&AdapterChoice::Named("no such adapter".to_owned())).unwrap_err();
    let HostError::NoAdapter { wanted, available } = &error else { panic!("{error}") };
    assert!(wanted.contains("no such adapter"));
    assert!(available.contains(&context().adapter().name), "{available:?}");
}

/// A batch larger than one binding of the device is split, whatever chunk size was asked for; a single group may be as
/// large as a binding.
pub(crate) fn batches_beyond_one_binding_are_split() {
    let thousand = plan(1000);
    let losses = losses(&thousand);
    let before = context().weigh(&thousand, &Batch::new(&losses)).unwrap();
    let binding = context().device().limits().max_storage_buffer_binding_size;
    // 140 MB on lavapipe; on devices that bind more it would not fit the test's memory.
    if binding <= 128 << 20 {
        let large = Plan::new(Config::original(), Shape::new(2_400_000, 3, 5).unwrap()).unwrap();
        let many: Vec<f32> = losses.iter().copied().cycle().take(large.shape().losses_len()).collect();
        let mut weights = vec![POISON; large.shape().weights_len()];
        let unbounded = context().clone().with_chunk_bytes(u64::MAX);
        unbounded.weigh_into(&large, &Batch::new(&many), &mut Outputs::new(&mut weights)).unwrap();
        for (i, chunk) in weights.chunks(3000).enumerate() {
            assert_eq!(chunk, before.weights, "thousand {i}");
        }
    }
    let wide = Plan::new(Config::original().with_order(2), Shape::new(1, 4096, 4096).unwrap()).unwrap();
    let zeros = vec![0.0; wide.shape().losses_len()];
    let answer = context().weigh(&wide, &Batch::new(&zeros)).unwrap();
    assert!(answer.weights.iter().all(|&w| (w - 1.0 / 4096.0).abs() < 1e-9));
}

pub(crate) fn two_threads_share_a_context() {
    let plans = [plan(500), plan(501)];
    let alone: Vec<_> = plans.iter().map(|p| context().weigh(p, &Batch::new(&losses(p))).unwrap()).collect();
    std::thread::scope(|scope| {
        for (plan, alone) in plans.iter().zip(&alone) {
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(context().weigh(plan, &Batch::new(&losses(plan))).unwrap(), *alone);
                }
            });
        }
    });
}
