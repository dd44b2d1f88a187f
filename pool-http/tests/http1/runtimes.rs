//! Runtimes that end, threads without one, and executors that are not tokio.

use futures::executor::block_on;
use http::Method;
use pool_http::ErrorKind;
use tokio::runtime;

use crate::support::ask::{builder, client, get, head, idle, read, request, size};
use crate::support::{OK, Server, arrives};

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn another_executor_can_poll_everything() {
    let server = Server::answering(OK);
    let runtime = runtime();
    let client = runtime.block_on(async {
        let limit = std::time::Duration::from_secs(20);
        builder().request_timeout(limit).build().unwrap()
    });
    for turn in 0..5 {
        let response = block_on(client.request(request(Method::GET, &server))).unwrap();
        assert_eq!(
            response
                .extensions()
                .get::<pool_http::Served>()
                .unwrap()
                .requests,
            turn
        );
        let body = block_on(http_body_util::BodyExt::collect(response.into_body()));
        assert_eq!(body.unwrap().to_bytes(), "hello");
        arrives(|| idle(&client) == 1);
    }
}

#[test]
fn a_request_that_another_executor_polls_is_sent_again_on_a_fresh_connection() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
    });
    let runtime = runtime();
    let client = runtime.block_on(async { client() });
    runtime.block_on(get(&client, &server)).unwrap();
    arrives(|| idle(&client) == 1);
    let response = block_on(client.request(request(Method::GET, &server))).unwrap();
    let served: &pool_http::Served = response.extensions().get().unwrap();
    assert_eq!((served.replays, served.requests), (1, 0));
    assert_eq!(server.log(), ["GET 0", "GET 0", "GET 1"]);
}

#[test]
fn limits_hold_whoever_polls() {
    let server = Server::start(|mut peer| async move { peer.until_closed().await });
    let (runtime, limit) = (runtime(), std::time::Duration::from_millis(50));
    for limited in [
        builder().head_timeout(limit),
        builder().request_timeout(limit),
    ] {
        let client = runtime.block_on(async { limited.build().unwrap() });
        let error = block_on(client.request(request(Method::GET, &server))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}

#[test]
fn a_body_that_is_dropped_on_a_thread_without_a_runtime_goes_home() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            peer.signalled().await;
            peer.send("0\r\n\r\n").await;
        }
    });
    let runtime = runtime();
    let client = runtime.block_on(async {
        let drain = builder().drain(1000, std::time::Duration::from_secs(20));
        drain.build().unwrap()
    });
    for _ in 0..3 {
        let response = runtime
            .block_on(head(&client, Method::GET, &server))
            .unwrap();
        arrives(|| server.waiting() == 1);
        drop(response);
        server.signal();
        arrives(|| idle(&client) == 1);
    }
    assert_eq!(server.accepted(), 1);
    drop(client);
    arrives(|| server.open() == 0);
}

#[test]
fn a_runtime_may_end_while_bodies_are_open() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    let runtime = runtime();
    let client = runtime.block_on(async { client() });
    let held: Vec<_> = (0..3)
        .map(|_| {
            runtime
                .block_on(head(&client, Method::GET, &server))
                .unwrap()
        })
        .collect();
    drop(runtime);
    arrives(|| server.open() == 0);
    let mut held = held.into_iter();
    // One is read, one dropped, and one outlives the client.
    let other = self::runtime();
    assert!(other.block_on(read(held.next().unwrap())).is_err());
    drop(held.next());
    assert!(other.block_on(get(&client, &server)).is_err());
    assert_eq!(client.pool().status().in_use, 1);
    drop(client);
    drop(held);
}

#[test]
fn a_runtime_may_end_while_a_request_is_under_way() {
    let server = Server::start(|mut peer| async move { peer.until_closed().await });
    let runtime = runtime();
    let client = runtime.block_on(async { client() });
    let asked = client.request(request(Method::GET, &server));
    let waits = std::thread::spawn(move || block_on(asked));
    arrives(|| server.accepted() == 1);
    drop(runtime);
    let error = waits.join().unwrap().unwrap_err();
    assert!(!error.to_string().is_empty());
    assert_eq!(size(&client), 0);
}
