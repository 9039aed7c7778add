//! The exponential of the f32 path.
//!
//! Cody-Waite reduction `x = k ln 2 + r` (Cody, Waite, Software Manual for the Elementary Functions, 1980) and a minimax
//! polynomial for `exp(r)`. Answers come as mantissa and exponent, so that products with numbers far from 1 can be
//! formed before anything under- or overflows.

use super::lanes::{Float, Int};
use crate::single::EXP_UNDERFLOW;
use pulp::Simd;

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

/// `exp(x)` as mantissa in 0.7..1.42 and a number whose low bits are the power of two, for `x` in [`LOWEST`]..=128.
#[inline(always)]
fn reduced<S: Simd>(x: Float<S>) -> (Float<S>, Int<S>) {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = x - k * LN2_HIGH;
    let r = r + k * LN2_LOW;
    let [q0, q1, q2, q3, q4] = POLYNOMIAL;
    let q = r * (r * (r * (r * q4 + q3) + q2) + q1) + q0;
    ((r + r * r * q) + 1.0, shifted.bits())
}

/// `exp(x)` as mantissa in 0.7..1.42 and power of two, for `x` in [`LOWEST`]..=128.
#[inline(always)]
pub(super) fn exp_parts<S: Simd>(x: Float<S>) -> (Float<S>, Int<S>) {
    let (mantissa, shifted) = reduced(x);
    (mantissa, shifted - ROUND.to_bits())
}

/// `mantissa * 2^exponent` for a mantissa in 0.5..8 and an exponent up to 1, rounded once where the result is
/// subnormal; 0 where it is too small for that.
#[inline(always)]
pub(super) fn scale_down<S: Simd>(mantissa: Float<S>, exponent: Int<S>) -> Float<S> {
    let first = exponent.or_larger_signed(exponent.all(-120i32 as u32));
    let second = (exponent - first).or_larger_signed(exponent.all(-126i32 as u32));
    mantissa * power_of_two(first) * power_of_two(second)
}

/// `2^exponent`, -126..=127.
#[inline(always)]
fn power_of_two<S: Simd>(exponent: Int<S>) -> Float<S> {
    (exponent + 127).shifted_left(23).float()
}

/// `exp(x)` for `x <= 0` within 1 ULP where the result is normal; 0 below [`EXP_UNDERFLOW`] and for NaN.
#[inline(always)]
pub(super) fn exp<S: Simd>(x: Float<S>) -> Float<S> {
    // The answer times 2^64 is normal: one rounding, in the last product. The shift leaves of `shifted` the power of two in
    // the place of an exponent. Outside the range the bits mean nothing.
    const UP: u32 = 64 << 23;
    const DOWN: f32 = f32::from_bits((127 - 64) << 23);
    let (mantissa, shifted) = reduced(x);
    let value = (mantissa.bits() + shifted.shifted_left(23) + UP).float() * DOWN;
    x.all(EXP_UNDERFLOW).is_at_most(x).select(value, x.all(0.0))
}

