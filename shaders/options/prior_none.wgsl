// Without a prior every factor is 1.
fn prior(component: u32) -> Wide {
    return Wide(1.0, 0);
}
