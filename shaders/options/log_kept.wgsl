// The newest updates are kept in a ring of their own. The head of a group: its next entry in the low half, its number of
// entries in the high half.
fn log_head(group: u32) -> u32 {
    return weight_log[group];
}

fn log_weight(lane: Lane, round: u32, head: u32) {
    let place = balance.log_weights + (head & 0xffffu) * balance.rows + row_place(lane, round);
    weight_log[place] = weights[weight_place(lane, round)];
}

fn log_update(group: u32, head: u32) {
    let entry = head & 0xffffu;
    weight_log[balance.log_steps + entry * params.groups + group] = clock.steps;
    weight_log[balance.log_status + entry * params.groups + group] = status[group];
    let next = select(entry + 1u, 0u, entry + 1u == balance.log_length);
    weight_log[group] = next | (min((head >> 16u) + 1u, balance.log_length) << 16u);
}

fn log_clear(group: u32) {
    weight_log[group] = 0u;
}

fn log_copy_row(from_row: u32, to_row: u32) {
    for (var entry = 0u; entry < balance.log_length; entry += 1u) {
        let place = balance.log_weights + entry * balance.rows;
        weight_log[place + to_row] = weight_log[place + from_row];
    }
}

fn log_copy_group(from_group: u32, to_group: u32) {
    weight_log[to_group] = weight_log[from_group];
    for (var entry = 0u; entry < balance.log_length; entry += 1u) {
        for (var kind = 0u; kind < 2u; kind += 1u) {
            let place = select(balance.log_status, balance.log_steps, kind == 0u) + entry * params.groups;
            weight_log[place + to_group] = weight_log[place + from_group];
        }
    }
}
