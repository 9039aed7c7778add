// New weights are blended with the published ones, unless there are none yet or one of the two is not finite.
fn publish_start(group: u32) {
}

fn publish(lane: Lane, round: u32, bits: u32) {
    let place = weight_place(lane, round);
    let old = weights[place];
    if !clock.published || !is_finite_bits(old) || !is_finite_bits(bits) {
        weights[place] = bits;
    } else {
        weights[place] = bitcast<u32>(balance.keep * bitcast<f32>(old) + balance.take * bitcast<f32>(bits));
    }
}

fn publish_held(lane: Lane, round: u32) {
}

fn publishes() -> bool {
    return !group_held;
}

fn publish_end(group: u32) {
}
