//! What a step of the balancer costs in a training loop, answers checked first: on the device's clock and on the CPU's, beside a
//! dispatch that does nothing and beside what users do without it (read the losses back, compute on the CPU, upload the
//! weights). `benches/README.md` says how to read the numbers.
//!
//! `cargo bench --bench balancer`, with a part of a shape's name behind `--` for some shapes alone. The environment variable
//! `SOFTADAPT_BENCH_ADAPTER` names an adapter other than the fastest kind there is.
#![expect(clippy::print_stdout, reason = "printed numbers are the result of a benchmark")]

use softadapt::gpu::BoundKernel;
use softadapt::host::{AdapterChoice, Context};
use softadapt::{BalancerConfig, BalancerPlan, Batch, Config, Plan, Shape, cpu, gpu, reference};
use std::error::Error;
use std::time::{Duration, Instant};
use wgpu::BufferUsages;

/// Every number of groups with every number of components and every window.
const GROUPS: [usize; 4] = [1, 1000, 100_000, 1_000_000];
const COMPONENTS: [usize; 2] = [3, 16];
const WINDOWS: [usize; 2] = [5, 32];
/// As `benches/weigh.rs` has it, for the same reason.
const ORDER: u32 = 4;
/// Groups whose weights are checked.
const CHECKED: usize = 200;
/// Runs of each measurement: at most so many, fewer where they take longer than this together, but three.
const RUNS: usize = 200;
const ENOUGH: Duration = Duration::from_millis(1500);
/// Dispatches of one recording that is timed.
const RECORDED: usize = 500;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes `--bench` from `cargo bench` alone; under `cargo test` the smallest shape shows that it works.
    let timed = arguments.iter().any(|argument| argument == "--bench");
    let filter = arguments.iter().find(|argument| !argument.starts_with("--"));
    let choice = std::env::var("SOFTADAPT_BENCH_ADAPTER").map_or(AdapterChoice::Any, AdapterChoice::Named);
    let context = match Context::new(&choice) {
        Ok(context) if context.adapter().timestamps => context,
        Ok(context) => return skip(&format!("{} cannot measure time", context.adapter())),
        Err(error) => return skip(&error.to_string()),
    };
    println!("{}\n", context.adapter());
    println!(
        "| groups x components x window | dispatches | step, device | nothing, device | step, recording | nothing, recording | step, whole | nothing, whole | read back, compute, upload | that / step | CPU twin |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for window in WINDOWS {
        for components in COMPONENTS {
            for groups in GROUPS {
                let name = format!("{groups}x{components}x{window}");
                let wanted = filter.is_none_or(|filter| name.contains(filter.as_str()));
                if wanted && (timed || groups == 1) {
                    let row = measure(&context, groups, components, window, timed)?;
                    println!("| {name} | {} |", row.join(" | "));
                }
            }
        }
    }
    Ok(())
}

fn skip(reason: &str) -> Result<(), Box<dyn Error>> {
    println!("not measured: {reason}");
    Ok(())
}

/// Losses of one step, row-major, every one different.
fn losses(groups: usize, components: usize, step: usize) -> Vec<f32> {
    let rows = groups * components;
    (0..rows)
        .map(|row| {
            // Spread evenly over 0..1 by the golden ratio.
            let unit = |i: usize| (i as f64 * 0.618_033_988_749_894_9).fract();
            (0.1 * 1000f64.powf(unit(row))
                * (0.9 + 0.1 * unit(7 * row)).powi(step as i32)
                * (0.98 + 0.04 * unit(row + 31 * step))) as f32
        })
        .collect()
}

/// A part of the groups that fits one binding of the adapter, with its balancer.
struct Part {
    balancer: gpu::Balancer,
    losses: wgpu::Buffer,
    step: BoundKernel,
}

