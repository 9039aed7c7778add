//! The exponential, by itself: the kernels' in a shader of its own that includes the kernels' text, the CPU path's through a
//! softmax that changes no bit of it.

use crate::{Extent, Path};
use rayon::prelude::*;
use softadapt::host::Context;
use softadapt::{Batch, Config, Outputs, Plan, Shape, Slope, cpu, wgpu};

/// What is promised, in units in the last place of the exact result.
pub(crate) const PROMISED: f64 = 2.0;

/// Arguments are counted by their bits, from -0.0 on: 0 to -104.
const FIRST: u32 = 0x8000_0000;
const LAST: u32 = (-104.0f32).to_bits();

/// Arguments of one dispatch.
const AT_ONCE: usize = 1 << 22;
const WORKGROUP: u32 = 256;

/// Every so many-th argument of a sample: a prime, so that all last bits occur.
const SAMPLE_STEP: u32 = 499;

/// What was found over a range of arguments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worst {
    pub(crate) arguments: u64,
    /// Largest error where the result is a normal number, in ULP, and the argument.
    pub(crate) ulp: f64,
    pub(crate) at: f32,
    /// Largest absolute error where it is not.
    pub(crate) subnormal: f64,
}

impl Worst {
    fn add(mut self, x: f32, found: f32) -> Self {
        let exact = f64::from(x).exp();
        let error = (f64::from(found) - exact).abs();
        assert!(found.is_finite(), "exp({x:e}) is {found}");
        self.arguments += 1;
        if exact < f64::from(f32::MIN_POSITIVE) {
            self.subnormal = self.subnormal.max(error);
            return self;
        }
        // 2^(exponent - 23)
        let unit = f64::from_bits((exact.to_bits() & 0x7ff0_0000_0000_0000) - (23 << 52));
        if error > self.ulp * unit {
            self.ulp = error / unit;
            self.at = x;
        }
        self
    }

    fn join(self, other: Self) -> Self {
        let larger = if self.ulp >= other.ulp { self } else { other };
        let arguments = self.arguments + other.arguments;
        Self { arguments, subnormal: self.subnormal.max(other.subnormal), ..larger }
    }

    /// Of the arguments that follow `first` by their bits, `step` apart.
    fn of(first: u32, step: u32, results: &[f32]) -> Self {
        let at = |index: usize| f32::from_bits(first + index as u32 * step);
        let add = |worst: Self, (index, &found)| worst.add(at(index), found);
        results.par_iter().with_min_len(1 << 12).enumerate().fold(Self::default, add).reduce(Self::default, Self::join)
    }

    /// Calls `results` for all arguments of a range, some at a time, with the first one's bits and their number.
    fn over(
        range: std::ops::RangeInclusive<u32>,
        step: u32,
        at_once: usize,
        mut results: impl FnMut(u32, usize) -> Vec<f32>,
    ) -> Self {
        let mut worst = Self::default();
        let mut first = *range.start();
        while first <= *range.end() {
            let left = ((range.end() - first) / step + 1) as usize;
            let count = left.min(at_once);
            worst = worst.join(Self::of(first, step, &results(first, count)[..count]));
            first += count as u32 * step;
        }
        worst
    }
}

/// The kernels' exponential on a device.
struct Shader<'a> {
    context: &'a Context,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    range: wgpu::Buffer,
    results: wgpu::Buffer,
    read_back: wgpu::Buffer,
}

impl<'a> Shader<'a> {
    fn new(context: &'a Context) -> Self {
        let device = context.device();
        let text = concat!(
            include_str!("../../shaders/numerics.wgsl"),
            "
            struct Range { first: u32, step: u32, count: u32, width: u32 }
            @group(0) @binding(0) var<uniform> range: Range;
            @group(0) @binding(1) var<storage, read_write> results: array<u32>;

            @compute @workgroup_size(256)
            fn exponentials(@builtin(global_invocation_id) id: vec3<u32>) {
                let index = id.y * range.width + id.x;
                if index < range.count {
                    let x = bitcast<f32>(range.first + index * range.step);
                    results[index] = bitcast<u32>(narrow(wide_exp(x), 0));
                }
            }
            "
        );
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let buffer = |size: usize, usage| {
            let size = size as u64;
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let range = buffer(16, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST);
        let results = buffer(4 * AT_ONCE, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let read_back = buffer(4 * AT_ONCE, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: range.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: results.as_entire_binding() },
            ],
        });
        Self { context, pipeline, bind_group, range, results, read_back }
    }

    fn results(&self, first: u32, step: u32, count: usize) -> Vec<f32> {
        let (device, queue) = (self.context.device(), self.context.queue());
        let workgroups = (count as u32).div_ceil(WORKGROUP);
        let rows = workgroups.div_ceil(1 << 15);
        let columns = workgroups.div_ceil(rows);
        let range = [first, step, count as u32, columns * WORKGROUP];
        queue.write_buffer(&self.range, 0, bytemuck::cast_slice(&range));
        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.bind_group, &[]);
            pass.dispatch_workgroups(columns, rows, 1);
        }
        encoder.copy_buffer_to_buffer(&self.results, 0, &self.read_back, 0, 4 * count as u64);
        queue.submit([encoder.finish()]);
        let slice = self.read_back.slice(..4 * count as u64);
        slice.map_async(wgpu::MapMode::Read, |result| result.unwrap());
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let results = bytemuck::pod_collect_to_vec(&slice.get_mapped_range().unwrap());
        self.read_back.unmap();
        results
    }
}

