// A push brings the losses themselves.
fn epoch_is_empty(group: u32) -> bool {
    return false;
}

fn newest_loss(lane: Lane, round: u32, group: u32) -> u32 {
    return losses[weight_place(lane, round)];
}

fn close_epoch(group: u32) {
}
