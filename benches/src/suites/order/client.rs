//! The client's side: connections to several backends behind one name, and one request on one of them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use pool_core::{Dropped, Manager, Order, Pool, Recycle};
use pool_tcp::{TcpConnection, TcpManager};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::clock::now;
use crate::suites::backend::{Backend, MESSAGE};

/// Dials the backends in turn, as a name does whose addresses the resolver rotates; a connection counts as made once the
/// backend has greeted.
#[derive(Debug)]
pub(super) struct Backends {
    each: Vec<TcpManager>,
    turn: AtomicUsize,
    watched: bool,
    /// Connections that were dead when they were about to be handed out.
    met_dead: AtomicUsize,
}

impl Backends {
    pub(super) fn of(backends: &[Backend]) -> Self {
        let manager = |backend: &Backend| {
            TcpManager::new(&backend.address.to_string()).expect("an address is an address")
        };
        Self {
            each: backends.iter().map(manager).collect(),
            turn: AtomicUsize::new(0),
            watched: true,
            met_dead: AtomicUsize::new(0),
        }
    }

    /// The same without the watch: a connection is looked at when it is checked out, and at no other time.
    pub(super) fn unwatched(self) -> Self {
        Self {
            watched: false,
            ..self
        }
    }

    pub(super) fn met_dead(&self) -> usize {
        self.met_dead.load(Relaxed)
    }
}

impl Manager for Backends {
    type Connection = TcpConnection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConnection> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let manager = &self.each[turn % self.each.len()];
        let mut connection = manager.connect().await.map_err(io::Error::other)?;
        connection.read_u8().await?;
        Ok(connection)
    }

    fn is_dropped(&self, connection: &mut TcpConnection) -> bool {
        let is_dropped = self.each[0].is_dropped(connection);
        self.met_dead.fetch_add(usize::from(is_dropped), Relaxed);
        is_dropped
    }

    fn poll_dropped(&self, connection: &mut TcpConnection, cx: &mut Context<'_>) -> Poll<Dropped> {
        match self.watched {
            true => self.each[0].poll_dropped(connection, cx),
            false => Poll::Pending,
        }
    }

    fn recycle(&self, connection: &mut TcpConnection) -> Recycle {
        self.each[0].recycle(connection)
    }
}

/// What is compared: which connection a checkout takes, and whether idle ones are closed by age.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) order: Order,
    pub(super) idle_timeout: Option<Duration>,
}

impl Policy {
    /// Both orders, without and with idle reaping.
    pub(super) fn all(idle_timeout: Duration) -> [Self; 4] {
        let policy = |order, idle_timeout| Self {
            order,
            idle_timeout,
        };
        [
            policy(Order::Lifo, None),
            policy(Order::Lifo, Some(idle_timeout)),
            policy(Order::Fifo, None),
            policy(Order::Fifo, Some(idle_timeout)),
        ]
    }

    pub(super) fn name(self) -> String {
        let order = order_name(self.order);
        match self.idle_timeout {
            Some(limit) => format!("{order}, idle_timeout {} ms", limit.as_millis()),
            None => format!("{order}, no idle_timeout"),
        }
    }

    /// As many dials at once as are wanted: what is compared is how many that is.
    pub(super) fn pool(self, backends: Backends, max_size: usize) -> Pool<Backends> {
        let pool = Pool::builder(backends)
            .order(self.order)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(None)
            .max_size(max_size)
            .max_connecting(max_size)
            .build();
        pool.expect("the settings do not contradict each other")
    }
}

/// `LIFO` or `FIFO`.
pub(super) fn order_name(order: Order) -> &'static str {
    match order {
        Order::Lifo => "LIFO",
        Order::Fifo => "FIFO",
    }
}

/// Opens `size` connections, one after the other, and lets all of them come home in that order: to each backend as many, and
/// none of them preferred by either end.
pub(super) async fn fill(pool: &Pool<Backends>, size: usize) {
    let mut guards = Vec::with_capacity(size);
    for _ in 0..size {
        guards.push(pool.checkout().await.expect("the backends listen"));
    }
}

/// Checks a connection out, sends a request, reads the answer, checks in; whether that went well.
pub(super) async fn ask(pool: &Pool<Backends>) -> bool {
    let Ok(mut connection) = pool.checkout().await else {
        return false;
    };
    exchange(&mut connection).await.is_ok()
}

/// So many callers at once, each of whom holds his connection until all have one: when each was served, the first one
/// first.
pub(super) async fn burst(pool: &Pool<Backends>, callers: usize) -> Vec<Duration> {
    let start = now();
    let mut checkouts = JoinSet::new();
    for _ in 0..callers {
        let pool = pool.clone();
        checkouts.spawn(async move {
            let connection = pool.checkout_owned().await;
            (connection.expect("the backends listen"), start.elapsed())
        });
    }
    let mut served = Vec::new();
    let mut held = Vec::new();
    for (connection, after) in checkouts.join_all().await {
        held.push(connection);
        served.push(after);
    }
    let mut requests = JoinSet::new();
    for mut connection in held {
        requests.spawn(async move { exchange(&mut connection).await });
    }
    requests.join_all().await;
    served.sort_unstable();
    served
}

/// One request each `tick` for so long; how many of them were lost.
pub(super) async fn trickle(pool: &Pool<Backends>, tick: Duration, time: Duration) -> usize {
    let end = now() + time;
    let mut clock = interval(tick);
    let mut lost = 0;
    while now() < end {
        clock.tick().await;
        lost += usize::from(!ask(pool).await);
    }
    lost
}

/// One request and its answer.
pub(super) async fn exchange(connection: &mut TcpConnection) -> io::Result<()> {
    let mut answer = [0; MESSAGE.len()];
    connection.write_all(&MESSAGE).await?;
    connection.read_exact(&mut answer).await?;
    Ok(())
}
