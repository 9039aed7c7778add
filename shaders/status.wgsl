// Flags of a group's status word: the bits of `src/status.rs`.
const STATUS_NOT_READY: u32 = 1u;
const STATUS_NON_FINITE: u32 = 2u;
const STATUS_ZERO_SLOPE_SUM: u32 = 4u;
const STATUS_ZERO_MEAN_LOSS: u32 = 8u;
const STATUS_NEGATIVE_MEAN_LOSS: u32 = 16u;
const STATUS_NON_FINITE_BETA: u32 = 32u;
