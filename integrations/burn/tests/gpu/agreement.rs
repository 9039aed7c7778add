//! Weights against the core's reference, at every step.

use crate::common::{Track, losses, tensor, values};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor};
use softadapt::{BalancerConfig, Config, Feed, Normalize, Scale, Slope};
use softadapt_burn::LossBalancer;

#[derive(Module, Debug)]
struct Model {
    hidden: Linear,
    output: Linear,
}

/// Configurations that use every stage.
fn configs() -> [Config; 4] {
    [
        Config::original().with_beta(3.0),
        Config::normalized(),
        Config::loss_weighted().with_beta(2.0).with_scale(Scale::Components),
        Config::original().with_slope(Slope::LeastSquares).with_normalize(Normalize::L1).with_beta(4.0),
    ]
}

/// A model trains on its own weighted losses; what the balancer made of them is checked afterwards.
pub(crate) fn at_every_step_of_a_run() {
    let device = crate::device().autodiff();
    for (number, config) in configs().into_iter().enumerate() {
        device.seed(number as u64);
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(&device);
        let mut model = Model { hidden: layer(4, 8), output: layer(8, 2) };
        let mut optimizer = AdamConfig::new().init();
        let mut balancer = LossBalancer::new(BalancerConfig::new(config.clone()), 3, 5, &device).unwrap();
        assert!(balancer.is_on_gpu());
        let inputs: Vec<f32> = (0..64).map(|i| (i * 29 % 31) as f32 / 15.0 - 1.0).collect();
        let x = tensor(&inputs, [16, 4], &device);
        let target = x.clone().slice([0..16, 0..2]) * 2.0 + 0.5;
        let mut seen = Vec::new();
        for _ in 0..25 {
            let hidden = model.hidden.forward(x.clone()).tanh();
            let output = model.output.forward(hidden.clone());
            let error = output - target.clone();
            let terms =
                vec![error.clone().powi_scalar(2).mean(), error.abs().mean() * 3.0, hidden.powi_scalar(2).mean()];
            let losses = Tensor::cat(terms, 0);
            let total = balancer.combine(losses.clone()).unwrap();
            let gradients = GradientsParams::from_grads(total.backward(), &model);
            model = optimizer.step(0.05, model, gradients);
            seen.push((losses, balancer.weights()));
        }
        let mut track = Track::new(config, 1, 3, 5);
        let mut moved = 0;
        for (step, (losses, weights)) in seen.into_iter().enumerate() {
            let losses = values(losses);
            moved += usize::from(losses[0] != losses[1]);
            track.push(&losses);
            track.assert_weights(&values(weights), &format!("configuration {number}, step {step}"));
        }
        assert_eq!(moved, 25);
    }
}

/// Runs steps on a device and checks each.
fn population_on(device: &Device, on_gpu: bool) {
    let (members, components, history) = (70, 3, 6);
    for (number, config) in configs().into_iter().enumerate() {
        let mut balancer =
            LossBalancer::population(BalancerConfig::new(config.clone()), members, components, history, device)
                .unwrap();
        assert_eq!(balancer.is_on_gpu(), on_gpu);
        let mut track = Track::new(config, members, components, history);
        track.assert_weights(&values(balancer.weights()), "before the first step");
        for step in 0..12 {
            let losses = losses(members, components, step);
            let weights = balancer.step(tensor(&losses, [members, components], device)).unwrap();
            track.push(&losses);
            track.assert_weights(&values(weights), &format!("configuration {number}, step {step}"));
        }
    }
}

pub(crate) fn of_populations_and_of_the_fallback() {
    population_on(&crate::device(), true);
    population_on(&Device::flex(), false);
}

pub(crate) fn over_a_thousand_steps() {
    let device = crate::device();
    let config = Config::original().with_beta(20.0);
    let mut balancer = LossBalancer::new(BalancerConfig::new(config.clone()), 4, 7, &device).unwrap();
    let mut track = Track::new(config, 1, 4, 7);
    let mut kept = Vec::new();
    for step in 0..1000 {
        let losses = losses(1, 4, step % 83);
        kept.push((losses.clone(), balancer.step(tensor(&losses, [4], &device)).unwrap()));
    }
    // Read only now: none of the steps has waited for another.
    for (step, (losses, weights)) in kept.into_iter().enumerate() {
        track.push(&losses);
        track.assert_weights(&values(weights), &format!("step {step}"));
    }
}

/// Everything that is not a push, on the device and on the fallback.
pub(crate) fn of_resets_copies_betas_and_epochs() {
    for device in [crate::device(), Device::flex()] {
        let (members, components, history) = (6, 3, 4);
        let config = Config::original();
        let shape = [members, components];
        let plan = BalancerConfig::new(config.clone()).with_per_group_beta(true);
        let mut balancer = LossBalancer::population(plan, members, components, history, &device).unwrap();
        let mut track = Track::new(config.clone(), members, components, history);
        let betas: Vec<f32> = (0..members).map(|member| 0.5 * member as f32).collect();
        balancer.set_betas(&betas).unwrap();
        track.betas = Some(betas.into_iter().map(f64::from).collect());
        for step in 0..12 {
            if step == 5 {
                balancer.reset(&[1, 4]).unwrap();
                track.reset(1);
                track.reset(4);
            }
            if step == 8 {
                balancer.copy(&[(2, 3), (0, 5)]).unwrap();
                track.copy(2, 3);
                track.copy(0, 5);
            }
            let losses = losses(members, components, step);
            let weights = balancer.step(tensor(&losses, shape, &device)).unwrap();
            track.push(&losses);
            track.assert_weights(&values(weights), &format!("{device:?}, step {step}"));
        }

        // Batch losses in quarters, four batches: their mean is exact.
        let plan = BalancerConfig::new(config.clone()).with_feed(Feed::EpochMean);
        let mut balancer = LossBalancer::population(plan, members, components, history, &device).unwrap();
        let mut track = Track::new(config, members, components, history);
        for epoch in 0..7 {
            let mut mean = vec![0.0f32; members * components];
            for batch in 0..4 {
                let losses: Vec<f32> =
                    (0..mean.len()).map(|i| ((i * 13 + epoch * 5 + batch * 3) % 17) as f32 / 4.0).collect();
                mean.iter_mut().zip(&losses).for_each(|(mean, loss)| *mean += loss / 4.0);
                let weights = balancer.accumulate(tensor(&losses, shape, &device)).unwrap();
                track.assert_weights(&values(weights), &format!("{device:?}, epoch {epoch}, batch {batch}"));
            }
            balancer.close_epoch().unwrap();
            track.push(&mean);
            track.assert_weights(&values(balancer.weights()), &format!("{device:?}, epoch {epoch}"));
        }
    }
}
