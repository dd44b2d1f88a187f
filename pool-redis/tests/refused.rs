//! Servers that are well and let nobody in: full, with another password, or still loading.

#![cfg(target_os = "linux")]

mod support;

use std::error::Error;
use std::time::Duration;

use pool_core::{CheckoutError, OnConnectError};
use pool_redis::{RedisConnectError, RedisManager, RedisPool};
use support::pool::{ask, assert_whole, builder, checkout, fill, manager, pool, take};
use support::{RedisServer, Setup, becomes, eventually, in_time};

const SIZE: usize = 6;

/// The error with all its causes, as a person would log it.
fn told(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

fn impatient(manager: RedisManager) -> RedisPool {
    let pool = builder(manager).max_size(SIZE);
    let pool = pool.on_connect_error(OnConnectError::Fail).build();
    RedisPool::new(pool.unwrap())
}

/// A new connection, while all others are in use: the last failure is told until its pause is over.
async fn checkout_again(pool: &RedisPool) -> pool_redis::PooledConnection {
    loop {
        match in_time(pool.checkout()).await {
            Ok(connection) => return connection,
            Err(CheckoutError::Connect(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_full_server_says_so_and_those_inside_are_shared_meanwhile() {
    // One of them is the oracle.
    let Some(server) = Setup::default().line("maxclients 4").start() else {
        return;
    };
    let pool = pool(&server, SIZE);
    let inside = take(&pool, 3).await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move {
            let mut connection = checkout(&pool).await;
            ask::<String>(&mut connection, "PING").await.unwrap()
        }
    });
    eventually(|| server.info("rejected_connections") > 0).await;
    assert!(!waiting.is_finished());
    // Somebody goes home, and so whoever waits has his connection.
    drop(inside);
    assert_eq!(in_time(waiting).await.unwrap(), "PONG");
    server.command("CONFIG SET maxclients 100");
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn whoever_does_not_want_to_wait_is_told_that_the_server_is_full() {
    let Some(server) = Setup::default().line("maxclients 4").start() else {
        return;
    };
    assert_eq!(server.clients().len(), 0);
    let pool = impatient(manager(&server));
    let inside = take(&pool, 3).await;
    for _ in 0..20 {
        let error = in_time(pool.checkout()).await.unwrap_err();
        assert!(matches!(error, CheckoutError::Connect(_)), "{error:?}");
        let message = told(&error);
        // The server hangs up as it says so, and what it said may be lost.
        assert!(
            message.contains("max number of clients reached") || message.contains("maxclients"),
            "{message}"
        );
        assert!(message.contains(&server.port().to_string()), "{message}");
        // So that it dials again.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    server.command("CONFIG SET maxclients 100");
    drop(checkout_again(&pool).await);
    drop(inside);
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_new_password_is_told_at_once_and_those_who_are_in_stay_in() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    // As patient as a pool is by default.
    let pool = pool(&server, 2);
    let mut inside = checkout(&pool).await;
    server.command("CONFIG SET requirepass secret");
    assert_eq!(ask::<String>(&mut inside, "PING").await.unwrap(), "PONG");

    let error = in_time(pool.checkout()).await.unwrap_err();
    let CheckoutError::Connect(failure) = &error else {
        panic!("told after a timeout: {error:?}");
    };
    let pool_core::ConnectError::Manager(RedisConnectError::NoPassword { .. }) = &*failure.error
    else {
        panic!("{error:?}");
    };
    let message = told(&error);
    assert!(message.contains("wants a password"), "{message}");
    assert!(message.contains("redis://:password@host"), "{message}");

    // Put right.
    server.command("CONFIG SET requirepass \"\"");
    drop(checkout_again(&pool).await);
    drop(inside);
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_password_that_is_wrong_now_is_told_at_once_and_never_shown() {
    let Some(server) = Setup::default().line("requirepass hunter2").start() else {
        return;
    };
    let port = server.port();
    let manager = RedisManager::new(format!("redis://:hunter2@127.0.0.1:{port}")).unwrap();
    let pool = RedisPool::new(builder(manager).max_size(2).build().unwrap());
    let mut inside = checkout(&pool).await;
    server.command("CONFIG SET requirepass swordfish");
    assert_eq!(ask::<String>(&mut inside, "PING").await.unwrap(), "PONG");

    let error = in_time(pool.checkout()).await.unwrap_err();
    assert!(matches!(error, CheckoutError::Connect(_)), "{error:?}");
    let message = told(&error);
    assert!(message.contains("WRONGPASS"), "{message}");
    assert!(
        !format!("{message}{error:?}{pool:?}").contains("hunter2"),
        "{message}"
    );

    server.command("CONFIG SET requirepass hunter2");
    drop(checkout_again(&pool).await);
    drop(inside);
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_user_who_is_shut_out_is_shut_out_of_the_pool() {
    let Some(server) = Setup::default()
        .line("user app on >pass ~* &* +@all")
        .start()
    else {
        return;
    };
    let port = server.port();
    let manager = RedisManager::new(format!("redis://app:pass@127.0.0.1:{port}")).unwrap();
    let pool = RedisPool::new(builder(manager).max_size(SIZE).build().unwrap());
    fill(&pool, SIZE).await;
    // The server hangs up on those whom it forgets.
    assert_eq!(server.ask("ACL DELUSER app").integer(), 1);
    becomes(|| pool.status().size(), 0).await;
    let error = in_time(pool.checkout()).await.unwrap_err();
    assert!(matches!(error, CheckoutError::Connect(_)), "{error:?}");
    assert!(told(&error).contains("WRONGPASS"), "{error}");
    server.command("ACL SETUSER app on >pass ~* &* +@all");
    drop(checkout_again(&pool).await);
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_server_that_is_loading_lets_nobody_in_until_it_has_loaded() {
    const KEYS: usize = 20_000;
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.ask(&format!(
        "EVAL \"for i = 1, {KEYS} do redis.call('SET', 'k' .. i, i) end\" 0"
    ));
    server.command("SAVE");
    let pool = pool(&server, SIZE);
    fill(&pool, SIZE).await;
    server.shutdown();
    // So slow that it does not end before it is told to.
    let slow = [
        "key-load-delay 1000",
        "loading-process-events-interval-bytes 1024",
    ];
    server.restart_with(&slow);

    let impatient = impatient(manager(&server));
    let message = told(&in_time(impatient.checkout()).await.unwrap_err());
    assert!(message.contains("is loading"), "{message}");
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move {
            let mut connection = checkout(&pool).await;
            ask::<usize>(&mut connection, "GET k1").await.unwrap()
        }
    });
    eventually(|| pool.metrics().connect_failures > 3).await;
    assert!(!waiting.is_finished());
    assert_eq!(server.info("loading"), 1);
    server.command("CONFIG SET key-load-delay 0");
    assert_eq!(in_time(waiting).await.unwrap(), 1);
    drop(impatient);
    assert_whole(&server, &pool).await;
}
