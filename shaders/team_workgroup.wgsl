// Team reductions through workgroup memory: the portable path. Barriers: one before a value is stored, because lanes may
// still read the previous reduction's result; one before each halving, so that its inputs are there; one before the
// result is read.

struct Invocation {
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
}

fn lane_index(invocation: Invocation) -> u32 {
    return invocation.index;
}

var<workgroup> team_scratch: array<vec4<f32>, WORKGROUP>;
var<workgroup> team_scratch_bits: array<u32, WORKGROUP>;

fn team_head(lane: Lane) -> u32 {
    return lane.index - lane.rank * rank_distance();
}

fn team_max(lane: Lane, value: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    team_scratch[lane.index] = value;
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane.rank < half {
            let other = team_scratch[lane.index + half * rank_distance()];
            team_scratch[lane.index] = max(team_scratch[lane.index], other);
        }
    }
    workgroupBarrier();
    return team_scratch[team_head(lane)];
}

fn lanes_sum(lane: Lane, value: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    team_scratch[lane.index] = vec4<f32>(value, 0.0, 0.0);
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane.rank < half {
            let other = team_scratch[lane.index + half * rank_distance()];
            team_scratch[lane.index] = team_scratch[lane.index] + other;
        }
    }
    workgroupBarrier();
    return team_scratch[team_head(lane)].xy;
}

fn team_or(lane: Lane, value: u32) -> u32 {
    workgroupBarrier();
    team_scratch_bits[lane.index] = value;
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane.rank < half {
            let other = team_scratch_bits[lane.index + half * rank_distance()];
            team_scratch_bits[lane.index] = team_scratch_bits[lane.index] | other;
        }
    }
    workgroupBarrier();
    return team_scratch_bits[team_head(lane)];
}
