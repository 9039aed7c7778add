//! The numbers that all f32 paths (CPU and shaders) share. `src/gpu/tests.rs` compares them with the shaders' constants.

/// Points whose terms are added up before they join the running sum: keeps the chain of additions short, so that the mean
/// of 4096 points is not 4096 roundings away.
pub(crate) const POINTS_PER_SUM: usize = 8;

/// A divisor (or a largest slope) below this counts as zero. Well above the smallest normal, because GPUs may flush
/// smaller numbers to zero and may assume that no quotient overflows.
pub(crate) const MIN_DIVISOR: f32 = 1e-30;

/// Exponent gap from which epsilon is left out; see [`crate::reference`]'s `softmax`.
pub(crate) const UNDERFLOW_GAP: f32 = 87.336_54;

/// Arguments of the exponential below this give exactly 0 (f32 has no number between 0 and exp(-104)).
pub(crate) const EXP_UNDERFLOW: f32 = -104.0;
