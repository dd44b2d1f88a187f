//! This program under callgrind: what its own children did, counted instruction by instruction.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};

/// The argument by which `compare` knows that it is the child.
pub const CHILD: &str = "--watched-by-callgrind";

/// What was done in one call of [`watched`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Instructions in user space.
    pub instructions: u64,
    /// Calls of `clock_gettime`, be it of the coarse clock or the exact one.
    pub clock_readings: u64,
}

/// Callgrind counts in here alone, each call by itself. Calls of functions that were made before, though, are counted with
/// the first one in which they are made again.
#[inline(never)]
pub fn watched(work: &mut dyn FnMut()) {
    work();
    // Otherwise it would jump into the work and not come back, and no end would be seen.
    black_box(());
}

/// Runs this program again, under callgrind, and answers what each of so many calls of [`watched`] did.
///
/// # Errors
///
/// Says in words why there is nothing to tell: most likely, valgrind is not installed.
pub fn count(calls: usize) -> Result<Vec<Counted>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = std::env::temp_dir().join(format!("callgrind-{}", std::process::id()));
    fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let counted = count_in(&folder, &program, calls);
    // It is only rubbish that would be left.
    let _ = fs::remove_dir_all(&folder);
    counted
}

fn count_in(folder: &Path, program: &Path, calls: usize) -> Result<Vec<Counted>, String> {
    let out = folder.join("out");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no"])
        .args(["--toggle-collect=yardstick::callgrind::watched"])
        .args(["--dump-after=yardstick::callgrind::watched"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(CHILD)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let status = status.map_err(|error| format!("valgrind cannot be run ({error})"))?;
    if !status.success() {
        return Err(format!("valgrind ended with {status}"));
    }
    let mut counted = Vec::new();
    // A file for each call, numbered from one.
    while let Ok(text) = fs::read_to_string(folder.join(format!("out.{}", counted.len() + 1))) {
        counted.push(read(&text));
    }
    match counted.len() == calls {
        true => Ok(counted),
        false => Err(format!("callgrind saw {} of {calls} calls", counted.len())),
    }
}

/// The function of libc, or what rustix calls instead where it finds no vDSO, as under valgrind.
fn reads_the_clock(name: &str) -> bool {
    name.split('@').next() == Some("clock_gettime")
        || name.ends_with("vdso_wrappers::clock_gettime_via_syscall")
}

/// What a profile says: `cfn=` names who is called, the line after it how often.
fn read(profile: &str) -> Counted {
    let mut counted = Counted::default();
    let mut called = "";
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            called = name;
        } else if let Some(calls) = line.strip_prefix("calls=")
            && reads_the_clock(called)
        {
            let times = calls.split_whitespace().next();
            counted.clock_readings += times.and_then(|times| times.parse().ok()).unwrap_or(0);
        } else if let Some(total) = line.strip_prefix("totals:") {
            counted.instructions = total.trim().parse().unwrap_or(0);
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_tells_instructions_and_clock_readings() {
        let profile = "fn=checkout\n12 7\ncfn=clock_gettime@@GLIBC_2.17\ncalls=2000 0\n12 90\ncfn=malloc\ncalls=5 0\n\
                       cfn=rustix::backend::vdso_wrappers::clock_gettime_via_syscall\ncalls=3 0\n3 4\ntotals: 5150\n";
        let counted = Counted {
            instructions: 5150,
            clock_readings: 2003,
        };
        assert_eq!(read(profile), counted);
    }
}
