// Reads the points of a row straight from the losses: coalesced where neighbouring lanes own neighbouring words of a
// point in time (time-major), and right for any strides.

fn read_row(lane: Lane, round: u32) -> Row {
    var row = row_start(lane);
    if owns(lane, round) {
        let start = lane.losses + component_of(lane, round) * params.loss_component + params.first_point * params.loss_time;
        for (var point = 0u; point < points_read(); point += 1u) {
            row_take(&row, point, losses[start + point * params.loss_time]);
        }
    }
    return row;
}
