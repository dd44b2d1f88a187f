//! Reads the kernel's socket table a few dozen times a second and files each socket under the policy it belongs to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clock::{millis, now};
use crate::sockets::{Socket, SocketTable, TcpState};

/// How often the table is read. One reading walks the kernel's whole hash table, which takes milliseconds on a
/// machine with much memory.
pub(crate) const INTERVAL: Duration = Duration::from_millis(40);

/// Reads the table for every [`Track`] there is.
#[derive(Debug)]
pub(crate) struct Sampler {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Option<SocketTable>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tracks: Vec<Weak<Track>>,
    /// What the last reading found, by which the next one knows who is new.
    last: HashSet<Ends>,
    /// When the last reading began.
    began: Option<Instant>,
}

/// What tells one socket from another.
type Ends = (SocketAddr, SocketAddr);

fn ends(socket: &Socket) -> Ends {
    (socket.local, socket.remote)
}

impl Sampler {
    /// Starts a thread that reads until the sampler is dropped; without a table it does nothing.
    pub(crate) fn start(table: Option<SocketTable>) -> Self {
        let inner = Arc::new(Inner {
            table,
            state: Mutex::default(),
        });
        let weak = Arc::downgrade(&inner);
        thread::spawn(move || {
            while let Some(inner) = weak.upgrade() {
                let took = inner.sample(now());
                drop(inner);
                // A slow table must not take the cores from the clients it watches.
                let rest = took.min(Duration::from_millis(100));
                thread::sleep(INTERVAL.saturating_sub(took).max(rest));
            }
        });
        Self { inner }
    }

    /// Files sockets under a new track from now on, until the track is dropped.
    pub(crate) fn track(&self, selector: Selector) -> Arc<Track> {
        let start = now();
        let track = Arc::new(Track {
            selector,
            start,
            seen: Mutex::new(Seen::new(start)),
        });
        self.inner.state().tracks.push(Arc::downgrade(&track));
        track
    }

