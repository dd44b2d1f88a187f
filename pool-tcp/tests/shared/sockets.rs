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

/// All of them, but for IPv6, which none of these servers speaks: to read the table takes milliseconds. The kernel walks
/// it meanwhile, so a socket may be met more than once, and one that changes may be missed.
pub(crate) fn ours() -> Vec<Socket> {
    let mut inodes = inodes();
    let table = fs::read_to_string("/proc/self/net/tcp").expect("Linux has the table");
    let rows = table.lines();
    rows.filter_map(|row| parse(row, &mut inodes)).collect()
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

/// A row of the table, if it is one and ours, and the first of its socket.
fn parse(row: &str, inodes: &mut HashSet<String>) -> Option<Socket> {
    // sl: local remote state tx:rx timer:when retransmits uid timeout inode ...
    let columns: Vec<&str> = row.split_ascii_whitespace().collect();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let socket = Socket {
        local: port(columns.get(1)?)?,
        remote: port(columns.get(2)?)?,
        state: State::from_str_radix(columns.get(3)?, 16).ok()?,
    };
    inodes.remove(*columns.get(9)?).then_some(socket)
}
