//! `lab sockets`: who is connected to whom and in which state, as the `netstat | awk` lines do that people paste.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use crate::report::table::align;
use crate::sockets::{Socket, SocketTable, TcpState, inodes_of};

/// Prints the sockets of this machine, or of the process `pid`; with `watch` again each second, until interrupted.
///
/// # Errors
///
/// When the table or the process cannot be read, with a remedy.
pub(crate) fn run(pid: Option<u32>, watch: bool) -> Result<(), String> {
    let table = match pid {
        Some(pid) => SocketTable::of_process(pid),
        None => SocketTable::open(),
    };
    let table = table.map_err(|error| match pid {
        Some(pid) if cfg!(target_os = "linux") => {
            format!("cannot look at process {pid}: {error}; is it running, and yours?")
        }
        _ => format!("this platform shows no socket table ({error}); try `netstat -an`"),
    })?;
    let mut stdout = io::stdout();
    loop {
        let mut sockets = table
            .read()
            .map_err(|error| format!("cannot read the socket table: {error}"))?;
        if let Some(pid) = pid {
            let inodes = inodes_of(pid).map_err(|error| {
                format!("cannot see the files of process {pid}: {error}; is it running, and yours?")
            })?;
            sockets.retain(|socket| inodes.contains(&socket.inode));
        }
        if watch && stdout.is_terminal() {
            // Clears the screen and goes to its top.
            let _ = write!(stdout, "\x1b[2J\x1b[H");
        }
        // A reader that has seen enough closes the pipe.
        if stdout.write_all(render(&sockets).as_bytes()).is_err() || !watch {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// Counts by state first, then by state and remote address.
fn render(sockets: &[Socket]) -> String {
    if sockets.is_empty() {
        return "no TCP sockets\n".into();
    }
    let is_listening = |socket: &&Socket| socket.state == TcpState::Listen;
    let listening: BTreeSet<u16> = sockets
        .iter()
        .filter(is_listening)
        .map(|socket| socket.local.port())
        .collect();
    let mut states = BTreeMap::<&str, usize>::new();
    let mut remotes = BTreeMap::<(&str, String), usize>::new();
    for socket in sockets {
        let state = socket.state.name();
        *states.entry(state).or_default() += 1;
        let whom = if is_listening(&socket) {
            format!("on   {}", socket.local)
        } else if listening.contains(&socket.local.port()) {
            // A client's own port says nothing; which of our ports it came to does.
            format!(
                "from {} to port {}",
                socket.remote.ip(),
                socket.local.port()
            )
        } else {
            format!("to   {}", socket.remote)
        };
        *remotes.entry((state, whom)).or_default() += 1;
    }
    let mut states: Vec<_> = states.into_iter().collect();
    states.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let mut remotes: Vec<_> = remotes.into_iter().collect();
    remotes.sort_by_key(|&(_, count)| std::cmp::Reverse(count));

    let states = states
        .into_iter()
        .map(|(state, count)| vec![state.to_string(), String::new(), count.to_string()]);
    let remotes = remotes
        .into_iter()
        .map(|((state, whom), count)| vec![state.to_string(), whom, count.to_string()]);
    let rows: Vec<_> = states.chain([Vec::new()]).chain(remotes).collect();
    align(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn sockets_are_counted_by_state_and_by_remote_address() {
        let socket = |local: [u8; 4], local_port, remote: [u8; 4], remote_port, state| Socket {
            local: SocketAddr::from((local, local_port)),
            remote: SocketAddr::from((remote, remote_port)),
            state,
            retransmits: 0,
            inode: 1,
        };
        let home = [127, 0, 0, 1];
        let sockets = [
            socket([0; 4], 80, [0; 4], 0, TcpState::Listen),
            socket(home, 80, [127, 0, 0, 9], 4001, TcpState::Established),
            socket(home, 80, [127, 0, 0, 9], 4002, TcpState::Established),
            socket(home, 5001, home, 6379, TcpState::CloseWait),
            socket(home, 5002, home, 6379, TcpState::CloseWait),
            socket(home, 5003, home, 6379, TcpState::CloseWait),
        ];
        let text = render(&sockets);
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "CLOSE_WAIT 3",
                "ESTABLISHED 2",
                "LISTEN 1",
                "",
                "CLOSE_WAIT to 127.0.0.1:6379 3",
                "ESTABLISHED from 127.0.0.9 to port 80 2",
                "LISTEN on 0.0.0.0:80 1",
            ]
        );
    }
}
