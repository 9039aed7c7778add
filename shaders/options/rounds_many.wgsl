// Lanes own up to 16 components of a large group; their private arrays cost little beside the windows read for them.
const ROUNDS: u32 = 16u;
