//! A small trainer with kernels of its own, and the balancer in its loop, all on one device.
//!
//! 256 models learn at once. Each fits the cubic `y = a x^3 + b x^2 + c x + d` to noisy samples of its own curve by gradient
//! descent, with three losses: the error on the samples, the error at the ends of the interval (given without noise), and the
//! size of the coefficients. The trainer's kernel computes losses and gradients, our step turns this step's losses into
//! weights, the trainer's second kernel descends along the weighted gradients. All that is recorded into the trainer's own
//! encoder; between the first step and the last the host neither reads nor waits, and the trainer counts that.
//!
//! `cargo run --release --example training_loop`
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use softadapt::gpu::{Kernels, Requirements};
use softadapt::{BalancerConfig, BalancerPlan, Config, Normalize, Scale, Shape, Slope, Smoothing, wgpu};
use std::error::Error;
use wgpu::BufferUsages;

const MODELS: usize = 256;
const STEPS: usize = 2000;
/// Steps in one command buffer: our step is recorded as often as the trainer likes.
const STEPS_PER_SUBMIT: usize = 50;

/// The trainer. One invocation a model; losses are `[model][component]`, gradients `[model][component][coefficient]`.
const TRAINER: &str = "
const SAMPLES: u32 = 32u;

@group(0) @binding(0) var<storage, read_write> coefficients: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> losses: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradients: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;

// The curve that a model is to find.
fn truth(model: u32) -> vec4<f32> {
    let m = f32(model);
    return vec4<f32>(sin(m), cos(2.0 * m), sin(3.0 * m + 1.0), 0.5 * cos(m));
}

fn noise(i: u32) -> f32 {
    var h = i * 747796405u + 2891336453u;
    h = ((h >> ((h >> 28u) + 4u)) ^ h) * 277803737u;
    return f32((h >> 22u) ^ h) / 4294967296.0 - 0.5;
}

fn powers(x: f32) -> vec4<f32> {
    return vec4<f32>(x * x * x, x * x, x, 1.0);
}

@compute @workgroup_size(64)
fn differentiate(@builtin(global_invocation_id) id: vec3<u32>) {
    let model = id.x;
    if model >= arrayLength(&coefficients) {
        return;
    }
    let own = coefficients[model];
    var loss = vec3<f32>(0.0);
    var fit = vec4<f32>(0.0);
    for (var i = 0u; i < SAMPLES; i += 1u) {
        let basis = powers(f32(i) / 16.0 - 1.0);
        let error = dot(own - truth(model), basis) - 0.4 * noise(model * SAMPLES + i);
        loss.x += error * error / f32(SAMPLES);
        fit += 2.0 * error * basis / f32(SAMPLES);
    }
    var ends = vec4<f32>(0.0);
    for (var i = 0u; i < 2u; i += 1u) {
        let basis = powers(f32(i) * 2.0 - 1.0);
        let error = dot(own - truth(model), basis);
        loss.y += 0.5 * error * error;
        ends += error * basis;
    }
    loss.z = dot(own, own);
    for (var component = 0u; component < 3u; component += 1u) {
        losses[3u * model + component] = loss[component];
    }
    gradients[3u * model] = fit;
    gradients[3u * model + 1u] = ends;
    gradients[3u * model + 2u] = 2.0 * own;
}

@compute @workgroup_size(64)
fn descend(@builtin(global_invocation_id) id: vec3<u32>) {
    let model = id.x;
    if model >= arrayLength(&coefficients) {
        return;
    }
    var gradient = vec4<f32>(0.0);
    for (var component = 0u; component < 3u; component += 1u) {
        gradient += weights[3u * model + component] * gradients[3u * model + component];
    }
    coefficients[model] -= 0.02 * gradient;
}
";

