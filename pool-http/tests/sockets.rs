//! What the kernel holds for us, over TLS and by HTTP/2, when servers close what is idle. For plain HTTP/1, see
//! `http1/stale`.

#![cfg(target_os = "linux")]

mod support_h2;

use futures::future::join_all;
use http::Response;
use pool_http::{Client, ResponseBody};
use support_h2::closing::{ClosingServer, Goodbye, Recipe};
use support_h2::sockets::{self, CLOSE_WAIT};
use support_h2::{Answer, arrives, becomes, get, in_time};

/// Connections at once.
const BURST: usize = 50;

/// All sockets of ours to this server, and how many of them are in CLOSE_WAIT.
fn held(server: &ClosingServer) -> (usize, usize) {
    let mut ours = sockets::ours();
    ours.retain(|socket| socket.remote == server.port);
    let waits = ours.iter().filter(|socket| socket.state == CLOSE_WAIT);
    (ours.len(), waits.count())
}

fn client(server: &ClosingServer) -> Client {
    // One request a connection, also by HTTP/2.
    let client = server.client().max_streams(1);
    client.pool(|pool| pool.max_size(BURST)).build().unwrap()
}

/// As many responses as there may be connections, none of them read.
async fn heads(server: &ClosingServer, client: &Client) -> Vec<Response<ResponseBody>> {
    let asked = (0..BURST).map(|_| client.request(get(&server.url)));
    let heads = in_time(join_all(asked)).await;
    heads.into_iter().map(Result::unwrap).collect()
}

async fn read(responses: Vec<Response<ResponseBody>>) {
    for answer in in_time(join_all(responses.into_iter().map(Answer::of))).await {
        assert_eq!(answer.unwrap().body, "here");
    }
}

fn server(is_tls: bool, is_http2: bool, goodbye: Goodbye) -> ClosingServer {
    ClosingServer::start(Recipe {
        is_tls,
        is_http2,
        goodbye,
        patience: None,
    })
}

/// A thousand times.
async fn no_idle_close_leaves_a_socket(is_http2: bool) {
    for goodbye in [Goodbye::Silent, Goodbye::Final] {
        let server = server(true, is_http2, goodbye);
        let client = client(&server);
        for _ in 0..10 {
            read(heads(&server, &client).await).await;
            becomes(|| client.pool().status().idle, BURST).await;
            server.close_all();
            // As long as nothing of ours runs, the kernel has them all.
            arrives(|| held(&server) == (BURST, BURST));
            becomes(|| held(&server), (0, 0)).await;
        }
    }
}

#[tokio::test]
async fn a_thousand_idle_closes_over_tls_leave_no_socket() {
    no_idle_close_leaves_a_socket(false).await;
}

#[tokio::test]
async fn nor_do_a_thousand_of_http2_over_tls() {
    no_idle_close_leaves_a_socket(true).await;
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_no_socket_whatever_it_spoke() {
    for (is_tls, is_http2) in [(true, false), (false, true), (true, true)] {
        let server = server(is_tls, is_http2, Goodbye::Final);
        let client = client(&server);
        let mut responses = heads(&server, &client).await;
        let kept = responses.pop().unwrap();
        read(responses).await;
        assert_eq!(held(&server), (BURST, 0));
        drop(client);
        becomes(|| held(&server), (1, 0)).await;
        // What is being read is usable still.
        read(vec![kept]).await;
        becomes(|| held(&server), (0, 0)).await;
    }
}
