// Who owns what. A team of TEAM lanes shares one group; the lane of rank k owns the components k, k + TEAM, ... of it, one a
// round, at most ROUNDS of them, in private arrays. A workgroup holds WORKGROUP / TEAM groups.
//
// Sums are taken by halves over the next power of two of components: c and c + half, for every half down to 1, first
// between a lane's rounds, then between lanes. Components that a group has not are zeros. So the order of addition, and
// with it every bit, is the same for any TEAM, in any batch, at any position, in any layout, uniform or ragged.

struct Lane {
    // Place in the workgroup, and place in the team.
    index: u32,
    rank: u32,
    // The group, whether there is one, and its number of components.
    group: u32,
    exists: bool,
    components: u32,
    // First words of the group's losses and weights.
    losses: u32,
    weights: u32,
    // The first group of the workgroup.
    first_group: u32,
}

fn lane_of(invocation: Invocation) -> Lane {
    var lane: Lane;
    let groups_here = WORKGROUP / TEAM;
    let workgroup = invocation.workgroup.y * params.workgroups_x + invocation.workgroup.x;
    lane.index = lane_index(invocation);
    lane.first_group = workgroup * groups_here;
    if TEAM == 1u {
        lane.group = lane.first_group + lane.index;
    } else if GROUPS_INNERMOST {
        lane.rank = lane.index / groups_here;
        lane.group = lane.first_group + lane.index % groups_here;
    } else {
        lane.rank = lane.index % TEAM;
        lane.group = lane.first_group + lane.index / TEAM;
    }
    lane.exists = lane.group < params.groups;
    // Lanes without a group look at the last one's place and never write.
    let group = min(lane.group, params.groups - 1u);
    lane.components = group_components(group);
    lane.losses = group_losses(group);
    lane.weights = group_weights(group);
    return lane;
}

// The component that a lane owns in round `round`, and whether the group has it.
fn component_of(lane: Lane, round: u32) -> u32 {
    return lane.rank + round * TEAM;
}

fn owns(lane: Lane, round: u32) -> bool {
    return lane.exists && component_of(lane, round) < lane.components;
}

fn weight_place(lane: Lane, round: u32) -> u32 {
    return lane.weights + component_of(lane, round) * params.weight_component;
}

// Distance in the workgroup between neighbouring slots of a team.
fn rank_distance() -> u32 {
    return select(1u, WORKGROUP / TEAM, GROUPS_INNERMOST);
}

// What a lane knows of its components: score (a slope until it is normalised) and mean loss, as words; NaN_BITS marks
// a component that is not finite.
var<private> row_score: array<u32, ROUNDS>;
var<private> row_mean: array<u32, ROUNDS>;
// The softmax's terms.
var<private> row_term: array<Wide, ROUNDS>;
// What a lane adds up over its rounds; rounds that it does not have stay 0.
var<private> round_value: array<vec2<f32>, ROUNDS>;

fn clear_round_values() {
    for (var round = 0u; round < ROUNDS; round += 1u) {
        round_value[round] = vec2<f32>(0.0);
    }
}

// The sum of `round_value` over all rounds and lanes of the team.
fn team_sum(lane: Lane) -> vec2<f32> {
    for (var half = ROUNDS / 2u; half > 0u; half /= 2u) {
        for (var round = 0u; round < half; round += 1u) {
            round_value[round] += round_value[round + half];
        }
    }
    return lanes_sum(lane, round_value[0]);
}

// Flags of the group so far.
var<private> group_flags: u32;
// Whether the group keeps its previous weights, or gets neutral ones.
var<private> group_held: bool;

// Whether a component of this group takes part in sums and maxima.
fn counts(lane: Lane, round: u32) -> bool {
    return owns(lane, round) && is_finite_bits(row_score[round])
        && (!LOSS_WEIGHTED || is_finite_bits(row_mean[round]));
}
