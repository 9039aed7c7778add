// Weights of a batch are stored as they are.
fn publish(lane: Lane, round: u32, bits: u32) {
    weights[weight_place(lane, round)] = bits;
}

fn publish_held(lane: Lane, round: u32) {
}
