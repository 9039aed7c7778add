//! Vectors of a fixed number of lanes, the registers that compute with them, and what "over the components of a group" means
//! for them.
//!
//! [`Lanes`] is what lies in memory. It has the same number of lanes on every machine, so that results do not depend on the
//! width of a register: [`registers`] counts how many a vector fills on the instructions at hand, [`Float`], [`Int`] and
//! [`Mask`] are what one of them holds.

use pulp::Simd;
use std::ops::{Add, BitAnd, BitOr, Div, Index, IndexMut, Mul, Not, Range, Sub};

/// Lanes of a vector: one AVX-512 register, two of AVX2, four of NEON.
pub(super) const LANES: usize = 16;

/// One number per lane.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Lanes<T>(pub(super) [T; LANES]);

/// The registers of a vector, by number.
#[inline(always)]
pub(super) fn registers<S: Simd>() -> Range<usize> {
    0..LANES / S::F32_LANES
}

impl<T: Copy> Lanes<T> {
    #[inline(always)]
    pub(super) fn splat(value: T) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    pub(super) fn map<U: Copy + Default>(self, f: impl Fn(T) -> U) -> Lanes<U> {
        let mut out = Lanes::splat(U::default());
        for l in 0..LANES {
            out.0[l] = f(self.0[l]);
        }
        out
    }
}

impl Lanes<f32> {
    #[inline(always)]
    pub(super) fn get<S: Simd>(&self, simd: S, register: usize) -> Float<S> {
        Float { simd, value: S::as_simd_f32s(&self.0).0[register] }
    }

    #[inline(always)]
    pub(super) fn set<S: Simd>(&mut self, register: usize, value: Float<S>) {
        S::as_mut_simd_f32s(&mut self.0).0[register] = value.value;
    }
}

impl Lanes<u32> {
    #[inline(always)]
    pub(super) fn get<S: Simd>(&self, simd: S, register: usize) -> Int<S> {
        Int { simd, value: S::as_simd_u32s(&self.0).0[register] }
    }

    #[inline(always)]
    pub(super) fn set<S: Simd>(&mut self, register: usize, value: Int<S>) {
        S::as_mut_simd_u32s(&mut self.0).0[register] = value.value;
    }
}

impl<T> Index<usize> for Lanes<T> {
    type Output = T;
    #[inline(always)]
    fn index(&self, lane: usize) -> &T {
        &self.0[lane]
    }
}

impl<T> IndexMut<usize> for Lanes<T> {
    #[inline(always)]
    fn index_mut(&mut self, lane: usize) -> &mut T {
        &mut self.0[lane]
    }
}

/// A register of f32 numbers.
#[derive(Clone, Copy)]
pub(super) struct Float<S: Simd> {
    simd: S,
    value: S::f32s,
}

/// A register of 32-bit integers. Their arithmetic wraps.
#[derive(Clone, Copy)]
pub(super) struct Int<S: Simd> {
    simd: S,
    value: S::u32s,
}

/// A register of truth values.
#[derive(Clone, Copy)]
pub(super) struct Mask<S: Simd> {
    simd: S,
    value: S::m32s,
}

impl<S: Simd> Float<S> {
    #[inline(always)]
    pub(super) fn splat(simd: S, value: f32) -> Self {
        Self { simd, value: simd.splat_f32s(value) }
    }

    /// The same number in every lane of another register.
    #[inline(always)]
    pub(super) fn all(self, value: f32) -> Self {
        Self::splat(self.simd, value)
    }

    #[inline(always)]
    pub(super) fn simd(self) -> S {
        self.simd
    }

    #[inline(always)]
    pub(super) fn bits(self) -> Int<S> {
        Int { simd: self.simd, value: self.simd.transmute_u32s_f32s(self.value) }
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        (self.bits() & 0x7fff_ffff).float()
    }

    #[inline(always)]
    pub(super) fn sqrt(self) -> Self {
        Self { simd: self.simd, value: self.simd.sqrt_f32s(self.value) }
    }

    #[inline(always)]
    pub(super) fn is_less(self, other: Self) -> Mask<S> {
        Mask { simd: self.simd, value: self.simd.less_than_f32s(self.value, other.value) }
    }

    #[inline(always)]
    pub(super) fn is_at_most(self, other: Self) -> Mask<S> {
        Mask { simd: self.simd, value: self.simd.less_than_or_equal_f32s(self.value, other.value) }
    }

    #[inline(always)]
    pub(super) fn equals(self, other: Self) -> Mask<S> {
        Mask { simd: self.simd, value: self.simd.equal_f32s(self.value, other.value) }
    }

    #[inline(always)]
    pub(super) fn is_nan(self) -> Mask<S> {
        !self.equals(self)
    }

    #[inline(always)]
    pub(super) fn is_finite(self) -> Mask<S> {
        self.abs().is_at_most(self.all(f32::MAX))
    }

