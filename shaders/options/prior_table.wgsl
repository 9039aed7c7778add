// One factor per component, in units of the largest.
fn prior(component: u32) -> Wide {
    return widen(bitcast<f32>(table[params.prior_start + component]));
}
