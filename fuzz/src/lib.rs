//! What the fuzz targets do with their bytes. The files of this folder that need no fuzzer are also parts of the tests
//! `tests/corpora.rs` and `cli/tests/corpora.rs`, which run the corpora everywhere.

#[path = "../../tests/common/problem.rs"]
pub mod problem;
#[cfg(feature = "readers")]
pub mod readers;
pub mod state;
pub mod weigh;
