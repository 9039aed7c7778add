// Reads the points of row-major rows through workgroup memory, TILE_POINTS points of all rows of the workgroup at a time:
// the lanes fetch neighbouring words together, then each takes its own row's points from the tile. Rows are one word
// longer in the tile than their points, so that lanes of neighbouring rows hit different banks.
//
// Barriers: one before the tile is filled, because lanes may still read the previous one; one before it is read.

const TILE_POINTS: u32 = 8u;
const TILE_PITCH: u32 = TILE_POINTS + 1u;
var<workgroup> tile: array<u32, WORKGROUP * TILE_PITCH>;

fn read_row(lane: Lane, round: u32) -> Row {
    var row = row_start(lane);
    // The rows of this workgroup in this round are neighbours: all components of its groups, or, where a group has more
    // components than a team has lanes (and the workgroup one group), the next TEAM of them.
    let first_group = min(lane.first_group, params.groups);
    let end_group = min(first_group + WORKGROUP / TEAM, params.groups);
    let first_row = group_row(first_group) + round * TEAM;
    let end_row = group_row(end_group);
    let rows = min(select(0u, end_row - first_row, end_row > first_row), WORKGROUP);
    let own_row = (group_row(min(lane.group, params.groups - 1u)) + component_of(lane, round) - first_row) * TILE_PITCH;

    for (var t = params.window - params.points_read; t < params.window; t += TILE_POINTS) {
        let points = min(TILE_POINTS, params.window - t);
        workgroupBarrier();
        for (var word = lane.index; word < rows * TILE_POINTS; word += WORKGROUP) {
            let tile_row = word / TILE_POINTS;
            let point = word % TILE_POINTS;
            if point < points {
                tile[tile_row * TILE_PITCH + point] = losses[(first_row + tile_row) * params.window + t + point];
            }
        }
        workgroupBarrier();
        if owns(lane, round) {
            for (var point = 0u; point < points; point += 1u) {
                row_take(&row, t + point, tile[own_row + point]);
            }
        }
    }
    return row;
}
