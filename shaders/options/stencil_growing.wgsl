// The accuracy order follows the number of points in the window, which is at most 21: points - 1, and 1 for fewer than two, which
// are too few. The coefficients of order p are the p words of `table` behind those of the lower orders.
fn slope_points() -> u32 {
    return max(clock.points, 2u);
}

fn difference(j: u32) -> f32 {
    let order = slope_points() - 1u;
    return bitcast<f32>(table[balance.stencils + order * (order - 1u) / 2u + j]);
}
