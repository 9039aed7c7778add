// Adds one batch's losses to the open epoch. Entry point: losses and state -> state.
//
// Sums of BATCHES_PER_SUM batches join the sum of those before, so that a mean of many is few roundings away from exact. The
// barrier stands between the last reading of a group's number of batches and its storing.

fn epoch_add(place: u32, batches: u32, loss: u32) {
    let newest_place = balance.epoch_newest + place;
    let older_place = balance.epoch_older + place;
    let is_first = batches == 0u;
    var newest = finite_sum_bits(select(state[newest_place], 0u, is_first), loss);
    var older = select(state[older_place], 0u, is_first);
    if batches % BATCHES_PER_SUM == BATCHES_PER_SUM - 1u {
        older = finite_sum_bits(older, newest);
        newest = 0u;
    }
    state[newest_place] = newest;
    state[older_place] = older;
}

@compute @workgroup_size(WORKGROUP)
fn accumulate_stage(invocation: Invocation) {
    let lane = lane_of(invocation);
    let batches = state[balance.batches + min(lane.group, params.groups - 1u)];
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if owns(lane, round) {
            epoch_add(row_place(lane, round), batches, losses[weight_place(lane, round)]);
        }
    }
    workgroupBarrier();
    if lane.exists && lane.rank == 0u {
        state[balance.batches + lane.group] = batches + select(1u, 0u, batches == 0xffffffffu);
    }
}
