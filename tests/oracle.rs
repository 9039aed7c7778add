//! The reference against the published packages and an 80-digit calculation, and the answers to awkward inputs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::edge_cases;
use common::oracle::{Exact, cases, slope_cases};
use serde_json::Value;
use softadapt::{Batch, BatchError, Config, OnNonFinite, Outputs, Plan, Shape, Status, reference};

/// `exact` weights within 1e-12 of the largest weight, except where this library has a documented answer of its own.
#[test]
fn exact_weights_come_out_to_twelve_digits() {
    let (mut plain, mut equal_scores, mut no_mean) = (0, 0, 0);
    for case in cases() {
        let Exact::Known { weights, slopes, means } = &case.exact else { continue };
        if case.is_ragged_beyond_padding() {
            continue;
        }
        let plan = case.plan().unwrap();
        let losses = case.padded_losses();
        let answer = reference::weigh(&plan, &Batch::new(&losses)).unwrap();
        for (row, (found, exact)) in losses.chunks(plan.shape().window()).zip(answer.slopes.iter().zip(slopes)) {
            // The coefficients' own rounding, in units of the terms they multiply.
            let points = &row[row.len() - plan.slope_points()..];
            let terms = plan.differences().iter().zip(points.windows(2)).map(|(d, p)| (d * (p[1] - p[0])).abs());
            let bound = 4e-16 * terms.sum::<f64>();
            assert!((found - exact).abs() <= bound, "{}: slope {found:e}, exact {exact:e}", case.id);
        }
        for (found, exact) in answer.means.iter().zip(means.iter().flatten()) {
            assert!((found - exact).abs() <= 1e-12 * exact.abs().max(1e-12), "{}: mean {found:e}", case.id);
        }
        let largest = weights.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        let error = weights.iter().zip(&answer.weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if answer.status[0].contains(Status::ZERO_MEAN_LOSS) {
            // The packages give zeros, and training stops; here the plain softmax.
            assert!(weights.iter().all(|&w| w == 0.0), "{}", case.id);
            no_mean += 1;
        } else if case.beta == 0.0 || slopes.windows(2).all(|pair| pair[0] == pair[1]) {
            // Equal scores: epsilon is left out, so the weights are the packages' divided by what theirs add up to.
            let sum: f64 = weights.iter().sum();
            for (found, exact) in answer.weights.iter().zip(weights) {
                assert!((found - exact / sum).abs() < 1e-15, "{}: {found}, exact {exact} of {sum}", case.id);
            }
            equal_scores += 1;
        } else {
            assert!(error <= 1e-12 * largest, "{} {:?}: off by {error:e} of {largest:e}", case.id, case.tags);
            plain += 1;
        }
        assert_eq!(answer.status[0].contains(Status::NEGATIVE_MEAN_LOSS), means.iter().flatten().any(|m| *m < 0.0));
    }
    assert_eq!((plain, equal_scores, no_mean), (336, 18, 1));
}

/// Components of one group share a window here; where they do not, each is a group of its own as far as its slope and mean.
#[test]
fn components_of_different_lengths_have_their_slopes_and_means() {
    let mut compared = 0;
    for case in cases().iter().filter(|case| case.is_ragged_beyond_padding()) {
        let Exact::Known { slopes, means, .. } = &case.exact else { panic!("{}", case.id) };
        for (i, losses) in case.losses.iter().enumerate() {
            let plan = Plan::new(case.config().unwrap(), Shape::new(1, 1, losses.len()).unwrap()).unwrap();
            let answer = reference::weigh(&plan, &Batch::new(losses)).unwrap();
            assert!((answer.slopes[0] - slopes[i]).abs() <= 1e-14 * slopes[i].abs(), "{}", case.id);
            assert!(means.iter().all(|means| (answer.means[0] - means[i]).abs() <= 1e-15 * means[i]), "{}", case.id);
            compared += 1;
        }
    }
    assert_eq!(compared, 12);
}

/// The finite-difference tests that the packages ship.
#[test]
fn the_packages_own_slope_tests_pass() {
    let mut compared = 0;
    for (order, losses, expected) in slope_cases() {
        let plan = Plan::new(Config::original().with_order(order), Shape::new(1, 1, losses.len()).unwrap()).unwrap();
        let answer = reference::weigh(&plan, &Batch::new(&losses)).unwrap();
        assert!((answer.slopes[0] - expected).abs() < 1e-13, "order {order}: {} for {expected}", answer.slopes[0]);
        compared += 1;
    }
    assert_eq!(compared, 11);
}

/// What the packages answer with NaN, spurious numbers or an exception.
#[test]
fn cases_that_the_packages_refuse_or_spoil_get_the_documented_answer() {
    let (mut undefined, mut non_finite, mut refused, mut odd_orders) = (0, 0, 0, 0);
    for case in cases() {
        let losses = case.padded_losses();
        let weigh = || reference::weigh(&case.plan().unwrap(), &Batch::new(&losses)).unwrap();
        let uniform = 1.0 / case.losses.len() as f64;
        match case.exact {
            Exact::Known { .. } => {}
            Exact::Undefined => {
                let answer = weigh();
                assert_eq!(answer.status[0], Status::ZERO_SLOPE_SUM, "{}", case.id);
                assert!(answer.weights.iter().all(|&w| w == uniform), "{}", case.id);
                undefined += 1;
            }
            Exact::NonFinite => {
                let answer = weigh();
                assert_eq!(answer.status[0], Status::NON_FINITE, "{}", case.id);
                assert!(answer.weights.iter().all(|&w| w == uniform), "{}", case.id);
                let plan = case.plan().unwrap();
                let propagate = plan.config().clone().with_on_non_finite(OnNonFinite::Propagate);
                let plan = Plan::new(propagate, plan.shape().clone()).unwrap();
                let answer = reference::weigh(&plan, &Batch::new(&losses)).unwrap();
                assert!(answer.weights.iter().all(|w| w.is_nan()), "{}: the packages' answer", case.id);
                non_finite += 1;
            }
            Exact::Invalid if case.has_tag("odd_order") => {
                // The packages cannot; the closed form can.
                assert!(weigh().status[0].is_ok(), "{}", case.id);
                odd_orders += 1;
            }
            Exact::Invalid => {
                assert!(case.plan().is_err(), "{} makes a plan", case.id);
                refused += 1;
            }
        }
    }
    assert_eq!((undefined, non_finite, refused, odd_orders), (7, 8, 24, 6));
}

#[test]
fn awkward_inputs_get_their_documented_answers() {
    edge_cases::check_reference();
}

/// As on the CPU path: an error with its numbers, and nothing written.
#[test]
fn slices_of_the_wrong_length_are_errors_and_write_nothing() {
    let plan = Plan::new(Config::original(), Shape::new(3, 2, 5).unwrap()).unwrap();
    let losses = [1.0f64; 30];
    let length = |what, length, needed| Err(BatchError::Length { what, length, needed });
    let (three, six) = ([0.5f64; 3], [0.5f64; 6]);
    let good = Batch { losses: &losses[..], betas: Some(&three[..]), points: Some(&[5; 3]), previous: Some(&six[..]) };
    for (batch, expected) in [
        (Batch { losses: &losses[1..], ..good }, length("losses", 29, 30)),
        (Batch { betas: Some(&six[..]), ..good }, length("betas", 6, 3)),
        (Batch { points: Some(&[5; 2]), ..good }, length("points", 2, 3)),
        (Batch { previous: Some(&three[..]), ..good }, length("previous", 3, 6)),
    ] {
        let mut weights = [-1.0f64; 6];
        assert_eq!(reference::weigh_into(&plan, &batch, &mut Outputs::new(&mut weights)), expected);
        assert_eq!(weights, [-1.0; 6]);
        assert!(reference::weigh(&plan, &batch).is_err() && reference::error_bounds(&plan, &batch).is_err());
    }
    let (mut weights, mut slopes, mut means) = ([-1.0f64; 6], [-1.0f64; 5], [-1.0f64; 7]);
    let mut status = [Status::OK; 2];
    let refused = |outputs: &mut Outputs<'_, f64>| reference::weigh_into(&plan, &good, outputs);
    assert_eq!(refused(&mut Outputs::new(&mut weights[1..])), length("weights", 5, 6));
    let outputs = Outputs::new(&mut weights);
    assert_eq!(refused(&mut Outputs { status: Some(&mut status), ..outputs }), length("status", 2, 3));
    let outputs = Outputs::new(&mut weights);
    assert_eq!(refused(&mut Outputs { slopes: Some(&mut slopes), ..outputs }), length("slopes", 5, 6));
    let outputs = Outputs::new(&mut weights);
    assert_eq!(refused(&mut Outputs { means: Some(&mut means), ..outputs }), length("means", 7, 6));
    assert_eq!(weights, [-1.0; 6]);
    reference::weigh_into(&plan, &good, &mut Outputs::new(&mut weights)).unwrap();
    assert!(weights.iter().all(|&weight| weight == 0.5));
}

/// The exact rationals of `tests/data/fd_coefficients.json`, orders 1 to 16.
#[test]
fn coefficients_are_the_exact_rationals() {
    let file: Value = serde_json::from_str(include_str!("data/fd_coefficients.json")).unwrap();
    let orders = file["orders"].as_object().unwrap();
    assert_eq!(orders.len(), 16);
    for (order, row) in orders {
        let order: u32 = order.parse().unwrap();
        let shape = Shape::new(1, 1, order as usize + 1).unwrap();
        let plan = Plan::new(Config::original().with_order(order), shape).unwrap();
        let d = |j: usize| plan.differences().get(j).copied().unwrap_or(0.0);
        for (k, exact) in row["float64"].as_array().unwrap().iter().enumerate() {
            let exact = exact.as_f64().unwrap();
            // c_k = d_(k-1) - d_k
            let found = if k == 0 { -d(0) } else { d(k - 1) - d(k) };
            let size = d(k.saturating_sub(1)).abs() + d(k).abs();
            assert!((found - exact).abs() <= 4e-16 * size, "order {order}, c_{k}: {found}, exact {exact}");
        }
    }
}
