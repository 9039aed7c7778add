//! A physics-informed network for the 1-D Poisson equation: equal weights against adaptive ones.
//!
//! `u'' = f` on 0..1 with `u = 0` at both ends and the exact solution `sin(pi x) + 0.3 sin(4 pi x)`. Losses are the mean squared
//! residual, the mean squared value at the ends, and the mean squared distance from eight noisy measurements. The derivatives
//! are exact: each layer passes on value, first and second derivative with respect to x (forward mode), and Burn
//! differentiates the whole once, with respect to the parameters.
//!
//! `cargo run --release --example pinn -- [--seeds N] [--steps N] [--points N] [--quick] [--out DIR]`
#![expect(clippy::print_stdout, reason = "an example shows its results")]

mod common;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use common::{Chart, Curve, Options, Random, Weighting};
use softadapt::{BalancerConfig, Config, Normalize, Scale, Slope};
use softadapt_burn::LossBalancer;
use std::error::Error;
use std::f64::consts::PI;
use std::time::Instant;

const COMPONENTS: [&str; 3] = ["residual", "boundary", "data"];
const VARIANTS: [&str; 5] = ["equal weights", "original", "normalized", "loss weighted", "L1, least squares"];
const HIDDEN: usize = 32;
/// Steps that the balancer looks back.
const HISTORY: usize = 5;
const LEARNING_RATE: f64 = 2e-3;
const MEASUREMENTS: usize = 8;
const NOISE: f64 = 0.02;
/// Relative error whose first step the table states.
const GOAL: f64 = 0.05;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse("pinn", &["seeds", "steps", "points", "quick"])?;
    let quick = options.has("quick");
    let seeds: u64 = options.get("seeds", if quick { 1 } else { 3 })?;
    let steps: usize = options.get("steps", if quick { 20 } else { 2000 })?;
    let points: usize = options.get("points", 64)?;
    let every = (steps / 40).max(1);
    let device = common::device()?;
    let problem = Problem::new(points, &device);

    println!("{seeds} seeds, {steps} steps, {points} points");
    let mut rows = Vec::new();
    let mut results = Vec::new();
    for (variant, name) in VARIANTS.iter().enumerate() {
        let mut of_variant = Vec::new();
        for seed in 0..seeds {
            let start = Instant::now();
            let history = train(variant, seed, steps, every, &problem, &device)?;
            let time = start.elapsed().as_secs_f64();
            for record in &history {
                let mut row = vec![(*name).to_owned(), seed.to_string()];
                row.extend(record.iter().map(ToString::to_string));
                rows.push(row);
            }
            of_variant.push((history, time));
        }
        results.push(of_variant);
    }
    report(&results);
    let header = ["variant", "seed"].iter().chain(&RECORD).copied().collect::<Vec<_>>();
    common::write_csv(&options.out.join("pinn.csv"), &header, &rows)?;
    picture(&results).save(&options.out.join("pinn.svg"))
}

/// What is known after so many steps.
const RECORD: [&str; 8] =
    ["step", "relative_error", "residual", "boundary", "data", "weight_residual", "weight_boundary", "weight_data"];
type Record = [f64; RECORD.len()];

/// The records of a run, and its seconds.
type Run = (Vec<Record>, f64);

/// How a variant's losses are weighed. Weights add up to the number of components, as equal weights of 1 do.
fn weighting(variant: usize, device: &Device) -> Result<Weighting, Box<dyn Error>> {
    let config = match variant {
        0 => return Ok(Weighting::Fixed(Tensor::ones([1, COMPONENTS.len()], device))),
        1 => Config::original(),
        2 => Config::normalized(),
        3 => Config::loss_weighted(),
        _ => Config::original().with_slope(Slope::LeastSquares).with_normalize(Normalize::L1).with_beta(1.0),
    };
    let config = BalancerConfig::new(config.with_scale(Scale::Components));
    Ok(Weighting::Adaptive(LossBalancer::new(config, COMPONENTS.len(), HISTORY, device)?))
}

fn exact(x: f64) -> f64 {
    (PI * x).sin() + 0.3 * (4.0 * PI * x).sin()
}

/// The exact solution's second derivative.
fn source(x: f64) -> f64 {
    -PI * PI * ((PI * x).sin() + 0.3 * 16.0 * (4.0 * PI * x).sin())
}

/// Points and what is known at them, `[points, 1]` each.
struct Problem {
    points: Tensor<2>,
    source: Tensor<2>,
    ends: Tensor<2>,
    measured_at: Tensor<2>,
    measured: Tensor<2>,
    test: Tensor<2>,
    solution: Vec<f64>,
}

impl Problem {
    fn new(points: usize, device: &Device) -> Self {
        let column = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let length = values.len();
            Tensor::from_data(TensorData::new(values, [length, 1]), device)
        };
        let spread = |count: usize| (0..count).map(|i| (i as f64 + 0.5) / count as f64).collect::<Vec<f64>>();
        let (inside, at, test) = (spread(points), spread(MEASUREMENTS), spread(200));
        let mut random = Random::new(7);
        let noisy: Vec<f64> = at.iter().map(|&x| exact(x) + NOISE * random.normal()).collect();
        Self {
            source: column(&inside.iter().map(|&x| source(x)).collect::<Vec<_>>()),
            points: column(&inside),
            ends: column(&[0.0, 1.0]),
            measured_at: column(&at),
            measured: column(&noisy),
            test: column(&test),
            solution: test.into_iter().map(exact).collect(),
        }
    }
}

#[derive(Module, Debug)]
struct Network {
    first: Linear,
    second: Linear,
    last: Linear,
}

