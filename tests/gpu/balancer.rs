//! The balancer on the device: the scripts of `tests/balancer.rs`, and the rules that a guest in a training loop keeps.

use crate::common::balancer::{Balances, Call, check, random_script, run_configs, runs};
use crate::common::problem::Problem;
use crate::context;
use softadapt::{BalancerPlan, BalancerState, Shape, Weights, host};

impl Balances for host::Balancer {
    fn call(&mut self, call: &Call) {
        match call {
            Call::Push(losses) => self.push(losses).unwrap(),
            Call::Accumulate(losses) => self.accumulate(losses).unwrap(),
            Call::CloseEpoch => self.close_epoch().unwrap(),
            Call::Reset(groups) => self.reset(groups).unwrap(),
            Call::ResetMasked(mask) => self.reset_masked(mask).unwrap(),
            Call::Copy(pairs) => self.copy(pairs).unwrap(),
            Call::Betas(betas) => self.set_betas(betas).unwrap(),
            Call::Reload => {
                let state = BalancerState::from_bytes(self.plan(), &self.state().unwrap().to_bytes()).unwrap();
                *self = context().balancer(self.plan()).unwrap();
                self.load(&state).unwrap();
            }
        }
    }

    fn state(&self) -> BalancerState {
        self.state().unwrap()
    }
}

/// The batch path of the same device.
fn weigh(problem: &Problem) -> Weights<f32> {
    context().weigh(&problem.plan, &problem.batch()).unwrap()
}

pub(crate) fn real_runs_get_the_batch_paths_weights_at_every_step() {
    let runs = runs();
    let shape = |window| Shape::ragged(runs.offsets.clone(), window).unwrap();
    let calls: Vec<Call> = runs.steps.iter().cloned().map(Call::Push).collect();
    for window in [5, 6, 8, 12] {
        for (setting, config) in run_configs(75, &shape(window)).into_iter().enumerate() {
            let plan = BalancerPlan::new(config, shape(window)).unwrap();
            let label = format!("window {window}, setting {setting}");
            check(&label, &plan, &calls, &mut context().balancer(&plan).unwrap(), false, weigh);
        }
    }
}

pub(crate) fn random_scripts_show_what_lists_of_losses_would() {
    for seed in 1000..1300 {
        let (plan, calls) = random_script(seed, false);
        let mut balancer = context().balancer(&plan).unwrap();
        check(&format!("seed {seed}"), &plan, &calls, &mut balancer, false, weigh);
    }
}
