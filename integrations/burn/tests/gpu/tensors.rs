//! Tensors that do not lie in memory as a plain array does: the same values give the same weights, to the last bit.

use crate::common::{bits, losses, tensor, values};
use burn::tensor::{DType, Device, Tensor};
use softadapt::{BalancerConfig, Config};
use softadapt_burn::LossBalancer;

const MEMBERS: usize = 6;
const COMPONENTS: usize = 4;
const HISTORY: usize = 4;
const STEPS: usize = 7;

fn balancer(members: usize, device: &Device) -> LossBalancer {
    let config = BalancerConfig::new(Config::loss_weighted().with_beta(3.0));
    LossBalancer::population(config, members, COMPONENTS, HISTORY, device).unwrap()
}

/// Runs steps whose losses come through `make`, beside the same values in plain tensors.
fn assert_same(what: &str, device: &Device, make: impl Fn(&[f32], usize) -> Tensor<2>) {
    let (mut odd, mut plain) = (balancer(MEMBERS, device), balancer(MEMBERS, device));
    for step in 0..STEPS {
        let losses = make(&losses(MEMBERS, COMPONENTS, step), step);
        assert_eq!(losses.dims(), [MEMBERS, COMPONENTS]);
        let read = values(losses.clone());
        let mut sorted = read.clone();
        sorted.sort_by(f32::total_cmp);
        assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]), "{what}: values that tell no places apart");
        let found = odd.step(losses).unwrap();
        assert!(!found.is_autodiff(), "{what}: weights are constants");
        let expected = plain.step(tensor(&read, [MEMBERS, COMPONENTS], &device.clone().inner())).unwrap();
        assert_eq!(bits(found), bits(expected), "{what}, step {step}");
    }
}

pub(crate) fn of_any_layout_give_the_same_bits() {
    let device = crate::device();
    let shape = [MEMBERS, COMPONENTS];
    // Values in the order of another layout, and a view that puts them right.
    let wide = |values: &[f32], before: usize, after: usize| {
        let rows: Vec<f32> = values
            .chunks(COMPONENTS)
            .flat_map(|row| {
                let filler = |n: usize, start: f32| (0..n).map(move |i| start + i as f32);
                filler(before, -1e3).chain(row.iter().copied()).chain(filler(after, 1e3)).collect::<Vec<f32>>()
            })
            .collect();
        tensor(&rows, [MEMBERS, before + COMPONENTS + after], &device)
    };
    assert_same("transposed", &device, |values, _| {
        let turned: Vec<f32> = (0..values.len()).map(|i| values[i % MEMBERS * COMPONENTS + i / MEMBERS]).collect();
        tensor(&turned, [COMPONENTS, MEMBERS], &device).transpose()
    });
    assert_same("columns of a wider tensor", &device, |values, step| {
        let (before, after) = (step % 3 + 1, 5);
        wide(values, before, after).slice([0..MEMBERS, before..before + COMPONENTS])
    });
    assert_same("rows of a longer tensor", &device, |values, step| {
        // From 16-byte steps that no offset may start at to 64-byte ones.
        let mut rows = vec![-7.5; COMPONENTS * (step + 1)];
        rows.extend(values);
        rows.extend([9.5; COMPONENTS]);
        tensor(&rows, [MEMBERS + step + 2, COMPONENTS], &device).slice(step + 1..step + 1 + MEMBERS)
    });
    assert_same("permuted", &device, |values, _| {
        let turned: Vec<f32> = (0..values.len()).map(|i| values[i % MEMBERS * COMPONENTS + i / MEMBERS]).collect();
        tensor(&turned, [1, COMPONENTS, MEMBERS], &device).permute([0, 2, 1]).reshape(shape)
    });
    assert_same("flipped", &device, |values, _| {
        let back: Vec<f32> = values.iter().rev().copied().collect();
        tensor(&back, shape, &device).flip([0, 1])
    });
    assert_same("broadcast and fused", &device, |values, step| {
        // Nothing of this exists in memory before the balancer asks for it.
        let columns: Vec<f32> = (0..COMPONENTS).map(|i| 1.0 + 0.37 * i as f32).collect();
        let columns = tensor(&columns, [1, COMPONENTS], &device).expand(shape);
        (tensor(values, shape, &device) * columns + step as f64 * 0.11).abs().sqrt()
    });
    assert_same("autodiff, tracked", &device, |values, _| {
        let x = tensor(values, shape, &device.clone().autodiff()).require_grad();
        x.clone() * 2.0 + x.powi_scalar(2)
    });
}

