//! `lab sockets`: who is connected to whom and in which state, as the `netstat | awk` lines do that people paste.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use yardstick::text::align;

use crate::clock::timestamp;
use crate::sockets::{Socket, SocketTable, TcpState, inodes_of};

/// As many lines by remote address as a person wants to see.
const SHOWN: usize = 20;

/// Prints the sockets of this machine, or of the process `pid`; with `watch` again each second, until interrupted; with
/// `all` down to the last remote address.
///
/// # Errors
///
/// When the table or the process cannot be read, with a remedy.
pub(crate) fn run(pid: Option<u32>, watch: bool, all: bool) -> Result<(), String> {
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
        let mut text = render(&sockets, all);
        if watch {
            text = format!("--- {} ---\n{text}", timestamp());
        }
        // A reader that has seen enough closes the pipe.
        if stdout.write_all(text.as_bytes()).is_err() || !watch {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// Counts by state first, then by state and remote address, those in CLOSE_WAIT before all others.
fn render(sockets: &[Socket], all: bool) -> String {
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
        // The remains of what was closed in good order, most of them to a port that nobody will use again.
        if socket.state == TcpState::TimeWait && !all {
            continue;
        }
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
    remotes.sort_by_key(|&((state, _), count)| {
        (
            state != TcpState::CloseWait.name(),
            std::cmp::Reverse(count),
        )
    });
    let left_out = match all {
        true => 0,
        false => remotes.len().saturating_sub(SHOWN),
    };
    remotes.truncate(remotes.len() - left_out);
    let waiting = states
        .iter()
        .any(|&(state, _)| state == TcpState::TimeWait.name());

    let states = states
        .into_iter()
        .map(|(state, count)| vec![state.to_string(), String::new(), count.to_string()]);
    let remotes = remotes
        .into_iter()
        .map(|((state, whom), count)| vec![state.to_string(), whom, count.to_string()]);
    // An empty row, if anything comes after it.
    let between = (remotes.len() > 0).then(Vec::new);
    let rows: Vec<_> = states.chain(between).chain(remotes).collect();
    let mut text = align(&rows, 2);
    if left_out > 0 {
        text.push_str(&format!("  \u{2026} {left_out} more\n"));
    }
    if !all && (left_out > 0 || waiting) {
        text.push_str("  --all lists every remote address, also those in TIME_WAIT\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn socket(local_port: u16, remote: [u8; 4], remote_port: u16, state: TcpState) -> Socket {
        Socket {
            local: SocketAddr::from(([127, 0, 0, 1], local_port)),
            remote: SocketAddr::from((remote, remote_port)),
            state,
            retransmits: 0,
            inode: 1,
        }
    }

    /// The text without its alignment.
    fn lines(text: &str) -> Vec<String> {
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn sockets_are_counted_by_state_and_by_remote_address_and_close_wait_comes_first() {
        let home = [127, 0, 0, 1];
        let guest = [127, 0, 0, 9];
        let sockets = [
            socket(80, [0; 4], 0, TcpState::Listen),
            socket(80, guest, 4001, TcpState::Established),
            socket(80, guest, 4002, TcpState::Established),
            socket(80, guest, 4003, TcpState::Established),
            socket(5001, home, 6379, TcpState::CloseWait),
            socket(5002, home, 6379, TcpState::CloseWait),
        ];
        assert_eq!(
            lines(&render(&sockets, false)),
            [
                "ESTABLISHED 3",
                "CLOSE_WAIT 2",
                "LISTEN 1",
                "",
                "CLOSE_WAIT to 127.0.0.1:6379 2",
                "ESTABLISHED from 127.0.0.9 to port 80 3",
                "LISTEN on 127.0.0.1:80 1",
            ]
        );
    }

    #[test]
    fn what_nobody_can_read_is_left_out_unless_all_is_asked_for() {
        let ports = 4000..4000 + 25;
        let sockets: Vec<_> = ports
            .flat_map(|port| {
                [TcpState::TimeWait, TcpState::Established]
                    .map(|state| socket(5000, [127, 0, 0, 1], port, state))
            })
            .collect();
        let some = lines(&render(&sockets, false));
        assert_eq!(some[..3], ["ESTABLISHED 25", "TIME_WAIT 25", ""]);
        let by_remote = &some[3..];
        assert_eq!(by_remote.len(), SHOWN + 2);
        assert!(
            by_remote[..SHOWN]
                .iter()
                .all(|line| line.starts_with("ESTABLISHED to "))
        );
        assert_eq!(by_remote[SHOWN], "\u{2026} 5 more");
        assert!(by_remote[SHOWN + 1].contains("--all"));

        let all = lines(&render(&sockets, true));
        assert_eq!(all.len(), 3 + 50);
    }

    #[test]
    fn with_nothing_but_time_wait_the_total_is_all_there_is() {
        let sockets = [socket(5000, [127, 0, 0, 1], 4000, TcpState::TimeWait)];
        let text = lines(&render(&sockets, false));
        assert_eq!(text[0], "TIME_WAIT 1");
        assert_eq!(text.len(), 2, "{text:?}");
    }
}
