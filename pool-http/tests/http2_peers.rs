//! Peers of HTTP/2 that refuse, reset, go away, fall silent or vanish.

mod support_h2;

use std::time::Duration;

use futures::future::join_all;
use h2::Reason;
use http::{Method, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use pool_http::{Client, ClientBuilder, ErrorKind, Fate, Http2, RequestError};
use support_h2::frames::Frames;
use support_h2::raw::{Listener, answer};
use support_h2::{Answer, becomes, client, fetch, get, in_time, post};
use tokio::task::JoinHandle;
use tokio::time::timeout;

fn knowing() -> ClientBuilder {
    client().http2(Http2::Always)
}

fn spawn(client: &Client, request: Request<String>) -> JoinHandle<Result<Answer, RequestError>> {
    let client = client.clone();
    tokio::spawn(async move { fetch(&client, request).await })
}

async fn done(request: JoinHandle<Result<Answer, RequestError>>) -> Result<Answer, RequestError> {
    in_time(request).await.unwrap()
}

#[tokio::test]
async fn a_refused_request_is_sent_again_whatever_its_method() {
    let listener = Listener::new().await;
    let client = knowing().build().unwrap();
    let sent = spawn(&client, post(&listener.at("/")));
    let mut peer = in_time(listener.accept()).await;
    let (_, mut respond) = in_time(peer.request()).await;
    respond.send_reset(Reason::REFUSED_STREAM);
    // On the same connection: that one stream was refused says nothing against it.
    let (mut request, mut respond) = in_time(peer.request()).await;
    answer(&mut respond, "taken");
    tokio::spawn(peer.serve());
    let body = in_time(request.body_mut().data()).await.unwrap().unwrap();
    assert_eq!(body, "some data");
    let answer = done(sent).await.unwrap();
    assert_eq!((answer.served.replays, &*answer.body), (1, &b"taken"[..]));
}

#[tokio::test]
async fn who_is_refused_again_and_again_is_told_that_nothing_was_done() {
    let listener = Listener::new().await;
    let client = knowing().build().unwrap();
    let sent = spawn(&client, post(&listener.at("/")));
    let mut peer = in_time(listener.accept()).await;
    let refusals = tokio::spawn(async move {
        let mut refusals = 0;
        while let Some(Ok((_, mut respond))) = peer.connection.accept().await {
            respond.send_reset(Reason::REFUSED_STREAM);
            refusals += 1;
        }
        refusals
    });
    let error = done(sent).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Refused, Fate::NotSent)
    );
    drop(client);
    assert_eq!(in_time(refusals).await.unwrap(), 4);
}

#[tokio::test]
async fn a_refused_stream_of_data_is_not_sent_again_and_was_not_taken() {
    let listener = Listener::new().await;
    let client = knowing().build().unwrap();
    let frames = [Ok::<_, std::io::Error>(Frame::data(bytes::Bytes::from(
        "piece",
    )))];
    let body = StreamBody::new(futures::stream::iter(frames));
    let request = Request::put(listener.at("/")).body(body).unwrap();
    let sent = tokio::spawn(client.request(request));
    let mut peer = in_time(listener.accept()).await;
    let (_, mut respond) = in_time(peer.request()).await;
    respond.send_reset(Reason::REFUSED_STREAM);
    tokio::spawn(peer.serve());
    let error = in_time(sent).await.unwrap().unwrap_err();
    assert_eq!(error.fate(), Fate::NotSent, "{error}");
}

#[tokio::test]
async fn a_stream_that_is_reset_harms_no_other() {
    let listener = Listener::new().await;
    let client = knowing().build().unwrap();
    let sent = [(); 2].map(|()| spawn(&client, get(&listener.at("/"))));
    let mut peer = in_time(listener.accept()).await;
    let (_, mut first) = in_time(peer.request()).await;
    let (_, mut second) = in_time(peer.request()).await;
    first.send_reset(Reason::INTERNAL_ERROR);
    answer(&mut second, "well");
    tokio::spawn(peer.serve());
    let [reset, well] = sent;
    let (reset, well) = (done(reset).await, done(well).await.unwrap());
    let error = reset.unwrap_err();
    // Who resets a stream in anger may have done what was asked.
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Lost, Fate::Unknown)
    );
    let next = done(spawn(&client, get(&listener.at("/")))).await.unwrap();
    assert_eq!((next.served.id, next.served.requests), (well.served.id, 2));
}

