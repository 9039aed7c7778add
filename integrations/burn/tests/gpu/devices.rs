//! Devices that Burn made, that the host made, and that nobody has told us about.

use crate::common::{Track, losses, tensor, values};
use burn::tensor::wgpu::WgpuSetup;
use burn::tensor::{Device, DeviceKind, Tensor};
use softadapt::{BalancerConfig, Config, wgpu};
use softadapt_burn::{
    DeviceError, LossBalancer, StepError, burn_device, device_descriptor, register_device, shared_device,
};

const SHAPE: [usize; 2] = [7, 3];

fn instance_and_adapter() -> (wgpu::Instance, wgpu::Adapter) {
    let setup = &crate::burn_made().1;
    // The adapter that Burn chose, so that all devices of these tests are of one kind.
    (setup.instance.clone(), setup.adapter.clone())
}

fn assert_works(device: &Device, on_gpu: bool) {
    let config = Config::loss_weighted().with_beta(3.0);
    let mut balancer =
        LossBalancer::population(BalancerConfig::new(config.clone()), SHAPE[0], SHAPE[1], 5, device).unwrap();
    assert_eq!(balancer.is_on_gpu(), on_gpu);
    let mut track = Track::new(config, SHAPE[0], SHAPE[1], 5);
    for step in 0..8 {
        let losses = losses(SHAPE[0], SHAPE[1], step);
        // Through a strided copy, which fails on devices that lack what only the adapter has.
        let turned = tensor(&losses, SHAPE, device).transpose().clone() * 1.0;
        let weights = balancer.step(turned.transpose()).unwrap();
        track.push(&losses);
        track.assert_weights(&values(weights), &format!("{device:?}, step {step}"));
    }
}

pub(crate) fn that_burn_made_work() {
    assert_works(&crate::device(), true);
    // Its selector stands for the same device wherever it is written down.
    assert_works(&Device::wgpu(DeviceKind::DefaultDevice), true);
    assert_works(&crate::device().autodiff(), true);
}

pub(crate) fn that_the_host_made_work_beside_its_own_kernels() {
    let (instance, adapter) = instance_and_adapter();
    let (device, setup) = shared_device(instance, adapter).unwrap();
    assert_ne!(device, crate::device());
    assert_works(&device, true);
    let squares = run_host_kernel(&setup);
    assert_eq!(squares, (0..64).map(|i| i * i).collect::<Vec<u32>>());
    assert_works(&device, true);
}

pub(crate) fn that_the_program_registers_work() {
    let (instance, adapter) = instance_and_adapter();
    let (device, queue) = pollster::block_on(adapter.request_device(&device_descriptor(&adapter))).unwrap();
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    let device = Device::wgpu_options().setup(setup.clone()).init().unwrap();
    register_device(&device, &setup).unwrap();
    assert_works(&device, true);
}

pub(crate) fn that_are_unknown_fall_back() {
    let (instance, adapter) = instance_and_adapter();
    let (device, queue) = pollster::block_on(adapter.request_device(&device_descriptor(&adapter))).unwrap();
    let backend = adapter.get_info().backend;
    let device = Device::wgpu_options().setup(WgpuSetup { instance, adapter, device, queue, backend }).init().unwrap();
    assert_works(&device, false);
}

pub(crate) fn of_another_backend_cannot_be_registered() {
    let setup = &crate::burn_made().1;
    assert!(matches!(register_device(&Device::flex(), setup), Err(DeviceError::NotWgpu { .. })));
    // The default device is there already.
    assert!(matches!(burn_device(Device::wgpu_options()), Err(DeviceError::Burn { .. })));
}

/// Handles of one device registered for another: nothing can work, and nothing may panic or pass for weights.
pub(crate) fn with_a_wrong_setup_are_an_error() {
    let (instance, adapter) = instance_and_adapter();
    let (device, _) = shared_device(instance, adapter).unwrap();
    register_device(&device, &crate::burn_made().1).unwrap();
    let mut balancer = LossBalancer::new(BalancerConfig::new(Config::original()), 3, 5, &device).unwrap();
    let losses: Tensor<1> = tensor(&[1.0, 2.0, 3.0], [3], &device);
    let first = balancer.step(losses.clone());
    assert!(first.is_err() || values(first.unwrap()).iter().all(|weight| weight.is_nan()));
    assert!(matches!(balancer.step(losses), Err(StepError::Failed { .. })));
    // The device that the handles belong to has not noticed.
    assert_works(&crate::device(), true);
}

pub(crate) fn are_not_mixed() {
    let (instance, adapter) = instance_and_adapter();
    let (other, _) = shared_device(instance, adapter).unwrap();
    let mut balancer = LossBalancer::new(BalancerConfig::new(Config::original()), 3, 5, &crate::device()).unwrap();
    let refused = balancer.step(tensor(&[1.0, 2.0, 3.0], [3], &other));
    assert!(matches!(refused, Err(StepError::Device { .. })));
    balancer.step(tensor(&[1.0, 2.0, 3.0], [3], &crate::device())).unwrap();
}

/// A shader of the host's own, on its own buffers, on the shared queue.
fn run_host_kernel(setup: &WgpuSetup) -> Vec<u32> {
    const SQUARES: &str = "
        @group(0) @binding(0) var<storage, read_write> squares: array<u32>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) { squares[id.x] = id.x * id.x; }";
    let WgpuSetup { device, queue, .. } = setup;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(SQUARES.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let buffer = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false })
    };
    let squares = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let readable = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: squares.as_entire_binding() }],
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&squares, 0, &readable, 0, 256);
    queue.submit([encoder.finish()]);
    readable.slice(..).map_async(wgpu::MapMode::Read, |result| result.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let view = readable.slice(..).get_mapped_range().unwrap();
    view.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
}
