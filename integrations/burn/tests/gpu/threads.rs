//! Balancers on several threads of one device. Burn gives every thread a stream of its own.

use crate::common::{bits, losses, tensor};
use burn::tensor::Device;
use softadapt::{BalancerConfig, Config};
use softadapt_burn::LossBalancer;
use std::sync::Mutex;

const SHAPE: [usize; 2] = [9, 3];

fn balancer(device: &Device) -> LossBalancer {
    let config = BalancerConfig::new(Config::loss_weighted().with_beta(3.0));
    LossBalancer::population(config, SHAPE[0], SHAPE[1], 5, device).unwrap()
}

fn step(balancer: &mut LossBalancer, number: usize, device: &Device) -> Vec<u32> {
    // Work of the thread's own around the step, so that streams have something to mix up.
    let losses = tensor(&losses(SHAPE[0], SHAPE[1], number), SHAPE, device);
    let weights = balancer.step(losses.clone() * 2.0).unwrap();
    bits(weights * (losses + 1.0))
}

pub(crate) fn with_balancers_of_their_own_do_not_meet() {
    let device = crate::device();
    let mut alone = balancer(&device);
    let expected: Vec<_> = (0..20).map(|number| step(&mut alone, number, &device)).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut own = balancer(&device);
                for (number, expected) in expected.iter().enumerate() {
                    assert_eq!(step(&mut own, number, &device), *expected, "step {number}");
                }
            });
        }
    });
}

pub(crate) fn can_hand_one_balancer_around() {
    let device = crate::device();
    let mut alone = balancer(&device);
    let expected: Vec<_> = (0..24).map(|number| step(&mut alone, number, &device)).collect();
    let shared = Mutex::new((0, balancer(&device)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..6 {
                    let mut guard = shared.lock().unwrap();
                    let number = guard.0;
                    guard.0 += 1;
                    assert_eq!(step(&mut guard.1, number, &device), expected[number], "step {number}");
                }
            });
        }
    });
    assert_eq!(shared.lock().unwrap().0, 24);
}

/// Steps that nobody has read when the next thread takes over: their order must hold across streams.
pub(crate) fn take_over_from_unfinished_steps() {
    let device = crate::device();
    let submit = |balancer: &mut LossBalancer, number: usize| {
        let losses = tensor(&losses(SHAPE[0], SHAPE[1], number), SHAPE, &device) * 2.0;
        balancer.step(losses).unwrap();
    };
    let mut alone = balancer(&device);
    (0..24).for_each(|number| submit(&mut alone, number));
    let mut shared = balancer(&device);
    for start in (0..24).step_by(3) {
        std::thread::scope(|scope| {
            scope.spawn(|| (start..start + 3).for_each(|number| submit(&mut shared, number)));
        });
    }
    assert_eq!(bits(shared.weights()), bits(alone.weights()));
    assert_eq!(shared.state().unwrap().to_bytes(), alone.state().unwrap().to_bytes());
}
