//! Vectors of a fixed number of lanes, and what "over the components of a group" means for them.
//!
//! Written as plain loops over arrays: the compiler turns them into the vector instructions of whatever
//! [`pulp::Arch`] found. Nothing here depends on the width of those instructions, so results do not either.

use std::ops::{Index, IndexMut};

/// Lanes of a vector: one AVX-512 register, two of AVX2, four of NEON.
pub(super) const LANES: usize = 16;

/// One number per lane.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Lanes<T>(pub(super) [T; LANES]);

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

    #[inline(always)]
    pub(super) fn zip<U: Copy, V: Copy + Default>(self, other: Lanes<U>, f: impl Fn(T, U) -> V) -> Lanes<V> {
        let mut out = Lanes::splat(V::default());
        for l in 0..LANES {
            out.0[l] = f(self.0[l], other.0[l]);
        }
        out
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

/// Whether any lane is not 0.
#[inline(always)]
pub(super) fn any(mask: &Lanes<u32>) -> bool {
    let mut all = 0;
    for l in 0..LANES {
        all |= mask[l];
    }
    all != 0
}

/// `a` where it is larger, `b` otherwise and where `a` is NaN.
#[inline(always)]
pub(super) fn larger<T: PartialOrd>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

/// How the rows of groups are laid over vectors.
///
/// A block of groups is a slice of vectors; stages first combine its vectors lane by lane, then [`Across::join`] what the
/// lanes of one group hold.
pub(super) trait Across {
    /// The component that lane `lane` of vector `vector` holds.
    fn component(vector: usize, lane: usize) -> usize;

    /// Gives every lane what the lanes of its group make together. `f` must be commutative.
    fn join<T: Copy>(value: Lanes<T>, f: impl Fn(T, T) -> T) -> Lanes<T>;
}

/// Lanes are groups with the same number of components, vectors are components.
pub(super) struct Groups;

impl Across for Groups {
    #[inline(always)]
    fn component(vector: usize, _: usize) -> usize {
        vector
    }

    #[inline(always)]
    fn join<T: Copy>(value: Lanes<T>, _: impl Fn(T, T) -> T) -> Lanes<T> {
        value
    }
}

/// Lanes are components of one group; in the last vector some are of no component.
pub(super) struct Components;

impl Across for Components {
    #[inline(always)]
    fn component(vector: usize, lane: usize) -> usize {
        vector * LANES + lane
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
}