fn on_the_device(context: &Context, step: u32) -> Worst {
    let shader = Shader::new(context);
    Worst::over(FIRST..=LAST, step, AT_ONCE, |first, count| shader.results(first, step, count))
}

/// The components of a group beside the one that outweighs them.
const OTHERS: usize = 4095;

/// The CPU path's exponential, as a caller sees it: groups of a component with slope 0 and others with slopes x. Where the
/// first one outweighs the sum of the others, by a prior of 2^40 or because they are small, the sum is its term to the last
/// bit, a power of two, and the others' weights are exp(x), scaled.
fn on_the_cpu(step: u32) -> Worst {
    let exponentials = |config: &Config, scale: f32, first: u32, count: usize| -> Vec<f32> {
        let groups = count.div_ceil(OTHERS);
        let plan = Plan::new(config.clone(), Shape::new(groups, OTHERS + 1, 2).unwrap()).unwrap();
        let mut losses = vec![0.0; plan.shape().losses_len()];
        losses.par_chunks_mut(2 * (OTHERS + 1)).enumerate().for_each(|(group, losses)| {
            for i in 0..OTHERS {
                let index = group * OTHERS + i;
                // Places that are left over get a small term.
                let bits = if index < count { first + index as u32 * step } else { LAST };
                losses[2 * (i + 1) + 1] = f32::from_bits(bits);
            }
        });
        let mut weights = vec![f32::NAN; plan.shape().weights_len()];
        cpu::weigh_into(&plan, &Batch::new(&losses), &mut Outputs::new(&mut weights)).unwrap();
        assert!(weights.chunks(OTHERS + 1).all(|group| group[0] == 1.0), "the sum is not the first term");
        weights.chunks(OTHERS + 1).flat_map(|group| &group[1..]).map(|weight| weight * scale).take(count).collect()
    };
    let config = Config::original().with_slope(Slope::Last).with_beta(1.0).with_epsilon(0.0);
    let mut prior = vec![1.0; OTHERS + 1];
    let scale = 2f64.powi(40);
    prior[0] = scale;
    let weighted = config.clone().with_prior(prior);
    // 4095 exp(-26) is less than half an ULP of 1; exp(-59) / 2^40 is a normal number.
    let at_once = OTHERS * 512;
    let plain = Worst::over((-26.0f32).to_bits()..=LAST, step, at_once, |first, count| {
        exponentials(&config, 1.0, first, count)
    });
    let weighted = Worst::over(FIRST..=(-59.0f32).to_bits(), step, at_once, |first, count| {
        exponentials(&weighted, scale as f32, first, count)
    });
    plain.join(weighted)
}

/// The largest error of every path's exponential.
pub(crate) fn measure(paths: &[Path], extent: Extent) -> Vec<(String, Worst)> {
    let step = if extent == Extent::Full { 1 } else { SAMPLE_STEP };
    let found = paths.iter().map(|path| {
        let worst = match path {
            Path::Cpu => on_the_cpu(step),
            Path::Gpu(context) => on_the_device(context, step),
        };
        let name = path.name();
        if extent == Extent::Full {
            eprintln!("exponential: {name}: {worst:?}");
        }
        assert!(worst.arguments > u64::from((LAST - FIRST) / step), "{name}: {worst:?}");
        assert!(worst.ulp <= PROMISED, "{name}: {worst:?}");
        // Results that are not normal may be flushed to zero.
        assert!(worst.subnormal <= f64::from(f32::MIN_POSITIVE), "{name}: {worst:?}");
        (name, worst)
    });
    found.collect()
}
