//! Which requests are sent twice, and that none is sent three times.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Request, StatusCode, Uri};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use pool_core::{Event, Observer, OnConnectError};
use pool_http::{BoxError, Client, ErrorKind, Fate, Replay, RequestBody, RequestError, Served};
use tokio::net::TcpStream;

use crate::support::ask::{ask, builder, client, get, head, idle, read, size};
use crate::support::{OK, Peer, Server, becomes, eventually, in_time};

/// The first connection takes a second request, and ends without an answer to it.
async fn loses_the_second(mut peer: Peer) {
    while let Some(heard) = peer.request().await {
        if peer.number == 0 && heard.header("x-turn").is_none() {
            break;
        }
        peer.send(OK).await;
    }
}

/// The first request, which is answered.
async fn warm(client: &Client, server: &Server) {
    let request = Request::get(server.url("/")).header("x-turn", "first");
    let response = client.request(request.body(String::new()).unwrap());
    read(in_time(response).await.unwrap()).await.unwrap();
    becomes(|| idle(client), 1).await;
}

async fn send(
    client: &Client,
    request: http::request::Builder,
    body: RequestBody,
) -> Result<Served, RequestError> {
    let response = in_time(client.request(request.body(body).unwrap())).await?;
    Ok(read(response).await?.0)
}

#[tokio::test]
async fn what_may_be_done_twice_is_sent_again_on_a_fresh_connection() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"] {
        let server = Server::start(loses_the_second);
        let client = client();
        warm(&client, &server).await;
        let response = head(&client, method.parse().unwrap(), &server).await;
        let served: Served = *response.unwrap().extensions().get().unwrap();
        assert_eq!((served.replays, served.requests), (1, 0));
        let twice = ["GET 0".into(), format!("{method} 0"), format!("{method} 1")];
        assert_eq!(server.log(), twice);
    }
}

#[tokio::test]
async fn what_may_not_is_an_error_that_says_so() {
    for method in ["POST", "PATCH", "SOMETHING"] {
        let server = Server::start(loses_the_second);
        let client = client();
        warm(&client, &server).await;
        let error = ask(&client, method.parse().unwrap(), &server)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.fate()),
            (ErrorKind::Lost, Fate::Unknown)
        );
        assert!(
            error.to_string().ends_with("the request may have run"),
            "{error}"
        );
        assert_eq!(server.heard().len(), 2);
    }
}

#[tokio::test]
async fn an_idempotency_key_counts_and_the_body_is_sent_again() {
    for key in ["idempotency-key", "x-idempotency-key"] {
        let server = Server::start(loses_the_second);
        let client = client();
        warm(&client, &server).await;
        let request = Request::post(server.url("/")).header(key, "8e03978e");
        let served = send(&client, request, RequestBody::from("order")).await;
        assert_eq!(served.unwrap().replays, 1);
        assert_eq!(server.log(), ["GET 0", "POST 0", "POST 1"]);
        let heard = server.heard();
        assert_eq!(heard[1].head, heard[2].head);
        assert_eq!(
            (&heard[1].body[..], &heard[2].body[..]),
            (&b"order"[..], &b"order"[..])
        );
    }
}

#[tokio::test]
async fn the_users_rule_decides() {
    let only_posts: pool_http::Rule = Arc::new(|method, _| method == Method::POST);
    for (rule, replayed) in [
        (Replay::Never, [false, false]),
        (Replay::Idempotent, [true, false]),
        (Replay::If(only_posts), [false, true]),
    ] {
        for (method, is_replayed) in [Method::GET, Method::POST].into_iter().zip(replayed) {
            let server = Server::start(loses_the_second);
            let client = builder().replay(rule.clone()).build().unwrap();
            warm(&client, &server).await;
            let answer = ask(&client, method, &server).await;
            assert_eq!(answer.is_ok(), is_replayed, "{rule:?}");
            assert_eq!(server.heard().len(), 2 + usize::from(is_replayed));
        }
    }
}

#[tokio::test]
async fn there_is_no_third_time() {
    let server = Server::start(|mut peer| async move {
        if peer.number == 0 {
            peer.request().await;
            peer.send(OK).await;
        }
        peer.request().await;
    });
    let client = client();
    warm(&client, &server).await;
    let error = get(&client, &server).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Lost, Fate::Unknown)
    );
    assert_eq!(server.log(), ["GET 0", "GET 0", "GET 1"]);
}

#[tokio::test]
async fn what_a_fresh_connection_loses_is_lost() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
    });
    let error = get(&client(), &server).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Lost, Fate::Unknown)
    );
    assert_eq!(server.log(), ["GET 0"]);
}

