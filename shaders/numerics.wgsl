// Arithmetic that holds on every driver: tests on bits, an exponential of our own, numbers with a wide exponent.
//
// WGSL lets an implementation assume that no NaN or infinity occurs, reassociate, leave `fma` unfused and flush
// subnormals. So whether a number is finite is asked of its bits, as an integer, and nothing relies on the rest.

// The numbers of `src/single.rs`.
const POINTS_PER_SUM: u32 = 8u;
const MIN_DIVISOR: f32 = 1e-30;
const UNDERFLOW_GAP: f32 = 87.33654;
// The bits of `MAX_BETA`, 2^126: the largest power of two that can be doubled twice and stays finite.
const MAX_BETA_BITS: u32 = 0x7e800000u;

const MAGNITUDE_BITS: u32 = 0x7fffffffu;
const EXPONENT_BITS: u32 = 0x7f800000u;
const NAN_BITS: u32 = 0x7fc00000u;
const SMALLEST_NORMAL_BITS: u32 = 0x00800000u;
// Subtracts nothing from a maximum of finite numbers.
const LOWEST: f32 = -3.4e38;

fn is_finite_bits(bits: u32) -> bool {
    return (bits & EXPONENT_BITS) != EXPONENT_BITS;
}

// `value` as a word for a buffer, one NaN for everything that is not finite.
fn finite_or_nan_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    return select(NAN_BITS, bits, is_finite_bits(bits));
}

// mantissa * 2^exponent with an exponent far beyond f32's: products of losses, priors and exponentials neither overflow
// nor underflow in this form. Zero is mantissa 0.
struct Wide {
    mantissa: f32,
    exponent: i32,
}

// A finite number, mantissa in +-[1, 2). Subnormal numbers count as zero.
fn widen(value: f32) -> Wide {
    let bits = bitcast<u32>(value);
    let field = (bits & EXPONENT_BITS) >> 23u;
    if field == 0u {
        return Wide(0.0, 0);
    }
    return Wide(bitcast<f32>((bits & 0x807fffffu) | 0x3f800000u), i32(field) - 127);
}

fn multiply(a: Wide, b: Wide) -> Wide {
    return Wide(a.mantissa * b.mantissa, a.exponent + b.exponent);
}

// `value` in units of 2^unit as f32; 0 below the smallest normal, saturated above 2^120.
fn narrow(value: Wide, unit: i32) -> f32 {
    let exponent = min(value.exponent - unit, 120);
    if exponent < -126 {
        return 0.0;
    }
    return value.mantissa * bitcast<f32>(u32(exponent + 127) << 23u);
}

// exp(x) for x <= 88; below -1000 as at -1000, whose 2^-1443 is beyond any f32.
//
// Cody and Waite: x = k ln 2 + r, |r| <= ln 2 / 2, with ln 2 split into two words of which k times the first is exact;
// then the Taylor polynomial of degree 7, whose remainder there is below 6e-9 relative. Written as `x - k * C1`, then
// `r + k * C2`: with `fma` in its place, drivers that do not fuse it are 68 ULP off. The built-in `exp` may be 64 ULP off.
fn wide_exp(x: f32) -> Wide {
    let clamped = max(x, -1000.0);
    let k = round(clamped * 1.4426950408889634);
    let high = clamped - k * 0.693359375;
    let r = high + k * 2.12194440e-4;
    var p = 1.9841270e-4;
    p = p * r + 1.3888889e-3;
    p = p * r + 8.3333333e-3;
    p = p * r + 4.1666667e-2;
    p = p * r + 1.6666667e-1;
    p = p * r + 0.5;
    // 1 + (r + r^2 p): the small parts first.
    return Wide(1.0 + (r + (r * r) * p), i32(k));
}
