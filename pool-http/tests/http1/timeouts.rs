//! Every wait has an end, and the error says which.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use pool_core::{Config, OnFull};
use pool_http::{Client, ErrorKind, Fate, RequestError};

use crate::support::ask::{builder, get, head, origin, read, size};
use crate::support::{OK, Server, becomes};

const SHORT: Duration = Duration::from_millis(50);

/// In so long whatever is not meant to be late is there.
const LONG: Duration = Duration::from_secs(2);

#[track_caller]
fn assert_timed_out(error: &RequestError, fate: Fate, words: &str) {
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::TimedOut, fate),
        "{error:?}"
    );
    assert!(error.to_string().ends_with(words), "{error}");
}

/// Neither side has anything left.
async fn assert_closed(client: &Client, server: &Server) {
    becomes(|| size(client), 0).await;
    becomes(|| server.open(), 0).await;
}

#[tokio::test]
async fn a_head_that_does_not_come_is_waited_for_no_longer_than_its_limit() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\n").await;
        peer.until_closed().await;
    });
    let client = builder().head_timeout(SHORT).build().unwrap();
    let error = get(&client, &server).await.unwrap_err();
    assert_timed_out(&error, Fate::Unknown, "there was no response within 50ms");
    assert_closed(&client, &server).await;
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn a_body_that_stops_is_waited_for_no_longer_than_its_limit() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
            .await;
        peer.until_closed().await;
    });
    let client = builder().body_timeout(SHORT).build().unwrap();
    let response = head(&client, Method::GET, &server).await.unwrap();
    let error = read(response).await.unwrap_err();
    let words = "the response was not complete within 50ms";
    assert_timed_out(&error, Fate::Unknown, words);
    assert_closed(&client, &server).await;
}

#[tokio::test]
async fn a_body_that_keeps_coming_has_all_the_time_it_needs() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
                .await;
            for _ in 0..10 {
                peer.pause(LONG / 8).await;
                peer.send("x").await;
            }
        }
    });
    let client = builder().body_timeout(LONG);
    let client = client.build().unwrap();
    assert_eq!(get(&client, &server).await.unwrap().1, "xxxxxxxxxx");
}

/// However much of it comes, and however fast.
#[tokio::test]
async fn the_limit_of_the_whole_request_holds_for_the_body_too() {
    for pause in [None, Some(Duration::from_millis(5))] {
        let server = Server::start(move |mut peer| async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
            while peer.try_send(&[b'x'; 64 * 1024]).await {
                match pause {
                    Some(pause) => peer.pause(pause).await,
                    None => tokio::task::yield_now().await,
                }
            }
        });
        let client = builder().request_timeout(LONG).build().unwrap();
        let response = head(&client, Method::GET, &server).await.unwrap();
        let error = crate::support::in_time(skip(response)).await.unwrap_err();
        let words = "the response was not complete within 2s";
        assert_timed_out(&error, Fate::Unknown, words);
        assert_closed(&client, &server).await;
    }
}

/// What a slow reader finds has come long ago.
#[tokio::test]
async fn nor_is_what_is_already_there_read_after_it() {
    let server =
        Server::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let client = builder().request_timeout(LONG).build().unwrap();
    let response = head(&client, Method::GET, &server).await.unwrap();
    tokio::time::sleep(LONG).await;
    let mut body = response.into_body();
    let error = body.frame().await.unwrap().unwrap_err();
    let words = "the response was not complete within 2s";
    assert_timed_out(&error, Fate::Unknown, words);
    assert_closed(&client, &server).await;
}

/// Reads a body, and keeps nothing of it.
async fn skip(response: http::Response<pool_http::ResponseBody>) -> Result<(), RequestError> {
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

#[tokio::test]
async fn the_limit_of_the_whole_request_holds_for_the_head() {
    let server = Server::start(|mut peer| async move { peer.until_closed().await });
    let client = builder().request_timeout(SHORT).build().unwrap();
    let error = get(&client, &server).await.unwrap_err();
    assert_timed_out(&error, Fate::Unknown, "there was no response within 50ms");
    assert_closed(&client, &server).await;
}

fn narrow(limit: Duration) -> Client {
    let mut config = Config::default();
    config.max_size = 1;
    config.checkout_timeout = Some(limit);
    let client = builder().pool(move |pool| pool.config(config));
    client.build().unwrap()
}

#[tokio::test]
async fn who_waits_for_a_connection_in_vain_is_told_what_the_pool_was_doing() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    let client = narrow(SHORT);
    let held = head(&client, Method::GET, &server).await.unwrap();
    let error = get(&client, &server).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Connect, Fate::NotSent)
    );
    let words = "timed out after 50 ms waiting for a connection (1 of 1 in use, 0 idle, 0 connecting, 1 waiting";
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(server.heard().len(), 1);
    drop(held);
    assert_closed(&client, &server).await;
}

#[tokio::test]
async fn a_request_whose_time_is_over_before_it_had_a_connection_was_not_sent() {
    let server = Server::answering(OK);
    let client = builder()
        .request_timeout(SHORT)
        .pool(|pool| pool.max_size(1))
        .build()
        .unwrap();
    let held = client.pool().checkout(&origin(&server)).await.unwrap();
    let error = get(&client, &server).await.unwrap_err();
    assert_timed_out(&error, Fate::NotSent, "there was no response within 50ms");
    assert_eq!(server.heard(), []);
    drop(held);
}

#[tokio::test]
async fn a_full_pool_that_fails_says_so_at_once() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    let client = builder().pool(|pool| pool.max_size(1).on_full(OnFull::Fail));
    let client = client.build().unwrap();
    let held = head(&client, Method::GET, &server).await.unwrap();
    let error = get(&client, &server).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Connect, Fate::NotSent)
    );
    assert!(error.to_string().contains("1 of 1 in use"), "{error}");
    drop(held);
}

#[tokio::test]
async fn a_request_in_time_is_not_hurried() {
    let server = Server::answering(OK);
    let client = builder().request_timeout(Duration::from_secs(20));
    let client = client.build().unwrap();
    for turn in 0..3 {
        assert_eq!(get(&client, &server).await.unwrap().0.requests, turn);
    }
}
