//! Time and bytes per second of every path, answers checked first. `benches/README.md` says what is timed and how to read
//! the numbers.
//!
//! Settings, as environment variables because criterion owns the command line:
//! * `SOFTADAPT_BENCH_VARIANTS=all`: all three published variants, or some by name, instead of `original` alone.
//! * `SOFTADAPT_BENCH_FULL=1`: the largest shapes on a software adapter too.
//! * `SOFTADAPT_BENCH_ADAPTER=NAME`: the adapter with this in its name, instead of the fastest kind there is.
#![expect(clippy::print_stdout, reason = "printed numbers are the result of a benchmark")]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use softadapt::{Batch, Config, Outputs, Plan, Shape, cpu, reference};
use std::cell::OnceCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Groups, components, window.
const SHAPES: [[usize; 3]; 7] = [
    [1, 3, 5],
    [1000, 3, 5],
    [100_000, 3, 5],
    [1_000_000, 3, 5],
    [1_000_000, 8, 16],
    [10_000, 64, 32],
    [200_000, 16, 64],
];
/// A preset's own order is window - 1, which is not allowed above a window of 21 and hopeless in f32 well below. 4 is what
/// it comes to at a window of 5; the same everywhere keeps the shapes comparable.
const ORDER: u32 = 4;
/// Losses up to which the reference is timed. It is slow, and its time per group depends little on how many there are.
const REFERENCE_LOSSES: usize = 100_000 * 3 * 5;
/// Groups whose weights are checked before a path is timed, spread over the whole batch.
const CHECKED_GROUPS: usize = 500;
/// Criterion's least. On a shared machine more samples take long and add more of the same noise.
const SAMPLES: usize = 10;

fn main() {
    // Cargo passes `--bench` from `cargo bench` alone. Under `cargo test` criterion runs everything once, and the smallest
    // shape is enough to show that the benchmark works.
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let timed = has("--bench") && !has("--test") && !has("--list");
    let shapes = if timed { &SHAPES[..] } else { &SHAPES[..2] };
    let mut criterion = Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    let variants = variants();
    let gpu = gpu::Gpu::open();
    if timed {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        println!("reference: 1 thread, cpu: {threads}, gpu: {}", gpu.description());
    }
    let mut rows = Vec::new();
    for &[groups, components, window] in shapes {
        let shape = Shape::new(groups, components, window).expect("a constant of this file");
        let losses = Losses::of(&shape);
        for (variant, config) in &variants {
            let plan = Plan::new(config.clone(), shape.clone()).expect("the windows have room for the order");
            let name = format!("{variant} {groups}x{components}x{window}");
            let mut case = Case::new(&mut criterion, name, &plan, &losses, timed.then_some(&mut rows));
            time_reference(&mut case);
            time_cpu(&mut case);
            gpu.time(&mut case);
        }
    }
    criterion.final_summary();
    print_table(&rows);
}

/// The variants to time, by name.
fn variants() -> Vec<(&'static str, Config)> {
    let all = [
        ("original", Config::original()),
        ("normalized", Config::normalized()),
        ("loss-weighted", Config::loss_weighted()),
    ];
    let wanted = std::env::var("SOFTADAPT_BENCH_VARIANTS").unwrap_or_else(|_| "original".to_owned());
    let names: Vec<&str> = wanted.split(',').map(str::trim).collect();
    if let Some(unknown) = names.iter().find(|name| **name != "all" && all.iter().all(|(known, _)| known != *name)) {
        panic!("SOFTADAPT_BENCH_VARIANTS: \"{unknown}\" is none of original, normalized, loss-weighted, all");
    }
    let is_wanted = |name: &str| names.contains(&"all") || names.contains(&name);
    all.into_iter().filter(|(name, _)| is_wanted(name)).map(|(name, config)| (name, config.with_order(ORDER))).collect()
}

/// Losses of a shape, row-major, made when first asked for: names on criterion's command line may leave out a whole shape.
struct Losses<'a> {
    shape: &'a Shape,
    /// Behind as many numbers as bring them to the beginning of a cache line: a row that fits one then lies in one.
    values: OnceCell<(Vec<f32>, usize)>,
}

