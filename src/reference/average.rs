//! Stage `average`, f64.

/// Mean of a component's points, in units of the loss; NaN if one of them is not finite.
pub(super) fn mean(points: &[f64]) -> f64 {
    // Divided first, so that the sum of finite numbers is finite.
    let count = points.len() as f64;
    let mean = if points.iter().all(|p| p.abs() < 1e300) {
        points.iter().sum::<f64>() / count
    } else {
        points.iter().map(|p| p / count).sum()
    };
    if mean.is_finite() { mean } else { f64::NAN }
}
