//! `CLIENT KILL` by another process: of all connections at once, idle, in use and in the middle of a command.

#![cfg(target_os = "linux")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pool_core::Order;
use pool_redis::{Fate, RedisPool, fate};
use redis::AsyncCommands;
use support::pool::{ask, assert_whole, builder, checkout, fill, id, manager, pool, take};
use support::{RedisServer, arrives, becomes, in_time};

const SIZE: usize = 8;

/// All but the oracle.
fn kill_all(server: &RedisServer) -> i64 {
    server.ask("CLIENT KILL TYPE normal").integer()
}

#[tokio::test]
async fn killed_idle_connections_are_closed_without_any_traffic() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for order in [Order::Lifo, Order::Fifo] {
        let pool = builder(manager(&server)).max_size(SIZE).order(order);
        let pool = RedisPool::new(pool.build().unwrap());
        fill(&pool, SIZE).await;
        assert_eq!(kill_all(&server), SIZE as i64);
        becomes(|| pool.status().size(), 0).await;
        assert_eq!(server.sockets(), []);
        assert_whole(&server, &pool).await;
        drop(pool);
        becomes(|| server.clients().len(), 0).await;
    }
}

#[tokio::test]
async fn none_that_was_killed_a_moment_ago_is_handed_out() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.command("SET k v");
    for maintenance in [true, false] {
        let pool = builder(manager(&server))
            .max_size(SIZE)
            .maintenance(maintenance);
        let pool = RedisPool::new(pool.build().unwrap());
        fill(&pool, SIZE).await;
        kill_all(&server);
        // The kernel has all the ends; no task of ours has run since.
        arrives(|| server.close_wait() == SIZE);
        for mut connection in take(&pool, SIZE).await {
            assert_eq!(ask::<String>(&mut connection, "GET k").await.unwrap(), "v");
        }
        assert_whole(&server, &pool).await;
        drop(pool);
        becomes(|| server.clients().len(), 0).await;
    }
}

#[tokio::test]
async fn one_that_is_killed_while_it_is_held_fails_once_and_does_not_come_back() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, SIZE);
    let mut held = take(&pool, SIZE).await;
    let mut killed = Vec::new();
    for connection in &mut held {
        killed.push(id(connection).await);
    }
    assert_eq!(kill_all(&server), SIZE as i64);
    arrives(|| server.close_wait() == SIZE);
    // Half of the users notice, the others have nothing more to ask.
    for connection in held.iter_mut().take(SIZE / 2) {
        let error = ask::<String>(connection, "GET k").await.unwrap_err();
        assert!(error.is_connection_dropped(), "{error}");
        let again = ask::<String>(connection, "GET k").await.unwrap_err();
        assert_eq!(fate(&again), Fate::NotSent, "{again}");
    }
    drop(held);
    for mut connection in take(&pool, SIZE).await {
        assert!(!killed.contains(&id(&mut connection).await));
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_user_whose_connection_is_killed_while_the_server_works_for_him_cannot_know_what_became_of_it()
 {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 2);
    let mut connection = checkout(&pool).await;
    let waiting = tokio::spawn(async move {
        let popped = ask::<(String, String)>(&mut connection, "BLPOP q 0").await;
        popped.unwrap_err()
    });
    becomes(|| server.info("blocked_clients"), 1).await;
    kill_all(&server);
    let error = waiting.await.unwrap();
    assert!(error.is_connection_dropped(), "{error}");
    assert_eq!(fate(&error), Fate::Unknown, "{error}");
    assert_whole(&server, &pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_in_a_hail_of_kills_get_their_own_answers_or_an_error_at_most_once_a_kill() {
    const USERS: usize = 12;
    const KILLS: usize = 40;
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, SIZE);
    let over = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicUsize::new(0));
    let served = Arc::new(AtomicUsize::new(0));
    let users: Vec<_> = (0..USERS)
        .map(|user| {
            server.command(&format!("SET user:{user} {user}"));
            let (pool, over) = (pool.clone(), over.clone());
            let (failed, served) = (failed.clone(), served.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let mut connection = checkout(&pool).await;
                    match in_time(connection.get::<_, usize>(format!("user:{user}"))).await {
                        Ok(value) => {
                            assert_eq!(value, user);
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            assert!(error.is_connection_dropped(), "{error}");
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            })
        })
        .collect();
    let mut killed = 0;
    for _ in 0..KILLS {
        let before = served.load(Ordering::Relaxed);
        while served.load(Ordering::Relaxed) < before + USERS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        killed += usize::try_from(kill_all(&server)).unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for user in users {
        user.await.unwrap();
    }
    // Each killed connection had one user at most.
    let failed = failed.load(Ordering::Relaxed);
    assert!(failed <= killed, "{failed} errors of {killed} killed");
    assert_whole(&server, &pool).await;
}
