// Reads row-major rows of few points, all of which count: the rows of a workgroup's groups are one run of words, which its lanes
// copy to workgroup memory together; then each takes its own rows from there.
//
// The barrier stands between filling and reading. The first round fills for all.

// Words that each lane copies.
override TURNS: u32 = 8u;
var<workgroup> tile: array<u32, WORKGROUP * TURNS>;

fn read_row(lane: Lane, round: u32) -> Row {
    let start = group_row(min(lane.first_group, params.groups)) * params.window;
    if round == 0u {
        // Lanes with nothing to copy copy the last word: without a branch all loads of a lane are under way together.
        let last = max(group_row(params.groups) * params.window, 1u) - 1u;
        for (var turn = 0u; turn < TURNS; turn += 1u) {
            let word = turn * WORKGROUP + lane.index;
            tile[word] = losses[min(start + word, last)];
        }
        workgroupBarrier();
    }
    var row = row_start(lane);
    if owns(lane, round) {
        let own = lane.losses + component_of(lane, round) * params.window - start;
        for (var point = 0u; point < points_read(); point += 1u) {
            row_take(&row, point, tile[own + point]);
        }
    }
    return row;
}