    /// `self` where it is larger, `other` otherwise and where `self` is NaN.
    #[inline(always)]
    pub(super) fn or_larger(self, other: Self) -> Self {
        other.is_less(self).select(self, other)
    }

    /// `self` where it is smaller, `other` otherwise and where `self` is NaN.
    #[inline(always)]
    pub(super) fn or_smaller(self, other: Self) -> Self {
        self.is_less(other).select(self, other)
    }
}

macro_rules! float_operator {
    ($Trait:ident, $method:ident, $instruction:ident) => {
        impl<S: Simd> $Trait for Float<S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self { simd: self.simd, value: self.simd.$instruction(self.value, other.value) }
            }
        }

        impl<S: Simd> $Trait<f32> for Float<S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: f32) -> Self {
                $Trait::$method(self, self.all(other))
            }
        }
    };
}
float_operator!(Add, add, add_f32s);
float_operator!(Sub, sub, sub_f32s);
float_operator!(Mul, mul, mul_f32s);
float_operator!(Div, div, div_f32s);

impl<S: Simd> Int<S> {
    #[inline(always)]
    pub(super) fn splat(simd: S, value: u32) -> Self {
        Self { simd, value: simd.splat_u32s(value) }
    }

    #[inline(always)]
    pub(super) fn all(self, value: u32) -> Self {
        Self::splat(self.simd, value)
    }

    /// The number with these bits.
    #[inline(always)]
    pub(super) fn float(self) -> Float<S> {
        Float { simd: self.simd, value: self.simd.transmute_f32s_u32s(self.value) }
    }

    #[inline(always)]
    pub(super) fn shifted_left(self, by: u32) -> Self {
        let by = self.simd.splat_u32s(by);
        Self { simd: self.simd, value: self.simd.wrapping_dyn_shl_u32s(self.value, by) }
    }

    #[inline(always)]
    pub(super) fn shifted_right(self, by: u32) -> Self {
        let by = self.simd.splat_u32s(by);
        Self { simd: self.simd, value: self.simd.wrapping_dyn_shr_u32s(self.value, by) }
    }

    /// The larger one of numbers with a sign.
    #[inline(always)]
    pub(super) fn or_larger_signed(self, other: Self) -> Self {
        let simd = self.simd;
        let [a, b] = [self, other].map(|int| simd.transmute_i32s_u32s(int.value));
        Self { simd, value: simd.transmute_u32s_i32s(simd.max_i32s(a, b)) }
    }

    #[inline(always)]
    pub(super) fn is_less(self, other: Self) -> Mask<S> {
        Mask { simd: self.simd, value: self.simd.less_than_u32s(self.value, other.value) }
    }

    #[inline(always)]
    pub(super) fn is_nonzero(self) -> Mask<S> {
        let zero = self.simd.splat_u32s(0);
        !Mask { simd: self.simd, value: self.simd.equal_u32s(self.value, zero) }
    }
}

macro_rules! int_operator {
    ($Trait:ident, $method:ident, $instruction:ident) => {
        impl<S: Simd> $Trait for Int<S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self { simd: self.simd, value: self.simd.$instruction(self.value, other.value) }
            }
        }

        impl<S: Simd> $Trait<u32> for Int<S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: u32) -> Self {
                $Trait::$method(self, self.all(other))
            }
        }
    };
}
int_operator!(Add, add, add_u32s);
int_operator!(Sub, sub, sub_u32s);
int_operator!(BitAnd, bitand, and_u32s);
int_operator!(BitOr, bitor, or_u32s);

impl<S: Simd> Mask<S> {
    #[inline(always)]
    pub(super) fn select(self, yes: Float<S>, no: Float<S>) -> Float<S> {
        Float { simd: self.simd, value: self.simd.select_f32s(self.value, yes.value, no.value) }
    }

    #[inline(always)]
    pub(super) fn select_int(self, yes: Int<S>, no: Int<S>) -> Int<S> {
        Int { simd: self.simd, value: self.simd.select_u32s(self.value, yes.value, no.value) }
    }

    /// `flag` where true, 0 elsewhere.
    #[inline(always)]
    pub(super) fn flag(self, flag: u32) -> Int<S> {
        self.select_int(Int::splat(self.simd, flag), Int::splat(self.simd, 0))
    }

    #[inline(always)]
    pub(super) fn any(self) -> bool {
        self.simd.first_true_m32s(self.value) < S::F32_LANES
    }
}

impl<S: Simd> BitAnd for Mask<S> {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self { simd: self.simd, value: self.simd.and_m32s(self.value, other.value) }
    }
}

impl<S: Simd> BitOr for Mask<S> {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self { simd: self.simd, value: self.simd.or_m32s(self.value, other.value) }
    }
}

impl<S: Simd> Not for Mask<S> {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Self { simd: self.simd, value: self.simd.not_m32s(self.value) }
    }
}

