//! Stage `softmax`, f64: max-subtracted softmax of `beta * score`, times mean losses and prior, renormalised.

/// The gap between exponents from which f32 exponentials underflow, `-ln(2^-126)`.
///
/// Where every component with a factor lies further than this below the largest score, the published packages' products
/// all vanish beside epsilon; the documented answer is then the softmax of those components alone.
pub(crate) const UNDERFLOW_GAP: f64 = 87.336_544_750_553_1;

/// The epsilon that goes with subtracting the score `shift` instead of `largest`, the largest score.
///
/// The packages subtract `beta * largest` and add epsilon to a sum of exponentials with that shift. 0 if all scores are
/// `equal`, and across a gap in which f32 exponentials underflow.
pub(crate) fn shifted_epsilon(epsilon: f64, beta: f64, largest: f64, shift: f64, equal: bool) -> f64 {
    let gap = beta * (largest - shift);
    if equal || gap > UNDERFLOW_GAP { 0.0 } else { epsilon * gap.exp() }
}

/// Weights that add up to 1, or to `sum / (sum + epsilon)`; `None` if that divisor is zero or not finite.
///
/// `factors` is prior times mean loss; a factor of 0 gives weight 0. `counts` says which rows take part; the others get
/// weight 0.
pub(super) fn softmax(
    beta: f64,
    epsilon: f64,
    scores: &[f64],
    factors: &[f64],
    counts: &[bool],
    weights: &mut [f64],
) -> Option<()> {
    let rows = || (0..scores.len()).filter(|&i| counts[i]);
    let top = |best: f64, score: f64| if beta >= 0.0 { best.max(score) } else { best.min(score) };
    let start = if beta >= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    // Only rows with a factor compete: the others have no weight to keep in range.
    let shift = rows().filter(|&i| factors[i] != 0.0).map(|i| scores[i]).fold(start, top);
    let largest = rows().map(|i| scores[i]).fold(f64::NEG_INFINITY, f64::max);
    let smallest = rows().map(|i| scores[i]).fold(f64::INFINITY, f64::min);
    // Factors span more than one range of exponents: relative to the largest they cannot overflow.
    let unit = rows().map(|i| factors[i].abs()).fold(0.0, f64::max);
    if unit == 0.0 {
        return None;
    }
    let equal = largest == smallest || beta == 0.0;
    let epsilon = shifted_epsilon(epsilon, beta, largest, shift, equal) / unit;

    let mut sum = 0.0;
    for i in 0..scores.len() {
        weights[i] = if counts[i] && factors[i] != 0.0 {
            // By halves, so that the difference of two finite scores is finite.
            factors[i] / unit * ((2.0 * beta) * (0.5 * scores[i] - 0.5 * shift)).exp()
        } else {
            0.0
        };
        sum += weights[i];
    }
    let divisor = sum + epsilon;
    if divisor == 0.0 || !divisor.is_finite() {
        return None;
    }
    for weight in weights {
        *weight /= divisor;
    }
    Some(())
}
