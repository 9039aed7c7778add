//! Stage `normalize`, f64.

use crate::config::Normalize;

/// Scores of the rows that count: slopes divided as the configuration says. Returns whether the divisor was zero, which
/// makes all scores zero.
///
/// Slopes are divided by their largest magnitude first, so that their sum cannot overflow.
pub(super) fn normalize(kind: Normalize, epsilon: f64, scores: &mut [f64], counts: &[bool]) -> bool {
    let counted = || scores.iter().zip(counts).filter(|&(_, &counts)| counts).map(|(s, _)| *s);
    let largest = counted().fold(0.0, |m: f64, s| m.max(s.abs()));
    let sum = |term: fn(f64) -> f64| counted().map(|s| term(s / largest)).sum::<f64>();
    let divisor = match kind {
        Normalize::None => return false,
        Normalize::SignedSum => sum(|s| s),
        Normalize::L1 => sum(f64::abs),
        Normalize::L2 => sum(|s| s * s).sqrt().max(epsilon / largest),
    };
    let zero = largest == 0.0 || divisor == 0.0;
    for score in scores {
        *score = if zero { 0.0 } else { *score / largest / divisor };
    }
    zero
}
