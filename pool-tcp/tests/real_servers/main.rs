//! Real servers that close what is idle: redis-server with `timeout 1`, nginx with `keepalive_timeout 1s`.
//!
//! Without the usual harness, so that whoever has not installed them is told what was not tested.

#[cfg(target_os = "linux")]
#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod linux;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    #[cfg(target_os = "linux")]
    linux::run();
    #[cfg(not(target_os = "linux"))]
    println!("real servers: skipped, as only Linux shows its socket table");
}
