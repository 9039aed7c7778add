// What a pipeline is specialised to (overrides) and what a plan fixes (one uniform buffer).
//
// Rust counterparts: `src/gpu/params.rs` (the structure, field by field) and `src/gpu/kernels.rs` (the overrides).
// Storage bindings are declared by `src/gpu/slots.rs`, because their access mode depends on the caller's buffers. All of
// them are arrays of words: floats pass through `bitcast`, so that a NaN is only ever looked at as bits.

// Invocations of a workgroup.
override WORKGROUP: u32 = 64u;
// Lanes that share a group, a power of two; a workgroup holds WORKGROUP / TEAM groups.
override TEAM: u32 = 4u;
// Whether neighbouring lanes own neighbouring groups (time-major) or neighbouring components (row-major).
override GROUPS_INNERMOST: bool = false;
// Components of a group, points that are read, and points of the slope, where they are few enough for a compiler to unroll the
// loops over them; else 0, and `params` has them.
override COMPONENTS: u32 = 0u;
override POINTS_READ: u32 = 0u;
override SLOPE_POINTS: u32 = 0u;
// Which sums a pass over the losses gathers.
override WANT_SLOPE: bool = true;
override WANT_MEAN: bool = false;
// The switches of `Config`.
override LEAST_SQUARES: bool = false;
override NORMALIZE: u32 = 0u;
override LOSS_WEIGHTED: bool = false;
// Whether terms have factors (mean losses or a prior) and so need a common exponent.
override HAS_FACTORS: bool = false;
override NEGATIVE_AS_IS: bool = false;
override ON_NON_FINITE: u32 = 0u;
override SCALE_TO_COMPONENTS: bool = false;
// Whether the weights buffer holds the weights of the previous update.
override KEEP_PREVIOUS: bool = false;
// Whether an earlier stage has written flags to the status words.
override MERGE_STATUS: bool = false;

const NORMALIZE_NONE: u32 = 0u;
const NORMALIZE_SIGNED_SUM: u32 = 1u;
const NORMALIZE_L1: u32 = 2u;
const NORMALIZE_L2: u32 = 3u;

const HOLD: u32 = 0u;
const MASK: u32 = 1u;
const PROPAGATE: u32 = 2u;

struct Params {
    // Groups of the batch.
    groups: u32,
    // Workgroups along x; the linear number of a workgroup is y * workgroups_x + x.
    workgroups_x: u32,
    // Components of a group; of the largest one if the shape is ragged.
    components: u32,
    // Points of a window.
    window: u32,
    // The newest points that the slope uses, that the mean is taken over, and that are read at all; and how many older ones
    // the window has.
    slope_points: u32,
    mean_points: u32,
    points_read: u32,
    first_point: u32,
    // Distances in words.
    loss_group: u32,
    loss_component: u32,
    loss_time: u32,
    weight_group: u32,
    weight_component: u32,
    // Where the prior starts in `table`.
    prior_start: u32,
    // The configuration's numbers, in f32.
    beta: f32,
    // Epsilon as mantissa * 2^exponent for the softmax, and as it is for the 2-norm.
    epsilon_mantissa: f32,
    epsilon_exponent: i32,
    epsilon_norm: f32,
    floor: f32,
    // d_j = least_squares_factor * (j + 1) * (points - 1 - j).
    least_squares_factor: f32,
    // d_j of a finite difference, j = 0..20, oldest first.
    differences: array<vec4<f32>, 5>,
}

@group(0) @binding(0) var<uniform> params: Params;

fn points_read() -> u32 {
    return select(params.points_read, POINTS_READ, POINTS_READ > 0u);
}
