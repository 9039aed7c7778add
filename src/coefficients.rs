//! Finite-difference and least-squares coefficients in first-difference form.
//!
//! A slope is a combination of points whose coefficients add up to zero, so it can be written with first differences:
//! `sum_k c_k L[k] = sum_j d_j (L[j + 1] - L[j])`, `d_j = sum_{k > j} c_k`. That form gives exactly 0 for a constant
//! window and loses one to two orders of magnitude fewer digits in f32, because losses enter only as differences.

/// `d_j`, j = 0..order, of the forward difference at the oldest of order + 1 points.
///
/// From the closed form `c_k = (-1)^(k + 1) C(order, k) / k`, k >= 1. Summed from the newest point on; terms alternate,
/// and for order 20 the largest is 2e4 where the smallest sum is 0.05, so about five of f64's sixteen digits are used up.
/// To keep all of them the sums are taken in integers over the common denominator lcm(1..=20) = 232 792 560.
pub(crate) fn forward(order: usize) -> Vec<f64> {
    const DENOMINATOR: i128 = 232_792_560;
    let mut binomial: i128 = 1;
    let mut numerators = vec![0; order + 1];
    for k in 1..=order {
        binomial = binomial * (order - k + 1) as i128 / k as i128;
        let sign = if k % 2 == 1 { 1 } else { -1 };
        numerators[k] = sign * binomial * (DENOMINATOR / k as i128);
    }
    let mut sum = 0;
    let mut differences: Vec<f64> = (1..=order)
        .rev()
        .map(|k| {
            sum += numerators[k];
            // Both are below 2^53 for orders up to 20, so this rounds once.
            sum as f64 / DENOMINATOR as f64
        })
        .collect();
    differences.reverse();
    differences
}

/// `d_j`, j = 0..order, of the backward difference at the newest of order + 1 points: with `b_k = -c_(order - k)`,
/// the forward ones in reverse.
pub(crate) fn backward(order: usize) -> Vec<f64> {
    let mut differences = forward(order);
    differences.reverse();
    differences
}

/// The factor of the least-squares slope over `points` points: `d_j = factor * (j + 1) * (points - 1 - j)`.
///
/// From `c_k = (k - (w - 1) / 2) * 12 / (w (w^2 - 1))` summed in closed form.
pub(crate) fn least_squares_factor(points: usize) -> f64 {
    let w = points as f64;
    6.0 / (w * (w * w - 1.0))
}

/// `d_j`, j = 0..points - 1, of the least-squares slope. All are positive and they add up to 1: a weighted mean of the
/// differences.
pub(crate) fn least_squares(points: usize) -> Vec<f64> {
    let factor = least_squares_factor(points);
    (0..points - 1).map(|j| factor * ((j + 1) * (points - 1 - j)) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moment conditions with integers: a stencil of order p differentiates t^m exactly for m = 0..=p.
    #[test]
    fn forward_and_backward_differentiate_polynomials() {
        for order in 1..=20usize {
            for (differences, at) in [(forward(order), 0.0), (backward(order), order as f64)] {
                for m in 1..=order.min(6) {
                    let point = |t: usize| (t as f64 / order as f64).powi(m as i32);
                    let slope: f64 =
                        differences.iter().enumerate().map(|(j, d)| d * (point(j + 1) - point(j))).sum::<f64>()
                            * order as f64;
                    let exact = m as f64 * (at / order as f64).powi(m as i32 - 1);
                    let size: f64 = differences.iter().map(|d| d.abs()).sum();
                    assert!((slope - exact).abs() <= 1e-14 * size * order as f64, "order {order}, power {m}: {slope}");
                }
            }
        }
    }

    #[test]
    fn least_squares_is_the_fitted_line() {
        for points in [2usize, 3, 5, 64] {
            let losses: Vec<f64> = (0..points).map(|t| ((t * 37 + 11) % 23) as f64).collect();
            let middle = (points - 1) as f64 / 2.0;
            let covariance: f64 = losses.iter().enumerate().map(|(t, l)| (t as f64 - middle) * l).sum();
            let variance: f64 = (0..points).map(|t| (t as f64 - middle).powi(2)).sum();
            let slope: f64 =
                least_squares(points).iter().enumerate().map(|(j, d)| d * (losses[j + 1] - losses[j])).sum();
            assert!((slope - covariance / variance).abs() < 1e-12, "{points}");
        }
    }
}