#[tokio::test]
async fn what_a_peer_that_goes_away_has_not_taken_is_sent_elsewhere() {
    let (no_error, enhance_your_calm) = (0, 11);
    for reason in [no_error, enhance_your_calm] {
        let listener = Listener::new().await;
        let client = knowing().build().unwrap();
        let sent = join_all([(); 3].map(|()| spawn(&client, post(&listener.at("/")))));
        let mut peer = Frames::open(in_time(listener.accept_socket()).await).await;
        peer.allow(100).await;
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(in_time(peer.request()).await);
        }
        // The first it has taken, and does.
        peer.go_away(streams[0], reason).await;
        peer.answer(streams[0]).await;
        let elsewhere = in_time(listener.accept()).await;
        tokio::spawn(elsewhere.serve());
        let mut replays = Vec::new();
        for answer in in_time(sent).await {
            replays.push(answer.unwrap().unwrap().served.replays);
        }
        replays.sort_unstable();
        assert_eq!(replays, [0, 1, 1], "reason {reason}");
    }
}

#[tokio::test]
async fn nothing_is_sent_before_the_peer_has_said_how_much_it_takes() {
    let listener = Listener::new().await;
    let client = knowing().pool(|pool| pool.max_size(1)).build().unwrap();
    let sent = join_all([(); 5].map(|()| spawn(&client, get(&listener.at("/")))));
    let mut peer = Frames::open(in_time(listener.accept_socket()).await).await;
    let early = timeout(Duration::from_millis(100), peer.request()).await;
    assert!(early.is_err());

    peer.allow(2).await;
    let mut open = vec![in_time(peer.request()).await, in_time(peer.request()).await];
    let beyond = timeout(Duration::from_millis(100), peer.request()).await;
    assert!(beyond.is_err());
    // While it lives it takes more, without any other traffic.
    peer.allow(4).await;
    open.extend([in_time(peer.request()).await, in_time(peer.request()).await]);
    // And less: what is open stays, and the fifth waits until but one is left.
    peer.allow(1).await;
    for &stream in &open[..3] {
        peer.answer(stream).await;
    }
    let beyond = timeout(Duration::from_millis(100), peer.request()).await;
    assert!(beyond.is_err());
    peer.answer(open[3]).await;
    let last = in_time(peer.request()).await;
    peer.answer(last).await;
    for answer in in_time(sent).await {
        assert_eq!(answer.unwrap().unwrap().status, 204);
    }
}

#[tokio::test]
async fn of_many_on_a_lost_connection_those_that_may_run_twice_do_and_the_others_are_told() {
    let listener = Listener::new().await;
    let client = knowing().build().unwrap();
    let gets = join_all([(); 5].map(|()| spawn(&client, get(&listener.at("/")))));
    let posts = join_all([(); 5].map(|()| spawn(&client, post(&listener.at("/")))));
    let mut peer = in_time(listener.accept()).await;
    let taken = in_time(peer.requests(10)).await;
    peer.vanish(taken);
    let mut peer = in_time(listener.accept()).await;
    for _ in 0..5 {
        let (request, mut respond) = in_time(peer.request()).await;
        assert_eq!(request.method(), Method::GET);
        answer(&mut respond, "again");
    }
    tokio::spawn(peer.serve());
    for answer in in_time(gets).await {
        assert_eq!(answer.unwrap().unwrap().served.replays, 1);
    }
    for answer in in_time(posts).await {
        let error = answer.unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.fate()),
            (ErrorKind::Lost, Fate::Unknown)
        );
    }
}

