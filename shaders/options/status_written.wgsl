// One status word per group.
fn write_status(group: u32, flags: u32) {
    status[group] = flags;
}

fn read_status(group: u32) -> u32 {
    return status[group];
}
