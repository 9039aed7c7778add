//! What the examples share: options, data, random numbers, timing, and files.
#![allow(dead_code, reason = "every example uses a part of it")]

mod chart;
pub(crate) mod members;

pub(crate) use chart::{Chart, Curve};

use burn::tensor::{Device, Int, Tensor, TensorData};
use softadapt::cpu;
use softadapt_burn::LossBalancer;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Options of the command line: `--name value`, or `--name` alone.
pub(crate) struct Options {
    values: BTreeMap<String, String>,
    /// Where results go.
    pub(crate) out: PathBuf,
}

impl Options {
    /// Reads the command line.
    pub(crate) fn parse(example: &str, known: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut values = BTreeMap::new();
        let mut words = std::env::args().skip(1).peekable();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("{word} is no option: options begin with --"))?;
            if name != "out" && !known.contains(&name) {
                return Err(format!("--{name} is not known: choose from --out --{}", known.join(" --")).into());
            }
            let value = words.next_if(|next| !next.starts_with("--")).unwrap_or_default();
            values.insert(name.to_owned(), value);
        }
        let out = values.get("out").map_or_else(|| Path::new("target").join(example), PathBuf::from);
        std::fs::create_dir_all(&out)?;
        Ok(Self { values, out })
    }

    /// Whether an option is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// An option's value, or the default one.
    pub(crate) fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T, Box<dyn Error>> {
        match self.values.get(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| format!("--{name} {value:?} is not a number that fits").into()),
        }
    }
}

/// A device with known handles: Burn's default one.
pub(crate) fn device() -> Result<Device, Box<dyn Error>> {
    let (device, setup) = softadapt_burn::burn_device(Device::wgpu_options())?;
    let info = setup.adapter.get_info();
    println!("{} ({:?}, {})", info.name, info.backend, info.driver_info);
    Ok(device)
}

/// Handwritten digits on the device, pixels in 0..1.
pub(crate) struct Digits {
    /// `[samples, 64]`
    pub(crate) pixels: Tensor<2>,
    /// `[samples]`
    pub(crate) labels: Tensor<1, Int>,
    /// Number of samples.
    pub(crate) len: usize,
}

impl Digits {
    /// The first four fifths to train on, the rest to test on: different writers, as the data set orders them.
    pub(crate) fn load(device: &Device) -> Result<[Self; 2], Box<dyn Error>> {
        let text = include_str!("../data/digits.csv");
        let mut pixels = Vec::new();
        let mut labels = Vec::new();
        for line in text.lines().skip(1) {
            let numbers = line.split(',').map(i32::from_str).collect::<Result<Vec<_>, _>>()?;
            let (label, row) = numbers.split_last().ok_or("an empty line")?;
            pixels.extend(row.iter().map(|&pixel| pixel as f32 / 16.0));
            labels.push(*label);
        }
        let split = labels.len() * 4 / 5;
        let part = |pixels: &[f32], labels: &[i32]| Self {
            pixels: Tensor::from_data(TensorData::new(pixels.to_vec(), [labels.len(), 64]), device),
            labels: Tensor::from_data(TensorData::new(labels.to_vec(), [labels.len()]), device),
            len: labels.len(),
        };
        let (train_pixels, test_pixels) = pixels.split_at(64 * split);
        let (train_labels, test_labels) = labels.split_at(split);
        Ok([part(train_pixels, train_labels), part(test_pixels, test_labels)])
    }

    /// The samples in a new order.
    pub(crate) fn shuffled(&self, random: &mut Random) -> Self {
        let order: Vec<i32> = random.permutation(self.len).into_iter().map(|i| i as i32).collect();
        let order = Tensor::<1, Int>::from_data(TensorData::new(order, [self.len]), &self.pixels.device());
        Self {
            pixels: self.pixels.clone().select(0, order.clone()),
            labels: self.labels.clone().select(0, order),
            len: self.len,
        }
    }

    /// Batch number `i` of `size` samples.
    pub(crate) fn batch(&self, i: usize, size: usize) -> (Tensor<2>, Tensor<1, Int>) {
        let range = i * size..(i + 1) * size;
        (self.pixels.clone().slice([range.clone()]), self.labels.clone().slice([range]))
    }
}

/// Reproducible random numbers: `SplitMix64`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal.
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// The numbers below `n` in random order.
    pub(crate) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, (self.uniform() * (i + 1) as f64) as usize);
        }
        order
    }

    /// Normal numbers of a standard deviation.
    pub(crate) fn normals<const D: usize>(&mut self, shape: [usize; D], deviation: f64, device: &Device) -> Tensor<D> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| (self.normal() * deviation) as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// Mean and standard deviation of a sample; 0 for fewer than two values.
pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
    (mean, deviation)
}

/// The middle value.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What some steps took.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// Seconds per step that passed.
    wall: f64,
    /// Seconds per step that this process computed, on all its threads; NaN where the system does not say.
    cpu: f64,
}

