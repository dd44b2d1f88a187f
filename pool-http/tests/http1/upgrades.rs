//! What is no longer HTTP: `101 Switching Protocols` and `CONNECT`.

use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::ask::{client, get, request, size};
use crate::support::{Peer, Server, becomes, in_time};

/// Answers, and echoes what comes then.
async fn echoes(mut peer: Peer) {
    while let Some(heard) = peer.request().await {
        if heard.method() == "GET" && heard.header("upgrade").is_none() {
            peer.send(crate::support::OK).await;
            continue;
        }
        peer.send(match heard.method() {
            "CONNECT" => "HTTP/1.1 200 Connected\r\n\r\nwelcome",
            _ => "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nwelcome",
        })
        .await;
        peer.echo().await;
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_its_users_alone() {
    let server = Server::start(echoes);
    let client = client();
    // One that has served before may be upgraded too.
    get(&client, &server).await.unwrap();
    let upgrade = Request::get(server.url("/"))
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(String::new())
        .unwrap();
    for (request, status) in [
        (upgrade, StatusCode::SWITCHING_PROTOCOLS),
        (
            request(Method::CONNECT, &server).map(|_| String::new()),
            StatusCode::OK,
        ),
    ] {
        let response = in_time(client.request(request)).await.unwrap();
        assert_eq!(response.status(), status);
        // The pool has nothing to do with it any more, and dials another.
        assert_eq!(client.pool().status().in_use, 0);
        let (served, _) = get(&client, &server).await.unwrap();
        assert!(!served.is_reused());

        let stream = in_time(hyper::upgrade::on(response)).await.unwrap();
        let mut stream = TokioIo::new(stream);
        let mut answer = [0; 7];
        in_time(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"welcome");
        for word in [*b"is this", *b"an echo"] {
            in_time(stream.write_all(&word)).await.unwrap();
            in_time(stream.read_exact(&mut answer)).await.unwrap();
            assert_eq!(answer, word);
        }
        let open = server.open();
        drop(stream);
        becomes(|| server.open(), open - 1).await;
    }
    // One for each upgrade, and the one that is idle.
    assert_eq!(server.accepted(), 3);
    assert_eq!(size(&client), 1);
}

#[tokio::test]
async fn an_upgrade_that_nobody_takes_closes_its_connection() {
    let server = Server::start(echoes);
    let client = client();
    let request = request(Method::CONNECT, &server);
    let response = in_time(client.request(request)).await.unwrap();
    drop(response);
    becomes(|| server.open(), 0).await;
    assert_eq!(size(&client), 0);
}

#[tokio::test]
async fn a_connect_that_is_refused_is_a_response_like_any_other() {
    let server = Server::answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\nhello");
    let client = client();
    for _ in 0..3 {
        let request = request(Method::CONNECT, &server);
        let response = in_time(client.request(request)).await.unwrap();
        let (_, body) = crate::support::ask::read(response).await.unwrap();
        assert_eq!(body, "hello");
    }
    assert_eq!(server.accepted(), 1);
    assert_eq!(server.heard()[0].path(), server.address.to_string());
}
