//! Many small models trained at once, each with its own learning rate, its own beta, and its own adaptive weights.
//!
//! Every member has the layers of the example `digits`: a trunk, a classifier, a decoder; losses are cross-entropy,
//! reconstruction and sparsity. Parameters of all members are one tensor `[member, in, out]` a layer, so that a layer of
//! the whole population is one batched matrix product, and the balancer weighs `[member, component]` losses in one
//! dispatch. Within an epoch nothing waits for the device; at its end two small tensors are read.
//!
//! `cargo run --release --example population -- [--members N] [--epochs N] [--batch N] [--quick] [--overhead] [--out DIR]`
#![expect(clippy::print_stdout, reason = "an example shows its results")]

mod common;

use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::members::{Members, layer};
use common::{Chart, Curve, Digits, Options, Random, Weighting};
use softadapt::{BalancerConfig, BalancerPlan, Config, Normalize, Scale, Shape, Slope, cpu};
use softadapt_burn::LossBalancer;
use std::error::Error;
use std::time::Instant;

const COMPONENTS: [&str; 3] = ["cross_entropy", "reconstruction", "sparsity"];
const HIDDEN: usize = 32;
/// Steps that the balancer looks back; with a least-squares slope, as batches are noisy.
const HISTORY: usize = 32;
/// A beta of 0 is plain training with equal weights.
const BETAS: [f32; 4] = [0.0, 0.5, 2.0, 8.0];

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse("population", &["members", "epochs", "batch", "quick", "overhead"])?;
    let quick = options.has("quick");
    let members: usize = options.get("members", if quick { 8 } else { 32 })?;
    let epochs: usize = options.get("epochs", if quick { 2 } else { 30 })?;
    let size: usize = options.get("batch", 96)?;
    let device = common::device()?;
    let [train, test] = Digits::load(&device)?;
    let hyper = Hyper::new(members);
    if options.has("overhead") {
        return overhead(&hyper, &train, size, if quick { 1 } else { 21 }, &device);
    }

    println!("{members} members, {epochs} epochs of {} steps, batches of {size}", train.len / size);
    let mut balancer = LossBalancer::population(config(), members, COMPONENTS.len(), HISTORY, &device)?;
    balancer.set_betas(&hyper.betas)?;
    let mut weighting = Weighting::Adaptive(balancer);
    let mut population = Population::new(&hyper, &device);
    let mut random = Random::new(1);
    let mut curves: Vec<Vec<f64>> = Vec::new();
    let start = Instant::now();
    for epoch in 0..epochs {
        let samples = train.shuffled(&mut random);
        let mut sum: Option<Tensor<2>> = None;
        for batch in 0..train.len / size {
            let (pixels, labels) = samples.batch(batch, size);
            let losses = population.step(pixels, labels, &mut weighting)?;
            sum = Some(match sum {
                Some(sum) => sum + losses,
                None => losses,
            });
        }
        // The end of the epoch: the only place that waits.
        let losses = sum.ok_or("the batch is larger than the data")? / (train.len / size) as f64;
        let losses: Vec<f32> = losses.try_into_vec_as()?;
        let accuracy = population.accuracy(&test)?;
        for member in 0..members {
            let own = &losses[member * COMPONENTS.len()..][..COMPONENTS.len()];
            let mut row = vec![member as f64, epoch as f64, hyper.rates[member].into(), hyper.betas[member].into()];
            row.extend(own.iter().copied().map(f64::from));
            row.push(accuracy[member]);
            curves.push(row);
        }
    }
    let time = start.elapsed();
    println!("trained in {} s, {:.2} ms a step", common::seconds(time), {
        1e3 * time.as_secs_f64() / (epochs * (train.len / size)) as f64
    });

    report(&hyper, &curves[curves.len() - members..]);
    let header = ["member", "epoch", "learning_rate", "beta", COMPONENTS[0], COMPONENTS[1], COMPONENTS[2], "accuracy"];
    common::write_csv(&options.out.join("population.csv"), &header, &curves)?;
    picture(&curves[curves.len() - members..]).save(&options.out.join("population.svg"))
}

/// Weights add up to the number of components, as equal weights of 1 do; scale-free scores, so that one beta suits all
/// learning rates.
fn config() -> BalancerConfig {
    let config =
        Config::original().with_slope(Slope::LeastSquares).with_normalize(Normalize::L1).with_scale(Scale::Components);
    BalancerConfig::new(config).with_per_group_beta(true)
}

/// What differs between members.
struct Hyper {
    rates: Vec<f32>,
    betas: Vec<f32>,
}

impl Hyper {
    /// Learning rates from 3e-4 to 3e-2, each with every beta.
    fn new(members: usize) -> Self {
        let levels = members.div_ceil(BETAS.len());
        let rate = |member: usize| {
            let share = (member / BETAS.len()) as f64 / (levels.max(2) - 1) as f64;
            (3e-4 * 100f64.powf(share)) as f32
        };
        Self {
            rates: (0..members).map(rate).collect(),
            betas: (0..members).map(|member| BETAS[member % BETAS.len()]).collect(),
        }
    }
}

/// All members and their learning rates, `[member, 1, 1]`.
struct Population {
    members: Members,
    rates: Tensor<3>,
}

/// What the members make of a batch.
struct Outputs {
    code: Tensor<3>,
    logits: Tensor<3>,
    decoded: Tensor<3>,
}

impl Population {
    /// Members begin with the same parameters: what differs in the end is due to learning rate and beta.
    fn new(hyper: &Hyper, device: &Device) -> Self {
        let members = hyper.rates.len();
        let layers = [(64, HIDDEN), (HIDDEN, 10), (HIDDEN, 64)];
        let rates = Tensor::from_data(TensorData::new(hyper.rates.clone(), [members, 1, 1]), device);
        Self { members: Members::new(&layers, &vec![0; members], 2.0, device), rates }
    }

