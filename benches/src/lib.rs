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
#[cfg(feature = "rivals")]
pub mod http_clients;
pub mod limits;
pub mod machine;
#[cfg(feature = "rivals")]
pub mod one_core;
pub mod page;
#[cfg(feature = "rivals")]
pub mod redis_pools;
pub mod redis_server;
pub mod rounds;
pub mod suites;
pub mod text;
