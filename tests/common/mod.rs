//! What several test files share.
#![allow(unreachable_pub, reason = "modules of a test binary have no users outside it")]
#![allow(dead_code, reason = "each test file uses a part of this")]

pub mod balancer;
pub mod edge_cases;
pub mod oracle;
pub mod problem;
pub mod properties;
