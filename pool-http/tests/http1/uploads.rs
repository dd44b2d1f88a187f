//! Bodies of requests: streams, those that fail, and those that the server does not wait for.

use std::io;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use pool_http::{BoxError, Client, ErrorKind, Fate, RequestBody};

use crate::support::ask::{client, idle, read, size};
use crate::support::{OK, Peer, Server, becomes, in_time};

type Chunk = Result<Frame<Bytes>, BoxError>;

fn chunk(bytes: &'static [u8]) -> Chunk {
    Ok(Frame::data(Bytes::from_static(bytes)))
}

/// A body that is as long as somebody sends.
fn upload() -> (mpsc::Sender<Chunk>, RequestBody) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, RequestBody::new(StreamBody::new(receiver)))
}

fn post(server: &Server, body: RequestBody) -> Request<RequestBody> {
    Request::post(server.url("/")).body(body).unwrap()
}

#[tokio::test]
async fn a_stream_is_sent_in_chunks_and_saves_its_connection() {
    let server = Server::answering(OK);
    let client = client();
    for _ in 0..3 {
        let chunks = [chunk(b"one"), chunk(b""), chunk(b"three")];
        let body = RequestBody::new(StreamBody::new(futures::stream::iter(chunks)));
        let response = in_time(client.request(post(&server, body))).await.unwrap();
        read(response).await.unwrap();
        becomes(|| idle(&client), 1).await;
    }
    assert_eq!(server.accepted(), 1);
    for heard in server.heard() {
        assert_eq!(heard.body, b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn bytes_are_sent_with_their_length() {
    let server = Server::answering(OK);
    let response = client().request(post(&server, RequestBody::from("bytes")));
    read(in_time(response).await.unwrap()).await.unwrap();
    let heard = &server.heard()[0];
    assert_eq!(heard.header("content-length"), Some("5"));
    assert_eq!(heard.body, b"bytes");
}

#[tokio::test]
async fn a_body_is_sent_whether_or_not_the_server_says_continue() {
    for interim in ["", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let server = Server::start(move |mut peer| async move {
            while let Some(heard) = peer.head().await {
                peer.send(interim).await;
                peer.rest(heard).await;
                peer.send(OK).await;
            }
        });
        let client = client();
        for _ in 0..2 {
            let request = Request::post(server.url("/")).header("expect", "100-continue");
            let response = client.request(request.body(String::from("bytes")).unwrap());
            read(in_time(response).await.unwrap()).await.unwrap();
        }
        assert_eq!(server.heard()[1].body, b"bytes");
        assert_eq!(server.accepted(), 1);
    }
}

async fn refuses_at_once(mut peer: Peer) {
    peer.head().await;
    peer.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nlarge")
        .await;
    peer.until_closed().await;
}

/// What hyper says of such a connection is neither that it is ready nor that it is closed (hyper#4176).
#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_leaks_nothing() {
    let server = Server::start(refuses_at_once);
    let client = client();
    for is_read in [true, false] {
        let (mut sender, body) = upload();
        sender.send(chunk(b"one")).await.unwrap();
        let response = in_time(client.request(post(&server, body))).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        match is_read {
            true => assert_eq!(read(response).await.unwrap().1, "large"),
            false => drop(response),
        }
        // The sender is still there, and would send more.
        becomes(|| size(&client), 0).await;
        becomes(|| server.open(), 0).await;
        // The stream was dropped with the connection.
        let closed = async { while sender.send(chunk(b"more")).await.is_ok() {} };
        in_time(closed).await;
    }
}

#[tokio::test]
async fn an_upload_that_ends_after_the_answer_saves_its_connection() {
    let server = Server::start(|mut peer| async move {
        while peer.head().await.is_some() {
            peer.send(OK).await;
            peer.until(b"0\r\n\r\n").await;
        }
    });
    let client = client();
    for turn in 0..3 {
        let (mut sender, body) = upload();
        sender.send(chunk(b"one")).await.unwrap();
        let response = in_time(client.request(post(&server, body))).await.unwrap();
        let (served, _) = read(response).await.unwrap();
        assert_eq!(served.requests, turn);
        drop(sender);
        becomes(|| idle(&client), 1).await;
    }
    assert_eq!(server.accepted(), 1);
}

async fn error_of(client: &Client, server: &Server, error: BoxError) -> pool_http::RequestError {
    let chunks = futures::stream::iter([chunk(b"one"), Err(error)]);
    let body = RequestBody::new(StreamBody::new(chunks.boxed()));
    in_time(client.request(post(server, body)))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_body_that_fails_is_told_from_a_connection_that_is_lost() {
    let server = Server::answering(OK);
    let client = client();
    // What reads the body from elsewhere may lose a connection too; it is not ours.
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    for cause in ["disk on fire".into(), BoxError::from(reset)] {
        let told = cause.to_string();
        let error = error_of(&client, &server, cause).await;
        assert_eq!(error.kind(), ErrorKind::RequestBody, "{error:?}");
        assert_eq!(error.fate(), Fate::Unknown);
        let causes: Vec<String> =
            std::iter::successors(std::error::Error::source(&error), |error| error.source())
                .map(ToString::to_string)
                .collect();
        assert!(causes.contains(&told), "{causes:?}");
        becomes(|| size(&client), 0).await;
    }
    assert_eq!(server.heard(), []);
}
