// Reads the points of row-major rows four at a time, where rows are a multiple of four points long: the losses are declared as
// vectors. Every lane reads its own row, and with it whole sectors of memory.

fn read_row(lane: Lane, round: u32) -> Row {
    var row = row_start(lane);
    if owns(lane, round) {
        // The row ends with a vector; the oldest one may hold points that are not read.
        let skipped = (4u - points_read() % 4u) % 4u;
        let start = lane.losses + component_of(lane, round) * params.loss_component + params.first_point - skipped;
        for (var first = 0u; first < skipped + points_read(); first += 4u) {
            let points = losses[(start + first) / 4u];
            for (var i = 0u; i < 4u; i += 1u) {
                if first + i >= skipped {
                    row_take(&row, first + i - skipped, points[i]);
                }
            }
        }
    }
    return row;
}