pub(crate) fn of_one_member_may_have_one_axis_or_two() {
    let device = crate::device();
    let (mut one, mut two, mut mixed) = (balancer(1, &device), balancer(1, &device), balancer(1, &device));
    for step in 0..STEPS {
        let losses = losses(1, COMPONENTS, step);
        let flat = tensor(&losses, [COMPONENTS], &device);
        let row = tensor(&losses, [1, COMPONENTS], &device);
        let expected = bits(one.step(flat.clone()).unwrap());
        assert_eq!(bits(two.step(row.clone()).unwrap()), expected);
        let found = if step % 2 == 0 { bits(mixed.step(flat).unwrap()) } else { bits(mixed.step(row).unwrap()) };
        assert_eq!(found, expected);
        assert_eq!(bits(mixed.weights()), expected);
        assert_eq!(mixed.weights().dims(), [1, COMPONENTS]);
    }
}

/// No members, no weights, and no fault.
pub(crate) fn of_nobody_are_empty() {
    for device in [crate::device(), Device::flex()] {
        let mut nobody = balancer(0, &device);
        let weights = nobody.step(tensor(&[], [0, COMPONENTS], &device)).unwrap();
        assert_eq!(weights.dims(), [0, COMPONENTS]);
        nobody.reset(&[]).unwrap();
        nobody.copy(&[]).unwrap();
        let state = nobody.state().unwrap();
        nobody.load(&state).unwrap();
        assert!(values(nobody.step(tensor(&[], [0, COMPONENTS], &device)).unwrap()).is_empty());
    }
}

/// Losses of later steps that were begun before those of earlier ones: fusion may run what does not depend on each other in
/// another order, but not the steps.
pub(crate) fn of_later_steps_may_be_begun_first() {
    let device = crate::device();
    let (mut odd, mut plain) = (balancer(MEMBERS, &device), balancer(MEMBERS, &device));
    let shape = [MEMBERS, COMPONENTS];
    let ready: Vec<Tensor<2>> =
        (0..STEPS + 1).map(|step| tensor(&losses(MEMBERS, COMPONENTS, step), shape, &device)).collect();
    for pair in 0..STEPS / 2 {
        let [first, second] = [2 * pair, 2 * pair + 1];
        // Each a chain of its own, the second's ahead.
        let later = (ready[second].clone() * 2.0).exp().log() + 0.5;
        let sooner = (ready[first].clone() * 3.0).sqrt() * 2.0;
        let weights = [odd.step(sooner.clone()).unwrap(), odd.step(later.clone()).unwrap()];
        // Something in between that depends on neither step.
        let other = (ready[second].clone() - ready[first].clone()).abs().sum();
        let found = weights.map(bits);
        let expected = [sooner, later].map(|losses| bits(plain.step(tensor(&values(losses), shape, &device)).unwrap()));
        assert_eq!(found, expected, "steps {first} and {second}");
        assert!(values(other)[0] > 0.0);
    }
}

/// The tensor that came back is the caller's: later steps do not write into it.
pub(crate) fn that_came_back_stay_as_they_are() {
    let device = crate::device();
    let mut balancer = balancer(MEMBERS, &device);
    let mut kept = Vec::new();
    for step in 0..STEPS {
        let losses = tensor(&losses(MEMBERS, COMPONENTS, step), [MEMBERS, COMPONENTS], &device);
        let weights = balancer.step(losses.clone()).unwrap();
        kept.push((weights.clone(), bits(weights), losses.clone(), bits(losses)));
    }
    for (weights, weight_bits, losses, loss_bits) in kept {
        assert_eq!(bits(weights), weight_bits);
        assert_eq!(bits(losses), loss_bits, "losses are only read");
    }
}

/// Other float types are weighed in f32 and answered in their own.
pub(crate) fn of_half_precision_are_weighed_in_single() {
    let gpu = crate::device();
    // Adapters without 16-bit floats: at least the fallback.
    let device = if gpu.supports_dtype(DType::F16) { gpu } else { Device::flex() };
    let (mut half, mut single) = (balancer(MEMBERS, &device), balancer(MEMBERS, &device));
    for step in 0..STEPS {
        let losses = tensor(&losses(MEMBERS, COMPONENTS, step), [MEMBERS, COMPONENTS], &device).cast(DType::F16);
        let found = half.step(losses.clone()).unwrap();
        assert_eq!(found.dtype(), DType::F16);
        let expected = single.step(losses.cast(DType::F32)).unwrap().cast(DType::F16);
        assert_eq!(bits(found.cast(DType::F32)), bits(expected.cast(DType::F32)));
    }
}
