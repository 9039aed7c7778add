//! What the optimizer sees.

use crate::common::{Track, losses, tensor, values};
use burn::tensor::Tensor;
use softadapt::{BalancerConfig, Config};
use softadapt_burn::LossBalancer;

/// Roundings between a gradient of the total and the same made of the components' gradients: powers, products and means on
/// the way back (at most 8 each), the weight, and the sum over three components.
const ROUNDINGS: f64 = 2.0 * (8.0 + 1.0 + 3.0);
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// Three losses of a parameter, with gradients that have nothing in common.
fn three(x: &Tensor<2>) -> [Tensor<1>; 3] {
    [x.clone().powi_scalar(2).mean(), x.clone().abs().sum(), (x.clone() * 0.5).exp().mean()]
}

pub(crate) fn of_the_total_is_the_weighted_sum() {
    let plain = crate::device();
    let device = plain.clone().autodiff();
    let config = Config::loss_weighted().with_beta(5.0);
    let mut balancer = LossBalancer::new(BalancerConfig::new(config), 3, 4, &device).unwrap();
    for step in 0..6 {
        let start: Vec<f32> = (0..6).map(|i| ((i * 7 + step * 5) % 11) as f32 / 4.0 - 1.1).collect();
        let x = tensor(&start, [2, 3], &device).require_grad();
        let total = balancer.combine(Tensor::cat(three(&x).to_vec(), 0)).unwrap();
        let found = values(x.grad(&total.backward()).unwrap());
        let weights = values(balancer.weights());
        if step >= 4 {
            assert!(weights[0] != weights[1] && weights[1] != weights[2], "{weights:?} tell nothing apart");
        }
        let parts: Vec<Vec<f32>> = (0..3)
            .map(|i| {
                let x = tensor(&start, [2, 3], &device).require_grad();
                let [a, b, c] = three(&x);
                values(x.grad(&[a, b, c][i].backward()).unwrap())
            })
            .collect();
        for (i, found) in found.iter().enumerate() {
            let terms = parts.iter().zip(&weights).map(|(part, &weight)| f64::from(part[i]) * f64::from(weight));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
            let error = (f64::from(*found) - sum).abs();
            assert!(error <= ROUNDINGS * U * size, "step {step}: gradient {i} is {found}, not {sum}");
        }
    }
}

/// Members of a population train as if they were alone.
pub(crate) fn of_members_do_not_mix() {
    let device = crate::device().autodiff();
    let (members, components) = (5, 3);
    let config = Config::loss_weighted().with_beta(2.0);
    let mut balancer =
        LossBalancer::population(BalancerConfig::new(config.clone()), members, components, 4, &device).unwrap();
    let mut track = Track::new(config, members, components, 4);
    for step in 0..6 {
        let x = tensor(&losses(members, components, step), [members, components], &device).require_grad();
        // The loss is the parameter, so its gradient is the weight.
        let gradients = balancer.combine(x.clone() * 1.0).unwrap().backward();
        track.push(&losses(members, components, step));
        track.assert_weights(&values(x.grad(&gradients).unwrap()), &format!("gradient, step {step}"));
    }
}