    /// Reads the table once more, so that the last reading began no earlier than this call.
    pub(crate) fn sample_now(&self) {
        self.inner.sample(now());
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a reading unless one has begun since `asked`, and returns how long that took.
    fn sample(&self, asked: Instant) -> Duration {
        // Held throughout, so that two readings never arrive in the wrong order.
        let mut state = self.state();
        let began = now();
        // Policies that end together share the reading that one of them asked for.
        if state.began.is_none_or(|before| before < asked) {
            state.began = Some(began);
            self.read(&mut state);
        }
        began.elapsed()
    }

    fn read(&self, state: &mut State) {
        let Some(table) = &self.table else { return };
        state.tracks.retain(|track| track.strong_count() > 0);
        let live: Vec<_> = state.tracks.iter().filter_map(Weak::upgrade).collect();
        if live.is_empty() {
            return;
        }
        let is_ours = |socket: &Socket| live.iter().any(|track| track.selector.owns(socket));
        let read = || {
            let mut sockets = table.read().ok()?;
            sockets.retain(is_ours);
            Some(sockets)
        };
        let Some(mut sockets) = read() else { return };
        if sockets
            .iter()
            .any(|socket| !state.last.contains(&ends(socket)))
        {
            // The kernel's table changes while it is read: a connection that was just closed and the one that took
            // its place may both be in it. Those that a second reading finds as well were there at the same time.
            let Some(again) = read() else { return };
            sockets = confirmed(&sockets, again);
        }
        state.last = sockets.iter().map(ends).collect();
        let moment = now();
        for track in live {
            track.record(moment, &sockets);
        }
    }
}

/// The sockets of the second reading that were in the first, too.
fn confirmed(first: &[Socket], mut second: Vec<Socket>) -> Vec<Socket> {
    let known: HashSet<_> = first.iter().map(ends).collect();
    second.retain(|socket| known.contains(&ends(socket)));
    second
}

/// Which sockets belong to a policy.
#[derive(Debug)]
pub(crate) enum Selector {
    /// Those to and from this port: a server of ours, which no other policy talks to.
    ServerPort {
        port: u16,
        /// Whether CLOSE_WAIT is looked for at the server's end instead of the client's.
        close_wait_at_server: bool,
    },
    /// Those to this server whose local ports the client has registered: a server others may be talking to.
    Registered {
        server: Vec<SocketAddr>,
        ports: Arc<Mutex<HashSet<u16>>>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

impl Selector {
    fn end_of(&self, socket: &Socket) -> Option<End> {
        if socket.state == TcpState::Listen {
            return None;
        }
        match self {
            Self::ServerPort { port, .. } if socket.remote.port() == *port => Some(End::Client),
            Self::ServerPort { port, .. } if socket.local.port() == *port => Some(End::Server),
            Self::ServerPort { .. } => None,
            Self::Registered { server, ports } => {
                let ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
                let ours = server.contains(&socket.remote) && ports.contains(&socket.local.port());
                ours.then_some(End::Client)
            }
        }
    }

    fn owns(&self, socket: &Socket) -> bool {
        self.end_of(socket).is_some()
    }

    fn close_wait_end(&self) -> End {
        match self {
            Self::ServerPort {
                close_wait_at_server: true,
                ..
            } => End::Server,
            _ => End::Client,
        }
    }
}

/// What the table showed of one policy.
#[derive(Debug)]
pub(crate) struct Track {
    selector: Selector,
    start: Instant,
    seen: Mutex<Seen>,
}

/// One reading of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Point {
    /// Milliseconds since the policy started.
    pub(crate) t_ms: u64,
    /// Sockets in CLOSE_WAIT.
    pub(crate) close_wait: usize,
    /// The client's sockets that are open: ESTABLISHED or CLOSE_WAIT.
    pub(crate) open: usize,
    /// The client's sockets still dialling.
    pub(crate) syn_sent: usize,
}

/// Everything the table showed of one policy, summed up.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) series: Vec<Point>,
    pub(crate) close_wait_max: usize,
    pub(crate) close_wait_socket_seconds: f64,
    /// The longest any one socket was seen in CLOSE_WAIT, to within two readings.
    pub(crate) close_wait_longest: Duration,
    /// SYNs that were sent again.
    pub(crate) syn_retries: u32,
    /// The client's sockets in the last reading by remote address and state.
    pub(crate) remotes: BTreeMap<IpAddr, BTreeMap<&'static str, usize>>,
    last: Instant,
    in_close_wait: HashMap<Ends, Instant>,
    dialling: HashMap<SocketAddr, u32>,
}

impl Seen {
    fn new(start: Instant) -> Self {
        Self {
            series: Vec::new(),
            close_wait_max: 0,
            close_wait_socket_seconds: 0.0,
            close_wait_longest: Duration::ZERO,
            syn_retries: 0,
            remotes: BTreeMap::new(),
            last: start,
            in_close_wait: HashMap::new(),
            dialling: HashMap::new(),
        }
    }

    /// The last reading.
    pub(crate) fn end(&self) -> Option<Point> {
        self.series.last().copied()
    }
}

impl Track {
    /// A copy of everything seen so far; `None` if the table was never read.
    pub(crate) fn seen(&self) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (!seen.series.is_empty()).then(|| seen.clone())
    }

