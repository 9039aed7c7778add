//! What befell a group, as flags in one word.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// Flags of one group: why its weights may not be what the formula alone would give.
///
/// Every path (reference, CPU, GPU staged, GPU fused) writes the same word for the same group, as far as f32 can tell: it
/// takes slopes below 1e-30 for zero, and has no number above 3.4e38. [`Status::OK`] is 0. A group that is held says only
/// why.
/// Shaders use the same bit values: `shaders/status.wgsl`, checked against this file by `src/gpu/tests.rs`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[cfg_attr(feature = "gpu", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Status(u32);

impl Status {
    /// Nothing to report.
    pub const OK: Self = Self(0);
    /// The group has fewer points than its slope needs: it keeps its previous or neutral weights.
    pub const NOT_READY: Self = Self(1);
    /// A loss that takes part, or a slope or mean made of finite losses, is NaN or infinite.
    pub const NON_FINITE: Self = Self(1 << 1);
    /// Normalising divides by a sum that is zero: all scores are zero.
    pub const ZERO_SLOPE_SUM: Self = Self(1 << 2);
    /// Every mean loss is zero, so that loss weighting has nothing to work with: plain softmax weights.
    pub const ZERO_MEAN_LOSS: Self = Self(1 << 3);
    /// A mean loss is negative (and was clamped to zero, unless the policy takes it as it is).
    pub const NEGATIVE_MEAN_LOSS: Self = Self(1 << 4);
    /// The group's own beta is NaN, infinite or above [`MAX_BETA`](crate::MAX_BETA): treated like a non-finite loss.
    pub const NON_FINITE_BETA: Self = Self(1 << 5);

    /// Every flag with its name, as the command line prints it.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::NOT_READY, "not-ready"),
        (Self::NON_FINITE, "non-finite"),
        (Self::ZERO_SLOPE_SUM, "zero-slope-sum"),
        (Self::ZERO_MEAN_LOSS, "zero-mean-loss"),
        (Self::NEGATIVE_MEAN_LOSS, "negative-mean-loss"),
        (Self::NON_FINITE_BETA, "non-finite-beta"),
    ];

    /// The word as shaders store it.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The flags of a word read back from a device. Unknown bits are kept: a poisoned word stays visible.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The other flags.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no flag is set.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Status {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Status {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// `ok`, or the names of the flags joined by `|`; bits without a name in hexadecimal.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            return f.write_str("ok");
        }
        let mut rest = self.0;
        let mut separator = "";
        for (flag, name) in Self::NAMES {
            if self.contains(flag) {
                write!(f, "{separator}{name}")?;
                rest &= !flag.0;
                separator = "|";
            }
        }
        if rest != 0 {
            write!(f, "{separator}{rest:#x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({self})")
    }
}