/// A value with its first and second derivative with respect to x.
struct Jet([Tensor<2>; 3]);

impl Jet {
    fn linear(self, layer: &Linear) -> Self {
        let Self([value, first, second]) = self;
        // The bias does not depend on x.
        let weight = layer.weight.val();
        Self([layer.forward(value), first.matmul(weight.clone()), second.matmul(weight)])
    }

    /// `y = tanh z`: `y' = (1 - y^2) z'`, `y'' = (1 - y^2) (z'' - 2 y z'^2)`.
    fn tanh(self) -> Self {
        let Self([z, first, second]) = self;
        let y = z.tanh();
        let slope = y.clone().powi_scalar(2).neg() + 1.0;
        let bent = second - y.clone() * first.clone().powi_scalar(2) * 2.0;
        Self([y, slope.clone() * first, slope * bent])
    }
}

impl Network {
    fn new(device: &Device) -> Self {
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self { first: layer(1, HIDDEN), second: layer(HIDDEN, HIDDEN), last: layer(HIDDEN, 1) }
    }

    fn value(&self, x: Tensor<2>) -> Tensor<2> {
        self.last.forward(self.second.forward(self.first.forward(x).tanh()).tanh())
    }

    fn second_derivative(&self, x: Tensor<2>) -> Tensor<2> {
        let start = Jet([x.clone(), x.ones_like(), x.zeros_like()]);
        let Jet([_, _, second]) = start.linear(&self.first).tanh().linear(&self.second).tanh().linear(&self.last);
        second
    }

    /// Residual, boundary and data loss, `[1, 3]`.
    fn losses(&self, problem: &Problem) -> Tensor<2> {
        let squared = |difference: Tensor<2>| difference.powi_scalar(2).mean();
        let on = |x: &Tensor<2>| x.clone().autodiff();
        let residual = squared(self.second_derivative(on(&problem.points)) - on(&problem.source));
        let boundary = squared(self.value(on(&problem.ends)));
        let data = squared(self.value(on(&problem.measured_at)) - on(&problem.measured));
        Tensor::cat(vec![residual, boundary, data], 0).unsqueeze()
    }

    /// Distance from the exact solution, relative to it, in the 2-norm over 200 points.
    fn error(&self, problem: &Problem) -> Result<f64, Box<dyn Error>> {
        let found = self.valid().value(problem.test.clone()).try_into_vec_as::<f32>()?;
        let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
        let distance = square(&mut found.iter().zip(&problem.solution).map(|(found, exact)| f64::from(*found) - exact));
        Ok((distance / square(&mut problem.solution.iter().copied())).sqrt())
    }
}

fn train(
    variant: usize,
    seed: u64,
    steps: usize,
    every: usize,
    problem: &Problem,
    device: &Device,
) -> Result<Vec<Record>, Box<dyn Error>> {
    let mut weighting = weighting(variant, device)?;
    device.seed(seed);
    let mut network = Network::new(&device.clone().autodiff());
    let mut optimizer = AdamConfig::new().init();
    let mut history = Vec::new();
    for step in 1..=steps {
        let losses = network.losses(problem);
        let total = weighting.total(losses.clone())?;
        let gradients = GradientsParams::from_grads(total.backward(), &network);
        network = optimizer.step(LEARNING_RATE, network, gradients);
        if step % every == 0 {
            let weights = match &weighting {
                Weighting::Adaptive(balancer) => balancer.weights().try_into_vec_as::<f32>()?,
                _ => vec![1.0; COMPONENTS.len()],
            };
            let losses = losses.try_into_vec_as::<f32>()?;
            let mut record = Record::default();
            (record[0], record[1]) = (step as f64, network.error(problem)?);
            for (place, value) in record[2..].iter_mut().zip(losses.iter().chain(&weights)) {
                *place = f64::from(*value);
            }
            history.push(record);
        }
    }
    Ok(history)
}

/// Prints the last records: mean and standard deviation over the seeds.
fn report(results: &[Vec<Run>]) {
    println!(
        "\n{:18} {:>19} {:>10} {:>10} {:>10} {:>16} {:>8}",
        "", "relative error", "residual", "boundary", "data", "steps", "seconds"
    );
    for (name, runs) in VARIANTS.iter().zip(results) {
        let last = |column: usize| {
            let values: Vec<f64> = runs.iter().filter_map(|(history, _)| history.last()).map(|r| r[column]).collect();
            common::mean_and_deviation(&values)
        };
        let (error, spread) = last(1);
        let steps: Vec<String> = runs
            .iter()
            .map(|(history, _)| history.iter().find(|r| r[1] <= GOAL).map_or("-".to_owned(), |r| r[0].to_string()))
            .collect();
        let time = runs.iter().map(|(_, time)| time).sum::<f64>() / runs.len() as f64;
        println!(
            "{name:18} {error:9.4} ± {spread:7.4} {:10.2e} {:10.2e} {:10.2e} {:>16} {time:8.1}",
            last(2).0,
            last(3).0,
            last(4).0,
            steps.join("/")
        );
    }
    println!("(losses before the last step; steps: the first record with a relative error of {GOAL}, for each seed)\n");
}

fn picture(results: &[Vec<Run>]) -> Chart {
    let mut chart = Chart::new(VARIANTS);
    for (title, column) in [("relative error", 1), ("residual", 2), ("boundary", 3), ("data", 4)] {
        let mut curves = Vec::new();
        for (entry, runs) in results.iter().enumerate() {
            for (history, _) in runs {
                curves.push(Curve { entry, points: history.iter().map(|r| (r[0], r[column])).collect() });
            }
        }
        chart.panel(title, "step", true, curves);
    }
    chart
}
