// Reads the points of a row from the balancer's ring, oldest first, and the newest from this push: coalesced, because
// neighbouring lanes own neighbouring groups and all rings turn together.

fn read_row(lane: Lane, round: u32) -> Row {
    var row = row_start(lane);
    if owns(lane, round) {
        let place = balance.ring + row_place(lane, round);
        // The oldest point that is read is `points_read - 1` slots behind the newest one's.
        var slot = clock.cursor + params.first_point + 1u;
        slot -= select(0u, params.window, slot >= params.window);
        for (var point = 0u; point + 1u < points_read(); point += 1u) {
            row_take(&row, point, state[place + slot * params.loss_time]);
            slot = select(slot + 1u, 0u, slot + 1u == params.window);
        }
        row_take(&row, points_read() - 1u, row_newest[round]);
    }
    return row;
}
