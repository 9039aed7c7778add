// All stages in one dispatch: losses -> weights, status. The losses are read once; slopes, means and scores stay in
// registers. The same functions as the staged kernels', so the same bits.

@compute @workgroup_size(WORKGROUP)
fn fused(invocation: Invocation) {
    let lane = lane_of(invocation);
    for (var round = 0u; round < ROUNDS; round += 1u) {
        let row = read_row(lane, round);
        if owns(lane, round) {
            row_score[round] = slope_bits(row.slope, group_points(lane.group));
            row_mean[round] = average_bits(row.average);
        }
    }
    normalize_team(lane);
    softmax_team(lane, group_flags);
}
