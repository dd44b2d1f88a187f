//! The kernel's own table of TCP sockets: who is connected to whom, and in which state.
//!
//! Everything the lab says about CLOSE_WAIT comes from here, never from a pool's counters.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The state of a TCP socket, with the names of RFC 9293 §3.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    /// A number this file has no name for.
    Other(u8),
}

impl TcpState {
    /// Reads the kernel's number (`include/net/tcp_states.h`).
    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            // 12 is a request socket: a handshake whose last packet has not come.
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            other => Self::Other(other),
        }
    }

    /// The name `netstat` prints.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::Other(_) => "UNKNOWN",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: TcpState,
    /// Packets sent again without an answer so far; for SYN_SENT, repeated SYNs.
    pub(crate) retransmits: u32,
    /// Names the socket among a process's descriptors; 0 when it belongs to none (any more).
    pub(crate) inode: u64,
}

/// Where the table is read from.
#[derive(Clone, Debug)]
pub(crate) struct SocketTable {
    files: Vec<PathBuf>,
}

impl SocketTable {
    /// The table of this process's network namespace.
    ///
    /// # Errors
    ///
    /// When the platform has no such table, with what is missing.
    pub(crate) fn open() -> io::Result<Self> {
        Self::under(Path::new("/proc/self/net"))
    }

    /// The table of the network namespace in which the process `pid` lives.
    ///
    /// # Errors
    ///
    /// When there is no such process, or no table.
    pub(crate) fn of_process(pid: u32) -> io::Result<Self> {
        Self::under(&PathBuf::from(format!("/proc/{pid}/net")))
    }

    fn under(folder: &Path) -> io::Result<Self> {
        let files: Vec<_> = ["tcp", "tcp6"]
            .map(|name| folder.join(name))
            .into_iter()
            .filter(|file| fs::File::open(file).is_ok())
            .collect();
        if files.is_empty() {
            let message = format!("{} cannot be read", folder.join("tcp").display());
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        Ok(Self { files })
    }

    /// Leaves out IPv6, which none of the lab's own servers speaks: each file costs a walk over the kernel's whole
    /// hash table.
    pub(crate) fn ipv4_only(mut self) -> Self {
        if self.files.len() > 1 {
            self.files.retain(|file| !file.ends_with("tcp6"));
        }
        self
    }

    /// Reads every row. The kernel walks its table while we read, so a socket that changes meanwhile may be missed
    /// or seen twice.
    pub(crate) fn read(&self) -> io::Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        for file in &self.files {
            sockets.extend(parse_table(&fs::read_to_string(file)?));
        }
        Ok(sockets)
    }
}

/// The inodes of the sockets that the process `pid` holds.
///
/// # Errors
///
/// When there is no such process, or it belongs to somebody else.
pub(crate) fn inodes_of(pid: u32) -> io::Result<HashSet<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?;
    // A descriptor closed while we look is no error.
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(targets
        .filter_map(|target| {
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']')?.parse().ok()
        })
        .collect())
}

/// Reads the text of `/proc/net/tcp` or `tcp6` (`Documentation/networking/proc_net_tcp.rst`); a line it cannot read,
/// such as the heading, is left out.
pub(crate) fn parse_table(text: &str) -> impl Iterator<Item = Socket> {
    text.lines().filter_map(parse_row)
}

fn parse_row(line: &str) -> Option<Socket> {
    // sl: local remote state tx:rx timer:when retransmits uid timeout inode ...
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = parse_address(fields.next()?)?;
    let remote = parse_address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let retransmits = u32::from_str_radix(fields.nth(2)?, 16).ok()?;
    let inode = fields.nth(2)?.parse().ok()?;
    Some(Socket {
        local,
        remote,
        state: TcpState::from_number(state),
        retransmits,
        inode,
    })
}

/// `0100007F:0016` is 127.0.0.1:22: each 32-bit word of the address as the machine's memory has it, the port as a
/// person writes it.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |place: usize| {
        let digits = address.get(8 * place..8 * (place + 1))?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (place, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(place)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1150 1 0000 100 0 0 10 0
   1: 0100007F:A1B2 0200007F:1F90 08 00000000:00000001 00:00000000 00000000  1000        0 4242 1 0000 20 4 30 10 -1
   2: 0100007F:A1B4 0100007F:1F90 02 00000001:00000000 01:00000190 00000003  1000        0 77 2 0000 800 0 0 1 7
   3: 0100007F:1F90 0100007F:A1B6 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000
   4: 0100007F:1F90 0100";

    #[test]
    fn every_row_is_read_and_a_broken_one_left_out() {
        let sockets: Vec<_> = parse_table(TABLE).collect();
        assert_eq!(sockets.len(), 4);
        assert_eq!(sockets[0].state, TcpState::Listen);
        assert_eq!(sockets[0].local.to_string(), "0.0.0.0:2024");
        assert_eq!(sockets[3].state, TcpState::TimeWait);
        assert_eq!(sockets[3].inode, 0);
    }

    #[test]
    fn a_close_wait_socket_names_both_ends_and_its_inode() {
        let socket = parse_table(TABLE).nth(1).expect("the second row");
        assert_eq!(socket.state, TcpState::CloseWait);
        assert_eq!(socket.local.to_string(), "127.0.0.1:41394");
        assert_eq!(socket.remote.to_string(), "127.0.0.2:8080");
        assert_eq!(socket.inode, 4242);
    }

    #[test]
    fn a_syn_that_was_sent_again_is_counted() {
        let socket = parse_table(TABLE).nth(2).expect("the third row");
        assert_eq!((socket.state, socket.retransmits), (TcpState::SynSent, 3));
    }

    #[test]
    fn an_ipv6_address_is_read_word_by_word() {
        let address = parse_address("B80D0120000000000000000001000000:0050");
        assert_eq!(address.expect("readable").to_string(), "[2001:db8::1]:80");
        let mapped = parse_address("0000000000000000FFFF00000100007F:0050");
        assert_eq!(mapped.expect("readable").to_string(), "127.0.0.1:80");
    }

    #[test]
    fn nonsense_is_no_address() {
        for text in [
            "",
            "0100007F",
            "0100007F:",
            "01:0050",
            "XY00007F:0050",
            "é100007F:0050",
        ] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_of_ours_is_in_the_table_and_among_our_descriptors() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let table = SocketTable::open().expect("Linux has the table");
        let sockets = table.read().expect("readable");
        let ours = sockets
            .iter()
            .find(|socket| socket.local == address && socket.state == TcpState::Listen)
            .expect("listed");
        assert!(
            inodes_of(std::process::id())
                .expect("our own")
                .contains(&ours.inode)
        );
    }
}