fn measure(
    context: &Context,
    groups: usize,
    components: usize,
    window: usize,
    timed: bool,
) -> Result<Vec<String>, Box<dyn Error>> {
    let (device, queue) = (context.device(), context.queue());
    let config = BalancerConfig::new(Config::original().with_order(ORDER));
    let plan_of = |groups: usize| -> Result<BalancerPlan, Box<dyn Error>> {
        Ok(BalancerPlan::new(config.clone(), Shape::new(groups, components, window)?)?)
    };
    // Two words of counters and the window's losses a group.
    let most = (context.adapter().max_binding_bytes as usize / 4 / (2 + components * window)).min(groups);
    let parts = (0..groups)
        .step_by(most)
        .map(|first| {
            let balancer = context.kernels().balancer(&plan_of(most.min(groups - first))?)?;
            let losses = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4 * balancer.plan().losses_len() as u64,
                usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let step = balancer.step(losses.as_entire_buffer_binding())?;
            Ok(Part { balancer, losses, step })
        })
        .collect::<Result<Vec<Part>, Box<dyn Error>>>()?;

    // The twin gets the same steps.
    let whole = plan_of(groups)?;
    let mut twin = cpu::Balancer::new(&whole);
    let mut steps = Vec::new();
    for step in 0..window + 2 {
        let losses = losses(groups, components, step);
        upload(queue, &parts, &losses);
        submit(device, queue, |pass| parts.iter().for_each(|part| part.step.record(pass)));
        twin.push(&losses)?;
        steps.push(losses);
    }
    check(&parts, context, &twin, groups, components, window, &steps)?;

    let nothing = Nothing::new(device);
    let record_steps = |pass: &mut wgpu::ComputePass<'_>| parts.iter().for_each(|part| part.step.record(pass));
    let record_nothing = |pass: &mut wgpu::ComputePass<'_>| nothing.record(pass);
    let clock = DeviceClock::new(device, queue);
    let runs = if timed { RUNS } else { 3 };
    let newest = &steps[steps.len() - 1];
    let staging = Staging::new(device, &parts);

    // In turns, so that whatever else the machine does falls on all alike.
    let mut times: [Vec<f64>; 6] = Default::default();
    let start = Instant::now();
    for run in 0..runs {
        if run >= 3 && start.elapsed() > 5 * ENOUGH {
            break;
        }
        times[0].push(clock.time(record_steps)?);
        times[1].push(clock.time(record_nothing)?);
        times[2].push(wall(|| {
            submit(device, queue, record_steps);
            wait(device)
        })?);
        times[3].push(wall(|| {
            submit(device, queue, record_nothing);
            wait(device)
        })?);
        times[4].push(wall(|| {
            let losses = staging.read(device, queue, &parts)?;
            twin.push(&losses)?;
            let mut rest = twin.weights();
            for part in &parts {
                let (own, others) = rest.split_at(part.balancer.plan().losses_len());
                queue.write_buffer(part.balancer.weights(), 0, bytemuck::cast_slice(own));
                rest = others;
            }
            queue.submit([]);
            wait(device)
        })?);
        times[5].push(wall(|| Ok(twin.push(newest)?))?);
    }
    let recording = [recording(device, &record_steps), recording(device, &record_nothing)];
    let [step, idle, step_whole, idle_whole, by_hand, on_cpu] = times.map(median);
    let micros = |seconds: f64| format!("{:.1} us", seconds * 1e6);
    Ok(vec![
        parts.len().to_string(),
        micros(step),
        micros(idle),
        format!("{:.2} us", recording[0] * 1e6),
        format!("{:.2} us", recording[1] * 1e6),
        micros(step_whole),
        micros(idle_whole),
        micros(by_hand),
        format!("{:.2}", by_hand / step_whole),
        micros(on_cpu),
    ])
}

fn upload(queue: &wgpu::Queue, parts: &[Part], losses: &[f32]) {
    let mut rest = losses;
    for part in parts {
        let (own, others) = rest.split_at(part.balancer.plan().losses_len());
        queue.write_buffer(&part.losses, 0, bytemuck::cast_slice(own));
        rest = others;
    }
}

