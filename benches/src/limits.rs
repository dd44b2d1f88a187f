//! How many files this process may open: raised where that is allowed.

/// Raises the soft limit of open files to the hard one, and returns what it is now; `None` where nobody can say.
#[cfg(unix)]
pub fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // macOS refuses an unlimited number; the old limit then stays, and the lab scales down to it.
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    Some(current.unwrap_or(u64::MAX))
}

/// There is no such limit here.
#[cfg(not(unix))]
pub fn raise_open_files() -> Option<u64> {
    None
}
