//! A primary that becomes a replica: it answers READONLY, on connections that are as alive as ever.

#![cfg(target_os = "linux")]

mod support;

use pool_core::Order;
use pool_redis::RedisPool;
use redis::{ErrorKind, ServerErrorKind};
use support::client_list::Client;
use support::pool::{ask, assert_whole, builder, checkout, fill, id, manager, pool, take};
use support::ports::free_port;
use support::{RedisServer, becomes};

const SIZE: usize = 6;

/// Of a primary that does not exist.
fn demote(server: &RedisServer) {
    server.command(&format!("REPLICAOF 127.0.0.1 {}", free_port()));
}

#[tokio::test]
async fn one_user_who_is_told_readonly_spares_all_others_their_old_connections() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, SIZE);
    let mut old = Vec::new();
    let mut all = take(&pool, SIZE).await;
    for connection in &mut all {
        old.push(id(connection).await);
    }
    // One is in use all the while, the others are idle.
    let mut held = all.remove(0);
    drop(all);
    becomes(|| pool.status().idle, SIZE - 1).await;

    demote(&server);
    let mut connection = checkout(&pool).await;
    // Reading is no reason to leave.
    assert_eq!(
        ask::<Option<String>>(&mut connection, "GET k")
            .await
            .unwrap(),
        None
    );
    let error = ask::<()>(&mut connection, "SET k v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly));
    server.command("REPLICAOF NO ONE");
    drop(connection);

    // Its user is not disturbed.
    ask::<()>(&mut held, "SET k v").await.unwrap();
    drop(held);
    for mut connection in take(&pool, SIZE).await {
        assert!(!old.contains(&id(&mut connection).await));
        ask::<()>(&mut connection, "SET k v").await.unwrap();
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn it_does_not_matter_how_old_the_connection_is_that_is_told_readonly() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for order in [Order::Lifo, Order::Fifo] {
        let pool = builder(manager(&server)).max_size(SIZE).order(order);
        let pool = RedisPool::new(pool.build().unwrap());
        fill(&pool, SIZE).await;
        demote(&server);
        let mut told = checkout(&pool).await;
        ask::<()>(&mut told, "SET k v").await.unwrap_err();
        server.command("REPLICAOF NO ONE");
        // While he still holds it.
        let newest = server.clients().iter().map(Client::id).max().unwrap();
        for mut connection in take(&pool, SIZE - 1).await {
            assert!(id(&mut connection).await > newest, "{order:?}");
        }
        drop(told);
        assert_whole(&server, &pool).await;
    }
}

#[tokio::test]
async fn readonly_in_a_pipeline_or_a_script_counts_as_well() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 1);
    let write = || redis::cmd("SET").arg("k").arg("v").clone();
    let pipeline = redis::pipe().add_command(write()).clone();
    let atomic = redis::pipe().atomic().add_command(write()).clone();
    let script = redis::cmd("EVAL")
        .arg("return redis.call('SET', KEYS[1], 'v')")
        .arg(1)
        .arg("k")
        .clone();
    let script = redis::pipe().add_command(script).clone();
    for pipeline in [pipeline, atomic, script] {
        fill(&pool, 1).await;
        let mut connection = checkout(&pool).await;
        let before = id(&mut connection).await;
        demote(&server);
        let error = pipeline.exec_async(&mut connection).await.unwrap_err();
        assert!(
            error.to_string().to_uppercase().contains("READONLY"),
            "{error}"
        );
        server.command("REPLICAOF NO ONE");
        drop(connection);
        let mut connection = checkout(&pool).await;
        assert_ne!(id(&mut connection).await, before, "{error}");
        pipeline.exec_async(&mut connection).await.unwrap();
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn an_old_primary_that_is_a_replica_now_is_left_for_good_connections_when_it_is_back() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, SIZE);
    fill(&pool, SIZE).await;
    demote(&server);
    // As long as the server stays a replica, each user is told so.
    for _ in 0..3 {
        for mut connection in take(&pool, SIZE).await {
            let error = ask::<()>(&mut connection, "SET k v").await.unwrap_err();
            assert_eq!(error.code(), Some("READONLY"));
        }
    }
    server.command("REPLICAOF NO ONE");
    // Each of those came home after it was told, and was not kept.
    for mut connection in take(&pool, SIZE).await {
        ask::<()>(&mut connection, "SET k v").await.unwrap();
    }
    assert_whole(&server, &pool).await;
}
