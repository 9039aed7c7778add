// Every lane owns at most one component: the private arrays are registers.
const ROUNDS: u32 = 1u;
