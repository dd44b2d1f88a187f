//! Servers that are there and say nothing: stopped in the middle of whatever they did, paused, or too slow.

#![cfg(target_os = "linux")]

mod support;

use std::time::Duration;

use pool_core::{CheckoutError, CloseReason, Manager};
use pool_redis::{Fate, RedisConnectError, RedisPool, fate, ping};
use support::pool::{ask, assert_whole, builder, checkout, fill, id, manager, pool, take};
use support::{RedisServer, becomes, in_time};

const SIZE: usize = 4;

/// A limit that is to run out.
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_command_to_a_stopped_server_ends_by_its_limit_and_costs_its_connection() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let manager = manager(&server).command_timeout(SHORT);
    let pool = RedisPool::new(builder(manager).max_size(SIZE).build().unwrap());
    let mut old = Vec::new();
    let mut connections = take(&pool, SIZE).await;
    for connection in &mut connections {
        old.push(id(connection).await);
    }
    server.stop();
    for connection in &mut connections {
        let error = ask::<()>(connection, "SET k v").await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(fate(&error), Fate::Unknown);
    }
    drop(connections);
    becomes(|| pool.status().size(), 0).await;
    server.go_on();
    // The late answers met nobody.
    for mut connection in take(&pool, SIZE).await {
        assert!(!old.contains(&id(&mut connection).await));
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_limit_of_one_call_is_no_other_calls() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 1);
    let mut connection = checkout(&pool).await;
    let before = id(&mut connection).await;
    server.stop();
    let get = support::pool::command("GET k");
    let mut limited = connection.limit(SHORT);
    let got = in_time(get.query_async::<Option<String>>(&mut limited)).await;
    let error = got.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    server.go_on();
    drop(connection);
    let mut connection = checkout(&pool).await;
    assert_ne!(id(&mut connection).await, before);
}

#[tokio::test]
async fn with_a_ping_at_checkout_nobody_is_handed_a_connection_to_a_stopped_server() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = builder(manager(&server).handshake_timeout(SHORT))
        .max_size(SIZE)
        .check(ping().at_checkout().timeout(SHORT))
        .checkout_timeout(20 * SHORT);
    let pool = RedisPool::new(pool.build().unwrap());
    fill(&pool, SIZE).await;
    server.stop();
    let error = in_time(pool.checkout()).await.unwrap_err();
    let CheckoutError::Timeout(timeout) = &error else {
        panic!("{error:?}");
    };
    assert!(timeout.last_connect_error.is_some(), "{error}");
    let message = error.to_string();
    assert!(message.contains("did not answer within 100ms"), "{message}");
    // All were asked, and none answered.
    becomes(
        || pool.metrics().closed_for(CloseReason::CheckFailed),
        SIZE as u64,
    )
    .await;
    server.go_on();
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_ping_while_idle_finds_a_stopped_server_without_any_traffic() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = builder(manager(&server))
        .max_size(SIZE)
        .check(ping().while_idle_every(SHORT).timeout(SHORT));
    let pool = RedisPool::new(pool.build().unwrap());
    fill(&pool, SIZE).await;
    server.stop();
    becomes(|| pool.status().idle, 0).await;
    server.go_on();
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_dial_to_a_stopped_server_ends_by_the_limit_of_the_handshake() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.stop();
    let manager = manager(&server).handshake_timeout(SHORT);
    let error = in_time(manager.connect()).await.unwrap_err();
    let RedisConnectError::TimedOut { limit, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*limit, SHORT);
    becomes(|| server.sockets(), vec![]).await;
}

#[tokio::test]
async fn a_pause_of_all_clients_delays_and_costs_nothing() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.command("SET k v");
    let pool = pool(&server, SIZE);
    let mut connection = checkout(&pool).await;
    let before = id(&mut connection).await;
    drop(connection);
    server.command("CLIENT PAUSE 500 ALL");
    // One idle connection and three new ones.
    let mut connections = take(&pool, SIZE).await;
    let mut ids = Vec::new();
    for connection in &mut connections {
        assert_eq!(ask::<String>(connection, "GET k").await.unwrap(), "v");
        ids.push(id(connection).await);
    }
    assert!(ids.contains(&before));
    drop(connections);
    assert_whole(&server, &pool).await;
    assert_eq!(pool.metrics().connected, SIZE as u64);
}

#[tokio::test]
async fn a_pause_longer_than_the_limit_costs_the_connections_that_met_it() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let manager = manager(&server).command_timeout(SHORT);
    let pool = RedisPool::new(builder(manager).max_size(SIZE).build().unwrap());
    let mut connections = take(&pool, SIZE).await;
    server.command("CLIENT PAUSE 1000 ALL");
    for connection in &mut connections {
        let error = ask::<String>(connection, "PING").await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
    drop(connections);
    assert_eq!(pool.status().idle, 0);
    // The oracle is paused as well, and so knows when it is over.
    server.command("CLIENT UNPAUSE");
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_blocking_command_may_take_longer_than_the_limit() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    // The server is up to 100 ms late by itself.
    let limit = Duration::from_secs(1);
    let pool = builder(manager(&server).command_timeout(limit)).max_size(1);
    let pool = RedisPool::new(pool.build().unwrap());
    let mut connection = checkout(&pool).await;
    let before = id(&mut connection).await;
    let nothing: Option<(String, String)> = ask(&mut connection, "BLPOP q 1.1").await.unwrap();
    assert_eq!(nothing, None);

    let popped = tokio::spawn(async move {
        let popped = ask::<(String, String)>(&mut connection, "BLPOP q 0").await;
        (connection, popped.unwrap().1)
    });
    becomes(|| server.info("blocked_clients"), 1).await;
    tokio::time::sleep(limit + limit / 10).await;
    server.ask("RPUSH q job");
    let (mut connection, job) = in_time(popped).await.unwrap();
    assert_eq!(job, "job");
    assert_eq!(id(&mut connection).await, before);
}

#[tokio::test]
async fn a_subscription_to_a_stopped_server_is_dialled_for_as_long_as_the_pool_dials() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let manager = manager(&server).handshake_timeout(None);
    let limit = Duration::from_millis(50);
    let pool = builder(manager).connect_timeout(limit).build().unwrap();
    let pool = RedisPool::new(pool);
    server.stop();
    let error = in_time(pool.pubsub()).await.err().unwrap();
    server.go_on();
    assert!(
        error.to_string().ends_with("no connection within 50ms"),
        "{error}"
    );
}
