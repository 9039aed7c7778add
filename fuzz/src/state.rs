//! Any bytes as a checkpoint: refused, or a balancer that goes on without a panic and the same way every time.
#![allow(clippy::unwrap_used, reason = "a target fails by panicking")]

use softadapt::cpu::Balancer;
use softadapt::{BalancerConfig, BalancerPlan, BalancerState, BetaSchedule, Config, Feed, Shape, Smoothing, Window};

/// Plans that remember different things.
fn plan(choice: u8) -> BalancerPlan {
    let new = BalancerConfig::new;
    let uniform = |groups, components, window| Shape::new(groups, components, window).unwrap();
    let (config, shape) = match choice % 6 {
        0 => (new(Config::original()), uniform(2, 2, 3)),
        1 => (
            new(Config::loss_weighted().with_order(1)).with_every(2).with_smoothing(Smoothing::CycleMean).with_log(3),
            uniform(3, 1, 4),
        ),
        2 => (
            new(Config::normalized().with_order(1)).with_feed(Feed::EpochMean).with_per_group_beta(true),
            Shape::ragged(vec![0, 2, 2, 3], 2).unwrap(),
        ),
        3 => (new(Config::original()).with_window(Window::Tumbling).with_every(3), uniform(1, 3, 5)),
        4 => (
            new(Config::original().with_order(1))
                .with_smoothing(Smoothing::Exponential { keep: 0.5 })
                .with_beta_schedule(BetaSchedule::Linear { from: 0.0, to: 1.0, over: 10 })
                .with_log(1),
            uniform(2, 1, 2),
        ),
        _ => (new(Config::original()).with_log(2), uniform(0, 4, 5)),
    };
    BalancerPlan::new(config, shape).unwrap()
}

/// The first byte picks a plan, and whether the rest is a checkpoint as it is (even) or what stands in one between a right
/// head and a right checksum (odd): nothing else would get past those.
pub fn check(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let plan = plan(choice >> 1);
    if choice & 1 == 0 {
        if let Ok(state) = BalancerState::from_bytes(&plan, bytes) {
            go_on(&plan, &state, bytes);
        }
        return;
    }
    let mut whole = BalancerState::new(&plan).to_bytes();
    const HEAD: usize = 8 + 4 + 9 * 8;
    let end = whole.len() - 4;
    for (place, byte) in whole[HEAD..end].iter_mut().zip(bytes) {
        *place = *byte;
    }
    let sum = crc32fast::hash(&whole[..end]);
    whole[end..].copy_from_slice(&sum.to_le_bytes());
    match BalancerState::from_bytes(&plan, &whole) {
        Ok(state) => go_on(&plan, &state, &whole),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // Device memory that was copied out holds the same words without head and checksum.
    let _ = plan.read_snapshot(&whole[HEAD..end]);
    let _ = plan.read_log(&whole[HEAD..end]);
}

fn go_on(plan: &BalancerPlan, state: &BalancerState, bytes: &[u8]) {
    assert_eq!(state.to_bytes(), bytes, "what was read is written again");
    let groups = plan.shape().groups();
    for group in 0..=groups {
        assert_eq!(state.points(group).is_some(), group < groups);
        assert_eq!(state.pushes(group).is_some(), group < groups);
        for entry in state.log(group) {
            assert_eq!(entry.weights.len(), plan.shape().components(group));
        }
    }
    let run = || {
        let mut balancer = Balancer::new(plan);
        balancer.load(state).unwrap();
        assert_eq!(balancer.state().to_bytes(), bytes, "loaded and stored");
        for step in 0..6u8 {
            let losses: Vec<f32> = (0..plan.losses_len()).map(|i| f32::from(step) + i as f32).collect();
            match plan.config().feed {
                Feed::EpochMean => {
                    balancer.accumulate(&losses).unwrap();
                    balancer.close_epoch().unwrap();
                }
                _ => balancer.push(&losses).unwrap(),
            }
            if step == 2 && groups > 1 {
                balancer.reset(&[0]).unwrap();
            }
            if step == 3 && groups > 1 && plan.shape().uniform_components().is_some() {
                balancer.copy(&[(0, 1)]).unwrap();
            }
        }
        balancer.state()
    };
    let after = run();
    assert_eq!(after.to_bytes(), run().to_bytes(), "the same way every time");
    // A balancer never makes a state that it would not take.
    BalancerState::from_bytes(plan, &after.to_bytes()).unwrap();
}
