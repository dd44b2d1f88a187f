//! Redis as a user reaches it: by connections of redis-rs alone, and by the pools that are compared.

#![allow(
    missing_debug_implementations,
    reason = "what is inside has none, and nobody prints it"
)]

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bb8_redis::RedisConnectionManager;
use pool_core::Pool;
use pool_redis::{PooledConnection, RedisManager, RedisPool, RedisSharedPool, SharedConnection};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncCommands, Client, IntoConnectionInfo};

/// Where a user gets his connection.
pub trait Source: Clone + Send + Sync + 'static {
    /// A connection to send commands on.
    type Guard<'a>: DerefMut<Target: AsyncCommands> + Send;

    /// Takes one; the server is believed to run.
    ///
    /// # Cancellation
    ///
    /// Whatever the pool makes of it.
    fn checkout(&self) -> impl Future<Output = Self::Guard<'_>> + Send;
}

/// No pool: connections of redis-rs that live as long as the program, and that all users share.
#[derive(Clone)]
pub struct Bare {
    connections: Arc<[MultiplexedConnection]>,
    turn: Arc<AtomicUsize>,
}

impl Bare {
    /// With TCP_NODELAY, which is off in redis-rs and on in pool-redis; all else is redis-rs's default.
    ///
    /// # Cancellation
    ///
    /// Closes them.
    pub async fn dial(url: &str, size: usize) -> Self {
        let info = url.into_connection_info().expect("a URL of our own");
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).expect("a URL of our own");
        let mut connections = Vec::new();
        for _ in 0..size {
            let connection = client.get_multiplexed_async_connection().await;
            connections.push(connection.expect("the server runs"));
        }
        Self {
            connections: connections.into(),
            turn: Arc::default(),
        }
    }
}

impl Source for Bare {
    type Guard<'a> = Handle<MultiplexedConnection>;

    async fn checkout(&self) -> Self::Guard<'_> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Handle(self.connections[turn % self.connections.len()].clone())
    }
}

/// A connection that others may be using, too.
pub struct Handle<C>(C);

impl<C> Deref for Handle<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

impl<C> DerefMut for Handle<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.0
    }
}

/// Our pool at its defaults.
pub fn ours(url: &str, size: usize) -> RedisPool {
    RedisPool::new(core_pool(url, size))
}

/// Our pool in shared mode.
pub fn ours_shared(url: &str, size: usize) -> RedisSharedPool {
    RedisSharedPool::new(core_pool(url, size))
}

fn core_pool(url: &str, size: usize) -> Pool<RedisManager> {
    let manager = RedisManager::new(url).expect("a URL of our own");
    let pool = Pool::builder(manager).max_size(size).build();
    pool.expect("the defaults are valid")
}

impl Source for RedisPool {
    type Guard<'a> = PooledConnection;

    async fn checkout(&self) -> PooledConnection {
        self.checkout().await.expect("the server runs")
    }
}

impl Source for RedisSharedPool {
    type Guard<'a> = Handle<SharedConnection>;

    async fn checkout(&self) -> Self::Guard<'_> {
        Handle(self.lease().await.expect("the server runs"))
    }
}

type Bb8 = bb8::Pool<RedisConnectionManager>;

/// bb8-redis; at its defaults, it sends a PING at each checkout.
///
/// # Cancellation
///
/// Makes no pool.
pub async fn bb8(url: &str, size: u32, test_on_check_out: bool) -> Bb8 {
    let manager = RedisConnectionManager::new(url).expect("a URL of our own");
    let pool = bb8::Pool::builder()
        .max_size(size)
        .test_on_check_out(test_on_check_out)
        .build(manager);
    pool.await.expect("the server runs")
}

impl Source for Bb8 {
    type Guard<'a> = bb8::PooledConnection<'a, RedisConnectionManager>;

    async fn checkout(&self) -> Self::Guard<'_> {
        self.get().await.expect("the server runs")
    }
}

/// deadpool-redis at its defaults: it sends UNWATCH and PING at each checkout.
pub fn deadpool(url: &str, size: usize) -> deadpool_redis::Pool {
    let manager = deadpool_redis::Manager::new(url).expect("a URL of our own");
    let pool = deadpool_redis::Pool::builder(manager)
        .max_size(size)
        .build();
    pool.expect("without timeouts it needs no runtime")
}

impl Source for deadpool_redis::Pool {
    type Guard<'a> = deadpool_redis::Connection;

    async fn checkout(&self) -> deadpool_redis::Connection {
        self.get().await.expect("the server runs")
    }
}
