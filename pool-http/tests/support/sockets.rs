//! The kernel's own table of TCP sockets: what this process holds, whatever a pool says.

use std::collections::HashSet;
use std::fs;

/// The kernel's number for a socket's state (`include/net/tcp_states.h`).
pub(crate) type State = u8;

pub(crate) const ESTABLISHED: State = 1;
/// The peer has closed, and its owner has not.
pub(crate) const CLOSE_WAIT: State = 8;

/// A socket this process has a descriptor of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    pub(crate) local: u16,
    pub(crate) remote: u16,
    pub(crate) state: State,
}

/// All of them. The kernel walks its table while we read, so one that changes meanwhile may be missed or seen twice.
pub(crate) fn ours() -> Vec<Socket> {
    let inodes = inodes();
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            table
                .lines()
                .filter_map(|row| parse(row, &inodes))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// What the kernel calls the sockets of this process.
fn inodes() -> HashSet<String> {
    let descriptors = fs::read_dir("/proc/self/fd").expect("our own can be read");
    descriptors
        // A descriptor closed while we look is no error.
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix(']')?.to_owned())
        })
        .collect()
}

/// A row of the table, if it is one and ours.
fn parse(row: &str, inodes: &HashSet<String>) -> Option<Socket> {
    // sl: local remote state tx:rx timer:when retransmits uid timeout inode ...
    let columns: Vec<&str> = row.split_ascii_whitespace().collect();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let socket = Socket {
        local: port(columns.get(1)?)?,
        remote: port(columns.get(2)?)?,
        state: State::from_str_radix(columns.get(3)?, 16).ok()?,
    };
    inodes.contains(*columns.get(9)?).then_some(socket)
}
