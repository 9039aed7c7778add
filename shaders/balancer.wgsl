// What the balancer's kernels share: their parameters, the state they keep between steps, and the clock of a group.
//
// `state` and `weight_log` are one buffer each; `src/balancer/layout.rs` says what lies where. Everything in them has groups
// innermost, so that neighbouring lanes touch neighbouring words. Clocks are per group and on the device: a command buffer that
// is submitted again goes on counting. One lane of a team, of rank 0, writes what belongs to its group, after a barrier that all
// lanes pass once they have read it.

// Rust counterpart: `src/gpu/balancer/params.rs`.
struct Balance {
    // Places in `state`, in words.
    clocks: u32,
    steps: u32,
    cycle: u32,
    batches: u32,
    ring: u32,
    cycle_sums: u32,
    epoch_newest: u32,
    epoch_older: u32,
    // Updates that the log keeps, and places in it.
    log_length: u32,
    log_steps: u32,
    log_status: u32,
    log_weights: u32,
    // Pushes up to the first update, and between updates.
    first: u32,
    every: u32,
    // What a step counter is lowered by when it reaches STEPS_FOLD.
    steps_fold: u32,
    // Components of all groups together.
    rows: u32,
    // Places in `table`.
    initial: u32,
    stencils: u32,
    // Exponential smoothing: shares of the published and of the new weights.
    keep: f32,
    take: f32,
    // The factor on beta.
    schedule_from: f32,
    schedule_to: f32,
    schedule_over: u32,
    padding: u32,
}

// Whether updates come with every push; whether weights are computed at every push although updates are rarer.
override UPDATES_ALWAYS: bool = true;
override COMPUTES_ALWAYS: bool = true;
// Whether an update clears the window.
override TUMBLING: bool = false;
override SCHEDULE_COSINE: bool = false;

// A clock word: cursor, points, and whether weights have been published.
const FIELD_MASK: u32 = 8191u;
const POINTS_SHIFT: u32 = 13u;
const PUBLISHED_BIT: u32 = 0x80000000u;
const STEPS_FOLD: u32 = 0x80000000u;
const BATCHES_PER_SUM: u32 = 256u;

struct Clock {
    // The ring's slot for this push, and the points in the window with it.
    cursor: u32,
    points: u32,
    // Whether weights of the group have been published.
    published: bool,
    // Pushes of the group before this one, and with it.
    steps_before: u32,
    steps: u32,
    // Whether this push brings an update.
    due: bool,
}

var<private> clock: Clock;

// Reads the clock of a group and moves it on by one push. A gap is a push without a point: the window begins anew.
fn tick(group: u32, gap: bool) {
    let word = state[balance.clocks + group];
    clock.cursor = word & FIELD_MASK;
    clock.points = select(min(((word >> POINTS_SHIFT) & FIELD_MASK) + 1u, params.window), 0u, gap);
    clock.published = (word & PUBLISHED_BIT) != 0u;
    clock.steps_before = state[balance.steps + group];
    clock.steps = clock.steps_before - select(0u, balance.steps_fold, clock.steps_before >= STEPS_FOLD) + 1u;
    clock.due = clock.steps >= balance.first && (clock.steps - balance.first) % balance.every == 0u;
}

// Stores the clock behind a push.
fn store_clock(group: u32, published: bool) {
    let next = select(clock.cursor + 1u, 0u, clock.cursor + 1u == params.window);
    let points = select(clock.points, 0u, TUMBLING && clock.due);
    state[balance.clocks + group] = next | (points << POINTS_SHIFT) | select(0u, PUBLISHED_BIT, published);
    state[balance.steps + group] = clock.steps;
}

// Where a component's points stand in the ring's first slot, counted from a part of `state` or `weight_log` that has rows.
fn row_place(lane: Lane, round: u32) -> u32 {
    return lane.losses + component_of(lane, round) * params.loss_component;
}

// a + b as words, NaN for everything that is not finite, and from then on.
fn finite_sum_bits(a: u32, b: u32) -> u32 {
    if !is_finite_bits(a) || !is_finite_bits(b) {
        return NAN_BITS;
    }
    return finite_or_nan_bits(bitcast<f32>(a) + bitcast<f32>(b));
}

// The push's points of a lane's components.
var<private> row_newest: array<u32, ROUNDS>;