fn submit(device: &wgpu::Device, queue: &wgpu::Queue, record: impl Fn(&mut wgpu::ComputePass<'_>)) {
    let mut encoder = device.create_command_encoder(&Default::default());
    record(&mut encoder.begin_compute_pass(&Default::default()));
    queue.submit([encoder.finish()]);
}

fn wait(device: &wgpu::Device) -> Result<(), Box<dyn Error>> {
    device.poll(wgpu::PollType::wait_indefinitely())?;
    Ok(())
}

/// Seconds on the wall's clock.
fn wall(run: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds per call that recording takes, with its share of finishing the command buffer, where wgpu checks and translates
/// what was recorded. The commands are dropped.
fn recording(device: &wgpu::Device, record: &dyn Fn(&mut wgpu::ComputePass<'_>)) -> f64 {
    let time = || {
        let mut encoder = device.create_command_encoder(&Default::default());
        let start = Instant::now();
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for _ in 0..RECORDED {
            record(&mut pass);
        }
        drop(pass);
        let commands = encoder.finish();
        let seconds = start.elapsed().as_secs_f64();
        drop(commands);
        seconds / RECORDED as f64
    };
    median((0..9).map(|_| time()).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A dispatch that does nothing.
struct Nothing {
    pipeline: wgpu::ComputePipeline,
}

impl Nothing {
    fn new(device: &wgpu::Device) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl("@compute @workgroup_size(64) fn nothing() {}".into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("nothing"),
            compilation_options: Default::default(),
            cache: None,
        });
        Self { pipeline }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.dispatch_workgroups(1, 1, 1);
    }
}

/// Times passes by timestamp queries.
struct DeviceClock<'a> {
    device: &'a wgpu::Device,
    queue: &'a wgpu::Queue,
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    read: wgpu::Buffer,
}

impl<'a> DeviceClock<'a> {
    fn new(device: &'a wgpu::Device, queue: &'a wgpu::Queue) -> Self {
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false })
        };
        let resolved = buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC);
        let read = buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        Self { device, queue, queries, resolved, read }
    }

    /// Seconds on the device from the pass's beginning to its end.
    fn time(&self, record: impl Fn(&mut wgpu::ComputePass<'_>)) -> Result<f64, Box<dyn Error>> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        };
        record(
            &mut encoder
                .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) }),
        );
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.read, 0, 16);
        self.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = map(self.device, &self.read)?;
        Ok(ticks[1].saturating_sub(ticks[0]) as f64 * f64::from(self.queue.get_timestamp_period()) * 1e-9)
    }
}

/// What the contents of a buffer are, once it can be mapped.
fn map<T: bytemuck::Pod>(device: &wgpu::Device, buffer: &wgpu::Buffer) -> Result<Vec<T>, Box<dyn Error>> {
    buffer.slice(..).map_async(wgpu::MapMode::Read, |_| {});
    wait(device)?;
    let values = bytemuck::pod_collect_to_vec(&buffer.slice(..).get_mapped_range()?);
    buffer.unmap();
    Ok(values)
}

/// Buffers for the way back, made once.
struct Staging(Vec<wgpu::Buffer>);

impl Staging {
    fn new(device: &wgpu::Device, parts: &[Part]) -> Self {
        let buffer = |part: &Part| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: part.losses.size(),
                usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        Self(parts.iter().map(buffer).collect())
    }

    fn read(&self, device: &wgpu::Device, queue: &wgpu::Queue, parts: &[Part]) -> Result<Vec<f32>, Box<dyn Error>> {
        let mut encoder = device.create_command_encoder(&Default::default());
        for (part, target) in parts.iter().zip(&self.0) {
            encoder.copy_buffer_to_buffer(&part.losses, 0, target, 0, target.size());
        }
        queue.submit([encoder.finish()]);
        let mut losses = Vec::new();
        for target in &self.0 {
            losses.extend(map::<f32>(device, target)?);
        }
        Ok(losses)
    }
}

/// The balancer's weights, and its twin's, of groups from the first to the last against the reference: the time of a wrong
/// answer is of no interest.
fn check(
    parts: &[Part],
    context: &Context,
    twin: &cpu::Balancer,
    groups: usize,
    components: usize,
    window: usize,
    steps: &[Vec<f32>],
) -> Result<(), Box<dyn Error>> {
    let (device, queue) = (context.device(), context.queue());
    let mut found = Vec::new();
    for part in parts {
        let weights = part.balancer.weights();
        let target = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: weights.size(),
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(weights, 0, &target, 0, weights.size());
        queue.submit([encoder.finish()]);
        found.extend(map::<f32>(device, &target)?);
    }
    let count = groups.min(CHECKED);
    let plan = Plan::new(Config::original().with_order(ORDER), Shape::new(count, components, window)?)?;
    let places: Vec<usize> = (0..count).map(|i| i * (groups - 1) / (count - 1).max(1)).collect();
    let newest = &steps[steps.len() - window..];
    let mut windows = Vec::new();
    for &group in &places {
        for component in 0..components {
            windows.extend(newest.iter().map(|step| f64::from(step[group * components + component])));
        }
    }
    let exact = reference::weigh(&plan, &Batch::new(&windows))?.weights;
    let bounds = reference::error_bounds(&plan, &Batch::new(&windows))?.weights;
    for (i, (exact, bound)) in exact.iter().zip(&bounds).enumerate() {
        let place = places[i / components] * components + i % components;
        for weight in [found[place], twin.weights()[place]] {
            let error = (f64::from(weight) - exact).abs();
            if error > *bound {
                return Err(
                    format!("weight {place} is {weight}, the reference has {exact} and allows {bound:e}").into()
                );
            }
        }
    }
    Ok(())
}
