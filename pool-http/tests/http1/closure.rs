//! Requests that are sent just when the server closes the idle connection. For those that come after it, see `stale`.

use std::collections::HashMap;
use std::time::Duration;

use http::{Method, Request};
use pool_http::{Client, ErrorKind, Fate, RequestError};

use crate::support::ask::{client, read};
use crate::support::{OK, Server, in_time};

const IDLE: Duration = Duration::from_millis(10);

fn closes_what_is_idle() -> Server {
    Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.send(OK).await;
            if !peer.hears_within(IDLE).await {
                break;
            }
        }
    })
}

/// Sends requests, each to a path of its own, with so many tenths of a millisecond between them; answers with what failed.
async fn race(
    client: &Client,
    server: &Server,
    method: &Method,
    pauses: impl Iterator<Item = u64>,
    is_blocked: bool,
) -> Vec<RequestError> {
    let mut failed = Vec::new();
    for (turn, pause) in pauses.enumerate() {
        let request = Request::builder()
            .method(method)
            .uri(server.url(&format!("/{method}/{turn}")));
        let response = in_time(client.request(request.body(String::new()).unwrap())).await;
        let answer = match response {
            Ok(response) => read(response).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok((_, body)) => assert_eq!(body, "hello"),
            Err(error) => failed.push(error),
        }
        let pause = Duration::from_micros(pause * 100);
        match is_blocked {
            true => std::thread::sleep(pause),
            false => tokio::time::sleep(pause).await,
        }
    }
    failed
}

/// From a little before the closing to a little after it, evenly.
fn around() -> impl Iterator<Item = u64> {
    (0..200).map(|turn| 90 + turn * 7919 % 40)
}

/// How often the server was sent each request.
fn times(server: &Server) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for heard in server.heard() {
        *times.entry(heard.path().to_owned()).or_default() += 1;
    }
    times
}

#[tokio::test]
async fn no_get_fails_around_the_closing() {
    for is_blocked in [false, true] {
        let server = closes_what_is_idle();
        let failed = race(&client(), &server, &Method::GET, around(), is_blocked).await;
        assert!(failed.is_empty(), "{failed:?}");
        assert!(times(&server).values().all(|&times| times <= 2));
        assert_eq!(times(&server).len(), 200);
    }
}

#[tokio::test]
async fn no_post_is_sent_twice_around_the_closing_and_those_that_fail_say_that_they_may_have_run() {
    for is_blocked in [false, true] {
        let server = closes_what_is_idle();
        let failed = race(&client(), &server, &Method::POST, around(), is_blocked).await;
        for error in &failed {
            assert_eq!(
                (error.kind(), error.fate()),
                (ErrorKind::Lost, Fate::Unknown)
            );
        }
        let times = times(&server);
        assert!(times.values().all(|&times| times == 1));
        assert!(times.len() + failed.len() >= 200);
    }
}
