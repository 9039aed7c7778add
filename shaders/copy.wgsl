// Copies the whole state of groups onto others. Entry point: pairs (from, to) of groups. One invocation a pair and component;
// that of component 0 copies what belongs to the group. Pairs with a word that is no group, or with groups of different size,
// are passed over. A group that is replaced must not be named a second time.

fn copy_state(from_place: u32, to_place: u32) {
    state[to_place] = state[from_place];
}

fn copy_component(from_group: u32, to_group: u32, component: u32) {
    let offset = component * params.weight_component;
    weights[group_weights(to_group) + offset] = weights[group_weights(from_group) + offset];
    let from_row = group_losses(from_group) + component * params.loss_component;
    let to_row = group_losses(to_group) + component * params.loss_component;
    for (var slot = 0u; slot < params.window; slot += 1u) {
        let place = balance.ring + slot * params.loss_time;
        copy_state(place + from_row, place + to_row);
    }
    if HAS_CYCLE {
        copy_state(balance.cycle_sums + from_row, balance.cycle_sums + to_row);
    }
    if HAS_EPOCH {
        copy_state(balance.epoch_newest + from_row, balance.epoch_newest + to_row);
        copy_state(balance.epoch_older + from_row, balance.epoch_older + to_row);
    }
    log_copy_row(from_row, to_row);
}

fn copy_counters(from_group: u32, to_group: u32) {
    status[to_group] = status[from_group];
    copy_state(balance.clocks + from_group, balance.clocks + to_group);
    copy_state(balance.steps + from_group, balance.steps + to_group);
    if HAS_CYCLE {
        copy_state(balance.cycle + from_group, balance.cycle + to_group);
    }
    if HAS_EPOCH {
        copy_state(balance.batches + from_group, balance.batches + to_group);
    }
    log_copy_group(from_group, to_group);
}

@compute @workgroup_size(WORKGROUP)
fn copy_groups(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    let index = chosen_index(id, workgroups);
    let pair = index / params.components;
    let component = index % params.components;
    if pair >= arrayLength(&chosen) / 2u {
        return;
    }
    let from_group = chosen[2u * pair];
    let to_group = chosen[2u * pair + 1u];
    if from_group >= params.groups || to_group >= params.groups || from_group == to_group {
        return;
    }
    if group_components(from_group) != group_components(to_group) {
        return;
    }
    if component == 0u {
        copy_counters(from_group, to_group);
    }
    if component < group_components(to_group) {
        copy_component(from_group, to_group, component);
    }
}