#[tokio::test]
async fn half_a_head_is_a_response_that_has_begun() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-le").await;
    });
    let client = client();
    warm(&client, &server).await;
    assert!(ask(&client, Method::POST, &server).await.is_err());
    assert_eq!(server.log(), ["GET 0", "POST 0"]);
}

/// The goodbye and the request have crossed on the wire.
#[tokio::test]
async fn a_timeout_that_crosses_a_request_is_not_its_answer_if_it_may_be_done_twice() {
    for (method, expected) in [
        (Method::GET, StatusCode::OK),
        (Method::POST, StatusCode::REQUEST_TIMEOUT),
    ] {
        let server = Server::start(|mut peer| async move {
            while peer.request().await.is_some() {
                peer.send(OK).await;
                if peer.number == 0 {
                    peer.request().await;
                    peer.send("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            }
        });
        let client = client();
        warm(&client, &server).await;
        let response = head(&client, method, &server).await.unwrap();
        assert_eq!(response.status(), expected);
    }
}

#[tokio::test]
async fn a_timeout_on_a_fresh_connection_is_an_answer() {
    let response = "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n";
    let server = Server::answering(response);
    let response = head(&client(), Method::GET, &server).await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(server.heard().len(), 1);
}

/// All of them are gone, or will be when they are asked: trying one after the other would fail as often.
#[tokio::test]
async fn one_replay_is_enough_however_many_idle_connections_have_gone_stale() {
    for most in [5, 6] {
        let server = Server::start(|mut peer| async move {
            let is_old = peer.number < 5;
            while peer.request().await.is_some() {
                peer.send(OK).await;
                if is_old {
                    peer.request().await;
                    break;
                }
            }
        });
        let client = builder().pool(move |pool| pool.max_size(most));
        let client = client.build().unwrap();
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(head(&client, Method::GET, &server).await.unwrap());
        }
        join_all(held.into_iter().map(read)).await;
        becomes(|| server.heard().len(), 5).await;
        becomes(|| client.pool().status().in_use, 0).await;
        let idle = idle(&client);
        assert!(idle > 0);
        let (served, _) = get(&client, &server).await.unwrap();
        assert_eq!((served.replays, served.requests), (1, 0));
        assert!(server.most_open() <= most);
    }
}

/// Two that were used lie idle; the one that loses its second request is next.
async fn warm_two(client: &Client, server: &Server) {
    let first = || Request::get(server.url("/")).header("x-turn", "first");
    let ask = || client.request(first().body(String::new()).unwrap());
    let losing = in_time(ask()).await.unwrap();
    let other = in_time(ask()).await.unwrap();
    read(other).await.unwrap();
    becomes(|| idle(client), 1).await;
    read(losing).await.unwrap();
    becomes(|| idle(client), 2).await;
}

#[tokio::test]
async fn what_is_dialled_in_the_place_of_a_used_connection_is_told_and_has_its_own_number_and_age()
{
    let server = Server::start(loses_the_second);
    let dials = Dials::default();
    let observer = dials.clone();
    let client = builder().pool(|pool| pool.each(move |_, pool| pool.observer(observer.clone())));
    let client = client.build().unwrap();
    warm_two(&client, &server).await;
    #[expect(clippy::disallowed_methods, reason = "ages are told in real time")]
    let begun = Instant::now();
    let (served, _) = get(&client, &server).await.unwrap();
    assert_eq!((served.replays, served.requests), (1, 0));
    assert!(served.age <= begun.elapsed());
    assert_eq!(served.id, 3);
    assert_eq!(dials.told(), [(1, true), (2, true), (3, true)]);
    assert_eq!((size(&client), server.accepted()), (1, 3));
}

/// The dials that an observer was told of, and whether they succeeded.
#[derive(Clone, Default)]
struct Dials(Arc<Mutex<Vec<(u64, bool)>>>);

impl Dials {
    fn told(&self) -> Vec<(u64, bool)> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Dials {
    fn observe(&self, _pool: &str, event: &Event) {
        let mut dials = self.0.lock().unwrap();
        match event {
            Event::Connecting { id } => dials.push((*id, false)),
            Event::Connected { id, .. } => {
                let (dialled, is_connected) = dials.last_mut().unwrap();
                assert_eq!(dialled, id);
                *is_connected = true;
            }
            _ => {}
        }
    }
}

/// It ends with the limit of the pool for a dial.
#[tokio::test]
async fn a_replay_that_is_not_connected_in_time_is_an_error_that_says_so() {
    const LIMIT: Duration = Duration::from_millis(300);
    let server = Server::start(loses_the_second);
    let dialled = Arc::new(AtomicUsize::new(0));
    let two_alone = tower::service_fn(move |uri: Uri| {
        let is_prompt = dialled.fetch_add(1, Ordering::SeqCst) < 2;
        async move {
            if !is_prompt {
                std::future::pending::<()>().await;
            }
            let stream = TcpStream::connect(uri.authority().unwrap().as_str()).await;
            stream.map(TokioIo::new)
        }
    });
    let client = builder()
        .connector(two_alone)
        .pool(|pool| pool.each(|_, pool| pool.connect_timeout(LIMIT)))
        .build()
        .unwrap();
    warm_two(&client, &server).await;
    let error = get(&client, &server).await.unwrap_err();
    let told = (error.kind(), error.fate());
    assert_eq!(told, (ErrorKind::Connect, Fate::Unknown));
    let told = error.to_string();
    assert!(told.contains("within 300 ms (connect_timeout)"), "{told}");
    assert_eq!(client.pool().status().size(), 0);
}

#[tokio::test]
async fn a_stream_is_not_sent_again() {
    let server = Server::start(loses_the_second);
    let client = client();
    warm(&client, &server).await;
    let request = Request::put(server.url("/"));
    let error = send(&client, request, stream()).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unknown);
    assert_eq!(server.heard().len(), 2);
}

fn stream() -> RequestBody {
    let chunks = [Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"once")))];
    RequestBody::new(StreamBody::new(futures::stream::iter(chunks)))
}

