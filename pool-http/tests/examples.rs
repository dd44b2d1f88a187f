//! The examples, run against a server of ours.

#[allow(dead_code, reason = "its main is for the shell")]
#[path = "../examples/get.rs"]
mod get;
#[allow(dead_code, reason = "its main is for the shell")]
#[path = "../examples/layers.rs"]
mod layers;
mod support_h2;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Response, StatusCode};
use http_body_util::Full;
use support_h2::server::{Recipe, answer};
use support_h2::{client, in_time};

#[tokio::test]
async fn the_second_fetch_comes_by_the_first_ones_connection() {
    let server = Recipe::echo().http1().start().await;
    let served = in_time(get::run(client(), &server.at("/"), 2))
        .await
        .unwrap();
    assert_eq!((served[0].id, served[1].id), (1, 1));
    assert!(served[1].is_reused());
}

#[tokio::test]
async fn the_layers_follow_a_redirect_wait_for_a_busy_server_and_unpack_what_it_says() {
    // "hello", by gzip.
    const PACKED: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 72, 205, 201, 201, 7, 0, 134, 166, 16, 54, 5, 0, 0, 0,
    ];
    let asked = Arc::new(AtomicUsize::new(0));
    let recipe = Recipe::new(move |request| {
        let turn = asked.fetch_add(1, Ordering::SeqCst);
        let takes_gzip = request.headers().get("accept-encoding").is_some();
        async move {
            let status = |status| Response::builder().status(status);
            let empty = Full::default();
            match (request.uri().path(), turn) {
                ("/old", 0) => status(StatusCode::SERVICE_UNAVAILABLE).body(empty).unwrap(),
                ("/old", _) => {
                    let moved = status(StatusCode::FOUND).header("location", "/new");
                    moved.body(empty).unwrap()
                }
                _ => {
                    assert!(takes_gzip);
                    let mut packed = answer(PACKED);
                    let gzip = http::HeaderValue::from_static("gzip");
                    packed.headers_mut().insert("content-encoding", gzip);
                    packed
                }
            }
        }
    });
    let server = recipe.http1().start().await;
    let client = client().build().unwrap();
    let (status, body) = in_time(layers::run(client, &server.at("/old")))
        .await
        .unwrap();
    assert_eq!((status, &*body), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(server.accepted(), 1);
}