impl<'a> Losses<'a> {
    fn of(shape: &'a Shape) -> Self {
        Self { shape, values: OnceCell::new() }
    }

    fn get(&self) -> &[f32] {
        let (values, start) = self.values.get_or_init(|| {
            const LINE: usize = 64 / size_of::<f32>();
            let mut random = Random(1);
            let mut losses: Vec<f32> = Vec::with_capacity(self.shape.losses_len() + LINE);
            let start = losses.as_ptr().align_offset(64).min(LINE);
            losses.resize(start, f32::NAN);
            for _ in 0..self.shape.rows() {
                // Levels from 0.1 to 100, so that weights differ by far more than their error bounds: a check that could
                // not tell one group from another would be none.
                let mut loss = 0.1 * 1000f64.powf(random.unit());
                let factor = 0.9 + 0.1 * random.unit();
                for _ in 0..self.shape.window() {
                    losses.push((loss * (0.98 + 0.04 * random.unit())) as f32);
                    loss *= factor;
                }
            }
            (losses, start)
        });
        &values[*start..]
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): the same numbers on every machine.
struct Random(u64);

impl Random {
    /// Uniform from 0 to below 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// One plan on one batch, as every path gets it.
struct Case<'a> {
    name: String,
    plan: &'a Plan,
    losses: &'a Losses<'a>,
    group: BenchmarkGroup<'a, WallTime>,
    /// Where results go, unless this is a mere test.
    rows: Option<&'a mut Vec<Row>>,
}

impl<'a> Case<'a> {
    fn new(
        criterion: &'a mut Criterion,
        name: String,
        plan: &'a Plan,
        losses: &'a Losses<'a>,
        rows: Option<&'a mut Vec<Row>>,
    ) -> Self {
        let mut group = criterion.benchmark_group(&name);
        // As many runs in every sample, so that one run's share of a sample means the same in each.
        group.sampling_mode(SamplingMode::Flat);
        Self { name, plan, losses, group, rows }
    }

    /// Says why a path is not timed.
    fn skip(&self, path: &str, reason: &str) {
        println!("{}/{path} not timed: {reason}", self.name);
    }

