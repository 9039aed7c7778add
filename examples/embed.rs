//! The kernels inside a GPU program that has a device, a queue and buffers of its own.
//!
//! The program computes losses with a shader of its own, records our kernel behind it in the same pass, and only then
//! submits: the losses never leave the device, and the library neither submits nor waits.
//!
//! `cargo run --release --example embed`
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use softadapt::gpu::{Bindings, KernelOptions, Kernels, Requirements, Stage};
use softadapt::{Config, Plan, Shape, wgpu};

/// Stands for a trainer: writes losses `[group][component][time]` that fall at a rate of their own.
const TRAINER: &str = "
@group(0) @binding(0) var<storage, read_write> losses: array<f32>;

@compute @workgroup_size(64)
fn train(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&losses) {
        let row = id.x / 5u;
        let epoch = f32(id.x % 5u);
        losses[id.x] = exp(-0.1 * epoch * f32(1u + row % 3u)) * f32(1u + row % 7u);
    }
}
";

const GROUPS: usize = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What we want, checked before there is a device.
    let plan = Plan::new(Config::original().with_beta(5.0), Shape::new(GROUPS, 3, 5)?)?;
    let needs = Requirements::new(&plan, Stage::Fused, KernelOptions::default())?;

    // The program's own device.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: needs.features() | (adapter.features() & Requirements::wanted_features()),
        required_limits: needs.limits(),
        ..Default::default()
    }))?;

    // Its buffers, as large as the kernel says.
    let kernel = Kernels::new(&device).kernel(&plan, Stage::Fused, KernelOptions::default())?;
    let buffers: Vec<wgpu::Buffer> = kernel
        .buffers()
        .iter()
        .map(|needed| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(needed.slot.name()),
                size: needed.bytes,
                usage: needed.usage | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        })
        .collect();
    let [losses, weights] = &buffers[..] else { return Err("the fused kernel takes losses and weights".into()) };
    let softadapt = kernel.bind(&Bindings {
        losses: Some(losses.as_entire_buffer_binding()),
        weights: Some(weights.as_entire_buffer_binding()),
        ..Bindings::default()
    })?;

    // Its own kernel.
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("trainer"),
        source: wgpu::ShaderSource::Wgsl(TRAINER.into()),
    });
    let trainer = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("trainer"),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let trainer_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("trainer"),
        layout: &trainer.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: losses.as_entire_binding() }],
    });

    // One pass: train, then weigh. Dispatches of a pass see each other's results.
    let read_back = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("read back"),
        size: weights.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&trainer);
        pass.set_bind_group(0, &trainer_group, &[]);
        pass.dispatch_workgroups((GROUPS as u32 * 15).div_ceil(64), 1, 1);
        softadapt.record(&mut pass);
    }
    encoder.copy_buffer_to_buffer(weights, 0, &read_back, 0, weights.size());
    queue.submit([encoder.finish()]);

    // Only to show them.
    read_back.slice(..).map_async(wgpu::MapMode::Read, |_| {});
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let view = read_back.slice(..).get_mapped_range()?;
    let weights: Vec<f32> = bytemuck::pod_collect_to_vec(&view);
    println!("{}: {}", adapter.get_info().name, kernel.tuning());
    for (group, row) in weights.chunks(3).take(4).enumerate() {
        println!("group {group}: {row:?}");
    }
    Ok(())
}
