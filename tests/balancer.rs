//! The balancer of the CPU path: at every step what the batch path gives for that window, held, smoothed and published as
//! documented; its state as bytes; its errors. `tests/gpu/balancer.rs` puts the GPU's through the same scripts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::balancer::{
    Balances, Call, check, check_counters_far_out, check_independence, check_long_epochs, check_packages_loop,
    check_resumed, check_schedules, random_script, run_configs, runs,
};
use common::problem::{Problem, bits};
use softadapt::cpu::Balancer;
use softadapt::{
    BalancerConfig, BalancerError, BalancerPlan, BalancerState, BatchError, BetaSchedule, Config, ConfigError,
    CopyError, Feed, InitialWeights, MAX_LOG, MAX_PUSHES, PlanError, Shape, Smoothing, StateError, Status, Weights,
    Window, cpu,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
            check(&label, &plan, &calls, &mut Balancer::new(&plan), true, weigh);
        }
    }
}

#[test]
fn random_scripts_show_what_lists_of_losses_would() {
    for seed in 0..400 {
        let (plan, calls) = random_script(seed, false);
        check(&format!("seed {seed}"), &plan, &calls, &mut Balancer::new(&plan), true, weigh);
    }
}

#[test]
fn tumbling_windows_reproduce_the_loop_of_the_packages_readme() {
    check_packages_loop(Balancer::new);
}

#[test]
fn what_befalls_a_group_changes_no_bit_of_another() {
    check_independence(Balancer::new, 0..150);
}

#[test]
fn schedules_follow_their_formulas() {
    check_schedules(Balancer::new, weigh);
}

#[test]
fn means_of_long_epochs_are_near() {
    check_long_epochs(Balancer::new, &[1, 2, 255, 256, 257, 1000, 70_000]);
}

fn resume(plan: &BalancerPlan, state: &BalancerState) -> Balancer {
    let mut balancer = Balancer::new(plan);
    balancer.load(state).unwrap();
    balancer
}

#[test]
fn counters_never_overflow() {
    check_counters_far_out(resume);
}

#[test]
fn a_resumed_run_has_the_bits_of_an_uninterrupted_one() {
    check_resumed(Balancer::new, 3000..3150);
}

/// A balancer with a fault.
struct Faulty {
    inner: Balancer,
    fault: usize,
    calls: usize,
}

const FAULTS: usize = 9;

impl Balances for Faulty {
    fn call(&mut self, call: &Call) {
        self.calls += 1;
        let call = match (self.fault, call) {
            // One push is lost; one is pushed twice; two groups are mixed up; a loss is off by one unit.
            (0, Call::Push(_)) if self.calls == 4 => return,
            (1, Call::Push(_)) if self.calls == 4 => {
                self.inner.call(call);
                call.clone()
            }
            (2, Call::Push(losses)) => {
                let mut losses = losses.clone();
                losses.rotate_left(3);
                Call::Push(losses)
            }
            (3, Call::Push(losses)) => Call::Push(losses.iter().map(|loss| loss.next_up()).collect()),
            // Resets and copies that do nothing, or something else.
            (4, Call::Reset(_)) | (5, Call::Copy(_)) => return,
            (6, Call::Copy(pairs)) => Call::Copy(pairs.iter().map(|&(from, to)| (to, from)).collect()),
            (7, Call::Reset(groups)) => Call::Reset(groups.iter().map(|group| group ^ 1).collect()),
            // A state that comes back without its history.
            (8, Call::Reload) => {
                let plan = self.inner.plan().clone();
                self.inner = Balancer::new(&plan);
                return;
            }
            _ => call.clone(),
        };
        self.inner.call(&call);
    }

    fn state(&self) -> BalancerState {
        self.inner.state()
    }
}

#[test]
fn the_comparison_notices_every_fault() {
    let config = BalancerConfig::new(Config::loss_weighted().with_order(2).with_beta(2.0));
    let plan = BalancerPlan::new(config, Shape::new(4, 3, 3).unwrap()).unwrap();
    let losses = |step: usize| (0..12).map(|i| 1.0 + ((step * 31 + i * 17) % 23) as f32 / 23.0).collect();
    let mut calls: Vec<Call> = (0..12).map(|step| Call::Push(losses(step))).collect();
    calls.insert(6, Call::Reset(vec![2]));
    calls.insert(9, Call::Copy(vec![(1, 3)]));
    calls.insert(11, Call::Reload);
    let run = |fault: usize| {
        let mut balancer = Faulty { inner: Balancer::new(&plan), fault, calls: 0 };
        catch_unwind(AssertUnwindSafe(|| check("planted", &plan, &calls, &mut balancer, true, weigh)))
    };
    assert!(run(FAULTS).is_ok(), "without a fault there is nothing to notice");
    for fault in 0..FAULTS {
        assert!(run(fault).is_err(), "fault {fault} went unnoticed");
    }
}