/// Nobody knows what the first sending did, whatever the second comes to.
#[tokio::test]
async fn a_replay_that_finds_no_connection_says_that_the_request_may_have_run() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
        peer.until_closed().await;
    });
    let client =
        builder().pool(|pool| pool.each(|_, pool| pool.on_connect_error(OnConnectError::Fail)));
    let client = client.build().unwrap();
    warm(&client, &server).await;
    let asked = {
        let (client, request) = (client.clone(), Request::get(server.url("/")));
        tokio::spawn(async move { send(&client, request, RequestBody::default()).await })
    };
    eventually(|| server.heard().len() == 2).await;
    drop(server);
    let error = in_time(asked).await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Connect, Fate::Unknown)
    );
    assert_eq!(client.pool().status().in_use, 0);
}

#[tokio::test]
async fn who_finds_no_connection_at_all_has_sent_nothing() {
    let server = Server::answering(OK);
    let request = Request::get(server.url("/"));
    drop(server);
    let client =
        builder().pool(|pool| pool.each(|_, pool| pool.on_connect_error(OnConnectError::Fail)));
    let client = client.build().unwrap();
    let error = send(&client, request, RequestBody::default()).await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Connect, Fate::NotSent)
    );
}

/// Dials, and can make hyper see the end of a stream that nothing has woken it for.
#[derive(Clone, Default)]
struct Ending(Arc<Mutex<HashMap<usize, Arc<AtomicBool>>>>);

struct EndingStream {
    stream: TokioIo<TcpStream>,
    has_ended: Arc<AtomicBool>,
}

impl tower_service::Service<Uri> for Ending {
    type Response = EndingStream;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<EndingStream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let has_ended = Arc::new(AtomicBool::new(false));
        let mut streams = self.0.lock().unwrap();
        let number = streams.len();
        streams.insert(number, Arc::clone(&has_ended));
        let port = uri.port_u16().unwrap();
        Box::pin(async move {
            let stream = TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await?);
            Ok(EndingStream { stream, has_ended })
        })
    }
}

impl Read for EndingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.has_ended.load(Ordering::SeqCst) {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut self.stream).poll_read(cx, buffer),
        }
    }
}

impl Write for EndingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// No byte of it was sent, hence neither its method nor its body matters, nor that replays are forbidden.
#[tokio::test]
async fn what_is_handed_back_unsent_is_always_sent() {
    let server = Server::answering(OK);
    let ending = Ending::default();
    let client = builder().connector(ending.clone()).replay(Replay::Never);
    let client = client.build().unwrap();
    for turn in 0..5 {
        let request = Request::post(server.url("/"));
        let served = send(&client, request, stream()).await.unwrap();
        assert_eq!((served.replays, served.requests), (0, 0));
        becomes(|| idle(&client), 1).await;
        ending.0.lock().unwrap()[&turn].store(true, Ordering::SeqCst);
    }
    assert_eq!(server.heard().len(), 5);
    assert_eq!(server.accepted(), 5);
    becomes(|| size(&client), 1).await;
}
