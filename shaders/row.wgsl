// One pass over the points of a row gathers what the stages `slopes` and `average` need of it.

struct Row {
    slope: SlopeSum,
    average: AverageSum,
}

fn row_start(lane: Lane) -> Row {
    return Row(slope_start(), average_start(group_points(min(lane.group, params.groups - 1u))));
}

// `point` counts from the oldest one that is read; points come in order.
fn row_take(row: ptr<function, Row>, point: u32, bits: u32) {
    if WANT_SLOPE {
        slope_take(row, point, bits);
    }
    if WANT_MEAN {
        average_take(row, point, bits);
    }
}
