//! When a connection goes home, and when it does not.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use pool_http::Client;

use crate::support::ask::{ask, builder, client, get, head, idle, read, size};
use crate::support::{OK, Peer, Server, arrives, becomes, in_time};

/// Sends three requests, one after the other, and says how many connections the server saw.
async fn connections_for(response: &str, method: Method, body: &str) -> usize {
    let server = Server::answering(response);
    let client = client();
    for _ in 0..3 {
        let (_, bytes) = ask(&client, method.clone(), &server).await.unwrap();
        assert_eq!(bytes, body);
        // A connection may be on its way home, or to its end.
        becomes(|| client.pool().status().in_use, 0).await;
    }
    server.accepted()
}

#[tokio::test]
async fn a_response_whose_end_is_known_saves_its_connection() {
    let get = Method::GET;
    for (response, body) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", ""),
        (OK, "hello"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n",
            "hello",
        ),
        (
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
            "hello",
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno",
            "no",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "ok",
        ),
    ] {
        assert_eq!(
            connections_for(response, get.clone(), body).await,
            1,
            "{response}"
        );
    }
}

#[tokio::test]
async fn a_response_to_head_has_no_body_whatever_it_says() {
    let response = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    assert_eq!(connections_for(response, Method::HEAD, "").await, 1);
    let response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(connections_for(response, Method::HEAD, "").await, 1);
}

#[tokio::test]
async fn a_response_after_which_nothing_may_follow_costs_its_connection() {
    for response in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        assert_eq!(
            connections_for(response, Method::GET, "hello").await,
            3,
            "{response}"
        );
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_read_to_the_end() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\n\r\nhello").await;
    });
    let client = client();
    for _ in 0..3 {
        let (served, body) = get(&client, &server).await.unwrap();
        assert_eq!(body, "hello");
        assert!(!served.is_reused());
    }
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn a_request_that_says_close_costs_its_connection() {
    let server = Server::answering(OK);
    let client = client();
    for _ in 0..3 {
        let request = http::Request::get(server.url("/")).header("connection", "close");
        let response = client.request(request.body(String::new()).unwrap());
        read(in_time(response).await.unwrap()).await.unwrap();
    }
    assert_eq!(server.accepted(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_with_gaps_between_them_save_their_connection() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            for chunk in ["2\r\nhe\r\n", "3\r\nllo\r\n", "0\r\n", "\r\n"] {
                peer.send(chunk).await;
                peer.pause(Duration::from_millis(3)).await;
            }
        }
    });
    let client = client();
    for turn in 0..20 {
        let (served, body) = get(&client, &server).await.unwrap();
        assert_eq!(body, "hello");
        assert_eq!(served.requests, turn);
        becomes(|| idle(&client), 1).await;
    }
    assert_eq!(server.accepted(), 1);
}

/// Whoever gets through to hyper before it has seen them is handed back unsent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_after_a_body_never_answer_the_next_request() {
    let stray = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
    let server = Server::answering(format!("{OK}{stray}"));
    let client = client();
    for _ in 0..100 {
        let (served, body) = get(&client, &server).await.unwrap();
        assert_eq!(body, "hello");
        assert_eq!(served.requests, 0);
    }
    assert_eq!(server.heard().len(), 100);
}

/// The same for those who come a moment later, which the kernel knows of before hyper does.
#[tokio::test]
async fn a_goodbye_on_an_idle_connection_never_answers_the_next_request() {
    let goodbye = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(move |mut peer| async move {
        while peer.request().await.is_some() {
            peer.send(OK).await;
            if peer.signalled_first().await {
                peer.send(goodbye).await;
            }
        }
    });
    let client = client();
    for turn in 0..20 {
        let (served, body) = ask(&client, Method::POST, &server).await.unwrap();
        assert_eq!((served.requests, &body[..]), (0, &b"hello"[..]));
        becomes(|| idle(&client), 1).await;
        arrives(|| server.waiting() == 1);
        server.signal();
        if turn % 2 == 0 {
            // The watcher sees to it, without any traffic.
            becomes(|| size(&client), 0).await;
        } else {
            // Not even a task has run since.
            arrives(|| server.waiting() == 0);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(server.heard().len(), 20);
}

async fn sends_slowly(mut peer: Peer) {
    while peer.request().await.is_some() {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .await;
        peer.pause(Duration::from_millis(5)).await;
        peer.send("5\r\nworld\r\n").await;
        peer.pause(Duration::from_millis(5)).await;
        peer.send("0\r\n\r\n").await;
    }
}

fn patient(drain: u64) -> Client {
    let client = builder().drain(drain, Duration::from_secs(20));
    client.build().unwrap()
}

#[tokio::test]
async fn the_rest_of_a_body_that_nobody_reads_is_read_to_save_its_connection() {
    let server = Server::start(sends_slowly);
    let client = patient(1000);
    for _ in 0..10 {
        drop(head(&client, Method::GET, &server).await.unwrap());
        becomes(|| idle(&client), 1).await;
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_rest_that_is_too_long_is_not_read() {
    let slow = Server::start(sends_slowly);
    let long = Server::answering(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
        "x".repeat(100)
    ));
    let client = patient(7);
    for server in [&slow, &long] {
        for _ in 0..3 {
            drop(head(&client, Method::GET, server).await.unwrap());
            becomes(|| size(&client), 0).await;
        }
        assert_eq!(server.accepted(), 3);
        becomes(|| server.open(), 0).await;
    }
}

#[tokio::test]
async fn a_rest_that_does_not_come_is_not_waited_for() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
            .await;
        peer.until_closed().await;
    });
    for time in [Duration::ZERO, Duration::from_millis(10)] {
        let client = builder().drain(1000, time).build().unwrap();
        drop(head(&client, Method::GET, &server).await.unwrap());
        becomes(|| size(&client), 0).await;
        becomes(|| server.open(), 0).await;
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_an_error_and_costs_its_connection() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
            .await;
    });
    let client = client();
    let response = head(&client, Method::GET, &server).await.unwrap();
    let error = read(response).await.unwrap_err();
    assert_eq!(error.kind(), pool_http::ErrorKind::ResponseBody);
    assert!(
        error
            .to_string()
            .ends_with("the response ended before it was complete"),
        "{error}"
    );
    becomes(|| size(&client), 0).await;
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn trailers_come_with_the_body() {
    let server = Server::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: sum\r\n\r\n5\r\nhello\r\n0\r\nsum: 42\r\n\r\n",
    );
    let response = head(&client(), Method::GET, &server).await.unwrap();
    let collected = in_time(response.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["sum"], "42");
}

#[tokio::test]
async fn a_response_tells_which_connection_it_came_by() {
    let server = Server::answering(OK);
    let client = client();
    let (first, _) = get(&client, &server).await.unwrap();
    assert!(!first.is_reused());
    assert_eq!((first.requests, first.replays), (0, 0));
    assert_eq!(first.version, http::Version::HTTP_11);
    assert_eq!(first.peer, Some(server.address));
    let (second, _) = get(&client, &server).await.unwrap();
    assert!(second.is_reused());
    assert_eq!((second.id, second.requests), (first.id, 1));
    assert!(second.age >= first.age);
}
