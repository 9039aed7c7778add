// Stage `average`: mean loss over the newest `mean_points` points of each row (or as many as the group has), in units of
// the loss. Entry point: losses -> means, NaN where a point is not finite or the sum overflows.

struct AverageSum {
    total: f32,
    partial: f32,
    // Largest magnitude so far, as bits.
    magnitude: u32,
    // Sign bits that some point has, and that all points have.
    some_signs: u32,
    all_signs: u32,
    // Points that count, and the first of them among those that are read.
    count: u32,
    first: u32,
}

fn average_start(points: u32) -> AverageSum {
    let count = min(points, params.mean_points);
    return AverageSum(0.0, 0.0, 0u, 0u, ~MAGNITUDE_BITS, count, points_read() - count);
}

fn average_take(row: ptr<function, Row>, point: u32, bits: u32) {
    if point < (*row).average.first {
        return;
    }
    (*row).average.partial += bitcast<f32>(bits);
    if (point - (*row).average.first) % POINTS_PER_SUM == POINTS_PER_SUM - 1u {
        (*row).average.total += (*row).average.partial;
        (*row).average.partial = 0.0;
    }
    (*row).average.magnitude = max((*row).average.magnitude, bits & MAGNITUDE_BITS);
    (*row).average.some_signs |= bits & ~MAGNITUDE_BITS;
    (*row).average.all_signs &= bits;
}

fn average_bits(sum: AverageSum) -> u32 {
    if sum.magnitude >= EXPONENT_BITS || sum.count == 0u {
        return NAN_BITS;
    }
    let bits = finite_or_nan_bits((sum.total + sum.partial) / f32(sum.count));
    // Losses so small that their mean is subnormal are small, but not zero: where the device flushes subnormals, the
    // mean counts as the smallest normal number, unless points of both signs may have cancelled. 0x06800000 is 2^-114, 4096
    // times the smallest normal.
    let is_tiny = (bits & EXPONENT_BITS) == 0u && sum.magnitude != 0u && sum.magnitude < 0x06800000u;
    if is_tiny && sum.some_signs == sum.all_signs {
        return sum.some_signs | SMALLEST_NORMAL_BITS;
    }
    return bits;
}

@compute @workgroup_size(WORKGROUP)
fn average_stage(invocation: Invocation) {
    let lane = lane_of(invocation);
    for (var round = 0u; round < ROUNDS; round += 1u) {
        let row = read_row(lane, round);
        if owns(lane, round) {
            means[weight_place(lane, round)] = average_bits(row.average);
        }
    }
}
