// Every group has the same number of components.
fn group_components(group: u32) -> u32 {
    return select(params.components, COMPONENTS, COMPONENTS > 0u);
}

fn group_losses(group: u32) -> u32 {
    return group * params.loss_group;
}

fn group_weights(group: u32) -> u32 {
    return group * params.weight_group;
}

// Rows before this group's; `group` may be the number of groups.
fn group_row(group: u32) -> u32 {
    return group * group_components(group);
}

// Initial weights, the same for every group.
fn initial_place(group: u32, component: u32) -> u32 {
    return component;
}
