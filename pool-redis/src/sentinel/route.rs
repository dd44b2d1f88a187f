//! The way to a server that is found by asking.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use pool_core::Capacity;
use redis::ProtocolVersion;
use tokio::time::timeout;

use crate::connection::RedisConnection;
use crate::dial::{Dialer, Stream};
use crate::driver::Probe;
use crate::error::RedisConnectError;
use crate::sentinel::Sentinels;
use crate::sentinel::anchor::Anchored;
use crate::sentinel::follower::Follower;
use crate::sentinel::node::Node;
use crate::sentinel::role::Role;
use crate::sentinel::sight::Sight;

/// For a master that cannot be reached: the sentinels may be about to name another, which need not wait for the pool's
/// backoff then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks sentinels at every dial, and follows failovers while there are connections.
#[derive(Debug)]
pub(crate) struct SentinelRoute {
    sentinels: Sentinels,
    sight: Arc<Sight>,
    follower: Mutex<Weak<Follower>>,
    /// The sentinel that answered last.
    first: AtomicUsize,
    /// The replica whose turn it is.
    turn: AtomicUsize,
}

/// A server that sentinels named, for one dial.
pub(crate) struct Post<'a> {
    route: &'a SentinelRoute,
    node: Node,
    dialer: Dialer,
    follower: Arc<Follower>,
}

impl SentinelRoute {
    pub(crate) fn new(sentinels: Sentinels) -> Self {
        Self {
            sight: Arc::new(Sight::new(sentinels.all.len(), sentinels.role)),
            follower: Mutex::new(Weak::new()),
            first: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            sentinels,
        }
    }

    /// The same sentinels, asked anew, after a change.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Sentinels)) -> Self {
        let mut sentinels = self.sentinels.clone();
        change(&mut sentinels);
        Self::new(sentinels)
    }

    /// The set, as errors name it.
    pub(crate) fn name(&self) -> &str {
        &self.sentinels.master
    }

    pub(crate) fn is_permanent(&self, error: &RedisConnectError) -> bool {
        match error {
            // One that may still be right is enough.
            RedisConnectError::NoSentinel { attempts, .. } => attempts.iter().all(|error| {
                matches!(error, RedisConnectError::UnknownMaster { .. })
                    || error.is_refused_for_good()
                    || self
                        .sentinels
                        .all
                        .iter()
                        .any(|it| it.dialer.is_permanent(error))
            }),
            error => self.sentinels.servers.is_permanent(error),
        }
    }

    /// Asks for a server to dial.
    pub(crate) async fn locate(&self) -> Result<Post<'_>, RedisConnectError> {
        // First, so that a failover in the middle of the dial is noticed.
        let follower = self.follower();
        let mut attempts = Vec::new();
        let sentinels = self.sentinels.all.len();
        let first = self.first.load(Ordering::Relaxed);
        for sentinel in (0..sentinels).map(|index| (first + index) % sentinels) {
            match self.ask(sentinel).await {
                Ok(node) => {
                    self.first.store(sentinel, Ordering::Relaxed);
                    let dialer = self.sentinels.servers.at(&node);
                    let dialer = dialer.expect("whoever answered has looked at it");
                    return Ok(Post {
                        route: self,
                        node,
                        dialer,
                        follower,
                    });
                }
                Err(error) => attempts.push(error),
            }
        }
        Err(RedisConnectError::NoSentinel {
            master: self.name().to_owned(),
            attempts,
        })
    }

    async fn ask(&self, number: usize) -> Result<Node, RedisConnectError> {
        let sentinel = &self.sentinels.all[number];
        let answer = sentinel.master(self.name()).await?;
        let master = self.sight.hear(number, answer);
        if self.sentinels.role == Role::Master {
            return Ok(master);
        }
        let mut replicas = sentinel.replicas(self.name()).await?;
        replicas.retain(|replica| *replica != master);
        if replicas.is_empty() {
            return Err(RedisConnectError::NoReplica {
                target: sentinel.dialer.target().to_owned(),
                master: self.name().to_owned(),
            });
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Ok(replicas.swap_remove(turn % replicas.len()))
    }

    fn follower(&self) -> Arc<Follower> {
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(follower) = follower.upgrade() {
            return follower;
        }
        let Sentinels { all, master, .. } = &self.sentinels;
        let new = Arc::new(Follower::start(all, master, &self.sight));
        *follower = Arc::downgrade(&new);
        new
    }
}

impl Post<'_> {
    pub(crate) fn target(&self) -> &str {
        self.dialer.target()
    }

    pub(crate) async fn dial(
        &self,
        protocol: ProtocolVersion,
    ) -> Result<(Box<dyn Stream>, Probe), RedisConnectError> {
        let (stream, probe) = self.dialer.dial(protocol).await?;
        let anchored = Anchored::new(stream, Arc::clone(&self.follower));
        Ok((Box::new(anchored), probe))
    }

    /// From now on the socket goes down when the master moves.
    pub(crate) fn tie(
        &self,
        probe: Probe,
        capacity: Option<Capacity>,
    ) -> Result<(), RedisConnectError> {
        let tied = self.route.sight.tie(&self.node, probe, capacity);
        tied.map_err(|master| self.moved(&master))
    }

    /// Asks the server itself whether it is what the sentinels take it for.
    pub(crate) async fn verify(
        &self,
        connection: &mut RedisConnection,
    ) -> Result<(), RedisConnectError> {
        self.route
            .sentinels
            .role
            .verify(connection, self.target())
            .await
    }

    /// Gives the dial up when the master moves: a server that was stopped would not answer, and not say so either.
    pub(crate) async fn unless_it_moves<T>(
        &self,
        dialled: impl Future<Output = Result<T, RedisConnectError>>,
    ) -> Result<T, RedisConnectError> {
        let mut dialled = pin!(dialled);
        let mut moved = pin!(self.route.sight.moved(&self.node));
        poll_fn(|cx| {
            if let Poll::Ready(master) = moved.as_mut().poll(cx) {
                return Poll::Ready(Err(self.moved(&master)));
            }
            dialled.as_mut().poll(cx)
        })
        .await
    }

    /// Where to dial after this has failed: at the new master, if there is one now or in a moment.
    ///
    /// # Errors
    ///
    /// The one it has failed with.
    pub(crate) async fn next(self, error: RedisConnectError) -> Result<Self, RedisConnectError> {
        let may_pass = !error.is_refused_for_good() && !self.route.is_permanent(&error);
        if may_pass && self.route.sentinels.role == Role::Master {
            let moved = self.route.sight.moved(&self.node);
            if timeout(PATIENCE, moved).await.is_ok() {
                return self.route.locate().await;
            }
        }
        Err(error)
    }

    fn moved(&self, master: &Node) -> RedisConnectError {
        RedisConnectError::Moved {
            target: self.target().to_owned(),
            master: master.to_string(),
        }
    }
}