fn plan(config: BalancerConfig) -> BalancerPlan {
    BalancerPlan::new(config, Shape::new(5, 2, 4).unwrap()).unwrap()
}

fn original() -> BalancerConfig {
    BalancerConfig::new(Config::original().with_order(2))
}

/// A balancer after some pushes, with a log and betas of its own.
fn used() -> Balancer {
    let plan =
        plan(original().with_log(3).with_per_group_beta(true).with_smoothing(Smoothing::CycleMean).with_every(2));
    let mut balancer = Balancer::new(&plan);
    for step in 0..9 {
        let losses: Vec<f32> = (0..10).map(|i| 1.0 + ((step * 7 + i * 5) % 11) as f32).collect();
        balancer.push(&losses).unwrap();
    }
    balancer
}

#[test]
fn bytes_that_are_no_state_are_refused_and_change_nothing() {
    let mut balancer = used();
    let plan = balancer.plan().clone();
    let bytes = balancer.state().to_bytes();
    assert_eq!(BalancerState::from_bytes(&plan, &bytes).unwrap(), balancer.state());
    // Cut off anywhere, and with something behind.
    for length in 0..bytes.len() {
        let error = BalancerState::from_bytes(&plan, &bytes[..length]).unwrap_err();
        assert!(matches!(error, StateError::NotAState | StateError::Length { .. }), "{length} bytes: {error}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(BalancerState::from_bytes(&plan, &longer), Err(StateError::Length { .. })));
    // Any bit changed anywhere.
    for bit in 0..8 * bytes.len() {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(BalancerState::from_bytes(&plan, &changed).is_err(), "bit {bit}");
    }
    let mut newer = bytes.clone();
    newer[8..12].copy_from_slice(&2u32.to_le_bytes());
    assert_eq!(BalancerState::from_bytes(&plan, &newer), Err(StateError::Version { found: 2, supported: 1 }));
    // Plans that remember something else.
    let config = plan.config().clone();
    let others = [
        BalancerPlan::new(config.clone(), Shape::new(6, 2, 4).unwrap()),
        BalancerPlan::new(config.clone(), Shape::new(5, 3, 4).unwrap()),
        BalancerPlan::new(config.clone(), Shape::new(5, 2, 5).unwrap()),
        BalancerPlan::new(config.clone(), Shape::ragged(vec![0, 2, 4, 6, 8, 10], 4).unwrap()),
        BalancerPlan::new(config.clone().with_log(4), Shape::new(5, 2, 4).unwrap()),
        BalancerPlan::new(config.clone().with_per_group_beta(false), Shape::new(5, 2, 4).unwrap()),
        BalancerPlan::new(config.clone().with_smoothing(Smoothing::None), Shape::new(5, 2, 4).unwrap()),
        BalancerPlan::new(config.clone().with_feed(Feed::EpochMean), Shape::new(5, 2, 4).unwrap()),
    ];
    for other in others {
        let other = other.unwrap();
        let before = Balancer::new(&other).state();
        let error = BalancerState::from_bytes(&other, &bytes).unwrap_err();
        assert!(matches!(error, StateError::Plan { .. }), "{error}");
        let mut target = Balancer::new(&other);
        assert_eq!(target.load(&balancer.state()), Err(error));
        assert_eq!(target.state(), before);
    }
    // Settings that the state does not depend on may change.
    let other = BalancerPlan::new(config.with_every(3), Shape::new(5, 2, 4).unwrap()).unwrap();
    assert!(BalancerState::from_bytes(&other, &bytes).is_ok());
    balancer.load(&BalancerState::from_bytes(&plan, &bytes).unwrap()).unwrap();
}

/// Contents that a checksum cannot refuse, because somebody computed it anew.
#[test]
fn impossible_contents_are_refused() {
    let plan = plan(original().with_log(3));
    let bytes = Balancer::new(&plan).state().to_bytes();
    let head = 8 + 4 + 9 * 8;
    let with = |place: usize, word: u32| {
        let mut bytes = bytes.clone();
        bytes[place..place + 4].copy_from_slice(&word.to_le_bytes());
        let end = bytes.len() - 4;
        let sum = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&sum.to_le_bytes());
        BalancerState::from_bytes(&plan, &bytes)
    };
    assert!(with(head, 0).is_ok());
    let (groups, rows, window) = (5, 10, 4);
    let log = head + 4 * (2 * groups + rows * window + rows + groups);
    for (place, word) in [
        (head, 4),       // cursor beyond the ring
        (head + 4, 1),   // rings that do not turn together
        (head, 5 << 13), // more points than the window holds
        (head, 2 << 13), // more points than pushes
        (head + 4 * groups, u32::MAX),
        (log, 3),       // next entry beyond the log
        (log, 4 << 16), // more entries than the log holds
    ] {
        let error = with(place, word).unwrap_err();
        assert!(matches!(error, StateError::Group { .. }), "{place}, {word}: {error}");
    }
    // The count of a cycle's sum: adding one to the largest number would overflow.
    let plan = crate::plan(original().with_smoothing(Smoothing::CycleMean).with_every(2));
    let mut state = Balancer::new(&plan).state().to_bytes();
    let cycle = head + 4 * 2 * groups;
    state[cycle..cycle + 4].fill(0xff);
    let end = state.len() - 4;
    let sum = crc32fast::hash(&state[..end]);
    state[end..].copy_from_slice(&sum.to_le_bytes());
    let error = BalancerState::from_bytes(&plan, &state).unwrap_err();
    assert!(matches!(error, StateError::Group { what: "the number of weights in the cycle's sum", .. }), "{error}");
}

/// A loss that is not finite is flagged as long as it takes part, holds its group's weights, and is gone with its slot.
#[test]
fn a_bad_loss_ages_out() {
    let window = 4;
    // The slope's three points, or the mean's four.
    for (config, flagged) in [(Config::original().with_order(2), 3), (Config::loss_weighted().with_order(2), window)] {
        for bad in [f32::NAN, f32::from_bits(0x7f80_0001), f32::INFINITY, f32::NEG_INFINITY] {
            let plan =
                BalancerPlan::new(BalancerConfig::new(config.clone()), Shape::new(3, 2, window).unwrap()).unwrap();
            let mut balancer = Balancer::new(&plan);
            let losses =
                |step: usize| [5, 7, 9, 4, 8, 6].map(|i| 1.0 + (i * (step + 2) * (step + 5) % 29) as f32 / 4.0);
            for step in 0..window {
                balancer.push(&losses(step)).unwrap();
            }
            let held = balancer.weights()[2..4].to_vec();
            let mut spoiled = losses(window);
            spoiled[3] = bad;
            balancer.push(&spoiled).unwrap();
            for step in window + 1..4 * window {
                let age = step - window - 1;
                let status = if age < flagged { Status::NON_FINITE } else { Status::OK };
                assert_eq!(balancer.status(), [Status::OK, status, Status::OK], "{bad} after {age} more");
                if age <= flagged {
                    assert_eq!(balancer.weights()[2..4] == held[..], age < flagged, "{bad} after {age} more");
                }
                balancer.push(&losses(step)).unwrap();
            }
        }
    }
}

#[test]
fn wrong_calls_are_refused_and_change_nothing() {
    let mut pushed = used();
    let before = pushed.state();
    let length = |what, length, needed| Err(BatchError::Length { what, length, needed });
    assert_eq!(pushed.push(&[0.0; 9]), length("losses", 9, 10));
    assert_eq!(pushed.push(&[]), length("losses", 0, 10));
    assert_eq!(pushed.accumulate(&[0.0; 10]), Err(BatchError::Feed { feed: Feed::EveryPush }));
    assert_eq!(pushed.close_epoch(), Err(BatchError::Feed { feed: Feed::EveryPush }));
    assert_eq!(pushed.reset(&[0, 5]), Err(CopyError::Group { group: 5, groups: 5 }));
    assert_eq!(pushed.reset_masked(&[true; 4]), length("mask", 4, 5));
    assert_eq!(pushed.copy(&[(0, 1), (2, 9)]), Err(CopyError::Group { group: 9, groups: 5 }));
    assert_eq!(pushed.copy(&[(0, 1), (1, 2)]), Err(CopyError::Twice { group: 1 }));
    assert_eq!(pushed.copy(&[(1, 2), (0, 1)]), Err(CopyError::Twice { group: 1 }));
    assert_eq!(pushed.copy(&[(0, 1), (2, 1)]), Err(CopyError::Twice { group: 1 }));
    assert_eq!(pushed.copy(&[(3, 3)]), Err(CopyError::Twice { group: 3 }));
    assert_eq!(pushed.state(), before);
    pushed.copy(&[(0, 1), (0, 2)]).unwrap();
    let plan = plan(original().with_feed(Feed::EpochMean));
    let mut averaged = Balancer::new(&plan);
    assert_eq!(averaged.push(&[0.0; 10]), Err(BatchError::Feed { feed: Feed::EpochMean }));
    assert_eq!(averaged.betas_mut(), None);
    let ragged = Shape::ragged(vec![0, 2, 5], 4).unwrap();
    let mut ragged = Balancer::new(&BalancerPlan::new(original(), ragged).unwrap());
    assert_eq!(ragged.copy(&[(0, 1)]), Err(CopyError::Components { from: (0, 2), to: (1, 3) }));
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_numbers() {
    let shape = || Shape::new(3, 2, 4).unwrap();
    let refused = |config: BalancerConfig| BalancerPlan::new(config, shape()).unwrap_err();
    let tumbling = || original().with_window(Window::Tumbling);
    assert_eq!(refused(original().with_every(0)), BalancerError::Every { every: 0 });
    assert_eq!(refused(original().with_every(MAX_PUSHES + 1)), BalancerError::Every { every: MAX_PUSHES + 1 });
    assert_eq!(refused(original().with_first(0)), BalancerError::First { first: 0 });
    assert_eq!(refused(tumbling().with_every(5)), BalancerError::WindowTooShort { window: 4, points: 5 });
    assert_eq!(refused(tumbling().with_every(2)), BalancerError::TooFewPoints { points: 2, needed: 3 });
    assert_eq!(refused(tumbling().with_every(4).with_first(1)), BalancerError::TooFewPoints { points: 1, needed: 3 });
    for keep in [1.0, -0.1, 2.0] {
        assert_eq!(refused(original().with_smoothing(Smoothing::Exponential { keep })), BalancerError::Keep { keep });
    }
    let nan = refused(original().with_smoothing(Smoothing::Exponential { keep: f64::NAN }));
    assert!(matches!(nan, BalancerError::Keep { .. }));
    let schedule = |from, to, over| original().with_beta_schedule(BetaSchedule::Cosine { from, to, over });
    assert_eq!(refused(schedule(0.0, 1.0, 0)), BalancerError::ScheduleLength { over: 0 });
    assert_eq!(refused(schedule(0.0, 1e38, 9)), BalancerError::ScheduleFactor { factor: 1e38, beta: 0.1 });
    assert!(matches!(refused(schedule(f64::NAN, 1.0, 9)), BalancerError::ScheduleFactor { .. }));
    assert_eq!(refused(original().with_log(MAX_LOG + 1)), BalancerError::Log { updates: MAX_LOG + 1 });
    let initial = |weights: &[f64]| original().with_initial(InitialWeights::PerComponent(weights.to_vec()));
    assert_eq!(refused(initial(&[1.0])), BalancerError::InitialLength { weights: 1, components: 2 });
    assert_eq!(refused(initial(&[1.0, 1e39])), BalancerError::InitialWeight { component: 1, weight: 1e39 });
    let order = BalancerConfig::new(Config::original().with_order(4));
    assert_eq!(refused(order), BalancerError::Plan(PlanError::WindowTooShort { window: 4, needed: 5 }));
    let beta = BalancerConfig::new(Config::original().with_beta(f64::INFINITY));
    assert_eq!(refused(beta), BalancerError::Config(ConfigError::Beta { beta: f64::INFINITY }));
    // The largest that are allowed work.
    let largest = original().with_every(MAX_PUSHES).with_first(MAX_PUSHES).with_log(MAX_LOG);
    let mut balancer = Balancer::new(&BalancerPlan::new(largest, shape()).unwrap());
    balancer.push(&[1.0; 6]).unwrap();
    assert!(balancer.status().iter().all(|status| *status == Status::NOT_READY));
}

#[test]
fn no_groups_are_no_trouble() {
    for shape in
        [Shape::new(0, 3, 4).unwrap(), Shape::ragged(vec![0], 4).unwrap(), Shape::ragged(vec![0, 0], 4).unwrap()]
    {
        let plan = BalancerPlan::new(original().with_log(2), shape).unwrap();
        let mut balancer = Balancer::new(&plan);
        balancer.push(&[]).unwrap();
        let state = BalancerState::from_bytes(&plan, &balancer.state().to_bytes()).unwrap();
        balancer.load(&state).unwrap();
        assert_eq!(bits(balancer.weights()), [] as [u32; 0]);
    }
}
