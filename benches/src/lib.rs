//! What the benchmarks, the program `compare` and the lab share.

#[cfg(feature = "rivals")]
pub mod contenders;