/// Mantissa with magnitude in 1..2 and exponent of a finite number; 0 is (0, [`NO_EXPONENT`]).
#[inline(always)]
pub(super) fn parts<S: Simd>(value: Float<S>) -> (Float<S>, Int<S>) {
    let subnormal = value.abs().is_less(value.all(f32::MIN_POSITIVE));
    let bits = subnormal.select(value * 16_777_216.0, value).bits();
    let bias = subnormal.select_int(bits.all(127 + 24), bits.all(127));
    let exponent = (bits.shifted_right(23) & 0xff) - bias;
    let mantissa = ((bits & 0x807f_ffff) | 0x3f80_0000).float();
    let zero = value.equals(value.all(0.0));
    (zero.select(value.all(0.0), mantissa), zero.select_int(bits.all(NO_EXPONENT as u32), exponent))
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
    use crate::cpu::lanes::{LANES, Lanes, registers};
    use pulp::{Arch, WithSimd};

    /// What to do with the lanes of a vector, by the instructions that the machine has.
    #[derive(Clone, Copy)]
    enum Work {
        Exp(Lanes<f32>),
        Parts(Lanes<f32>),
        ScaleDown(Lanes<f32>, Lanes<u32>),
    }

    impl WithSimd for Work {
        type Output = (Lanes<f32>, Lanes<u32>);

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let (mut floats, mut ints) = (Lanes::splat(0.0), Lanes::splat(0u32));
            for r in registers::<S>() {
                match self {
                    Self::Exp(x) => floats.set(r, exp(x.get(simd, r))),
                    Self::Parts(x) => {
                        let (mantissa, exponent) = parts(x.get(simd, r));
                        floats.set(r, mantissa);
                        ints.set(r, exponent);
                    }
                    Self::ScaleDown(x, exponent) => {
                        floats.set(r, scale_down(x.get(simd, r), exponent.get(simd, r)));
                    }
                }
            }
            (floats, ints)
        }
    }

    /// Largest error in units in the last place of the result, over normal results; asserts what is promised elsewhere.
    fn worst(arch: Arch, bits: impl Iterator<Item = u32>) -> f64 {
        let mut worst = 0.0f64;
        let mut bits = bits.map(f32::from_bits).peekable();
        while bits.peek().is_some() {
            let mut arguments = Lanes::splat(0.0);
            for argument in &mut arguments.0 {
                *argument = bits.next().unwrap_or(0.0);
            }
            let (found, _) = arch.dispatch(Work::Exp(arguments));
            for (&x, &found) in arguments.0.iter().zip(&found.0) {
                let exact = f64::from(x).exp();
                let error = (f64::from(found) - exact).abs();
                if exact < f64::from(f32::MIN_POSITIVE) {
                    assert!(error <= 1.01 * 2f64.powi(-149), "exp({x:e})");
                    continue;
                }
                let unit = 2f64.powi((exact as f32).to_bits() as i32 / (1 << 23) - 127 - 23);
                worst = worst.max(error / unit);
            }
        }
        worst
    }

    #[test]
    fn exponential_is_within_its_bound_on_a_dense_sample() {
        let (least, most) = ((-0.0f32).to_bits(), EXP_UNDERFLOW.to_bits());
        for arch in [Arch::new(), Arch::Scalar] {
            let worst = worst(arch, (least..=most).step_by(97));
            assert!(worst <= 1.0, "{worst} ULP");
        }
    }

    #[test]
    #[ignore = "exhaustive: 1.1e9 values, a minute in release mode"]
    fn exponential_is_within_its_bound_everywhere() {
        let worst = worst(Arch::new(), (-0.0f32).to_bits()..=EXP_UNDERFLOW.to_bits());
        assert!(worst <= 1.0, "{worst} ULP");
        println!("largest error {worst} ULP");
    }

    #[test]
    fn exponential_is_exact_at_zero_and_zero_below_its_range() {
        let exp = |x| Arch::new().dispatch(Work::Exp(Lanes::splat(x))).0.0;
        assert_eq!(exp(0.0).map(f32::to_bits), [1.0f32.to_bits(); LANES]);
        assert_eq!(exp(-0.0).map(f32::to_bits), [1.0f32.to_bits(); LANES]);
        for x in [-104.000_01, -1e4, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exp(x).map(f32::to_bits), [0; LANES], "{x}");
        }
    }

    #[test]
    fn parts_make_the_number_again() {
        let parts = |x| {
            let (mantissa, exponent) = Arch::new().dispatch(Work::Parts(Lanes::splat(x)));
            (mantissa[LANES - 1], exponent[LANES - 1] as i32)
        };
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
        let scale_down = |mantissa: f32, exponent: i32| {
            Arch::new().dispatch(Work::ScaleDown(Lanes::splat(mantissa), Lanes::splat(exponent as u32))).0[0]
        };
        for exponent in [0, -1, -126, -127, -149] {
            assert_eq!(f64::from(scale_down(1.0, exponent)), 2f64.powi(exponent));
        }
        assert_eq!(scale_down(1.5, -149), 2f32.powi(-149) * 2.0);
        assert_eq!(scale_down(1.0, NO_EXPONENT), 0.0);
        assert_eq!(scale_down(1.99, -151), 0.0);
    }
}
