//! A physics-informed network for the 1-D Poisson equation: equal weights against adaptive ones.
//!
//! `u'' = f` on 0..1 with `u = 0` at both ends and the exact solution `sin(pi x) + 0.3 sin(4 pi x)`. Losses are the mean squared
//! residual, the mean squared value at the ends, and the mean squared distance from eight noisy measurements. The derivatives
//! are exact: each layer passes on value, first and second derivative with respect to x (forward mode), and Burn
//! differentiates the whole once, with respect to the parameters.
//!
//! All variants and seeds train at once, as members of a population; each variant's losses go through a balancer of its own.
//!
//! `cargo run --release --example pinn -- [--seeds N] [--steps N] [--points N] [--quick] [--out DIR]`
#![expect(clippy::print_stdout, reason = "an example shows its results")]

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use common::members::{Members, layer};
use common::{Chart, Curve, Options, Random};
use softadapt::{BalancerConfig, Config, Normalize, Scale, Slope};
use softadapt_burn::LossBalancer;
use std::error::Error;
use std::f64::consts::PI;
use std::time::Instant;

const COMPONENTS: [&str; 3] = ["residual", "boundary", "data"];
const VARIANTS: [&str; 5] = ["equal weights", "original", "normalized", "loss weighted", "L1 least squares"];
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
    let seeds: usize = options.get("seeds", if quick { 1 } else { 5 })?;
    let steps: usize = options.get("steps", if quick { 20 } else { 2000 })?;
    let points: usize = options.get("points", 64)?;
    let every = (steps / 40).max(1);
    let device = common::device()?;
    let problem = Problem::new(points, &device);

    println!("{} variants with {seeds} seeds, {steps} steps, {points} points", VARIANTS.len());
    let start = Instant::now();
    let runs = train(seeds, steps, every, &problem, &device)?;
    println!("trained in {} s", common::seconds(start.elapsed()));
    report(&runs, seeds);
    let mut rows = Vec::new();
    for (member, records) in runs.iter().enumerate() {
        for record in records {
            let mut row = vec![VARIANTS[member / seeds].to_owned(), (member % seeds).to_string()];
            row.extend(record.iter().map(ToString::to_string));
            rows.push(row);
        }
    }
    let header = ["variant", "seed"].iter().chain(&RECORD).copied().collect::<Vec<_>>();
    common::write_csv(&options.out.join("pinn.csv"), &header, &rows)?;
    picture(&runs, seeds).save(&options.out.join("pinn.svg"))
}

/// What is known after so many steps.
const RECORD: [&str; 8] =
    ["step", "relative_error", "residual", "boundary", "data", "weight_residual", "weight_boundary", "weight_data"];
type Record = [f64; RECORD.len()];

/// The balancer of a variant's members, `None` for equal weights. Weights add up to the number of components, as equal
/// weights of 1 do.
fn balancer(variant: usize, seeds: usize, device: &Device) -> Result<Option<LossBalancer>, Box<dyn Error>> {
    let config = match variant {
        0 => return Ok(None),
        1 => Config::original(),
        2 => Config::normalized(),
        3 => Config::loss_weighted(),
        _ => Config::original().with_slope(Slope::LeastSquares).with_normalize(Normalize::L1).with_beta(1.0),
    };
    let config = BalancerConfig::new(config.with_scale(Scale::Components));
    Ok(Some(LossBalancer::population(config, seeds, COMPONENTS.len(), HISTORY, device)?))
}

fn exact(x: f64) -> f64 {
    (PI * x).sin() + 0.3 * (4.0 * PI * x).sin()
}

/// The exact solution's second derivative.
fn source(x: f64) -> f64 {
    -PI * PI * ((PI * x).sin() + 0.3 * 16.0 * (4.0 * PI * x).sin())
}

/// Points and what is known at them, `[1, points, 1]` each.
struct Problem {
    points: Tensor<3>,
    source: Tensor<3>,
    ends: Tensor<3>,
    measured_at: Tensor<3>,
    measured: Tensor<3>,
    test: Tensor<3>,
    solution: Vec<f64>,
}

