//! How long an idle connection outlives its peer, with no traffic and among many others.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use pool_core::Order;
use pool_tcp::TcpConnection;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use super::dialled::Dialled;
use super::wires::Wires;
use super::{Effort, Suite};
use crate::clock::now;
use crate::contenders::{Borrowed, Contender, Question, everybody, fill};
use crate::findings::{Finding, Table, Target, thousands};
use crate::limits::raise_open_files;
use crate::rounds::Shuffle;

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "fin-to-close",
    question: "How long does an idle connection outlive its peer, with no traffic?",
    measure,
};

/// Connections in memory, more than are closed.
const SIZES: [usize; 3] = [100, 10_000, 100_000];

/// Connections that all are closed by the server at once.
const FEW: usize = 50;

/// How long each of so many connections stayed open.
struct Row {
    kind: &'static str,
    size: usize,
    lags: Vec<Duration>,
}

fn measure(effort: &Effort) -> Finding {
    match answer(effort) {
        Ok(finding) => finding,
        Err(error) => Finding::not_measured(error),
    }
}

fn answer(effort: &Effort) -> io::Result<Finding> {
    let trials = effort.pick(30, 90);
    let patience = Duration::from_millis(effort.pick(300, 1000));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut rows = Vec::new();
    for size in SIZES {
        effort.say(&format!("{size} in memory"));
        let lags = in_memory(&runtime, size, trials);
        rows.push(Row {
            kind: "in memory",
            size,
            lags,
        });
    }
    for size in [SIZES[0], most_sockets()] {
        effort.say(&format!("{size} sockets"));
        let lags = on_sockets(&runtime, size, trials)?;
        rows.push(Row {
            kind: "TCP",
            size,
            lags,
        });
    }
    effort.say("everybody");
    let server = Server::start()?;
    let dialled = Dialled::to(server.address);
    let hung_up = HungUp {
        runtime: &runtime,
        server,
        patience,
    };
    let closed = everybody(&runtime, &dialled, FEW, &hung_up);
    Ok(finding(rows, &closed, trials, patience))
}

/// Both ends are in this process, which needs some files for itself.
fn most_sockets() -> usize {
    let files = raise_open_files().unwrap_or(1024);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    (files.saturating_sub(300) / 2).clamp(SIZES[0], 12_000)
}

/// From the hang-up to the end of the connection's destructor, one after the other.
fn in_memory(runtime: &Runtime, size: usize, trials: usize) -> Vec<Duration> {
    let wires = Wires::default();
    runtime.block_on(async {
        let ours = Borrowed::new(&wires, size, Order::Lifo);
        fill(&ours, size).await;
        let mut shuffle = Shuffle(0x5EED);
        let mut lags = Vec::with_capacity(trials);
        for _ in 0..trials {
            let start = now();
            let closed = wires.hang_up_any(shuffle.draw());
            lags.push(closed.await - start);
        }
        assert_eq!(
            ours.pool().status().idle,
            size - trials,
            "no other was closed"
        );
        lags
    })
}

/// From the server's FIN to the client's, both seen by the server, one after the other.
fn on_sockets(runtime: &Runtime, size: usize, trials: usize) -> io::Result<Vec<Duration>> {
    let server = Server::start()?;
    let dialled = Dialled::to(server.address);
    runtime.block_on(async {
        let ours = Borrowed::new(&dialled, size, Order::Lifo);
        fill(&ours, size).await;
        let lags = tokio::task::spawn_blocking(move || {
            let mut peers = server.accepted(size);
            let mut shuffle = Shuffle(0x5EED);
            let mut hang_up = || {
                let chosen = shuffle.draw() % peers.len() as u64;
                let peer = peers.swap_remove(usize::try_from(chosen).expect("an index"));
                outlived(&peer)
            };
            let lags = (0..trials)
                .map(|_| hang_up())
                .collect::<io::Result<Vec<_>>>();
            // The others stay connected until they are counted.
            lags.map(|lags| (lags, peers))
        });
        let (lags, _peers) = lags.await.expect("no server panics")?;
        assert_eq!(
            ours.pool().status().idle,
            size - trials,
            "no other was closed"
        );
        Ok(lags)
    })
}

/// Closes this side, and waits for the other.
fn outlived(mut peer: &TcpStream) -> io::Result<Duration> {
    peer.shutdown(Shutdown::Write)?;
    let start = now();
    match peer.read(&mut [0])? {
        0 => Ok(start.elapsed()),
        _ => Err(io::Error::other("an idle connection said something")),
    }
}

