// Gives groups a new start: initial weights, no point, no log. Entry points: a list of groups, or a mask with a word per group.
// One invocation a group; nothing is shared. A list may name a group twice, and words that are no group are passed over. The
// ring's cursor stays, so that all groups' rings turn together.

override HAS_CYCLE: bool = false;
override HAS_EPOCH: bool = false;

fn reset_group(group: u32) {
    for (var component = 0u; component < group_components(group); component += 1u) {
        weights[group_weights(group) + component * params.weight_component] =
            table[balance.initial + initial_place(group, component)];
    }
    status[group] = STATUS_NOT_READY;
    state[balance.clocks + group] &= FIELD_MASK;
    state[balance.steps + group] = 0u;
    if HAS_CYCLE {
        state[balance.cycle + group] = 0u;
    }
    if HAS_EPOCH {
        state[balance.batches + group] = 0u;
    }
    log_clear(group);
}

fn chosen_index(id: vec3<u32>, workgroups: vec3<u32>) -> u32 {
    return id.y * workgroups.x * WORKGROUP + id.x;
}

@compute @workgroup_size(WORKGROUP)
fn reset_listed(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    let index = chosen_index(id, workgroups);
    if index < arrayLength(&chosen) {
        if chosen[index] < params.groups {
            reset_group(chosen[index]);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn reset_masked(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    let group = chosen_index(id, workgroups);
    if group < params.groups {
        if chosen[group] != 0u {
            reset_group(group);
        }
    }
}
