//! A server that goes away and comes back, asked to or not.

#![cfg(target_os = "linux")]

mod support;

use std::time::Duration;

use pool_core::{CheckoutError, OnConnectError};
use pool_redis::RedisPool;
use support::pool::{ask, assert_whole, builder, checkout, fill, manager, pool, take};
use support::{RedisServer, arrives, becomes, in_time};

const SIZE: usize = 6;

#[tokio::test]
async fn a_server_that_shuts_down_leaves_nothing_open_and_is_dialled_when_it_is_back() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, SIZE);
    let leave: [fn(&RedisServer); 2] = [RedisServer::shutdown, RedisServer::kill];
    for leave in leave {
        fill(&pool, SIZE).await;
        leave(&server);
        becomes(|| pool.status().size(), 0).await;
        assert_eq!(server.sockets(), []);
        server.restart();
        assert_whole(&server, &pool).await;
    }
}

#[tokio::test]
async fn whoever_comes_while_the_server_is_away_is_served_when_it_is_back() {
    const USERS: usize = 20;
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, SIZE);
    fill(&pool, SIZE).await;
    server.shutdown();
    let users: Vec<_> = (0..USERS)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut connection = checkout(&pool).await;
                ask::<String>(&mut connection, "PING").await.unwrap()
            })
        })
        .collect();
    becomes(|| pool.status().waiting, USERS).await;
    server.restart();
    for user in users {
        assert_eq!(in_time(user).await.unwrap(), "PONG");
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_restart_between_two_users_is_noticed_by_neither() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, SIZE);
    fill(&pool, SIZE).await;
    server.shutdown();
    server.restart();
    arrives(|| server.close_wait() == SIZE);
    // No task of ours has run since.
    for mut connection in take(&pool, SIZE).await {
        assert_eq!(
            ask::<String>(&mut connection, "PING").await.unwrap(),
            "PONG"
        );
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn whoever_does_not_want_to_wait_is_told_that_the_server_refuses() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = builder(manager(&server)).max_size(SIZE);
    let pool = pool.on_connect_error(OnConnectError::Fail).build();
    let pool = RedisPool::new(pool.unwrap());
    let mut held = checkout(&pool).await;
    fill(&pool, SIZE - 1).await;
    server.shutdown();
    let error = in_time(pool.checkout()).await.unwrap_err();
    assert!(matches!(error, CheckoutError::Connect(_)), "{error:?}");
    let message = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(
        message.contains(&format!("127.0.0.1:{}", server.port())),
        "{message}"
    );
    assert!(message.to_lowercase().contains("refused"), "{message}");

    // And who held one through it all gets an error, once.
    let error = ask::<String>(&mut held, "PING").await.unwrap_err();
    assert!(error.is_connection_dropped(), "{error}");
    drop(held);
    server.restart();
    // The last failure is told until its pause is over.
    let mut connection = loop {
        match in_time(pool.checkout()).await {
            Ok(connection) => break connection,
            Err(CheckoutError::Connect(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(
        ask::<String>(&mut connection, "PING").await.unwrap(),
        "PONG"
    );
}
