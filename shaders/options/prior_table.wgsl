// One factor per component, as mantissa and exponent.
fn prior(component: u32) -> Wide {
    let place = params.prior_start + 2u * component;
    return Wide(bitcast<f32>(table[place]), i32(table[place + 1u]));
}
