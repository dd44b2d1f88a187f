//! What the server says about how long it keeps a connection, and what it shows.

use std::time::Duration;

use pool_core::CloseReason;
use pool_http::Client;

use crate::support::ask::{builder, client, get, idle, size};
use crate::support::log::Closings;
use crate::support::{OK, Server, becomes, eventually};

fn saying(hint: &str) -> Server {
    Server::answering(format!(
        "HTTP/1.1 200 OK\r\nkeep-alive: {hint}\r\ncontent-length: 5\r\n\r\nhello"
    ))
}

/// Uses a connection once, and leaves it alone until it is closed.
async fn kept(hint: &str, margin: Duration) -> Closings {
    let server = saying(hint);
    let closings = Closings::default();
    let observer = closings.clone();
    let client = builder()
        .keep_alive_margin(margin)
        .pool(move |pool| pool.observer(observer))
        .build()
        .unwrap();
    get(&client, &server).await.unwrap();
    becomes(|| size(&client), 0).await;
    closings
}

#[tokio::test]
async fn a_connection_is_closed_by_the_margin_before_the_server_would() {
    for (hint, margin, least) in [
        ("timeout=1", 900, 100),
        ("timeout=2", 1000, 1000),
        ("timeout=5, max=10", 1000, 4000),
    ] {
        let closings = kept(hint, Duration::from_millis(margin)).await;
        assert_eq!(closings.reasons(), [CloseReason::IdleLimit], "{hint}");
        let ages = closings.ages();
        assert!(ages[0] >= Duration::from_millis(least), "{hint}: {ages:?}");
    }
}

/// Sends six requests, one after the other, and says how many connections the server saw.
async fn connections(client: &Client, server: &Server) -> usize {
    for _ in 0..6 {
        get(client, server).await.unwrap();
        becomes(|| client.pool().status().in_use, 0).await;
    }
    eventually(|| server.open() == idle(client)).await;
    server.accepted()
}

#[tokio::test]
async fn one_that_is_kept_for_no_longer_than_the_margin_is_not_kept() {
    for hint in ["timeout=1", "timeout=0", "max=10, timeout=1"] {
        assert_eq!(connections(&client(), &saying(hint)).await, 6, "{hint}");
    }
}

#[tokio::test]
async fn one_is_used_as_often_as_the_server_says_and_no_more() {
    for most in [1, 2] {
        let server = Server::start(move |mut peer| async move {
            for left in (0..=most).rev() {
                peer.request().await;
                let hint = format!("keep-alive: max={left}, timeout=60\r\ncontent-length");
                peer.send(OK.replace("content-length", &hint)).await;
            }
            assert!(peer.is_left().await, "it has asked once more");
        });
        let expected = 6_usize.div_ceil(most + 1);
        assert_eq!(connections(&client(), &server).await, expected);
    }
}

#[tokio::test]
async fn what_is_malformed_was_not_said() {
    for hint in [
        "timeout",
        "timeout=soon",
        "timeout=-1",
        "max=",
        "0",
        ";;,=,",
    ] {
        assert_eq!(connections(&client(), &saying(hint)).await, 1, "{hint}");
    }
}

/// The server closes what was idle for so long, and does not say so beforehand.
#[tokio::test]
async fn an_origin_that_was_seen_to_close_is_forestalled() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.send(OK).await;
            if !peer.hears_within(Duration::from_secs(2)).await {
                break;
            }
        }
    });
    for learns in [false, true] {
        let closings = Closings::default();
        let observer = closings.clone();
        let client = builder()
            .learn_idle_limits(learns)
            .pool(move |pool| pool.observer(observer))
            .build()
            .unwrap();
        for _ in 0..3 {
            get(&client, &server).await.unwrap();
            becomes(|| size(&client), 0).await;
        }
        let later = match learns {
            true => CloseReason::IdleLimit,
            false => CloseReason::Dropped,
        };
        assert_eq!(closings.reasons(), [CloseReason::Dropped, later, later]);
    }
}
