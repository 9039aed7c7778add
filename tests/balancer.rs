//! The balancer of the CPU path: at every step what the batch path gives for that window, held, smoothed and published as
//! documented; its state as bytes; its errors. `tests/gpu/balancer.rs` puts the GPU's through the same scripts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::balancer::{Call, check, random_script, run_configs, runs};
use common::problem::Problem;
use softadapt::{BalancerPlan, Shape, Weights, cpu};

fn weigh(problem: &Problem) -> Weights<f32> {
    cpu::weigh(&problem.plan, &problem.batch()).unwrap()
}

#[test]
fn real_runs_get_the_batch_paths_weights_at_every_step() {
    let runs = runs();
    let windows = [5, 6, 8, 12];
    for (number, window) in (0..).zip(windows.into_iter().cycle().take(4)) {
        let shape = Shape::ragged(runs.offsets.clone(), window).unwrap();
        let calls: Vec<Call> = runs.steps.iter().cloned().map(Call::Push).collect();
        for (setting, config) in run_configs(75, &shape).into_iter().enumerate() {
            let plan = BalancerPlan::new(config, shape.clone()).unwrap();
            let label = format!("window {window}, setting {setting} of {number}");
            check(&label, &plan, &calls, &mut cpu::Balancer::new(&plan), true, weigh);
        }
    }
}

#[test]
fn random_scripts_show_what_lists_of_losses_would() {
    for seed in 0..400 {
        let (plan, calls) = random_script(seed, false);
        check(&format!("seed {seed}"), &plan, &calls, &mut cpu::Balancer::new(&plan), true, weigh);
    }
}