fn main() -> Result<(), Box<dyn Error>> {
    // Scores without units from the whole window, three weights that add up to 3, smoothed; the size of the coefficients counts
    // for little whatever it does.
    let config = Config::original()
        .with_slope(Slope::LeastSquares)
        .with_normalize(Normalize::L1)
        .with_beta(2.0)
        .with_prior([1.0, 1.0, 1e-3])
        .with_scale(Scale::Components);
    let config =
        BalancerConfig::new(config).with_smoothing(Smoothing::Exponential { keep: 0.9 }).with_log(5).with_every(10);
    let plan = BalancerPlan::new(config, Shape::new(MODELS, 3, 10)?)?;

    // The program's own device, with what both need.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let needs = Requirements::balancer(&plan)?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: needs.features() | (adapter.features() & Requirements::wanted_features()),
        required_limits: needs.limits(),
        ..Default::default()
    }))?;
    println!("{MODELS} models, {STEPS} steps on {}", adapter.get_info().name);

    let buffer = |label: &'static str, words: usize| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: 4 * words as u64,
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    };
    let coefficients = buffer("coefficients", 4 * MODELS);
    let losses = buffer("losses", 3 * MODELS);
    let gradients = buffer("gradients", 3 * 4 * MODELS);

    // Ours: checked and bound once.
    let balancer = Kernels::new(&device).balancer(&plan)?;
    let balance = balancer.step(losses.as_entire_buffer_binding())?;

    // The trainer's.
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("trainer"),
        source: wgpu::ShaderSource::Wgsl(TRAINER.into()),
    });
    let kernel = |entry_point: &str, buffers: &[(u32, &wgpu::Buffer)]| {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: None,
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: Default::default(),
            cache: None,
        });
        let entries: Vec<_> = buffers
            .iter()
            .map(|&(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(entry_point),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        (pipeline, group)
    };
    let differentiate = kernel("differentiate", &[(0, &coefficients), (1, &losses), (2, &gradients)]);
    let descend = kernel("descend", &[(0, &coefficients), (2, &gradients), (3, balancer.weights())]);
    let dispatch = |pass: &mut wgpu::ComputePass<'_>, (pipeline, group): &(wgpu::ComputePipeline, wgpu::BindGroup)| {
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, group, &[]);
        pass.dispatch_workgroups(MODELS.div_ceil(64) as u32, 1, 1);
    };

    // The host's only ways to wait for the device go through here.
    let mut reader = Reader { device: &device, queue: &queue, synchronisations: 0 };
    let before = reader.synchronisations;
    for step in (0..STEPS).step_by(STEPS_PER_SUBMIT) {
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for _ in step..STEPS.min(step + STEPS_PER_SUBMIT) {
            dispatch(&mut pass, &differentiate);
            balance.record(&mut pass);
            dispatch(&mut pass, &descend);
        }
        drop(pass);
        queue.submit([encoder.finish()]);
    }
    println!("host synchronisations in the loop: {}", none_or(reader.synchronisations - before));

    // After the loop, results may be read.
    let losses = reader.read(&losses)?;
    for (component, name) in ["fit", "ends", "size"].into_iter().enumerate() {
        let mean =
            losses.iter().skip(component).step_by(3).map(|word| f32::from_bits(*word)).sum::<f32>() / MODELS as f32;
        println!("mean loss {name:5} {mean:.5}");
    }
    let log = balancer.log().ok_or("the configuration asks for a log")?;
    let log = plan.read_log(bytemuck::cast_slice(&reader.read(log)?))?;
    println!("the last updates of model 0:");
    for entry in log.entries(0) {
        let weights: Vec<String> = entry.weights.iter().map(|weight| format!("{weight:.4}")).collect();
        println!("  step {:5}  {}  {}", entry.step, weights.join("  "), entry.status);
    }
    println!("host synchronisations after the loop: {}", none_or(reader.synchronisations));
    Ok(())
}

fn none_or(count: usize) -> String {
    if count == 0 { "none".to_owned() } else { count.to_string() }
}

/// Waits for the device, and counts how often.
struct Reader<'a> {
    device: &'a wgpu::Device,
    queue: &'a wgpu::Queue,
    synchronisations: usize,
}

impl Reader<'_> {
    /// The words of a buffer.
    fn read(&mut self, source: &wgpu::Buffer) -> Result<Vec<u32>, Box<dyn Error>> {
        self.synchronisations += 1;
        let target = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: source.size(),
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(source, 0, &target, 0, source.size());
        self.queue.submit([encoder.finish()]);
        target.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        let words = bytemuck::pod_collect_to_vec(&target.slice(..).get_mapped_range()?);
        Ok(words)
    }
}
