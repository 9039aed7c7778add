// Group g owns the rows table[g] .. table[g + 1].
fn group_components(group: u32) -> u32 {
    return table[group + 1u] - table[group];
}

fn group_losses(group: u32) -> u32 {
    return table[group] * params.loss_component;
}

fn group_weights(group: u32) -> u32 {
    return table[group] * params.weight_component;
}

// Rows before this group's; `group` may be the number of groups.
fn group_row(group: u32) -> u32 {
    return table[group];
}

// Initial weights, one per row.
fn initial_place(group: u32, component: u32) -> u32 {
    return table[group] + component;
}
