// The number of points that each group has so far.
fn group_points(group: u32) -> u32 {
    return min(points[group], params.window);
}
