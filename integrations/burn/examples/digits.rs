//! A shared trunk with a classifier, a decoder and a sparse code, on handwritten digits: equal weights against every preset.
//!
//! Losses are cross-entropy, reconstruction and sparsity. Each epoch's mean losses, taken on the device, are one point of
//! the history; the weights of the next epoch come from the last five.
//!
//! `cargo run --release --example digits -- [--seeds N] [--epochs N] [--batch N] [--quick] [--overhead] [--out DIR]`
#![expect(clippy::print_stdout, reason = "an example shows its results")]

mod common;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Int, Tensor};
use common::{Chart, Curve, Digits, Options, Random, Weighting};
use softadapt::{BalancerConfig, BalancerPlan, Config, Feed, Scale, Shape, cpu};
use softadapt_burn::LossBalancer;
use std::error::Error;
use std::time::Instant;

const COMPONENTS: [&str; 3] = ["cross_entropy", "reconstruction", "sparsity"];
const VARIANTS: [&str; 4] = ["equal weights", "original", "normalized", "loss weighted"];
/// Epochs (or steps) that the balancer looks back.
const HISTORY: usize = 5;
const LEARNING_RATE: f64 = 2e-3;
/// Held-out accuracy whose first epoch the table states.
const GOAL: f64 = 0.9;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse("digits", &["seeds", "epochs", "batch", "quick", "overhead"])?;
    let quick = options.has("quick");
    let seeds: u64 = options.get("seeds", if quick { 1 } else { 3 })?;
    let epochs: usize = options.get("epochs", if quick { 7 } else { 30 })?;
    let size: usize = options.get("batch", 128)?;
    let device = common::device()?;
    let data = Digits::load(&device)?;
    if options.has("overhead") {
        return overhead(&data[0], size, if quick { 1 } else { 21 }, &device);
    }

    println!("{seeds} seeds, {epochs} epochs of {} steps, batches of {size}", data[0].len / size);
    let mut rows = Vec::new();
    let mut results = Vec::new();
    for (variant, name) in VARIANTS.iter().enumerate() {
        let mut of_variant = Vec::new();
        for seed in 0..seeds {
            let start = Instant::now();
            let history = train(variant, seed, epochs, size, &data, &device)?;
            let time = start.elapsed();
            for (epoch, record) in history.iter().enumerate() {
                let mut row = vec![(*name).to_owned(), seed.to_string(), epoch.to_string()];
                row.extend(record.iter().map(ToString::to_string));
                rows.push(row);
            }
            of_variant.push((history, time.as_secs_f64()));
        }
        results.push(of_variant);
    }
    report(&results);
    let header = ["variant", "seed", "epoch"].iter().chain(&RECORD).copied().collect::<Vec<_>>();
    common::write_csv(&options.out.join("digits.csv"), &header, &rows)?;
    picture(&results).save(&options.out.join("digits.svg"))
}

/// What is known of an epoch: held-out losses and accuracy, then the weights.
const RECORD: [&str; 7] = [
    "cross_entropy",
    "reconstruction",
    "sparsity",
    "accuracy",
    "weight_cross_entropy",
    "weight_reconstruction",
    "weight_sparsity",
];
type Record = [f64; RECORD.len()];

/// All epochs of a run, and its seconds.
type Run = (Vec<Record>, f64);

/// The balancer's configuration of a variant, `None` for equal weights. Weights add up to the number of components, as
/// equal weights of 1 do, so that learning rates mean the same.
fn config(variant: usize) -> Option<BalancerConfig> {
    let config = match variant {
        0 => return None,
        1 => Config::original(),
        2 => Config::normalized(),
        _ => Config::loss_weighted(),
    };
    Some(BalancerConfig::new(config.with_scale(Scale::Components)).with_feed(Feed::EpochMean))
}

#[derive(Module, Debug)]
struct Model {
    trunk: Linear,
    code: Linear,
    classifier: Linear,
    decoder: Linear,
}

impl Model {
    fn new(device: &Device) -> Self {
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self { trunk: layer(64, 64), code: layer(64, 32), classifier: layer(32, 10), decoder: layer(32, 64) }
    }

    /// Losses `[1, 3]` and logits.
    fn losses(&self, pixels: Tensor<2>, labels: Tensor<1, Int>) -> (Tensor<2>, Tensor<2>) {
        let code = relu(self.code.forward(relu(self.trunk.forward(pixels.clone()))));
        let logits = self.classifier.forward(code.clone());
        let decoded = self.decoder.forward(code.clone());
        let cross_entropy = -(log_softmax(logits.clone(), 1) * labels.one_hot::<2>(10).float()).sum_dim(1).mean();
        let reconstruction = (decoded - pixels).powi_scalar(2).mean();
        let losses = Tensor::cat(vec![cross_entropy, reconstruction, code.mean()], 0);
        (losses.unsqueeze(), logits)
    }

    /// One step on a total loss.
    fn learn(self, total: &Tensor<1>, optimizer: &mut ModuleOptimizer) -> Self {
        let gradients = GradientsParams::from_grads(total.backward(), &self);
        optimizer.step(LEARNING_RATE, self, gradients)
    }
}

