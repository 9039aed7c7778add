// Beta does not change over time.
fn group_beta_bits(group: u32) -> u32 {
    return base_beta_bits(group);
}