#[tokio::test]
async fn a_request_that_is_lost_twice_is_not_sent_a_third_time() {
    let listener = Listener::new().await;
    let client = knowing().build().unwrap();
    let sent = join_all([(); 2].map(|()| spawn(&client, get(&listener.at("/")))));
    for _ in 0..2 {
        let mut peer = in_time(listener.accept()).await;
        let taken = in_time(peer.requests(2)).await;
        peer.vanish(taken);
    }
    for answer in in_time(sent).await {
        assert_eq!(answer.unwrap().unwrap_err().fate(), Fate::Unknown);
    }
    let third = timeout(Duration::from_millis(100), listener.accept_socket()).await;
    assert!(third.is_err());
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error_of_its_body() {
    let listener = Listener::new().await;
    let client = knowing().build().unwrap();
    let sent = tokio::spawn(client.request(get(&listener.at("/"))));
    let mut peer = in_time(listener.accept()).await;
    let (_, mut respond) = in_time(peer.request()).await;
    let mut stream = respond
        .send_response(http::Response::new(()), false)
        .unwrap();
    stream.send_data("half of".into(), false).unwrap();
    let driven = tokio::spawn(async move { peer.connection.accept().await.is_none() });
    let mut body = in_time(sent).await.unwrap().unwrap().into_body();
    let piece = in_time(body.frame()).await.unwrap().unwrap();
    assert_eq!(piece.into_data().unwrap(), "half of");
    driven.abort();
    let error = in_time(body.frame()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResponseBody);
    becomes(|| client.pool().status().size(), 0).await;
}

/// As short as may be, but a peer that is well must be able to answer in time on a busy machine.
fn suspicious() -> ClientBuilder {
    knowing().http2_ping((Duration::from_millis(50), Duration::from_secs(2)))
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_left() {
    let listener = Listener::new().await;
    let client = suspicious().build().unwrap();
    let first = spawn(&client, get(&listener.at("/")));
    let mut silent = in_time(listener.accept()).await;
    let (_, mut respond) = in_time(silent.request()).await;
    answer(&mut respond, "still here");
    let sent = [
        spawn(&client, get(&listener.at("/"))),
        spawn(&client, post(&listener.at("/"))),
    ];
    let taken = in_time(silent.requests(2)).await;
    assert_eq!(done(first).await.unwrap().body, "still here");
    // From here on it neither reads nor writes, and its socket stays open.
    let well = in_time(listener.accept()).await;
    tokio::spawn(well.serve());
    let [get, post] = sent;
    assert_eq!(done(get).await.unwrap().served.replays, 1);
    let error = done(post).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Lost, Fate::Unknown)
    );
    silent.vanish(taken);
}

#[tokio::test]
async fn a_peer_that_falls_silent_while_idle_is_closed() {
    let listener = Listener::new().await;
    let client = suspicious().build().unwrap();
    let sent = spawn(&client, get(&listener.at("/")));
    let mut silent = in_time(listener.accept()).await;
    let (_, mut respond) = in_time(silent.request()).await;
    answer(&mut respond, "once");
    let driven = tokio::spawn(async move {
        let _ = timeout(Duration::from_millis(200), silent.connection.accept()).await;
        silent
    });
    done(sent).await.unwrap();
    assert_eq!(client.pool().status().idle, 1);
    becomes(|| client.pool().status().size(), 0).await;
    drop(driven);
}

#[tokio::test]
async fn a_request_whose_body_fails_costs_its_stream_alone() {
    let listener = Listener::new().await;
    let client = knowing().build().unwrap();
    let frames = [
        Ok(Frame::data(bytes::Bytes::from("piece"))),
        Err(std::io::Error::other("no more")),
    ];
    let body = StreamBody::new(futures::stream::iter(frames));
    let request = Request::put(listener.at("/")).body(body).unwrap();
    let sent = tokio::spawn(client.request(request));
    let peer = in_time(listener.accept()).await;
    let serving = tokio::spawn(async move {
        let mut peer = peer;
        // Not answered: it is the client who gives up.
        let first = peer.connection.accept().await;
        peer.serve().await;
        drop(first);
    });
    let error = in_time(sent).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestBody, "{error:?}");
    let next = done(spawn(&client, get(&listener.at("/")))).await.unwrap();
    assert_eq!(next.served.requests, 1);
    drop(client);
    in_time(serving).await.unwrap();
}
