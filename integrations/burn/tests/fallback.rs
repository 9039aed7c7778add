//! Balancers on a backend without a GPU: the same weights, the same errors, and a word in the log.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use burn::tensor::{Device, Tensor};
use common::{Track, losses, tensor, values};
use softadapt::{BalancerConfig, BalancerPlan, BatchError, Config, CopyError, Feed, Layout, Shape};
use softadapt_burn::{LossBalancer, SetupError, StepError};
use std::sync::Mutex;

/// Every warning so far.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn && metadata.target().starts_with("softadapt_burn")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            SAID.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn listen() {
    // Tests share a process: the first sets it.
    if log::set_logger(&Listener).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

fn balancer(config: BalancerConfig, members: usize) -> LossBalancer {
    listen();
    LossBalancer::population(config, members, 3, 5, &Device::flex()).unwrap()
}

fn plain() -> BalancerConfig {
    BalancerConfig::new(Config::original().with_beta(2.0))
}

#[test]
fn weights_are_the_references_and_the_log_says_it_once() {
    for device in [Device::flex(), Device::flex().autodiff()] {
        let mut balancer = balancer(plain(), 4);
        assert!(!balancer.is_on_gpu());
        let mut track = Track::new(plain().config, 4, 3, 5);
        for step in 0..9 {
            let losses = losses(4, 3, step);
            let weights = balancer.step(tensor(&losses, [4, 3], &device)).unwrap();
            track.push(&losses);
            track.assert_weights(&values(weights), &format!("step {step}"));
        }
    }
    let said = SAID.lock().unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("CPU") && said[0].contains("Flex"), "{said:?}");
}

#[test]
fn the_gradient_of_the_total_is_the_weights() {
    let device = Device::flex().autodiff();
    let mut balancer = balancer(plain(), 1);
    for step in 0..7 {
        let x = tensor(&losses(1, 3, step), [3], &device).require_grad();
        let gradients = balancer.combine(x.clone()).unwrap().backward();
        assert_eq!(values(x.grad(&gradients).unwrap()), values(balancer.weights()));
    }
    assert!(values(balancer.weights()).windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let device = Device::flex();
    let mut own = balancer(plain(), 4);
    own.step(tensor(&losses(4, 3, 0), [4, 3], &device)).unwrap();
    let before = own.state().unwrap().to_bytes();
    let expected = [4, 3];
    let refused = own.step(Tensor::<2>::zeros([3, 4], &device));
    assert_eq!(refused.err(), Some(StepError::Shape { found: vec![3, 4], expected }));
    let refused = own.step(Tensor::<1>::zeros([12], &device));
    assert_eq!(refused.err(), Some(StepError::Shape { found: vec![12], expected }));
    let refused = own.combine(Tensor::<3>::zeros([1, 4, 3], &device));
    assert_eq!(refused.err(), Some(StepError::Shape { found: vec![1, 4, 3], expected }));
    let feed = StepError::Batch(BatchError::Feed { feed: Feed::EveryPush });
    assert_eq!(own.accumulate(Tensor::<2>::zeros([4, 3], &device)).err(), Some(feed.clone()));
    assert_eq!(own.close_epoch(), Err(feed));
    assert_eq!(own.reset(&[0, 4]), Err(StepError::Members(CopyError::Group { group: 4, groups: 4 })));
    assert_eq!(own.copy(&[(0, 1), (2, 1)]), Err(StepError::Members(CopyError::Twice { group: 1 })));
    assert_eq!(own.set_betas(&[1.0; 4]), Err(StepError::Betas { given: 4, expected: 0 }));
    assert_eq!(own.state().unwrap().to_bytes(), before);

    let mut with_betas = balancer(plain().with_per_group_beta(true), 4);
    assert_eq!(with_betas.set_betas(&[1.0; 3]), Err(StepError::Betas { given: 3, expected: 4 }));
    let mut of_epochs = balancer(plain().with_feed(Feed::EpochMean), 4);
    let feed = StepError::Batch(BatchError::Feed { feed: Feed::EpochMean });
    assert_eq!(of_epochs.step(Tensor::<2>::zeros([4, 3], &device)).err(), Some(feed));
}

#[test]
fn plans_that_are_no_tensors_are_refused() {
    let ragged = Shape::ragged(vec![0, 2, 5], 5).unwrap();
    let turned = Shape::new(4, 3, 5).unwrap().with_layout(Layout::TimeMajor).unwrap();
    for shape in [ragged, turned] {
        let plan = BalancerPlan::new(plain(), shape).unwrap();
        assert_eq!(LossBalancer::from_plan(plan, &Device::flex()).err(), Some(SetupError::Shape));
    }
    let short = LossBalancer::new(BalancerConfig::new(Config::original().with_order(6)), 3, 5, &Device::flex());
    assert!(matches!(short, Err(SetupError::Plan(_))));
}

#[test]
fn messages_name_the_numbers_and_what_to_do() {
    let error = StepError::Shape { found: vec![4], expected: [1, 3] };
    assert_eq!(
        error.to_string(),
        "losses of shape [4], but the balancer weighs 1 members of 3 components: give [1, 3] or [3]"
    );
    let error = StepError::Betas { given: 2, expected: 5 };
    assert_eq!(error.to_string(), "2 betas were given for 5 members: give one for each");
}
