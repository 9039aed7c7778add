//! Many small networks as batched tensors, with Adam.

use super::Random;
use burn::tensor::{Device, Gradients, Tensor};
use std::error::Error;

/// Parameters of all members with their Adam moments: weights `[member, in, out]` and biases `[member, 1, out]` of one layer
/// after the other.
pub(crate) struct Members {
    pub(crate) parameters: Vec<Tensor<3>>,
    moments: Vec<[Tensor<3>; 2]>,
    steps: i32,
}

impl Members {
    /// Layers of (inputs, outputs). Weights are normal with variance `gain / inputs`, biases zero; members begin with the
    /// parameters of their seed.
    pub(crate) fn new(layers: &[(usize, usize)], seeds: &[u64], gain: f64, device: &Device) -> Self {
        let mut random: Vec<Random> = seeds.iter().map(|&seed| Random::new(seed)).collect();
        let mut parameters = Vec::new();
        for &(inputs, outputs) in layers {
            let deviation = (gain / inputs as f64).sqrt();
            let weights = random.iter_mut().map(|random| random.normals([1, inputs, outputs], deviation, device));
            parameters.push(Tensor::cat(weights.collect(), 0));
            parameters.push(Tensor::zeros([seeds.len(), 1, outputs], device));
        }
        let moments = parameters.iter().map(|parameter| [parameter.zeros_like(), parameter.zeros_like()]).collect();
        Self { parameters, moments, steps: 0 }
    }

    /// The parameters as leaves of a new graph.
    pub(crate) fn tracked(&self) -> Vec<Tensor<3>> {
        self.parameters.iter().map(|parameter| parameter.clone().autodiff().require_grad()).collect()
    }

    /// One step of Adam with each member's own learning rate, `[member, 1, 1]`.
    pub(crate) fn update(
        &mut self,
        tracked: &[Tensor<3>],
        gradients: &Gradients,
        rates: &Tensor<3>,
    ) -> Result<(), Box<dyn Error>> {
        self.steps += 1;
        let [first, second] = [0.9f64, 0.999].map(|decay| 1.0 - decay.powi(self.steps));
        for ((own, tracked), [mean, square]) in self.parameters.iter_mut().zip(tracked).zip(&mut self.moments) {
            let gradient = tracked.grad(gradients).ok_or("a parameter has no gradient")?;
            *mean = mean.clone() * 0.9 + gradient.clone() * 0.1;
            *square = square.clone() * 0.999 + gradient.powi_scalar(2) * 0.001;
            let step = (mean.clone() / first) / ((square.clone() / second).sqrt() + 1e-8);
            *own = own.clone() - step * rates.clone();
        }
        Ok(())
    }
}

/// Layer number `i` of these parameters: `[member, samples, in]` to `[member, samples, out]`.
pub(crate) fn layer(parameters: &[Tensor<3>], i: usize, x: Tensor<3>) -> Tensor<3> {
    x.matmul(parameters[2 * i].clone()) + parameters[2 * i + 1].clone()
}
