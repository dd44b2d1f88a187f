//! A pool on such a server, and what is asked of it when an outage is over.

use std::time::Duration;

use pool_core::{Builder, Pool};
use pool_redis::{PooledConnection, RedisManager, RedisPool};
use redis::{Cmd, FromRedisValue, RedisResult};

use super::server::RedisServer;
use super::wait::{becomes, in_time};

pub(crate) fn manager(server: &RedisServer) -> RedisManager {
    RedisManager::new(server.url()).unwrap()
}

/// With pauses between dials as short as the outages of these tests.
pub(crate) fn builder(manager: RedisManager) -> Builder<RedisManager> {
    Pool::builder(manager).backoff(Duration::from_millis(1), Duration::from_millis(20))
}

/// A pool of at most `max_size`, else with the defaults.
pub(crate) fn pool(server: &RedisServer, max_size: usize) -> RedisPool {
    let pool = builder(manager(server)).max_size(max_size).build();
    RedisPool::new(pool.unwrap())
}

#[track_caller]
pub(crate) fn checkout(pool: &RedisPool) -> impl Future<Output = PooledConnection> {
    let checkout = in_time(pool.checkout());
    async move { checkout.await.unwrap() }
}

/// So many connections at once.
pub(crate) async fn take(pool: &RedisPool, count: usize) -> Vec<PooledConnection> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(checkout(pool).await);
    }
    connections
}

/// Has so many connections idle.
pub(crate) async fn fill(pool: &RedisPool, count: usize) {
    drop(take(pool, count).await);
    becomes(|| pool.status().idle, count).await;
}

/// A command written as text, words apart.
pub(crate) fn command(text: &str) -> Cmd {
    let mut command = Cmd::new();
    for word in text.split_ascii_whitespace() {
        command.arg(word);
    }
    command
}

/// Sends such a command and reads its answer.
pub(crate) async fn ask<T: FromRedisValue>(
    connection: &mut PooledConnection,
    text: &str,
) -> RedisResult<T> {
    in_time(command(text).query_async(connection)).await
}

/// The server's number for this connection.
pub(crate) async fn id(connection: &mut PooledConnection) -> i64 {
    ask(connection, "CLIENT ID").await.unwrap()
}

/// The pool is as good as new: everything it may have can be had at once, each of them answers, the server has these and
/// no other, and no socket of ours is left half closed.
#[cfg(target_os = "linux")]
pub(crate) async fn assert_whole(server: &RedisServer, pool: &RedisPool) {
    let all = pool.status().max_size;
    let mut connections = take(pool, all).await;
    for connection in &mut connections {
        let pong: String = ask(connection, "PING").await.unwrap();
        assert_eq!(pong, "PONG");
    }
    becomes(|| server.clients().len(), all).await;
    becomes(|| server.sockets(), vec![super::sockets::ESTABLISHED; all]).await;
    drop(connections);
    becomes(|| (pool.status().idle, pool.status().size()), (all, all)).await;
}
