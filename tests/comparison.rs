//! The tests' own comparison must be able to fail: it is given answers that are wrong in every way that matters.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::problem::{POISON, Problem, Tally, compare, outputs, poisoned};
use softadapt::{Config, Normalize, Plan, Shape, Status, Weights, cpu};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Distinct groups and components, ordinary numbers.
fn problem() -> Problem {
    let config = Config::loss_weighted().with_normalize(Normalize::L1).with_beta(2.0);
    let plan = Plan::new(config, Shape::new(5, 3, 5).unwrap()).unwrap();
    let losses = (0..75).map(|i| 1.0 + ((i * 37) % 71) as f32 / 7.0).collect();
    Problem { plan, losses, betas: None, points: None, previous: None }
}

fn right(problem: &Problem) -> Weights<f32> {
    let mut answer = poisoned(&problem.plan);
    cpu::weigh_into(&problem.plan, &problem.batch(), &mut outputs(&mut answer)).unwrap();
    answer
}

fn passes(problem: &Problem, answer: &Weights<f32>) -> bool {
    catch_unwind(AssertUnwindSafe(|| compare(problem, answer, &mut Tally::default(), "deliberately"))).is_ok()
}

#[test]
fn wrong_answers_are_rejected() {
    let problem = problem();
    let right = right(&problem);
    assert!(passes(&problem, &right));
    type Spoil = (&'static str, fn(&mut Weights<f32>));
    let spoil: [Spoil; 12] = [
        ("a NaN", |a| a.weights[7] = f32::NAN),
        ("an infinity", |a| a.weights[7] = f32::INFINITY),
        ("two components swapped", |a| a.weights.swap(3, 4)),
        ("groups shifted by one", |a| a.weights.rotate_right(3)),
        ("components shifted by one", |a| a.weights.rotate_right(1)),
        ("one weight untouched", |a| a.weights[14] = POISON),
        ("all weights zero", |a| a.weights.fill(0.0)),
        ("a weight off by 1e-4", |a| a.weights[0] *= 1.0001),
        ("a slope untouched", |a| a.slopes[2] = POISON),
        ("a slope off by 1e-4", |a| a.slopes[2] *= 1.0001),
        ("a mean off by 1e-4", |a| a.means[2] *= 1.0001),
        ("a flag too many", |a| a.status[1] = Status::NOT_READY),
    ];
    for (what, spoil) in spoil {
        let mut wrong = right.clone();
        spoil(&mut wrong);
        assert!(!passes(&problem, &wrong), "{what} was accepted");
    }
}

#[test]
fn wrong_pipelines_are_rejected() {
    let problem = problem();
    let with = |config: Config| {
        let plan = Plan::new(config, problem.plan.shape().clone()).unwrap();
        right(&Problem { plan, losses: problem.losses.clone(), betas: None, points: None, previous: None })
    };
    let config = || problem.plan.config().clone();
    let wrong = [
        ("another beta", config().with_beta(2.01)),
        ("another normalisation", config().with_normalize(Normalize::L2)),
        ("another order", config().with_order(3)),
        ("no loss weighting", config().with_loss_weighting(softadapt::LossWeighting::None)),
        ("another scale", config().with_scale(softadapt::Scale::Components)),
        ("a floor", config().with_floor(1e-3)),
        ("a prior", config().with_prior([1.0, 1.0, 1.01])),
    ];
    for (what, config) in wrong {
        assert!(!passes(&problem, &with(config)), "{what} was accepted");
    }
}
