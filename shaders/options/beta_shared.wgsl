// One beta for all groups, fixed by the plan.
fn base_beta_bits(group: u32) -> u32 {
    return bitcast<u32>(params.beta);
}
