//! The factor on beta, in the f32 operations that `shaders/options/schedule_steps.wgsl` makes in the same order.

use super::config::BetaSchedule;

/// A schedule's numbers in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) from: f32,
    pub(crate) to: f32,
    pub(crate) over: u32,
    pub(crate) is_cosine: bool,
}

impl Schedule {
    /// `None` for a constant factor of 1.
    pub(crate) fn new(schedule: BetaSchedule) -> Option<Self> {
        let (from, to, over, is_cosine) = match schedule {
            BetaSchedule::Constant => return None,
            BetaSchedule::Linear { from, to, over } => (from, to, over, false),
            BetaSchedule::Cosine { from, to, over } => (from, to, over, true),
        };
        Some(Self { from: from as f32, to: to as f32, over, is_cosine })
    }

    /// The factor at a group's push `step` (the first is 0).
    pub(crate) fn factor(&self, step: u32) -> f32 {
        if step >= self.over {
            return self.to;
        }
        let elapsed = step as f32 / self.over as f32;
        let risen = if self.is_cosine { half_cosine(elapsed) } else { elapsed };
        // Not by their difference, which may overflow.
        self.from * (1.0 - risen) + self.to * risen
    }
}

/// `(1 - cos(pi u)) / 2` for `u` in 0..=1, as `(1 + sin(pi (u - 1/2))) / 2` by Taylor's polynomial of degree 11, whose
/// remainder is below 5.7e-8. The cosine that WGSL has may be off by 2^-11.
fn half_cosine(u: f32) -> f32 {
    let x = std::f32::consts::PI * (u - 0.5);
    let square = x * x;
    let mut p = -2.505_210_8e-8f32;
    p = p * square + 2.755_731_9e-6;
    p = p * square - 1.984_127e-4;
    p = p * square + 8.333_333e-3;
    p = p * square - 0.166_666_67;
    0.5 + 0.5 * (x + x * square * p)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn factors_begin_and_end_where_they_should_and_follow_their_formulas() {
        let (from, to, over) = (0.25, -3.0, 1000);
        for schedule in [BetaSchedule::Linear { from, to, over }, BetaSchedule::Cosine { from, to, over }] {
            let single = Schedule::new(schedule).unwrap();
            for step in (0..1100).chain([u32::MAX]) {
                let u = (f64::from(step) / f64::from(over)).min(1.0);
                let risen = if single.is_cosine { (1.0 - (std::f64::consts::PI * u).cos()) / 2.0 } else { u };
                let exact = from + (to - from) * risen;
                // Rounding of u, of the polynomial's terms and its remainder, and of the sum: each below one unit.
                let bound = 6.0 * 2f64.powi(-24) * (from.abs() + to.abs());
                let found = f64::from(single.factor(step));
                assert!((found - exact).abs() <= bound, "{schedule:?} at {step}: {found} for {exact}");
            }
            assert_eq!(single.factor(over), to as f32);
        }
        assert_eq!(Schedule::new(BetaSchedule::Constant), None);
        // Ends that are f32's largest do not overflow on the way.
        let wide = BetaSchedule::Linear { from: -8e37, to: 8e37, over: 2 };
        assert!(Schedule::new(wide).unwrap().factor(1).is_finite());
    }
}
