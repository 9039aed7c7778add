//! What the weights must be, from the core's f64 reference.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use burn::tensor::{DType, Device, Tensor, TensorData};
use softadapt::{Batch, Config, Plan, Shape, reference};

/// The history that a balancer should have, kept by a few lines that know nothing of rings, kernels or tensors.
pub(crate) struct Track {
    plan: Plan,
    /// `[member][point][component]`, oldest first.
    points: Vec<Vec<Vec<f64>>>,
    /// One beta per member, instead of the configuration's.
    pub(crate) betas: Option<Vec<f64>>,
}

impl Track {
    pub(crate) fn new(config: Config, members: usize, components: usize, history: usize) -> Self {
        let plan = Plan::new(config, Shape::new(members, components, history).unwrap()).unwrap();
        Self { plan, points: vec![Vec::new(); members], betas: None }
    }

    /// One step's losses, `[member][component]`.
    pub(crate) fn push(&mut self, losses: &[f32]) {
        let components = self.plan.shape().max_components();
        for (own, losses) in self.points.iter_mut().zip(losses.chunks(components)) {
            own.push(losses.iter().copied().map(f64::from).collect());
            if own.len() > self.plan.shape().window() {
                own.remove(0);
            }
        }
    }

    pub(crate) fn reset(&mut self, member: usize) {
        self.points[member].clear();
    }

    pub(crate) fn copy(&mut self, from: usize, to: usize) {
        self.points[to] = self.points[from].clone();
    }

    /// The weights `[member][component]` and how far f32 may be off.
    pub(crate) fn expected(&self) -> (Vec<f64>, Vec<f64>) {
        let shape = self.plan.shape();
        let mut losses = vec![0.0; shape.losses_len()];
        for (member, points) in self.points.iter().enumerate() {
            for (point, values) in points.iter().enumerate() {
                for (component, value) in values.iter().enumerate() {
                    losses[shape.loss_index(member, component, shape.window() - points.len() + point)] = *value;
                }
            }
        }
        let counts: Vec<u32> = self.points.iter().map(|points| points.len() as u32).collect();
        let batch = Batch { losses: &losses, betas: self.betas.as_deref(), points: Some(&counts), previous: None };
        let weights = reference::weigh(&self.plan, &batch).unwrap().weights;
        (weights, reference::error_bounds(&self.plan, &batch).unwrap().weights)
    }

    /// Asserts that weights are the reference's, within its bound.
    pub(crate) fn assert_weights(&self, weights: &[f32], what: &str) {
        let (expected, bounds) = self.expected();
        assert_eq!(weights.len(), expected.len(), "{what}");
        // Bounds so wide that anything passes would make the test worthless; a slope sum close to zero makes a few wide.
        let wide = bounds.iter().filter(|bound| !(**bound < 1e-3)).count();
        assert!(20 * wide <= bounds.len(), "{what}: {wide} of {} bounds are wide", bounds.len());
        for (i, ((&weight, expected), bound)) in weights.iter().zip(&expected).zip(&bounds).enumerate() {
            let error = (f64::from(weight) - expected).abs();
            assert!(error <= *bound, "{what}: weight {i} is {weight}, not {expected} within {bound}");
        }
    }
}

/// Losses that fall at a pace of their own and never repeat: `[member][component]`.
pub(crate) fn losses(members: usize, components: usize, step: usize) -> Vec<f32> {
    let loss = |i: usize| {
        let (member, component) = (i / components, i % components);
        let pace = 0.04 * (1.0 + component as f64) / (1.0 + 0.1 * member as f64);
        let wobble = ((step * 37 + i * 101) % 97) as f64 / 97.0;
        ((1.0 + component as f64 + 0.25 * member as f64) * ((-pace * step as f64).exp() + 0.02 * wobble)) as f32
    };
    (0..members * components).map(loss).collect()
}

/// A tensor of f32 values.
pub(crate) fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F32))
}

/// A tensor's values.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

/// Values as bits, for comparisons to the last one.
pub(crate) fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}
