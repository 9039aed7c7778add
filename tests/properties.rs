//! Laws of the weights on the reference and on the CPU path, over random shapes, settings and losses.
//!
//! `PROPTEST_CASES=10000 cargo test --release --test properties` searches longer.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::problem::{Problem, Tally, compare, outputs, poisoned};
use common::properties::{self as laws, Path, REFERENCE, check, group_bits, widened};
use softadapt::{Weights, cpu};

const CPU: Path = Path { answer: by_cpu, unit: 1.0 };

fn on_cpu(problem: &Problem) -> Weights<f32> {
    let mut answer = poisoned(&problem.plan);
    cpu::weigh_into(&problem.plan, &problem.batch(), &mut outputs(&mut answer)).unwrap();
    answer
}

fn by_cpu(problem: &Problem) -> Weights<f64> {
    widened(on_cpu(problem))
}

/// A law as two tests.
macro_rules! laws {
    ($($law:ident: $cases:expr,)*) => {
        mod reference {
            $(#[test] fn $law() { super::check($cases / 4, |setting| super::laws::$law(&super::REFERENCE, setting)); })*
        }
        mod cpu_path {
            $(#[test] fn $law() { super::check($cases, |setting| super::laws::$law(&super::CPU, setting)); })*
        }
    };
}

laws! {
    weights_add_up: 400,
    shifts_do_not_show: 200,
    components_may_be_permuted: 200,
    groups_may_be_permuted: 200,
    groups_are_independent: 400,
    layouts_do_not_show: 200,
    ragged_groups_are_as_uniform_ones: 200,
    cuts_do_not_show: 200,
    losses_may_be_scaled: 200,
    prior_floor_and_scale: 100,
    weights_are_monotone_in_beta: 60,
    signs_may_be_turned: 200,
    time_may_be_reversed: 200,
    points_are_a_shorter_window: 400,
    masked_components_are_as_absent: 200,
    weights_follow_slopes: 200,
}

#[test]
fn the_cpu_path_is_within_the_bounds() {
    check(400, |setting| {
        let problem = setting.problem();
        compare(&problem, &on_cpu(&problem), &mut Tally::default(), "random");
    });
}

/// Any number of threads, and every repetition: the same bits.
#[test]
fn threads_and_repetitions_do_not_show() {
    let pools = [1, 2, 3, 7].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    check(100, |setting| {
        let problem = setting.problem();
        let first = by_cpu(&problem);
        for pool in &pools {
            let again = pool.install(|| by_cpu(&problem));
            for group in 0..setting.groups {
                let [one, other] = [&first, &again].map(|answer| group_bits(&problem, answer, group));
                assert_eq!(one, other, "group {group}, {} threads", pool.current_num_threads());
            }
        }
    });
}