    /// Checks a path, then times it. `run` weighs the batch so many times, leaves the weights of the last time in the slice
    /// and returns the time that counts.
    fn time<T>(&mut self, path: &'static str, mut run: impl FnMut(&[f32], u64, &mut [T]) -> Duration)
    where
        T: Copy + From<f32> + Into<f64>,
    {
        let shape = self.plan.shape();
        // What has to move, whatever a path really moves: losses in, weights out. A copy writes what it reads.
        let is_copy = path == "copy";
        let written = if is_copy { shape.losses_len() } else { shape.weights_len() };
        let bytes = 4 * (shape.losses_len() as u64 + written as u64);
        self.group.throughput(Throughput::BytesDecimal(bytes));

        let mut weights = Vec::new();
        let mut samples = Vec::new();
        let (plan, losses, name) = (self.plan, self.losses, &self.name);
        self.group.bench_function(path, |bencher| {
            let losses = losses.get();
            // Criterion comes here once per sample, and not at all for a path that its command line leaves out.
            if weights.is_empty() {
                // Poisoned: a place that is not written is a wrong answer.
                weights.resize(shape.weights_len(), T::from(f32::NAN));
                run(losses, 1, &mut weights);
                if !is_copy {
                    check(plan, losses, &weights, &format!("{name}/{path}"));
                }
            }
            bencher.iter_custom(|runs| {
                let time = run(losses, runs, &mut weights);
                samples.push(time.as_nanos() as f64 / runs as f64);
                time
            });
        });
        // The first calls are criterion's warm-up.
        let samples = samples.split_off(samples.len().saturating_sub(SAMPLES));
        if let Some(rows) = &mut self.rows
            && let Some(row) = Row::new(&self.name, path, shape.groups(), bytes, samples)
        {
            println!("{:24}{}", "", row.sentence());
            rows.push(row);
        }
    }
}

/// Compares groups from the first to the last with the reference: the time of a wrong answer is of no interest.
fn check<T: Copy + Into<f64>>(plan: &Plan, losses: &[f32], weights: &[T], name: &str) {
    let shape = plan.shape();
    let (components, window) = (shape.max_components(), shape.window());
    let count = shape.groups().min(CHECKED_GROUPS);
    let places: Vec<usize> = (0..count).map(|i| i * (shape.groups() - 1) / (count - 1).max(1)).collect();
    // A group's weights do not depend on the batch around it, so the sample is a batch of its own.
    let sample = Shape::new(count, components, window).expect("it is no larger than the shape");
    let sample = plan.with_shape(sample).expect("only the number of groups differs");
    let row = components * window;
    let losses: Vec<f64> = places.iter().flat_map(|&g| &losses[g * row..][..row]).map(|&x| f64::from(x)).collect();
    let got = places.iter().flat_map(|&g| &weights[g * components..][..components]);
    let batch = Batch::new(&losses);
    let exact = reference::weigh(&sample, &batch).expect("the sample has its plan's shape").weights;
    let bounds = reference::error_bounds(&sample, &batch).expect("the sample has its plan's shape").weights;
    let sharp = bounds.iter().filter(|bound| **bound < 1e-4).count();
    assert!(2 * sharp > bounds.len(), "{name}: the error bounds are too wide for a check");
    for (i, ((got, exact), bound)) in got.zip(&exact).zip(&bounds).enumerate() {
        let got: f64 = (*got).into();
        assert!(
            (got - exact).abs() <= *bound,
            "{name}: group {}, component {}: weight {got}, but the reference has {exact} and allows {bound:e}",
            places[i / components],
            i % components
        );
    }
}

fn time_reference(case: &mut Case<'_>) {
    if case.plan.shape().losses_len() > REFERENCE_LOSSES {
        return case.skip("reference", "slow, and timed on smaller batches");
    }
    let (plan, doubles) = (case.plan, OnceCell::new());
    case.time("reference", |losses, runs, weights: &mut [f64]| {
        let losses = doubles.get_or_init(|| losses.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>());
        wall(runs, || {
            reference::weigh_into(plan, &Batch::new(black_box(losses)), &mut Outputs::new(black_box(weights)))
                .expect("slices of the plan's lengths");
        })
    });
}

fn time_cpu(case: &mut Case<'_>) {
    let plan = case.plan;
    case.time("cpu", |losses, runs, weights: &mut [f32]| {
        wall(runs, || {
            cpu::weigh_into(plan, &Batch::new(black_box(losses)), &mut Outputs::new(black_box(weights)))
                .expect("slices of the plan's lengths");
        })
    });
}

/// Time on the wall's clock of so many runs.
fn wall(runs: u64, mut run: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..runs {
        run();
    }
    start.elapsed()
}

/// The paths that need wgpu.
#[cfg(feature = "gpu")]
mod gpu {
    use super::{Case, wall};
    use softadapt::host::{AdapterChoice, Context, DevicePath, HostError};
    use softadapt::{Batch, Outputs};
    use std::hint::black_box;

    /// Losses up to which a software adapter is timed unless everything is asked for: it says nothing about GPUs anyway.
    const SOFTWARE_LOSSES: usize = 10_000 * 64 * 32;

    /// The device that is timed, if there is one.
    pub(super) struct Gpu(Result<Context, HostError>);

    impl Gpu {
        pub(super) fn open() -> Self {
            let choice = std::env::var("SOFTADAPT_BENCH_ADAPTER").map_or(AdapterChoice::Any, AdapterChoice::Named);
            Self(Context::new(&choice))
        }

        pub(super) fn description(&self) -> String {
            self.0.as_ref().map_or_else(ToString::to_string, |context| context.adapter().to_string())
        }

