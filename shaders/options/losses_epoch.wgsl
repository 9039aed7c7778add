// A push brings the mean of the open epoch's batches, and closes the epoch.
fn epoch_is_empty(group: u32) -> bool {
    return state[balance.batches + group] == 0u;
}

fn newest_loss(lane: Lane, round: u32, group: u32) -> u32 {
    let batches = state[balance.batches + group];
    if batches == 0u {
        return 0u;
    }
    let place = row_place(lane, round);
    let sum = finite_sum_bits(state[balance.epoch_newest + place], state[balance.epoch_older + place]);
    if !is_finite_bits(sum) {
        return sum;
    }
    return bitcast<u32>(bitcast<f32>(sum) / f32(batches));
}

fn close_epoch(group: u32) {
    state[balance.batches + group] = 0u;
}
