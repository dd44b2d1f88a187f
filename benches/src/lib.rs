//! What the benchmarks, the program `compare` and the lab share.

pub mod clock;
#[cfg(feature = "rivals")]
pub mod contenders;
pub mod findings;
pub mod rounds;
pub mod suites;
pub mod text;