/// A server that greets, and then does as it is told.
struct Server {
    address: SocketAddr,
    accepted: Receiver<TcpStream>,
}

impl Server {
    fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (accepted, sockets) = channel();
        thread::Builder::new().spawn(move || accept(&listener, &accepted))?;
        Ok(Self {
            address,
            accepted: sockets,
        })
    }

    /// The connections that were accepted last.
    fn accepted(&self, size: usize) -> Vec<TcpStream> {
        self.accepted.iter().take(size).collect()
    }
}

/// As long as somebody wants the connections.
fn accept(listener: &TcpListener, accepted: &Sender<TcpStream>) {
    for mut socket in listener.incoming().flatten() {
        // Whoever is never closed must not keep this program waiting.
        let limit = socket.set_read_timeout(Some(Duration::from_secs(10)));
        if limit.and_then(|()| socket.write_all(b"+")).is_ok() && accepted.send(socket).is_err() {
            return;
        }
    }
}

/// Whether the other side has closed, too.
fn has_closed(mut peer: &TcpStream) -> bool {
    peer.set_nonblocking(true).is_ok() && matches!(peer.read(&mut [0]), Ok(0))
}

/// How many of a pool's connections are closed within the patience of their server, which has closed all of them.
struct HungUp<'a> {
    runtime: &'a Runtime,
    server: Server,
    patience: Duration,
}

impl Question<TcpConnection> for HungUp<'_> {
    type Answer = (&'static str, usize);

    fn ask<C: Contender<Connection = TcpConnection>>(
        &self,
        name: &'static str,
        contender: C,
    ) -> Self::Answer {
        self.runtime.block_on(async {
            fill(&contender, FEW).await;
            let peers = self.server.accepted(FEW);
            for peer in &peers {
                let _ = peer.shutdown(Shutdown::Write);
            }
            sleep(self.patience).await;
            let closed = peers.iter().filter(|peer| has_closed(peer)).count();
            (name, closed)
        })
    }
}

fn finding(
    mut rows: Vec<Row>,
    closed: &[(&'static str, usize)],
    trials: usize,
    patience: Duration,
) -> Finding {
    let mut lags = Table::new(
        "Ours: one hang-up among so many idle connections",
        &["connections", "idle", "p50, ms", "p99, ms", "longest, ms"],
    );
    let rank = |lags: &[Duration], part: f64| {
        let place = (lags.len() as f64 * part).ceil() as usize;
        lags[place.max(1) - 1].as_secs_f64() * 1e3
    };
    for row in &mut rows {
        row.lags.sort_unstable();
        lags.row([
            row.kind.to_owned(),
            thousands(row.size as u64),
            format!("{:.3}", rank(&row.lags, 0.5)),
            format!("{:.3}", rank(&row.lags, 0.99)),
            format!("{:.3}", rank(&row.lags, 1.0)),
        ]);
    }
    let title = format!(
        "Closed within {} ms, of {FEW} that the server closed",
        patience.as_millis()
    );
    let mut everybody = Table::new(title, &["pool", "closed"]);
    for (name, closed) in closed {
        everybody.row([(*name).to_owned(), closed.to_string()]);
    }
    let [.., largest, _, sockets] = &rows[..] else {
        unreachable!("there are five rows");
    };
    let (memory, real) = (rank(&largest.lags, 0.5), rank(&sockets.lags, 0.5));
    let told = format!(
        "{memory:.3} ms in memory among {}, {real:.3} ms on sockets among {} (p50)",
        thousands(largest.size as u64),
        thousands(sockets.size as u64)
    );
    Finding {
        seen: format!(
            "This pool closes an idle connection {told}. The others do not look at idle connections before somebody asks for one."
        ),
        method: vec![
            format!(
                "No traffic. {trials} connections chosen at random hang up one after the other. In memory: from the call to the end of \
                 the connection's destructor, on one thread. On sockets: from the server's FIN to the client's, both seen by a server \
                 thread; as many as this process may open both ends of."
            ),
            "The others (and this pool) once more with few: the server closes all of them at once, and counts what comes back.".into(),
        ],
        tables: vec![lags, everybody],
        targets: vec![Target::new(
            "one FIN among 100,000 idle connections is closed within a millisecond (median)",
            told.clone(),
            memory <= 1.0 && real <= 1.0,
        )],
        ..Finding::default()
    }
}
