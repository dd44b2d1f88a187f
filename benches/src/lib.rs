//! What the benchmarks, the program `compare` and the lab share.

pub mod callgrind;
pub mod clock;
pub mod comparison;
#[cfg(feature = "rivals")]
pub mod contenders;
#[cfg(feature = "rivals")]
pub mod crowd;
pub mod findings;
pub mod folder;
pub mod machine;
pub mod page;
pub mod rounds;
pub mod suites;
pub mod text;
