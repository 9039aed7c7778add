// Stage `normalize`: slopes divided by their signed sum, sum of magnitudes or 2-norm. Entry point: slopes (and means,
// whose non-finite components do not count) -> scores, status.
//
// Slopes are divided by the largest magnitude first, so that sums of finite slopes are finite.

fn normalize_team(lane: Lane) {
    if NORMALIZE == NORMALIZE_NONE {
        return;
    }
    // (largest magnitude, whether any component counts)
    var extremes = vec4<f32>(0.0);
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if counts(lane, round) {
            extremes = max(extremes, vec4<f32>(abs(bitcast<f32>(row_score[round])), 1.0, 0.0, 0.0));
        }
    }
    extremes = team_max(lane, extremes);
    let largest = extremes.x;
    // Any divisor will do where the scores are going to be zero.
    let unit = select(1.0, largest, largest >= MIN_DIVISOR);

    clear_round_values();
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if counts(lane, round) {
            let slope = bitcast<f32>(row_score[round]) / unit;
            if NORMALIZE == NORMALIZE_SIGNED_SUM {
                round_value[round].x = slope;
            } else if NORMALIZE == NORMALIZE_L1 {
                round_value[round].x = abs(slope);
            } else {
                round_value[round].x = slope * slope;
            }
        }
    }
    var divisor = team_sum(lane).x;
    if NORMALIZE == NORMALIZE_L2 {
        divisor = max(sqrt(divisor), min(params.epsilon_norm / unit, 1e38));
    }
    let zero = largest < MIN_DIVISOR || abs(divisor) < MIN_DIVISOR;
    if zero && extremes.y > 0.0 {
        group_flags |= STATUS_ZERO_SLOPE_SUM;
    }
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if counts(lane, round) {
            let score = bitcast<f32>(row_score[round]) / unit / select(divisor, 1.0, zero);
            row_score[round] = select(bitcast<u32>(score), 0u, zero);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn normalize_stage(invocation: Invocation) {
    let lane = lane_of(invocation);
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if owns(lane, round) {
            row_score[round] = slopes[weight_place(lane, round)];
            row_mean[round] = load_mean(weight_place(lane, round));
        }
    }
    normalize_team(lane);
    for (var round = 0u; round < ROUNDS; round += 1u) {
        if owns(lane, round) {
            scores[weight_place(lane, round)] = row_score[round];
        }
    }
    if lane.exists && lane.rank == 0u {
        write_status(lane.group, group_flags);
    }
}
