// A beta per group, in a buffer that its owner may rewrite at any time.
fn base_beta_bits(group: u32) -> u32 {
    return betas[group];
}
