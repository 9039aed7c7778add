// Reads the points of a row straight from the losses: coalesced where neighbouring lanes own neighbouring words of a
// point in time (time-major), and right for any strides.

fn read_row(lane: Lane, round: u32) -> Row {
    var row = row_start(lane);
    if owns(lane, round) {
        let start = lane.losses + component_of(lane, round) * params.loss_component;
        for (var t = params.window - params.points_read; t < params.window; t += 1u) {
            row_take(&row, t, losses[start + t * params.loss_time]);
        }
    }
    return row;
}
