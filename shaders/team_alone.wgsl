// Teams of one lane have nothing to reduce: no workgroup memory, no barrier.

struct Invocation {
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
}

fn lane_index(invocation: Invocation) -> u32 {
    return invocation.index;
}

fn team_max(lane: Lane, value: vec4<f32>) -> vec4<f32> {
    return value;
}

fn lanes_sum(lane: Lane, value: vec2<f32>) -> vec2<f32> {
    return value;
}

fn team_or(lane: Lane, value: u32) -> u32 {
    return value;
}
