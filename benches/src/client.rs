//! The client side of a story: a pool under one policy, and the requests it is used for.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pool_core::{Builder, OwnedPooled, Pool};
use pool_tcp::TcpManager;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock::now;
use crate::manager::{LabConnection, LabManager};
use crate::policy::Policy;
use crate::server::{Ledger, MESSAGE};
use crate::tally::Tally;

/// How long an answer may take before the request counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// With whom the client talks.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A server of the lab's own, which notes what it sees.
    Own(Arc<Ledger>),
    /// Another server, what to send to it, and what its answers end with.
    Foreign {
        send: Option<String>,
        answer_ends: Option<&'static str>,
    },
}

/// One client under one policy.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) policy: Policy,
    /// The servers it may talk to, as `host:port`; every story but the crawler's has one.
    pub(crate) servers: Vec<String>,
    pub(crate) peer: Peer,
    pub(crate) tally: Arc<Tally>,
    pub(crate) ports: Arc<Mutex<HashSet<u16>>>,
}

impl Client {
    /// A manager that dials the server number `server` under this client's policy.
    pub(crate) fn manager(&self, server: usize) -> LabManager {
        LabManager {
            tcp: TcpManager::new(&self.servers[server])
                .expect("an address of the lab's own, or one that has been resolved before"),
            probe: self.policy.probe,
            watch: self.policy.watch,
            greeted: false,
            tally: Arc::clone(&self.tally),
            ports: Arc::clone(&self.ports),
        }
    }

    /// A pool of at most `max_size` connections to the first server.
    pub(crate) fn pool(&self, max_size: usize) -> Pool<LabManager> {
        build(self.policy.builder(self.manager(0)).max_size(max_size))
    }

    /// Checks a connection out, sends a request, reads the answer, checks in.
    pub(crate) async fn ask(&self, pool: &Pool<LabManager>) {
        self.ask_slowly(pool, Duration::ZERO).await;
    }

    /// Like [`ask`](Self::ask), with `pause` between the checkout and the first byte.
    pub(crate) async fn ask_slowly(&self, pool: &Pool<LabManager>, pause: Duration) {
        let asked = now();
        match pool.checkout_owned().await {
            Ok(guard) => {
                if !pause.is_zero() {
                    sleep(pause).await;
                }
                self.converse(guard, asked).await;
            }
            Err(_) => {
                self.tally.checkouts_failed.fetch_add(1, Relaxed);
            }
        }
    }

    /// `size` requests at once, each on a connection of its own.
    pub(crate) async fn burst(&self, pool: &Pool<LabManager>, size: usize) {
        let asked = now();
        let mut checkouts = JoinSet::new();
        for _ in 0..size {
            let pool = pool.clone();
            checkouts.spawn(async move { pool.checkout_owned().await });
        }
        // All of them are held until the last has come: none is used twice.
        let guards = checkouts.join_all().await;
        let mut requests = JoinSet::new();
        for guard in guards {
            match guard {
                Ok(guard) => {
                    let client = self.clone();
                    requests.spawn(async move { client.converse(guard, asked).await });
                }
                Err(_) => {
                    self.tally.checkouts_failed.fetch_add(1, Relaxed);
                }
            }
        }
        requests.join_all().await;
    }

    async fn converse(&self, mut guard: OwnedPooled<LabManager>, asked: Instant) {
        self.tally.requests.fetch_add(1, Relaxed);
        let was_dead = match &self.peer {
            Peer::Own(_) => None,
            Peer::Foreign { .. } => Some(guard.has_ended()),
        };
        let exchange = timeout(PATIENCE, self.exchange(&mut guard)).await;
        if matches!(exchange, Ok(Ok(()))) {
            self.tally.check_ins.fetch_add(1, Relaxed);
            return;
        }
        self.tally.requests_lost.fetch_add(1, Relaxed);
        let was_dead = was_dead.unwrap_or_else(|| match &self.peer {
            Peer::Own(ledger) => ledger.closed_before(guard.ends, asked) == Some(true),
            Peer::Foreign { .. } => false,
        });
        if was_dead {
            self.tally.dead_handed_out.fetch_add(1, Relaxed);
        }
        OwnedPooled::discard(guard);
    }

    async fn exchange(&self, connection: &mut LabConnection) -> io::Result<()> {
        match &self.peer {
            Peer::Own(_) => {
                let mut answer = [0; MESSAGE.len()];
                connection.write_all(&MESSAGE).await?;
                connection.read_exact(&mut answer).await?;
                Ok(())
            }
            Peer::Foreign { send: None, .. } if connection.has_ended() => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Peer::Foreign { send: None, .. } => Ok(()),
            Peer::Foreign {
                send: Some(text),
                answer_ends,
            } => {
                connection.write_all(text.as_bytes()).await?;
                match answer_ends {
                    Some(end) => read_until(connection, end.as_bytes()).await,
                    None => read_until_silence(connection).await,
                }
            }
        }
    }
}

/// Reads one answer that ends with `end`.
async fn read_until(connection: &mut LabConnection, end: &[u8]) -> io::Result<()> {
    let mut answer = Vec::new();
    while !answer.ends_with(end) {
        if connection.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Reads one answer of unknown length: what comes until nothing has come for a while.
async fn read_until_silence(connection: &mut LabConnection) -> io::Result<()> {
    const SILENCE: Duration = Duration::from_millis(20);
    let mut buffer = vec![0; 16 * 1024];
    let mut read = connection.read(&mut buffer).await?;
    while read > 0 {
        // From the stream inside: a read given up on purpose is not one that was abandoned.
        let more = connection.stream.get_mut().read(&mut buffer);
        match timeout(SILENCE, more).await {
            Ok(more) => read = more?,
            Err(_) => return Ok(()),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Builds a pool whose numbers the lab has chosen itself.
pub(crate) fn build(builder: Builder<LabManager>) -> Pool<LabManager> {
    builder
        .build()
        .expect("the lab's own settings do not contradict each other")
}