    fn forward(parameters: &[Tensor<3>], pixels: Tensor<2>) -> Outputs {
        let code = relu(layer(parameters, 0, pixels.unsqueeze()));
        Outputs { logits: layer(parameters, 1, code.clone()), decoded: layer(parameters, 2, code.clone()), code }
    }

    /// One step of all members; returns their losses `[member, component]`.
    fn step(
        &mut self,
        pixels: Tensor<2>,
        labels: Tensor<1, Int>,
        weighting: &mut Weighting,
    ) -> Result<Tensor<2>, Box<dyn Error>> {
        let members = self.rates.dims()[0];
        let parameters = self.members.tracked();
        let outputs = Self::forward(&parameters, pixels.clone());
        let labels = labels.one_hot::<2>(10).float().unsqueeze::<3>();
        let cross_entropy = -(log_softmax(outputs.logits, 2) * labels).sum_dim(2).mean_dim(1);
        let reconstruction = (outputs.decoded - pixels.unsqueeze::<3>()).powi_scalar(2).mean_dim(2).mean_dim(1);
        let sparsity = outputs.code.mean_dim(2).mean_dim(1);
        let losses = Tensor::cat(vec![cross_entropy, reconstruction, sparsity], 2).reshape([members, COMPONENTS.len()]);
        let gradients = weighting.total(losses.clone())?.backward();
        self.members.update(&parameters, &gradients, &self.rates)?;
        Ok(losses.inner())
    }

    /// Share of digits that each member tells right.
    fn accuracy(&self, data: &Digits) -> Result<Vec<f64>, Box<dyn Error>> {
        let logits = Self::forward(&self.members.parameters, data.pixels.clone()).logits;
        let hits = logits.argmax(2).squeeze_dim::<2>(2).equal(data.labels.clone().unsqueeze());
        let right: Vec<f32> = hits.float().mean_dim(1).try_into_vec_as()?;
        Ok(right.into_iter().map(f64::from).collect())
    }
}

/// Prints the last epoch by beta, over all learning rates.
fn report(hyper: &Hyper, last: &[Vec<f64>]) {
    println!(
        "\n{:>6} {:>9} {:>9} {:>15} {:>15} {:>11}",
        "beta", "accuracy", "best", COMPONENTS[0], COMPONENTS[1], COMPONENTS[2]
    );
    for beta in BETAS {
        let own: Vec<&Vec<f64>> =
            last.iter().zip(&hyper.betas).filter(|(_, other)| **other == beta).map(|(row, _)| row).collect();
        let mean = |column: usize| own.iter().map(|row| row[column]).sum::<f64>() / own.len() as f64;
        let best = own.iter().map(|row| row[7]).fold(0.0, f64::max);
        println!("{beta:6} {:9.4} {best:9.4} {:15.5} {:15.5} {:11.5}", mean(7), mean(4), mean(5), mean(6));
    }
    println!("(mean over learning rates; best: the best member; beta 0 is equal weights)\n");
}

fn picture(last: &[Vec<f64>]) -> Chart {
    let mut chart = Chart::new(BETAS.map(|beta| format!("beta {beta}")));
    for (title, column, logarithmic) in
        [("accuracy", 7, false), (COMPONENTS[0], 4, true), (COMPONENTS[1], 5, true), (COMPONENTS[2], 6, true)]
    {
        let curve = |(entry, beta): (usize, &f32)| Curve {
            entry,
            points: last
                .iter()
                .filter(|row| row[3] == f64::from(*beta))
                .map(|row| (row[2].log10(), row[column]))
                .collect(),
        };
        chart.panel(title, "log10 of the learning rate", logarithmic, BETAS.iter().enumerate().map(curve).collect());
    }
    chart
}

/// What weighing costs: the same loop with fixed weights, with ours, and with losses that go through the host.
fn overhead(hyper: &Hyper, train: &Digits, size: usize, rounds: usize, device: &Device) -> Result<(), Box<dyn Error>> {
    let members = hyper.rates.len();
    // With a beta of 0 all weights are 1, whatever way they come: all variants compute the same, but for the weighing.
    let mut config = config();
    config.config.beta = 0.0;
    let plan = BalancerPlan::new(config, Shape::new(members, COMPONENTS.len(), HISTORY)?)?;
    let mut weightings = [
        Weighting::Fixed(Tensor::ones([members, COMPONENTS.len()], device)),
        Weighting::Fixed(Tensor::ones([members, COMPONENTS.len()], device)),
        Weighting::Adaptive(LossBalancer::from_plan(plan.clone(), device)?),
        Weighting::ReadBack(cpu::Balancer::new(&plan)),
    ];
    let mut populations: Vec<Population> = weightings.iter().map(|_| Population::new(hyper, device)).collect();
    let batches = train.len / size;
    let steps = batches;
    println!("{members} members, {rounds} rounds of {steps} steps each");
    let costs = common::compare(weightings.len(), rounds, steps, device, |variant, steps| {
        for step in 0..steps {
            let (pixels, labels) = train.batch(step % batches, size);
            populations[variant].step(pixels, labels, &mut weightings[variant])?;
        }
        Ok(())
    })?;
    common::print_comparison(
        &["fixed weights", "fixed weights, again", "softadapt-burn", "losses read back, CPU twin"],
        &costs,
    );
    common::bare_cost(&mut weightings, [members, COMPONENTS.len()], rounds, device)
}
