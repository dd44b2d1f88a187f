//! Answers the server does not want to keep for us: it closes a connection whose output buffer is full.

#![cfg(target_os = "linux")]

mod support;

use pool_redis::{Fate, fate};
use support::pool::{ask, assert_whole, checkout, id, pool, take};
use support::{RedisServer, becomes};

const SIZE: usize = 4;

/// Far more than the limit and all that the kernel buffers.
const LARGE: usize = 64 << 20;

#[tokio::test]
async fn an_answer_above_the_servers_limit_costs_its_connection_and_no_other() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.command("CONFIG SET client-output-buffer-limit \"normal 1000000 0 0\"");
    server.ask(&format!(
        "EVAL \"redis.call('SET', 'large', string.rep('x', {LARGE}))\" 0"
    ));
    let pool = pool(&server, SIZE);
    let mut all = take(&pool, SIZE).await;
    let mut expected = Vec::new();
    for connection in &mut all {
        expected.push(id(connection).await);
    }
    let mut unlucky = all.remove(0);
    expected.remove(0);
    let error = ask::<Vec<u8>>(&mut unlucky, "GET large").await.unwrap_err();
    assert!(error.is_connection_dropped(), "{error}");
    assert_eq!(fate(&error), Fate::Unknown);
    drop((unlucky, all));
    becomes(|| pool.status().size(), SIZE - 1).await;
    let mut kept = Vec::new();
    for connection in &mut take(&pool, SIZE - 1).await {
        kept.push(id(connection).await);
    }
    kept.sort_unstable();
    assert_eq!(kept, expected);
    assert_whole(&server, &pool).await;

    // Without the limit it is an answer like any other.
    server.command("CONFIG SET client-output-buffer-limit \"normal 0 0 0\"");
    let mut connection = checkout(&pool).await;
    let large: Vec<u8> = ask(&mut connection, "GET large").await.unwrap();
    assert_eq!(large.len(), LARGE);
}
