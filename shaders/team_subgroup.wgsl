// Team reductions by subgroup shuffles: no workgroup memory, no barrier. Used where a team fits the smallest subgroup
// that the device may choose, subgroups divide the workgroup, and neighbouring lanes share a team.
//
// Lanes are numbered by subgroup, because WGSL does not say which invocations share one. Subgroups are full, since their
// size divides the workgroup's. Butterflies by halves add in
// the same order as the portable path (a + b = b + a, bit for bit), so both give the same bits.

struct Invocation {
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) subgroup_size: u32,
    @builtin(subgroup_invocation_id) index: u32,
}

fn lane_index(invocation: Invocation) -> u32 {
    return invocation.subgroup * invocation.subgroup_size + invocation.index;
}

fn team_max(lane: Lane, value: vec4<f32>) -> vec4<f32> {
    var result = value;
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        result = max(result, subgroupShuffleXor(result, half));
    }
    return result;
}

fn lanes_sum(lane: Lane, value: vec2<f32>) -> vec2<f32> {
    var result = value;
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        result = result + subgroupShuffleXor(result, half);
    }
    return result;
}

fn team_or(lane: Lane, value: u32) -> u32 {
    var result = value;
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        result = result | subgroupShuffleXor(result, half);
    }
    return result;
}
