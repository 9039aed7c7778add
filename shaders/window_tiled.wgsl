// Reads the points of row-major rows through workgroup memory, TILE_POINTS points of each lane's row at a time: the lanes fetch
// neighbouring words together, then each takes its own row's points from the tile. Rows are one word longer in the tile than
// their points, so that lanes of neighbouring rows hit different banks.
//
// Barriers: one before the tile is filled, because lanes may still read the previous one; one before it is read.

const TILE_POINTS: u32 = 8u;
const TILE_PITCH: u32 = TILE_POINTS + 1u;
var<workgroup> tile: array<u32, WORKGROUP * TILE_PITCH>;

// Fetches points from `first` on of the rows that the workgroup's lanes own in a round. What nobody owns is fetched from a place
// nearby: without a branch all loads of a lane are under way together.
fn fill_tile(lane: Lane, round: u32, first: u32) {
    let last = max(group_row(params.groups) * params.window, 1u) - 1u;
    for (var turn = 0u; turn < TILE_POINTS; turn += 1u) {
        let word = turn * WORKGROUP + lane.index;
        let owner = word / TILE_POINTS;
        let point = word % TILE_POINTS;
        let row = group_row(min(lane.first_group + owner / TEAM, params.groups)) + round * TEAM + owner % TEAM;
        let time = params.first_point + min(first + point, points_read() - 1u);
        tile[owner * TILE_PITCH + point] = losses[min(row * params.window + time, last)];
    }
}

fn read_row(lane: Lane, round: u32) -> Row {
    var row = row_start(lane);
    for (var first = 0u; first < points_read(); first += TILE_POINTS) {
        workgroupBarrier();
        fill_tile(lane, round, first);
        workgroupBarrier();
        if owns(lane, round) {
            for (var point = 0u; point < TILE_POINTS; point += 1u) {
                if first + point < points_read() {
                    row_take(&row, first + point, tile[lane.index * TILE_PITCH + point]);
                }
            }
        }
    }
    return row;
}
