// Every lane owns at most one component: the private arrays are registers.
const SLOTS: u32 = 1u;
