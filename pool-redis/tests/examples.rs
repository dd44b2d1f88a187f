//! The examples do what they say.

#![cfg(unix)]

mod support;

// Each is a program with a `main` that nobody calls here.
#[expect(dead_code)]
#[path = "../examples/cache.rs"]
mod cache;
#[expect(dead_code)]
#[path = "../examples/queue.rs"]
mod queue;
#[expect(dead_code)]
#[path = "../examples/rate_limiter.rs"]
mod rate_limiter;

use support::RedisServer;

#[tokio::test]
async fn the_cache_finds_what_it_has_made() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let (made, found) = cache::run(&server.url()).await.unwrap();
    assert_eq!((made.as_str(), found.as_str()), ("made", "made"));
}

#[tokio::test]
async fn workers_that_are_told_to_stop_take_no_job_with_them() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    assert_eq!(queue::run(&server.url()).await.unwrap(), (10, 2));
}

#[tokio::test]
async fn the_rate_limiter_admits_as_many_as_it_should() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    assert_eq!(rate_limiter::run(&server.url()).await.unwrap(), 5);
}