impl Problem {
    fn new(points: usize, device: &Device) -> Self {
        let column = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let length = values.len();
            Tensor::from_data(TensorData::new(values, [1, length, 1]), device)
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

    /// Distance of values at the test points from the exact solution, relative to it, in the 2-norm.
    fn relative_error(&self, found: &[f32]) -> f64 {
        let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
        let distance = squares(&mut found.iter().zip(&self.solution).map(|(found, exact)| f64::from(*found) - exact));
        (distance / squares(&mut self.solution.iter().copied())).sqrt()
    }
}

/// A value with its first and second derivative with respect to x.
struct Jet([Tensor<3>; 3]);

impl Jet {
    fn linear(self, parameters: &[Tensor<3>], i: usize) -> Self {
        let Self([value, first, second]) = self;
        // The bias does not depend on x.
        let weights = &parameters[2 * i];
        Self([layer(parameters, i, value), first.matmul(weights.clone()), second.matmul(weights.clone())])
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

/// The networks' values, `[member, points, 1]`.
fn value(parameters: &[Tensor<3>], x: Tensor<3>) -> Tensor<3> {
    layer(parameters, 2, layer(parameters, 1, layer(parameters, 0, x).tanh()).tanh())
}

/// Their second derivatives.
fn second_derivative(parameters: &[Tensor<3>], x: Tensor<3>) -> Tensor<3> {
    let start = Jet([x.clone(), x.ones_like(), x.zeros_like()]);
    let Jet([_, _, second]) = start.linear(parameters, 0).tanh().linear(parameters, 1).tanh().linear(parameters, 2);
    second
}

/// Residual, boundary and data loss, `[member, 3]`.
fn losses(parameters: &[Tensor<3>], problem: &Problem) -> Tensor<2> {
    let squared = |difference: Tensor<3>| difference.powi_scalar(2).mean_dim(1);
    let residual = squared(second_derivative(parameters, problem.points.clone()) - problem.source.clone());
    let boundary = squared(value(parameters, problem.ends.clone()));
    let data = squared(value(parameters, problem.measured_at.clone()) - problem.measured.clone());
    Tensor::cat(vec![residual, boundary, data], 2).squeeze_dim(1)
}

/// Trains all variants with all seeds; returns the records of each member, seeds of a variant together.
fn train(
    seeds: usize,
    steps: usize,
    every: usize,
    problem: &Problem,
    device: &Device,
) -> Result<Vec<Vec<Record>>, Box<dyn Error>> {
    let variants = 0..VARIANTS.len();
    let mut balancers = variants.map(|variant| balancer(variant, seeds, device)).collect::<Result<Vec<_>, _>>()?;
    let count = VARIANTS.len() * seeds;
    // The same start for every variant.
    let own_seeds: Vec<u64> = (0..count).map(|member| (member % seeds) as u64).collect();
    let mut members = Members::new(&[(1, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)], &own_seeds, 1.0, device);
    let rates = Tensor::full([count, 1, 1], LEARNING_RATE, device);
    let mut runs = vec![Vec::new(); count];
    for step in 1..=steps {
        let parameters = members.tracked();
        let losses = losses(&parameters, problem);
        let mut weights = Vec::new();
        for (variant, balancer) in balancers.iter_mut().enumerate() {
            weights.push(match balancer {
                None => Tensor::ones([seeds, COMPONENTS.len()], device),
                Some(balancer) => balancer.step(losses.clone().slice(variant * seeds..(variant + 1) * seeds))?,
            });
        }
        let weights = Tensor::cat(weights, 0);
        let gradients = (losses.clone() * weights.clone()).sum().backward();
        members.update(&parameters, &gradients, &rates)?;
        if step % every == 0 {
            let (losses, weights) = (losses.try_into_vec_as::<f32>()?, weights.try_into_vec_as::<f32>()?);
            let found = value(&members.parameters, problem.test.clone()).try_into_vec_as::<f32>()?;
            for (member, records) in runs.iter_mut().enumerate() {
                let own = member * COMPONENTS.len()..(member + 1) * COMPONENTS.len();
                let mut record = Record::default();
                record[0] = step as f64;
                record[1] = problem.relative_error(&found[member * problem.solution.len()..]);
                for (place, value) in record[2..].iter_mut().zip(losses[own.clone()].iter().chain(&weights[own])) {
                    *place = f64::from(*value);
                }
                records.push(record);
            }
        }
    }
    Ok(runs)
}

/// Prints the last records: the median over the seeds, best and worst.
fn report(runs: &[Vec<Record>], seeds: usize) {
    println!("\n{:18} {:>27} {:>10} {:>10} {:>10}   steps", "", "relative error", "residual", "boundary", "data");
    for (name, runs) in VARIANTS.iter().zip(runs.chunks(seeds)) {
        let last = |column: usize| -> Vec<f64> {
            runs.iter().filter_map(|records| records.last()).map(|r| r[column]).collect()
        };
        let middle = |column: usize| common::median(&mut last(column));
        let best = last(1).into_iter().fold(f64::INFINITY, f64::min);
        let worst = last(1).into_iter().fold(0.0, f64::max);
        let steps: Vec<String> = runs
            .iter()
            .map(|records| records.iter().find(|r| r[1] <= GOAL).map_or("-".to_owned(), |r| r[0].to_string()))
            .collect();
        println!(
            "{name:18} {:8.4} ({best:.4} to {worst:.4}) {:10.2e} {:10.2e} {:10.2e}   {}",
            middle(1),
            middle(2),
            middle(3),
            middle(4),
            steps.join("/")
        );
    }
    println!(
        "(medians over the seeds, best and worst; losses before the last step; steps: the first record with a relative error of {GOAL}, for each seed)\n"
    );
}

fn picture(runs: &[Vec<Record>], seeds: usize) -> Chart {
    let mut chart = Chart::new(VARIANTS);
    for (title, column) in [("relative error", 1), ("residual", 2), ("boundary", 3), ("data", 4)] {
        let curve = |(member, records): (usize, &Vec<Record>)| Curve {
            entry: member / seeds,
            points: records.iter().map(|r| (r[0], r[column])).collect(),
        };
        chart.panel(title, "step", true, runs.iter().enumerate().map(curve).collect());
    }
    chart
}
