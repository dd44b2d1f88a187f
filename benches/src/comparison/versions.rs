//! What exactly is compared.

use std::process::Command;

/// Crates of others, in the order of the reports.
const CRATES: [&str; 14] = [
    "tokio",
    "bb8",
    "deadpool",
    "mobc",
    "fast_pool",
    "r2d2",
    "qp",
    "redis",
    "bb8-redis",
    "deadpool-redis",
    "hyper",
    "hyper-util",
    "reqwest",
    "parking_lot",
];

/// This pool with its commit, the compiler, and the others with their versions.
pub fn versions() -> Vec<String> {
    let ours = format!("pool-core {}", env!("CARGO_PKG_VERSION"));
    let ours = match output("git", &["rev-parse", "--short", "HEAD"]) {
        Some(commit) => format!("{ours} at {commit}"),
        None => ours,
    };
    let rustc = output("rustc", &["--version"]);
    let others = CRATES.map(|name| format!("{name} {}", locked(name)));
    [ours].into_iter().chain(rustc).chain(others).collect()
}

/// The version of a crate in this workspace.
fn locked(name: &str) -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let heading = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = lock.split_once(&heading).expect("it is used here");
    rest.split('"').next().expect("a quoted version")
}

/// What a program says, if there is one.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_has_a_version() {
        for version in versions() {
            assert!(
                version.contains(|digit: char| digit.is_ascii_digit()),
                "{version}"
            );
        }
    }
}
