//! Checkpoints: a run that was stopped goes on with the same bits.

use crate::common::{Track, bits, losses, tensor, values};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::store::ModuleRecord;
use burn::tensor::Device;
use softadapt::{BalancerConfig, BalancerPlan, Config, Shape, Smoothing, StateError};
use softadapt_burn::{BalancerRecord, LoadError, LossBalancer};

const SHAPE: [usize; 2] = [5, 3];
const HISTORY: usize = 6;

#[derive(Module, Debug)]
struct Checkpoint {
    model: Linear,
    balancer: BalancerRecord,
}

fn config() -> BalancerConfig {
    // Smoothing makes every weight depend on all before it; updates every other step make the counters matter.
    BalancerConfig::new(Config::loss_weighted().with_beta(2.0))
        .with_every(2)
        .with_smoothing(Smoothing::Exponential { keep: 0.75 })
        .with_log(3)
}

fn balancer(config: BalancerConfig, device: &Device) -> LossBalancer {
    LossBalancer::population(config, SHAPE[0], SHAPE[1], HISTORY, device).unwrap()
}

fn run(balancer: &mut LossBalancer, steps: std::ops::Range<usize>) -> Vec<Vec<u32>> {
    let device = balancer.device().clone();
    steps.map(|step| bits(balancer.step(tensor(&losses(SHAPE[0], SHAPE[1], step), SHAPE, &device)).unwrap())).collect()
}

pub(crate) fn resumes_to_the_last_bit() {
    let device = crate::device();
    let model = LinearConfig::new(2, 2).init(&device);
    for stop in [0, 1, 4, 11] {
        let mut whole = balancer(config(), &device);
        run(&mut whole, 0..stop);
        let checkpoint = Checkpoint { model: model.clone(), balancer: whole.to_record().unwrap() };
        let bytes = checkpoint.into_record().into_bytes().unwrap();
        let expected = run(&mut whole, stop..stop + 9);

        // As another process would.
        let mut resumed = balancer(config(), &device);
        run(&mut resumed, 0..3);
        let fresh = Checkpoint { model: model.clone(), balancer: resumed.to_record().unwrap() };
        let checkpoint = fresh.load_record(ModuleRecord::from_bytes(bytes).unwrap());
        resumed.load_record(&checkpoint.balancer).unwrap();
        assert_eq!(run(&mut resumed, stop..stop + 9), expected, "stopped after {stop} steps");
        assert_eq!(resumed.state().unwrap().to_bytes(), whole.state().unwrap().to_bytes());
    }
}

pub(crate) fn moves_between_device_and_fallback() {
    let config = Config::loss_weighted().with_beta(2.0);
    let devices = [crate::device(), Device::flex()];
    for (from, to) in [(0, 1), (1, 0)] {
        let mut first = balancer(BalancerConfig::new(config.clone()), &devices[from]);
        let mut second = balancer(BalancerConfig::new(config.clone()), &devices[to]);
        let mut track = Track::new(config.clone(), SHAPE[0], SHAPE[1], HISTORY);
        run(&mut first, 0..7);
        second.load_record(&first.to_record().unwrap()).unwrap();
        assert_eq!(bits(second.weights()), bits(first.weights()));
        (0..7).for_each(|step| track.push(&losses(SHAPE[0], SHAPE[1], step)));
        for step in 7..12 {
            let losses = losses(SHAPE[0], SHAPE[1], step);
            let weights = second.step(tensor(&losses, SHAPE, &devices[to])).unwrap();
            track.push(&losses);
            track.assert_weights(&values(weights), &format!("step {step}"));
        }
    }
}

pub(crate) fn of_another_plan_is_refused() {
    let device = crate::device();
    let mut own = balancer(config(), &device);
    run(&mut own, 0..5);
    let before = own.state().unwrap().to_bytes();
    let other = LossBalancer::population(config(), SHAPE[0], SHAPE[1] + 1, HISTORY, &device).unwrap();
    let refused = own.load_record(&other.to_record().unwrap());
    assert!(
        matches!(refused, Err(LoadError::State(StateError::Length { .. } | StateError::Plan { .. }))),
        "{refused:?}"
    );
    let plan = BalancerPlan::new(config(), Shape::new(SHAPE[0], SHAPE[1], HISTORY).unwrap()).unwrap();
    assert_eq!(*own.plan(), plan);
    assert_eq!(own.state().unwrap().to_bytes(), before);
}
