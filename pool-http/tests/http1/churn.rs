//! Servers that close after every response and do not say so: never a hang, and no request lost.

use std::time::Duration;

use futures::future::join_all;

use crate::support::ask::{builder, client, get};
use crate::support::{OK, Server, in_time};

fn closes_after_every_response() -> Server {
    Server::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.send(OK).await;
        }
    })
}

#[tokio::test]
async fn two_thousand_five_hundred_rapid_requests_are_answered() {
    let server = closes_after_every_response();
    let client = client();
    for _ in 0..2500 {
        assert_eq!(get(&client, &server).await.unwrap().1, "hello");
    }
}

#[tokio::test]
async fn ten_slow_requests_are_answered() {
    let server = closes_after_every_response();
    let client = client();
    for _ in 0..10 {
        assert_eq!(get(&client, &server).await.unwrap().0.replays, 0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.heard().len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_thirty_is_answered() {
    let server = closes_after_every_response();
    for most in [3, 10, 30] {
        let client = builder().pool(move |pool| pool.max_size(most));
        let client = client.build().unwrap();
        let batch = (0..30).map(|_| get(&client, &server));
        for answer in in_time(join_all(batch)).await {
            assert_eq!(answer.unwrap().1, "hello");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_at_once_three_times_over_are_answered() {
    let server = closes_after_every_response();
    let client = client();
    let users = (0..5).map(|_| async {
        for _ in 0..3 {
            assert_eq!(get(&client, &server).await.unwrap().1, "hello");
        }
    });
    in_time(join_all(users)).await;
}
