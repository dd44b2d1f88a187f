//! HTTP/1 against servers that do as a script says, and against a real nginx.

mod cancelled;
mod churn;
mod closure;
mod full;
mod keep_alive;
mod malformed;
#[cfg(target_os = "linux")]
mod nginx;
mod replayed;
mod reuse;
mod runtimes;
mod stale;
#[path = "../support/mod.rs"]
mod support;
mod timeouts;
mod upgrades;
mod uploads;