/// Trains one model; returns what is known of each epoch.
fn train(
    variant: usize,
    seed: u64,
    epochs: usize,
    size: usize,
    [train, test]: &[Digits; 2],
    device: &Device,
) -> Result<Vec<Record>, Box<dyn Error>> {
    let mut balancer =
        config(variant).map(|config| LossBalancer::new(config, COMPONENTS.len(), HISTORY, device)).transpose()?;
    device.seed(seed);
    let mut model = Model::new(&device.clone().autodiff());
    let mut optimizer = AdamConfig::new().init();
    let mut random = Random::new(seed);
    let mut history = Vec::new();
    for _ in 0..epochs {
        let samples = train.shuffled(&mut random);
        for batch in 0..train.len / size {
            let (pixels, labels) = samples.batch(batch, size);
            let (losses, _) = model.losses(pixels.autodiff(), labels);
            let total = match &mut balancer {
                None => losses.sum(),
                Some(balancer) => {
                    let weights = balancer.accumulate(losses.clone())?;
                    (losses * weights).sum()
                }
            };
            model = model.learn(&total, &mut optimizer);
        }
        let weights = match &mut balancer {
            None => vec![1.0; COMPONENTS.len()],
            Some(balancer) => {
                let used = balancer.weights().try_into_vec_as::<f32>()?;
                balancer.close_epoch()?;
                used
            }
        };
        let (losses, logits) = model.valid().losses(test.pixels.clone(), test.labels.clone());
        let hits = logits.argmax(1).squeeze_dim::<1>(1).equal(test.labels.clone()).float().mean();
        let known = Tensor::cat(vec![losses.squeeze_dim::<1>(0), hits], 0).try_into_vec_as::<f32>()?;
        let mut record = Record::default();
        for (place, value) in record.iter_mut().zip(known.iter().chain(&weights)) {
            *place = f64::from(*value);
        }
        history.push(record);
    }
    Ok(history)
}

/// Prints the last epoch: mean and standard deviation over the seeds.
fn report(results: &[Vec<Run>]) {
    println!(
        "\n{:14} {:>19} {:>19} {:>19} {:>17} {:>10} {:>8}",
        "", COMPONENTS[0], COMPONENTS[1], COMPONENTS[2], "accuracy", "epochs", "seconds"
    );
    for (name, runs) in VARIANTS.iter().zip(results) {
        let last = |column: usize| {
            let values: Vec<f64> = runs.iter().filter_map(|(history, _)| history.last()).map(|r| r[column]).collect();
            common::mean_and_deviation(&values)
        };
        let cell = |column: usize| {
            let (mean, deviation) = last(column);
            format!("{mean:.5} ± {deviation:.5}")
        };
        let (accuracy, spread) = last(3);
        let epochs: Vec<String> = runs
            .iter()
            .map(|(history, _)| {
                history.iter().position(|r| r[3] >= GOAL).map_or("-".to_owned(), |e| (e + 1).to_string())
            })
            .collect();
        let time = runs.iter().map(|(_, time)| time).sum::<f64>() / runs.len() as f64;
        println!(
            "{name:14} {:>19} {:>19} {:>19} {accuracy:8.4} ± {spread:.4} {:>10} {time:8.1}",
            cell(0),
            cell(1),
            cell(2),
            epochs.join("/")
        );
    }
    println!("(held-out part; epochs: the first with an accuracy of {GOAL}, for each seed)\n");
}

fn picture(results: &[Vec<Run>]) -> Chart {
    let mut chart = Chart::new(VARIANTS);
    for (title, column, logarithmic) in
        [("cross-entropy", 0, true), ("reconstruction", 1, true), ("sparsity", 2, true), ("accuracy", 3, false)]
    {
        let mut curves = Vec::new();
        for (entry, runs) in results.iter().enumerate() {
            for (history, _) in runs {
                let points = history.iter().enumerate().map(|(epoch, r)| (epoch as f64 + 1.0, r[column])).collect();
                curves.push(Curve { entry, points });
            }
        }
        chart.panel(title, "epoch", logarithmic, curves);
    }
    chart
}

/// What weighing at every step costs: the same loop with fixed weights, with ours, and with losses read back.
fn overhead(train: &Digits, size: usize, rounds: usize, device: &Device) -> Result<(), Box<dyn Error>> {
    // With a beta of 0 all weights are 1, whatever way they come: all variants compute the same, but for the weighing.
    let config = BalancerConfig::new(Config::original().with_beta(0.0).with_scale(Scale::Components));
    let plan = BalancerPlan::new(config, Shape::new(1, COMPONENTS.len(), HISTORY)?)?;
    let mut weightings = [
        Weighting::Fixed(Tensor::ones([1, COMPONENTS.len()], device)),
        Weighting::Fixed(Tensor::ones([1, COMPONENTS.len()], device)),
        Weighting::Adaptive(LossBalancer::from_plan(plan.clone(), device)?),
        Weighting::ReadBack(cpu::Balancer::new(&plan)),
    ];
    let mut models: Vec<_> =
        weightings.iter().map(|_| Some((Model::new(&device.clone().autodiff()), AdamConfig::new().init()))).collect();
    let batches = train.len / size;
    let steps = 2 * batches;
    println!("{rounds} rounds of {steps} steps each");
    let costs = common::compare(weightings.len(), rounds, steps, device, |variant, steps| {
        let (mut model, mut optimizer) = models[variant].take().ok_or("no model")?;
        for step in 0..steps {
            let (pixels, labels) = train.batch(step % batches, size);
            let (losses, _) = model.losses(pixels.autodiff(), labels);
            let total = weightings[variant].total(losses)?;
            model = model.learn(&total, &mut optimizer);
        }
        models[variant] = Some((model, optimizer));
        Ok(())
    })?;
    common::print_comparison(
        &["fixed weights", "fixed weights, again", "softadapt-burn", "losses read back, CPU twin"],
        &costs,
    );
    common::bare_cost(&mut weightings, [1, COMPONENTS.len()], rounds, device)
}
