// The points in the window with this push's.
fn group_points(group: u32) -> u32 {
    return clock.points;
}
