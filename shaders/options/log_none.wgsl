// Nothing is logged.
fn log_head(group: u32) -> u32 {
    return 0u;
}

fn log_weight(lane: Lane, round: u32, head: u32) {
}

fn log_update(group: u32, head: u32) {
}

fn log_clear(group: u32) {
}

fn log_copy_row(from_row: u32, to_row: u32) {
}

fn log_copy_group(from_group: u32, to_group: u32) {
}
