// Mean losses take no part.
fn load_mean(place: u32) -> u32 {
    return 0u;
}
