//! The exponential of the f32 path.
//!
//! Cody-Waite reduction `x = k ln 2 + r` (Cody, Waite, Software Manual for the Elementary Functions, 1980) and a minimax
//! polynomial for `exp(r)`. Answers come as mantissa and exponent, so that products with numbers far from 1 can be
//! formed before anything under- or overflows.

use crate::single::EXP_UNDERFLOW;

/// `ln 2 = LN2_HIGH - LN2_LOW`. The high part has 9 bits, so that its product with any `k` here is exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
/// 2.1219444e-4
const LN2_LOW: f32 = (LN2_HIGH as f64 - std::f64::consts::LN_2) as f32;
/// Adding and subtracting 1.5 * 2^23 rounds to an integer, which lies in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;
/// `exp(r) = 1 + r + r^2 (q0 + q1 r + ...)`: smallest largest relative error on |r| <= ln(2) / 2 (Remez), 3.1e-9.
const POLYNOMIAL: [f32; 5] = [0.499_999_93, 0.166_665_21, 0.041_668_39, 0.008_368_711, 0.001_381_460_7];

/// Arguments below this count as this in [`exp_parts`]. No product of f32 numbers with its exponential can be seen
/// beside a term of another component, 0.
pub(super) const LOWEST: f32 = -4096.0;

/// `exp(x)` as mantissa in 0.7..1.42 and power of two, for `x` in [`LOWEST`]..=128.
#[inline(always)]
pub(super) fn exp_parts(x: f32) -> (f32, i32) {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = x - k * LN2_HIGH;
    let r = r + k * LN2_LOW;
    let [q0, q1, q2, q3, q4] = POLYNOMIAL;
    let q = q0 + r * (q1 + r * (q2 + r * (q3 + r * q4)));
    let mantissa = 1.0 + (r + r * r * q);
    (mantissa, (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32))
}

/// `mantissa * 2^exponent` for a mantissa in 0.5..8 and an exponent up to 1, rounded once where the result is
/// subnormal; 0 where it is too small for that.
#[inline(always)]
pub(super) fn scale_down(mantissa: f32, exponent: i32) -> f32 {
    let first = exponent.max(-120);
    let second = exponent.wrapping_sub(first).max(-126);
    mantissa * power_of_two(first) * power_of_two(second)
}

/// `2^exponent`, -126..=127.
#[inline(always)]
pub(super) fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits((exponent.wrapping_add(127) as u32) << 23)
}

/// `exp(x)` for `x <= 0` within 1 ULP where the result is normal; 0 below [`EXP_UNDERFLOW`].
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let inside = if x > EXP_UNDERFLOW { x } else { EXP_UNDERFLOW };
    let (mantissa, exponent) = exp_parts(inside);
    let value = scale_down(mantissa, exponent);
    if x < EXP_UNDERFLOW { 0.0 } else { value }
}

/// Mantissa with magnitude in 1..2 and exponent of a finite number; 0 is (0, [`NO_EXPONENT`]).
#[inline(always)]
pub(super) fn parts(value: f32) -> (f32, i32) {
    let subnormal = value.abs() < f32::MIN_POSITIVE;
    let normal = if subnormal { value * 16_777_216.0 } else { value };
    let bits = normal.to_bits();
    let exponent = ((bits >> 23) & 0xff) as i32 - if subnormal { 127 + 24 } else { 127 };
    let mantissa = f32::from_bits(bits & 0x807f_ffff | 0x3f80_0000);
    if value == 0.0 { (0.0, NO_EXPONENT) } else { (mantissa, exponent) }
}

/// The exponent of a 0 among [`parts`]: below all others, and far from overflow in sums.
pub(super) const NO_EXPONENT: i32 = -1_000_000;

/// As [`parts`] for a number of the configuration, which may lie outside f32's range of exponents. Not negative.
pub(super) fn parts_of_f64(value: f64) -> (f32, i32) {
    if value == 0.0 {
        return (0.0, NO_EXPONENT);
    }
    let subnormal = value < f64::MIN_POSITIVE;
    let bits = if subnormal { value * 2f64.powi(54) } else { value }.to_bits();
    let exponent = (bits >> 52) as i32 - if subnormal { 1023 + 54 } else { 1023 };
    // Rounding may give 2.0, which is within what scale_down takes.
    (f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000) as f32, exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error in units in the last place of the result, over normal results; asserts what is promised elsewhere.
    fn worst(bits: impl Iterator<Item = u32>) -> f64 {
        let mut worst = 0.0f64;
        for x in bits.map(f32::from_bits) {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs();
            if exact < f64::from(f32::MIN_POSITIVE) {
                assert!(error <= 1.01 * 2f64.powi(-149), "exp({x:e})");
                continue;
            }
            let unit = f64::from(power_of_two((exact as f32).to_bits() as i32 / (1 << 23) - 127)) * 2f64.powi(-23);
            worst = worst.max(error / unit);
        }
        worst
    }

    #[test]
    fn exponential_is_within_its_bound_on_a_dense_sample() {
        let (least, most) = ((-0.0f32).to_bits(), EXP_UNDERFLOW.to_bits());
        let worst = worst((least..=most).step_by(97));
        assert!(worst <= 1.0, "{worst} ULP");
    }

    #[test]
    #[ignore = "exhaustive: 1.1e9 values, a minute in release mode"]
    fn exponential_is_within_its_bound_everywhere() {
        let worst = worst((-0.0f32).to_bits()..=EXP_UNDERFLOW.to_bits());
        assert!(worst <= 1.0, "{worst} ULP");
        println!("largest error {worst} ULP");
    }

    #[test]
    fn exponential_is_exact_at_zero_and_zero_below_its_range() {
        assert_eq!(exp(0.0).to_bits(), 1.0f32.to_bits());
        assert_eq!(exp(-0.0).to_bits(), 1.0f32.to_bits());
        for x in [-104.000_01, -1e4, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(exp(x).to_bits(), 0, "{x}");
        }
    }

    #[test]
    fn parts_make_the_number_again() {
        for value in [1.0f32, -3.7, 1e-45, -1e-40, f32::MIN_POSITIVE, f32::MAX, 0.1, -1e30] {
            let (mantissa, exponent) = parts(value);
            assert!((1.0..2.0).contains(&mantissa.abs()));
            assert_eq!(f64::from(mantissa) * 2f64.powi(exponent), f64::from(value));
            let (mantissa, exponent) = parts_of_f64(f64::from(value.abs()));
            assert_eq!(f64::from(mantissa) * 2f64.powi(exponent), f64::from(value.abs()));
        }
        assert_eq!(parts(-0.0), (0.0, NO_EXPONENT));
        let (mantissa, exponent) = parts_of_f64(5e-324);
        assert_eq!((mantissa, exponent), (1.0, -1074));
        for exponent in [0, -1, -126, -127, -149] {
            assert_eq!(f64::from(scale_down(1.0, exponent)), 2f64.powi(exponent));
        }
        assert_eq!(scale_down(1.5, -149), 2f32.powi(-149) * 2.0);
        assert_eq!(scale_down(1.0, NO_EXPONENT), 0.0);
        assert_eq!(scale_down(1.99, -151), 0.0);
    }
}