        /// Times the host layer and, by the device's own clock, its kernels.
        pub(super) fn time(&self, case: &mut Case<'_>) {
            let context = match &self.0 {
                Ok(context) => context,
                Err(error) => return case.skip("host, fused, staged, copy", &error.to_string()),
            };
            let (plan, adapter) = (case.plan, context.adapter());
            let losses = plan.shape().losses_len();
            if adapter.is_software && losses > SOFTWARE_LOSSES && std::env::var_os("SOFTADAPT_BENCH_FULL").is_none() {
                let reason = "a software adapter takes long over it, set SOFTADAPT_BENCH_FULL=1 to time it";
                return case.skip("host, fused, staged, copy", reason);
            }
            case.time("host", |losses, runs, weights: &mut [f32]| {
                wall(runs, || {
                    context
                        .weigh_into(plan, &Batch::new(black_box(losses)), &mut Outputs::new(black_box(weights)))
                        .unwrap_or_else(|error| panic!("{error}"));
                })
            });
            if !adapter.timestamps {
                return case.skip("fused, staged, copy", "the adapter cannot measure time");
            }
            let bytes = 4 * losses as u64;
            if bytes > adapter.max_binding_bytes {
                let reason =
                    format!("the losses take {bytes} bytes, one binding at most {}", adapter.max_binding_bytes);
                return case.skip("fused, staged, copy", &reason);
            }
            let paths = [("fused", DevicePath::Fused), ("staged", DevicePath::Staged), ("copy", DevicePath::Copy)];
            for (name, path) in paths {
                case.time(name, |losses, runs, weights: &mut [f32]| {
                    let runs = usize::try_from(runs).expect("criterion counts far fewer runs");
                    let times =
                        context.measure(plan, losses, path, runs).unwrap_or_else(|error| panic!("{name}: {error}"));
                    if path != DevicePath::Copy {
                        weights.copy_from_slice(&times.weights);
                    }
                    times.runs.iter().sum()
                });
            }
        }
    }
}

/// What stands in for the paths that need wgpu.
#[cfg(not(feature = "gpu"))]
mod gpu {
    use super::Case;

    pub(super) struct Gpu;

    impl Gpu {
        pub(super) fn open() -> Self {
            Self
        }

        pub(super) fn description(&self) -> &'static str {
            "built without it"
        }

        pub(super) fn time(&self, case: &mut Case<'_>) {
            case.skip("host, fused, staged, copy", "built without the feature `gpu`");
        }
    }
}

/// What was measured of one path.
struct Row {
    case: String,
    path: &'static str,
    /// Nanoseconds per group in the fastest, the middle and the slowest sample.
    least: f64,
    median: f64,
    most: f64,
    /// Bytes per nanosecond, in the middle sample.
    gb_per_s: f64,
}

impl Row {
    /// `None` for no samples. Samples are nanoseconds of one run.
    fn new(case: &str, path: &'static str, groups: usize, bytes: u64, mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_unstable_by(f64::total_cmp);
        let (&first, &last) = (samples.first()?, samples.last()?);
        let middle = (samples[(samples.len() - 1) / 2] + samples[samples.len() / 2]) / 2.0;
        let per_group = |time: f64| time / groups as f64;
        Some(Self {
            case: case.to_owned(),
            path,
            least: per_group(first),
            median: per_group(middle),
            most: per_group(last),
            gb_per_s: bytes as f64 / middle,
        })
    }

    fn sentence(&self) -> String {
        let Self { least, median, most, gb_per_s, .. } = self;
        format!("{median:.2} ns per group (median; {least:.2} to {most:.2}), {gb_per_s:.2} GB/s")
    }
}

/// All results as a Markdown table, with every path's time as a multiple of the CPU path's.
fn print_table(rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    println!("\n| case | path | ns per group | least to most | GB/s | time / cpu |\n|---|---|---:|---:|---:|---:|");
    for row in rows {
        let Row { case, path, least, median, most, gb_per_s } = row;
        let cpu = rows.iter().find(|other| other.path == "cpu" && other.case == *case);
        let ratio = cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{:.2}", median / cpu.median));
        println!("| {case} | {path} | {median:.2} | {least:.2} to {most:.2} | {gb_per_s:.2} | {ratio} |");
    }
}