/// Whether any lane is not 0.
#[inline(always)]
pub(super) fn any<S: Simd>(simd: S, flags: &Lanes<u32>) -> bool {
    let mut all = Int::splat(simd, 0);
    for r in registers::<S>() {
        all = all | flags.get(simd, r);
    }
    all.is_nonzero().any()
}

/// How the rows of groups are laid over vectors.
///
/// A block of groups is a slice of vectors; stages first combine its vectors lane by lane, then [`Across::join`] what the
/// lanes of one group hold. What is given here is for lanes that are groups and vectors that are components.
pub(super) trait Across {
    /// What a sum over components is gathered in.
    type Sum;

    /// A sum of nothing.
    const NOTHING: Self::Sum;

    /// The component that lane `lane` of vector `vector` holds.
    #[inline(always)]
    fn component(vector: usize, _lane: usize) -> usize {
        vector
    }

    /// Which lanes hold one of `n` components.
    #[inline(always)]
    fn present<S: Simd>(simd: S, _vector: usize, _register: usize, _n: usize) -> Mask<S> {
        everywhere(simd)
    }

    /// Gives every lane what the lanes of its group make together. `f` must be commutative.
    #[inline(always)]
    fn join<T: Copy>(value: Lanes<T>, _f: impl Fn(T, T) -> T) -> Lanes<T> {
        value
    }

    /// Adds the terms of a register.
    fn add<S: Simd>(sum: &mut Self::Sum, vector: usize, register: usize, terms: Float<S>);

    /// Gives every lane the sum over its group.
    fn total<S: Simd>(simd: S, sum: Self::Sum) -> Lanes<f32>;
}

#[inline(always)]
fn add_to<S: Simd>(sum: &mut Lanes<f32>, register: usize, terms: Float<S>) {
    sum.set(register, sum.get(terms.simd(), register) + terms);
}

#[inline(always)]
fn everywhere<S: Simd>(simd: S) -> Mask<S> {
    let zero = Float::splat(simd, 0.0);
    zero.equals(zero)
}

/// Lanes are groups with the same few components, vectors are components.
pub(super) struct Groups;

impl Across for Groups {
    type Sum = Lanes<f32>;

    const NOTHING: Lanes<f32> = Lanes([0.0; LANES]);

    #[inline(always)]
    fn add<S: Simd>(sum: &mut Lanes<f32>, _: usize, register: usize, terms: Float<S>) {
        add_to(sum, register, terms);
    }

    #[inline(always)]
    fn total<S: Simd>(_: S, sum: Lanes<f32>) -> Lanes<f32> {
        sum
    }
}

/// Lanes are components of one group; in the last vector some are of no component.
pub(super) struct Components;

impl Across for Components {
    type Sum = Lanes<f32>;

    const NOTHING: Lanes<f32> = Lanes([0.0; LANES]);

    #[inline(always)]
    fn component(vector: usize, lane: usize) -> usize {
        vector * LANES + lane
    }

    #[inline(always)]
    fn present<S: Simd>(simd: S, vector: usize, register: usize, n: usize) -> Mask<S> {
        const LANE: Lanes<u32> = Lanes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        LANE.get(simd, register).is_less(Int::splat(simd, (n - vector * LANES).min(LANES) as u32))
    }

    #[inline(always)]
    fn join<T: Copy>(mut value: Lanes<T>, f: impl Fn(T, T) -> T) -> Lanes<T> {
        let mut half = LANES / 2;
        while half > 0 {
            for l in 0..half {
                value[l] = f(value[l], value[l + half]);
            }
            half /= 2;
        }
        Lanes::splat(value[0])
    }

    #[inline(always)]
    fn add<S: Simd>(sum: &mut Lanes<f32>, _: usize, register: usize, terms: Float<S>) {
        add_to(sum, register, terms);
    }

    #[inline(always)]
    fn total<S: Simd>(_: S, sum: Lanes<f32>) -> Lanes<f32> {
        Self::join(sum, |a, b| a + b)
    }
}

/// As [`Groups`] for groups of many components, with the sums of [`Components`], bit for bit.
pub(super) struct LargeGroups;

impl Across for LargeGroups {
    type Sum = [Lanes<f32>; LANES];

    const NOTHING: [Lanes<f32>; LANES] = [Lanes([0.0; LANES]); LANES];

    #[inline(always)]
    fn add<S: Simd>(sum: &mut [Lanes<f32>; LANES], vector: usize, register: usize, terms: Float<S>) {
        add_to(&mut sum[vector % LANES], register, terms);
    }

    #[inline(always)]
    fn total<S: Simd>(simd: S, mut sum: [Lanes<f32>; LANES]) -> Lanes<f32> {
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                for r in registers::<S>() {
                    let other = sum[i + half].get(simd, r);
                    add_to(&mut sum[i], r, other);
                }
            }
            half /= 2;
        }
        sum[0]
    }
}
