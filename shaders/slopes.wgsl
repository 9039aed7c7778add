// Stage `slopes`: sum_j d_j (L[j + 1] - L[j]) over the newest `slope_points` points of each row, in units of the loss
// per step. Entry point: losses -> slopes, NaN where a point is not finite, the slope overflows or the group has too few
// points.

struct SlopeSum {
    total: f32,
    partial: f32,
    older: f32,
    // Largest magnitude so far, as bits: at least EXPONENT_BITS if a point was not finite.
    magnitude: u32,
}

fn slope_start() -> SlopeSum {
    return SlopeSum(0.0, 0.0, 0.0, 0u);
}

fn slope_take(row: ptr<function, Row>, place: u32, bits: u32) {
    let first = points_read() - slope_points();
    if place < first {
        return;
    }
    let loss = bitcast<f32>(bits);
    let point = place - first;
    if point > 0u {
        (*row).slope.partial += difference(point - 1u) * (loss - (*row).slope.older);
        if point % POINTS_PER_SUM == 0u {
            (*row).slope.total += (*row).slope.partial;
            (*row).slope.partial = 0.0;
        }
    }
    (*row).slope.older = loss;
    (*row).slope.magnitude = max((*row).slope.magnitude, bits & MAGNITUDE_BITS);
}

fn slope_bits(sum: SlopeSum, points: u32) -> u32 {
    if sum.magnitude >= EXPONENT_BITS || points < slope_points() {
        return NAN_BITS;
    }
    return finite_or_nan_bits(sum.total + sum.partial);
}

@compute @workgroup_size(WORKGROUP)
fn slopes_stage(invocation: Invocation) {
    let lane = lane_of(invocation);
    for (var round = 0u; round < ROUNDS; round += 1u) {
        let row = read_row(lane, round);
        if owns(lane, round) {
            slopes[weight_place(lane, round)] = slope_bits(row.slope, group_points(lane.group));
        }
    }
}
