//! A server that closes what has been idle for a second, and the burst that leaves many idle.

#![cfg(target_os = "linux")]

mod support;

use std::time::Duration;

use pool_core::{CloseReason, Order};
use pool_redis::RedisPool;
use support::pool::{ask, assert_whole, builder, checkout, fill, manager, pool};
use support::{RedisServer, becomes};

/// So many that a queue, of which one is used every 50 ms, keeps each idle for two seconds.
const BURST: usize = 40;

#[tokio::test]
async fn what_the_server_times_out_is_closed_without_any_traffic() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, BURST);
    fill(&pool, BURST).await;
    server.command("CONFIG SET timeout 1");
    becomes(|| pool.status().size(), 0).await;
    assert_eq!(server.sockets(), []);
    let metrics = pool.metrics();
    assert_eq!(metrics.closed_for(CloseReason::Dropped), BURST as u64);
    server.command("CONFIG SET timeout 0");
    assert_whole(&server, &pool).await;
}

/// The story redis-py users told: after a burst, traffic uses the top of the stack alone, and the server times the rest
/// out, deep in the stack, where nobody looks.
#[tokio::test]
async fn after_a_burst_nothing_is_left_in_close_wait_and_nobody_gets_an_error() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.command("CONFIG SET timeout 1");
    for order in [Order::Lifo, Order::Fifo] {
        let pool = builder(manager(&server)).max_size(BURST).order(order);
        let pool = RedisPool::new(pool.build().unwrap());
        fill(&pool, BURST).await;
        let traffic = async {
            loop {
                let mut connection = checkout(&pool).await;
                assert_eq!(
                    ask::<String>(&mut connection, "PING").await.unwrap(),
                    "PONG"
                );
                drop(connection);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // A queue keeps as many as are used within the second.
        let few = async {
            support::eventually(|| server.clients().len() < BURST && pool.status().size() < BURST)
                .await;
            if order == Order::Lifo {
                becomes(|| pool.status().size(), 1).await;
            }
        };
        tokio::select! {
            () = few => {}
            () = traffic => unreachable!("it goes on"),
        }
        // Without traffic the server closes the rest as well, so nothing may be compared with what was a moment ago.
        becomes(|| pool.status().size(), 0).await;
        becomes(|| server.sockets(), Vec::new()).await;
        becomes(|| server.clients().len(), 0).await;
    }
}
