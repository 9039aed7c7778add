// One slope for all groups: the newest `slope_points` points and their coefficients d_j, oldest first.
fn slope_points() -> u32 {
    return select(params.slope_points, SLOPE_POINTS, SLOPE_POINTS > 0u);
}

fn difference(j: u32) -> f32 {
    if LEAST_SQUARES {
        return params.least_squares_factor * f32((j + 1u) * (slope_points() - 1u - j));
    }
    return params.differences[j / 4u][j % 4u];
}
