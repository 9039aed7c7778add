//! Stage `slopes`, f64.

/// `sum_j d_j (points[j + 1] - points[j])`: the slope in units of the loss per step.
///
/// Accumulated with the rounding errors of the products and sums carried along (Ogita, Rump, Oishi 2005, dot product in
/// twice the working precision): where slopes cancel, the judge must be right to more digits than the paths it judges.
pub(super) fn slope(differences: &[f64], points: &[f64]) -> f64 {
    let mut sum = 0.0;
    let mut error = 0.0;
    for (d, pair) in differences.iter().zip(points.windows(2)) {
        let (difference, lost_in_difference) = two_sum(pair[1], -pair[0]);
        let product = d * difference;
        let lost_in_product = d.mul_add(difference, -product);
        let (next, lost_in_sum) = two_sum(sum, product);
        sum = next;
        error += lost_in_sum + lost_in_product + d * lost_in_difference;
    }
    let slope = sum + error;
    // Beyond f64's range the errors are NaN where the sum is infinite; neither is a slope.
    if slope.is_finite() { slope } else { f64::NAN }
}

/// `a + b` rounded, and what the rounding lost (Knuth).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}
