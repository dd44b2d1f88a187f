//! Requests that are sent just when the server closes the idle connection, over TLS and by HTTP/2. For those by plain
//! HTTP/1, see `http1/closure`.

mod support_h2;

use std::time::Duration;

use http::Method;
use pool_http::{ErrorKind, Fate, RequestError};
use support_h2::closing::{ClosingServer, Goodbye, Recipe};
use support_h2::{fetch, in_time, request};

/// After so long an idle connection is closed.
const PATIENCE: Duration = Duration::from_millis(4);

/// Sends requests, each to a path of its own, with pauses from well before the closing to well after it.
async fn race(server: &ClosingServer, method: Method, is_blocked: bool) -> Vec<RequestError> {
    let client = server.client().build().unwrap();
    let mut failed = Vec::new();
    for turn in 0..200 {
        let url = format!("{}/{method}/{turn}", server.url);
        match in_time(fetch(&client, request(method.clone(), &url, ""))).await {
            Ok(answer) => assert_eq!(answer.body, "here"),
            Err(error) => failed.push(error),
        }
        let pause = PATIENCE.mul_f64(0.5 + f64::from(turn * 7919 % 40) / 40.0);
        match is_blocked {
            true => std::thread::sleep(pause),
            false => tokio::time::sleep(pause).await,
        }
    }
    failed
}

fn http1_over_tls() -> ClosingServer {
    ClosingServer::start(Recipe {
        is_tls: true,
        is_http2: false,
        goodbye: Goodbye::Final,
        patience: Some(PATIENCE),
    })
}

#[tokio::test]
async fn no_get_over_tls_fails_around_the_closing() {
    for is_blocked in [false, true] {
        let server = http1_over_tls();
        let failed = race(&server, Method::GET, is_blocked).await;
        assert!(failed.is_empty(), "{failed:?}");
        let (most, different) = server.taken();
        assert!(most <= 2 && different == 200);
    }
}

#[tokio::test]
async fn no_post_over_tls_is_taken_twice_and_those_that_fail_say_that_they_may_have_run() {
    for is_blocked in [false, true] {
        let server = http1_over_tls();
        let failed = race(&server, Method::POST, is_blocked).await;
        for error in &failed {
            let told = (error.kind(), error.fate());
            assert_eq!(told, (ErrorKind::Lost, Fate::Unknown), "{error:?}");
        }
        let (most, different) = server.taken();
        assert!(most == 1 && different + failed.len() >= 200);
    }
}

/// The server always tells what it has not taken, so that nothing is left to guess.
async fn no_request_fails_and_none_is_taken_twice(is_tls: bool) {
    for goodbye in [Goodbye::Final, Goodbye::Graceful] {
        for is_blocked in [false, true] {
            let server = ClosingServer::start(Recipe {
                is_tls,
                is_http2: true,
                goodbye,
                patience: Some(PATIENCE),
            });
            for method in [Method::GET, Method::POST] {
                let failed = race(&server, method, is_blocked).await;
                assert!(failed.is_empty(), "{goodbye:?}: {failed:?}");
            }
            assert_eq!(server.taken(), (1, 400), "{goodbye:?}");
        }
    }
}

#[tokio::test]
async fn by_http2_no_request_fails_around_a_goodbye_whatever_its_method() {
    no_request_fails_and_none_is_taken_twice(false).await;
}

#[tokio::test]
async fn nor_by_http2_over_tls() {
    no_request_fails_and_none_is_taken_twice(true).await;
}
