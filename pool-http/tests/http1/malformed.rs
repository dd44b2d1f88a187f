//! Responses that are not as they should be: nobody but who asked has to do with them.

use http::Method;
use pool_http::{ErrorKind, Fate};

use crate::support::ask::{ask, client, get, head, idle, read, size};
use crate::support::{OK, Server, becomes, in_time};

#[tokio::test]
async fn a_body_where_there_is_none_never_answers_the_next_request() {
    for (method, response) in [
        (Method::HEAD, OK),
        (
            Method::GET,
            "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nstray",
        ),
        (
            Method::GET,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nstray",
        ),
    ] {
        let server = Server::answering(response);
        let client = client();
        for _ in 0..20 {
            let (served, body) = ask(&client, method.clone(), &server).await.unwrap();
            assert_eq!((served.requests, &body[..]), (0, &b""[..]), "{response}");
        }
        assert_eq!(server.heard().len(), 20);
    }
}

#[tokio::test]
async fn a_head_that_makes_no_sense_is_an_error_that_costs_its_connection_alone() {
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for response in [
        "garbage that is no HTTP at all\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        &huge,
        &many,
    ] {
        let first = &response[..response.len().min(60)];
        let later = response.to_owned();
        let server = Server::start(move |mut peer| {
            let later = later.clone();
            async move {
                // The first is well, so the second comes by a connection that was used.
                peer.request().await;
                peer.send(OK).await;
                peer.request().await;
                peer.send(&later).await;
                peer.until_closed().await;
            }
        });
        let client = client();
        get(&client, &server).await.unwrap();
        becomes(|| idle(&client), 1).await;
        let error = head(&client, Method::GET, &server).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.fate()),
            (ErrorKind::Lost, Fate::Unknown)
        );
        assert!(
            error.to_string().contains("makes no sense"),
            "{first}: {error}"
        );
        becomes(|| (size(&client), server.open()), (0, 0)).await;
        assert_eq!(server.heard().len(), 2, "it is not sent again: {first}");
    }
}

#[tokio::test]
async fn chunks_that_make_no_sense_end_the_body_with_an_error() {
    for (chunks, why) in [
        ("nonsense\r\n", "the rest of the response makes no sense"),
        ("5\r\nhelloX", "the rest of the response makes no sense"),
        (
            "5\r\nhello\r\n",
            "the response ended before it was complete",
        ),
        ("0\r\nx: y", "the response ended before it was complete"),
    ] {
        let server = Server::start(move |mut peer| async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            peer.send(chunks).await;
        });
        let client = client();
        let response = head(&client, Method::GET, &server).await.unwrap();
        let error = read(response).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResponseBody);
        assert!(error.to_string().ends_with(why), "{chunks:?}: {error}");
        becomes(|| (size(&client), server.open()), (0, 0)).await;
        assert_eq!(server.heard().len(), 1);
    }
}

/// RFC 9112 §6.3: somebody may have tried to smuggle a response.
#[tokio::test]
async fn a_body_with_two_ends_costs_its_connection() {
    let server = Server::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 15\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let client = client();
    for _ in 0..3 {
        let (served, body) = get(&client, &server).await.unwrap();
        assert_eq!((served.requests, &body[..]), (0, &b"hello"[..]));
        becomes(|| size(&client), 0).await;
    }
}

#[tokio::test]
async fn what_a_url_says_is_what_is_asked_for() {
    let server = Server::answering(OK);
    let client = client();
    for (url, asked) in [
        ("?a=b", "/?a=b"),
        ("/a#b", "/a"),
        ("", "/"),
        ("/%7Ea%20b?c=d%26e", "/%7Ea%20b?c=d%26e"),
        ("/a//b/../c", "/a//b/../c"),
    ] {
        let request = http::Request::get(server.url(url))
            .body(String::new())
            .unwrap();
        read(in_time(client.request(request)).await.unwrap())
            .await
            .unwrap();
        assert_eq!(server.heard().pop().unwrap().path(), asked);
        becomes(|| idle(&client), 1).await;
    }
    let url = format!("http://user:secret@{}/", server.address);
    let request = http::Request::get(url).body(String::new()).unwrap();
    read(in_time(client.request(request)).await.unwrap())
        .await
        .unwrap();
    assert!(!server.heard().pop().unwrap().head.contains("secret"));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_told_without_its_secrets() {
    for (url, told) in [
        ("/a?secret", "/a: a host is missing; write http://host/a"),
        (
            "user:secret@one.test:81",
            "one.test:81: a scheme is missing; write http://one.test:81/",
        ),
        (
            "ftp://user:secret@one.test/a?secret",
            "ftp://one.test/a: the scheme is neither http nor https",
        ),
    ] {
        let request = http::Request::get(url).body(String::new()).unwrap();
        let error = client().request(request).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.fate()),
            (ErrorKind::Invalid, Fate::NotSent)
        );
        assert_eq!(error.to_string(), told);
    }
}

#[tokio::test]
async fn a_redirect_is_a_response_like_any_other() {
    let server = Server::answering(
        "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
    );
    let client = client();
    for turn in 0..2 {
        let response = head(&client, Method::GET, &server).await.unwrap();
        assert_eq!(response.headers()["location"], "/elsewhere");
        assert_eq!(read(response).await.unwrap().0.requests, turn);
        becomes(|| idle(&client), 1).await;
    }
}
