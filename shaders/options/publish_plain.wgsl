// New weights are published as they are.
fn publish_start(group: u32) {
}

fn publish(lane: Lane, round: u32, bits: u32) {
    weights[weight_place(lane, round)] = bits;
}

fn publish_held(lane: Lane, round: u32) {
}

fn publishes() -> bool {
    return !group_held;
}

fn publish_end(group: u32) {
}
