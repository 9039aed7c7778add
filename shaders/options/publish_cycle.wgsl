// Weights are added up at every push; an update publishes the mean of those since the last one.

// Weights in the sum before this push's.
var<private> cycle_count: u32;

fn publish_start(group: u32) {
    cycle_count = state[balance.cycle + group];
}

fn publish_mean(lane: Lane, round: u32, sum: u32, count: u32) {
    if clock.due && count > 0u {
        weights[weight_place(lane, round)] =
            select(NAN_BITS, bitcast<u32>(bitcast<f32>(sum) / f32(count)), is_finite_bits(sum));
    }
}

fn publish(lane: Lane, round: u32, bits: u32) {
    let place = balance.cycle_sums + row_place(lane, round);
    var sum = bits;
    if cycle_count > 0u {
        sum = finite_sum_bits(state[place], bits);
    }
    state[place] = sum;
    publish_mean(lane, round, sum, cycle_count + 1u);
}

fn publish_held(lane: Lane, round: u32) {
    publish_mean(lane, round, state[balance.cycle_sums + row_place(lane, round)], cycle_count);
}

fn publishes() -> bool {
    return cycle_count > 0u || !group_held;
}

fn publish_end(group: u32) {
    let count = cycle_count + select(1u, 0u, group_held);
    state[balance.cycle + group] = select(count, 0u, clock.due);
}