/// Seconds that this process has computed so far. On a software adapter that is the device's work too, and unlike the time
/// that passes it does not count what other processes do.
fn cpu_seconds() -> f64 {
    // The first number of a thread's statistics are its nanoseconds.
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| -> Option<f64> {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    std::fs::read_dir("/proc/self/task").map_or(f64::NAN, |threads| threads.filter_map(of_thread).sum::<f64>() / 1e9)
}

/// Times variants of one loop in turns, so that whatever else the machine does meets all of them: the cost of a step, by
/// variant and round. `run` makes that many steps of a variant; the device is idle before and after.
pub(crate) fn compare(
    variants: usize,
    rounds: usize,
    steps: usize,
    device: &Device,
    mut run: impl FnMut(usize, usize) -> Result<(), Box<dyn Error>>,
) -> Result<Vec<Vec<Cost>>, Box<dyn Error>> {
    let mut costs = vec![Vec::new(); variants];
    for round in 0..rounds + 1 {
        for place in 0..variants {
            // Each variant is first, second ... equally often.
            let variant = (place + round) % variants;
            device.sync()?;
            let (start, cpu) = (Instant::now(), cpu_seconds());
            run(variant, steps)?;
            device.sync()?;
            // The first round compiles kernels.
            if round > 0 {
                let per_step = |seconds: f64| seconds / steps as f64;
                costs[variant]
                    .push(Cost { wall: per_step(start.elapsed().as_secs_f64()), cpu: per_step(cpu_seconds() - cpu) });
            }
        }
    }
    Ok(costs)
}

/// Prints what [`compare`] found: times per step, and the ratios to the first variant, round by round (median, quartiles).
pub(crate) fn print_comparison(names: &[&str], costs: &[Vec<Cost>]) {
    println!("{:28} {:>9} {:>23} {:>9} {:>23}", "per step", "ms passed", "ratio", "ms of CPU", "ratio");
    for (name, own) in names.iter().zip(costs) {
        let column = |pick: fn(&Cost) -> f64| {
            let mut ratios: Vec<f64> = own.iter().zip(&costs[0]).map(|(own, first)| pick(own) / pick(first)).collect();
            let middle = median(&mut ratios);
            let [low, high] = [ratios.len() / 4, ratios.len() * 3 / 4].map(|i| ratios[i.min(ratios.len() - 1)]);
            let milliseconds = 1e3 * median(&mut own.iter().map(pick).collect::<Vec<f64>>());
            format!("{milliseconds:9.3} {middle:7.3} ({low:.3}, {high:.3})")
        };
        println!("{name:28} {} {}", column(|cost| cost.wall), column(|cost| cost.cpu));
    }
}

/// What a step of ours costs by itself, beside one with fixed weights: the third and the first of some ways to a total loss
/// with nothing around them.
pub(crate) fn bare_cost(
    weightings: &mut [Weighting],
    dims: [usize; 2],
    rounds: usize,
    device: &Device,
) -> Result<(), Box<dyn Error>> {
    let losses = Random::new(3).normals(dims, 1.0, device).abs();
    let costs = compare(2, rounds, 500, device, |variant, steps| {
        for _ in 0..steps {
            weightings[2 * variant].total(losses.clone() * 1.5)?;
        }
        Ok(())
    })?;
    let [fixed, ours] = [0, 1].map(|variant: usize| {
        [|cost: &Cost| cost.wall, |cost: &Cost| cost.cpu]
            .map(|pick| 1e6 * median(&mut costs[variant].iter().map(pick).collect::<Vec<f64>>()))
    });
    println!(
        "alone: {:.0} us a step passed, {:.0} us of CPU ({:.0} and {:.0} with fixed weights)",
        ours[0] - fixed[0],
        ours[1] - fixed[1],
        fixed[0],
        fixed[1]
    );
    Ok(())
}

/// Writes rows under a header.
pub(crate) fn write_csv<T: Display>(path: &Path, header: &[&str], rows: &[Vec<T>]) -> Result<(), Box<dyn Error>> {
    let mut text = header.join(",");
    text.push('\n');
    for row in rows {
        let quoted = |cell: String| if cell.contains(',') { format!("\"{cell}\"") } else { cell };
        let cells: Vec<String> = row.iter().map(|cell| quoted(cell.to_string())).collect();
        text += &cells.join(",");
        text.push('\n');
    }
    std::fs::write(path, text)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Time in seconds, for tables.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

/// How a training loop comes to its total loss.
#[expect(clippy::large_enum_variant, reason = "an example has three of them")]
pub(crate) enum Weighting {
    /// Constant weights `[members, components]` on the device.
    Fixed(Tensor<2>),
    /// Ours.
    Adaptive(LossBalancer),
    /// As loops do it that compute weights on the host: losses are read back, weights are uploaded.
    ReadBack(cpu::Balancer),
}

impl Weighting {
    /// The total of losses `[members, components]`.
    pub(crate) fn total(&mut self, losses: Tensor<2>) -> Result<Tensor<1>, Box<dyn Error>> {
        Ok(match self {
            Self::Fixed(weights) => (losses * weights.clone()).sum(),
            Self::Adaptive(balancer) => balancer.combine(losses)?,
            Self::ReadBack(balancer) => {
                let dims = losses.dims();
                balancer.push(&losses.clone().inner().try_into_vec_as::<f32>()?)?;
                let weights = TensorData::new(balancer.weights().to_vec(), dims);
                (losses.clone() * Tensor::from_data(weights, &losses.device().inner())).sum()
            }
        })
    }
}
