//! What the numbers were measured on.

use std::thread;

use serde::Serialize;

/// The machine, as far as it tells.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Machine {
    /// As Rust calls it.
    pub os: String,
    /// Its version.
    pub kernel: Option<String>,
    /// As Rust calls it.
    pub arch: String,
    /// The model.
    pub cpu: Option<String>,
    /// How many this process may use.
    pub cores: usize,
    /// How many files it may have open.
    pub open_files_limit: Option<u64>,
}

impl Machine {
    /// The machine this runs on.
    pub fn this(open_files_limit: Option<u64>) -> Self {
        Self {
            os: std::env::consts::OS.into(),
            kernel: kernel(),
            arch: std::env::consts::ARCH.into(),
            cpu: cpu(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            open_files_limit,
        }
    }

    /// In one line.
    pub fn in_words(&self) -> String {
        let Self {
            os, arch, cores, ..
        } = self;
        let kernel = self.kernel.as_deref().unwrap_or("");
        let cpu = self.cpu.as_deref().unwrap_or("CPU unknown");
        format!("{os} {kernel} {arch}, {cpu}, {cores} cores")
    }
}

#[cfg(unix)]
fn kernel() -> Option<String> {
    let name = rustix::system::uname();
    Some(name.release().to_string_lossy().into_owned())
}

#[cfg(not(unix))]
fn kernel() -> Option<String> {
    None
}

/// The model, where the kernel prints it.
fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_string())
}
