//! Shared mode: many users on few connections.

#![cfg(unix)]

mod support;

use std::time::Duration;

use pool_core::Pool;
use pool_redis::{Fate, RedisManager, RedisSharedPool, fate};
use redis::{AsyncCommands, cmd, pipe};
use support::{RedisServer, becomes};

const OWN: &str = "a connection of your own";

fn pool(server: &RedisServer, connections: usize) -> RedisSharedPool {
    let manager = RedisManager::new(server.url()).unwrap();
    let pool = Pool::builder(manager).max_size(connections).build();
    RedisSharedPool::new(pool.unwrap())
}

/// Connections at the server that are not the oracle's.
fn connections(server: &RedisServer) -> usize {
    server.clients().len()
}

#[tokio::test]
async fn a_hundred_users_share_two_connections() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 2);
    let mut users = tokio::task::JoinSet::new();
    for user in 0..100_i64 {
        let pool = pool.clone();
        users.spawn(async move {
            let mut connection = pool.lease().await.unwrap();
            let () = connection.set(user, user).await.unwrap();
            tokio::task::yield_now().await;
            let mine: i64 = connection.get(user).await.unwrap();
            assert_eq!(mine, user);
            connection
        });
    }
    let held = users.join_all().await;
    assert_eq!(connections(&server), 2);
    assert_eq!(pool.status().leases, 100);
    drop(held);
    assert_eq!(pool.status().leases, 0);
}

#[tokio::test]
async fn what_others_would_notice_is_refused_before_it_is_sent() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 1);
    let mut connection = pool.lease().await.unwrap();
    let before = server.info("total_commands_processed");
    for refused in [
        cmd("SELECT").arg(1),
        cmd("watch").arg("key"),
        &mut cmd("MULTI"),
        cmd("SUBSCRIBE").arg("news"),
        cmd("CLIENT").arg("REPLY").arg("OFF"),
        cmd("BLPOP").arg("queue").arg(0),
        cmd("XREAD")
            .arg("BLOCK")
            .arg(1)
            .arg("STREAMS")
            .arg("s")
            .arg("$"),
        cmd("SET").arg("key").arg(1).set_no_response(true),
    ] {
        let error = refused.exec_async(&mut connection).await.unwrap_err();
        assert!(error.to_string().contains(OWN), "{error}");
        assert_eq!(fate(&error), Fate::NotSent);
        let error = pipe()
            .add_command(refused.clone())
            .exec_async(&mut connection)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(OWN), "{error}");
    }
    // Those of the oracle alone.
    assert!(server.info("total_commands_processed") <= before + 2);

    let (one, other): (i64, i64) = pipe()
        .atomic()
        .incr("key", 1)
        .incr("key", 1)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!((one, other), (1, 2));
}

#[tokio::test]
async fn a_cancelled_command_harms_nobody() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 1);
    server.command("SET key value");
    let (mut one, mut other) = (pool.lease().await.unwrap(), pool.lease().await.unwrap());
    let made = server.clients()[0].id();
    for _ in 0..100 {
        let cancelled = one.get::<_, String>("key");
        assert!(futures::poll!(cancelled).is_pending());
        let value: Option<i64> = other.get("none").await.unwrap();
        assert_eq!(value, None);
    }
    assert_eq!(server.clients()[0].id(), made);
    assert_eq!(connections(&server), 1);
}

#[tokio::test]
async fn a_connection_that_ends_is_replaced_while_its_users_still_hold_it() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 1);
    let mut held = pool.lease().await.unwrap();
    let () = held.set("key", 1).await.unwrap();
    server.ask("CLIENT KILL TYPE normal SKIPME yes");
    becomes(|| pool.status().draining, 1).await;

    let error = held.get::<_, i64>("key").await.unwrap_err();
    assert_eq!(fate(&error), Fate::NotSent);
    drop(held);
    let mut next = pool.lease().await.unwrap();
    assert_eq!(next.get::<_, i64>("key").await.unwrap(), 1);
}

#[tokio::test]
async fn a_command_that_takes_too_long_gives_its_connection_no_further_user() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let manager = RedisManager::new(server.url())
        .unwrap()
        .command_timeout(Duration::from_millis(50));
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let pool = RedisSharedPool::new(pool);
    let mut connection = pool.lease().await.unwrap();
    server.stop();
    let error = connection.get::<_, Option<i64>>("key").await.unwrap_err();
    server.go_on();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(pool.status().draining, 1);
}

#[tokio::test]
async fn whoever_needs_a_connection_of_his_own_draws_on_the_same_pool() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 2);
    let _shared = pool.lease().await.unwrap();
    let mut own = pool.exclusive().checkout().await.unwrap();
    server.ask("RPUSH queue job");
    let job: Option<(String, String)> = own.blpop("queue", 0.0).await.unwrap();
    assert_eq!(job.unwrap().1, "job");
    assert_eq!(connections(&server), 2);
}