    fn record(&self, moment: Instant, sockets: &[Socket]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut *seen;
        let mut point = Point {
            t_ms: millis(moment.saturating_duration_since(self.start)) as u64,
            ..Point::default()
        };
        let mut in_close_wait = HashMap::new();
        let mut dialling = HashMap::new();
        let mut met = HashSet::new();
        seen.remotes.clear();
        for socket in sockets {
            let Some(end) = self.selector.end_of(socket) else {
                continue;
            };
            // The kernel lists a socket twice if its table changes while we read.
            if !met.insert(ends(socket)) {
                continue;
            }
            if socket.state == TcpState::CloseWait && end == self.selector.close_wait_end() {
                point.close_wait += 1;
                let name = ends(socket);
                let since = seen.in_close_wait.get(&name).copied().unwrap_or(moment);
                seen.close_wait_longest = seen.close_wait_longest.max(moment - since);
                in_close_wait.insert(name, since);
            }
            if end == End::Client {
                match socket.state {
                    TcpState::Established | TcpState::CloseWait => point.open += 1,
                    TcpState::SynSent => {
                        point.syn_sent += 1;
                        let before = seen.dialling.get(&socket.local).copied().unwrap_or(0);
                        seen.syn_retries += socket.retransmits.saturating_sub(before);
                        dialling.insert(socket.local, socket.retransmits);
                    }
                    _ => {}
                }
                let states = seen.remotes.entry(socket.remote.ip()).or_default();
                *states.entry(socket.state.name()).or_default() += 1;
            }
        }
        // The count of the last reading is taken to have lasted until this one.
        let before = seen.end().map_or(0, |point| point.close_wait);
        let elapsed = moment.saturating_duration_since(seen.last).as_secs_f64();
        seen.close_wait_socket_seconds += before as f64 * elapsed;
        seen.last = moment;
        seen.close_wait_max = seen.close_wait_max.max(point.close_wait);
        seen.in_close_wait = in_close_wait;
        seen.dialling = dialling;
        seen.series.push(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(local: u16, remote: u16, state: TcpState, retransmits: u32) -> Socket {
        Socket {
            local: SocketAddr::from(([127, 0, 0, 1], local)),
            remote: SocketAddr::from(([127, 0, 0, 1], remote)),
            state,
            retransmits,
            inode: 1,
        }
    }

    fn track(close_wait_at_server: bool) -> Track {
        let start = now();
        Track {
            selector: Selector::ServerPort {
                port: 80,
                close_wait_at_server,
            },
            start,
            seen: Mutex::new(Seen::new(start)),
        }
    }

    #[test]
    fn a_socket_is_filed_by_the_port_of_its_server() {
        let track = track(false);
        let second = Duration::from_secs(1);
        let sockets = [
            socket(1000, 80, TcpState::CloseWait, 0),
            socket(80, 1000, TcpState::FinWait2, 0),
            socket(1000, 80, TcpState::CloseWait, 0),
            socket(1001, 80, TcpState::Established, 0),
            socket(80, 0, TcpState::Listen, 0),
            socket(1002, 81, TcpState::CloseWait, 0),
        ];
        track.record(track.start + second, &sockets);
        track.record(track.start + 3 * second, &sockets);
        track.record(track.start + 4 * second, &[]);
        let seen = track.seen().expect("read");
        assert_eq!((seen.series[1].close_wait, seen.series[1].open), (1, 2));
        assert_eq!(seen.close_wait_max, 1);
        assert_eq!(seen.close_wait_longest, 2 * second);
        assert!((seen.close_wait_socket_seconds - 3.0).abs() < 1e-6);
        assert_eq!(seen.end().expect("read").close_wait, 0);
    }

    #[test]
    fn the_servers_own_close_wait_is_counted_where_it_is_asked_for() {
        let track = track(true);
        let sockets = [
            socket(80, 1000, TcpState::CloseWait, 0),
            socket(1000, 80, TcpState::FinWait2, 0),
        ];
        track.record(track.start, &sockets);
        let end = track.seen().expect("read").end().expect("read");
        assert_eq!((end.close_wait, end.open), (1, 0));
    }

    #[test]
    fn a_socket_that_only_one_of_two_readings_shows_is_left_out() {
        let [gone, stays, comes] = [1, 2, 3].map(|port| socket(port, 80, TcpState::CloseWait, 0));
        let dying = socket(2, 80, TcpState::LastAck, 0);
        assert_eq!(confirmed(&[gone, stays], vec![dying, comes]), [dying]);
    }

    #[test]
    fn a_syn_sent_again_is_counted_once_for_each_time() {
        let track = track(false);
        for retransmits in [0, 1, 1, 2] {
            let sockets = [socket(1000, 80, TcpState::SynSent, retransmits)];
            track.record(track.start, &sockets);
        }
        assert_eq!(track.seen().expect("read").syn_retries, 2);
    }
}
