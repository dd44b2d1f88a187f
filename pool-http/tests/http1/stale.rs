//! A connection that the server closed while nobody was looking.

#![cfg(target_os = "linux")]

use futures::future::join_all;
use http::Method;
use tokio::runtime;

use crate::support::ask::{ask, builder, client, get, head, idle, read, size};
use crate::support::sockets::{self, CLOSE_WAIT};
use crate::support::{OK, Peer, Server, arrives, becomes};

/// Sockets of ours to this server, in this state.
fn in_state(server: &Server, state: sockets::State) -> usize {
    let port = server.address.port();
    let ours = sockets::ours().into_iter();
    ours.filter(|socket| socket.remote == port && socket.state == state)
        .count()
}

/// All sockets of ours to this server.
fn held(server: &Server) -> usize {
    let port = server.address.port();
    let ours = sockets::ours().into_iter();
    ours.filter(|socket| socket.remote == port).count()
}

async fn closes_on_signal(mut peer: Peer) {
    while peer.request().await.is_some() {
        peer.send(OK).await;
        if peer.signalled_first().await {
            break;
        }
    }
}

/// The reactor has not heard of the FIN, and no task has run: only the kernel knows.
#[tokio::test]
async fn a_fin_that_only_the_kernel_knows_of_loses_no_request() {
    let server = Server::start(closes_on_signal);
    let client = client();
    for turn in 0..50 {
        let method = [Method::GET, Method::POST][turn % 2].clone();
        let (served, _) = ask(&client, method, &server).await.unwrap();
        assert_eq!((served.requests, served.replays), (0, 0));
        becomes(|| idle(&client), 1).await;
        arrives(|| server.waiting() == 1);
        server.signal();
        arrives(|| in_state(&server, CLOSE_WAIT) == 1);
    }
    assert_eq!(server.heard().len(), 50);
}

#[tokio::test]
async fn nor_does_a_reset() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.signalled().await;
        peer.reset();
    });
    let client = client();
    for _ in 0..20 {
        let (served, _) = ask(&client, Method::POST, &server).await.unwrap();
        assert_eq!((served.requests, served.replays), (0, 0));
        becomes(|| (idle(&client), server.waiting()), (1, 1)).await;
        server.signal();
        // What was reset is no longer in the table.
        arrives(|| in_state(&server, sockets::ESTABLISHED) == 0);
    }
    assert_eq!(server.heard().len(), 20);
}

/// As facades do that block on one request after the other: between two of them nothing runs at all.
#[test]
fn nor_does_a_runtime_that_runs_only_during_a_request() {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = Server::start(closes_on_signal);
    let client = runtime.block_on(async { client() });
    for _ in 0..20 {
        let asked = ask(&client, Method::POST, &server);
        assert_eq!(runtime.block_on(asked).unwrap().0.requests, 0);
        arrives(|| server.waiting() == 1);
        server.signal();
        arrives(|| in_state(&server, sockets::ESTABLISHED) == 0);
    }
}

#[tokio::test]
async fn idle_connections_that_the_server_closes_are_closed_without_any_traffic() {
    const BURST: usize = 50;
    let server = Server::start(closes_on_signal);
    let client = builder().pool(|pool| pool.max_size(BURST));
    let client = client.build().unwrap();
    for round in 1..=20 {
        let mut responses = Vec::new();
        for _ in 0..BURST {
            responses.push(head(&client, Method::GET, &server).await.unwrap());
        }
        join_all(responses.into_iter().map(read)).await;
        becomes(|| idle(&client), BURST).await;
        becomes(|| server.waiting(), BURST).await;
        server.signal();
        becomes(|| size(&client), 0).await;
        assert_eq!(server.accepted(), round * BURST);
    }
    assert_eq!(held(&server), 0);
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_no_socket() {
    let server = Server::answering(OK);
    let client = builder().pool(|pool| pool.max_size(50));
    let client = client.build().unwrap();
    let mut responses = Vec::new();
    for _ in 0..50 {
        responses.push(head(&client, Method::GET, &server).await.unwrap());
    }
    let kept = responses.pop().unwrap();
    join_all(responses.into_iter().map(read)).await;
    drop(client);
    becomes(|| held(&server), 1).await;
    // What is being read is usable still.
    assert_eq!(read(kept).await.unwrap().1, "hello");
    becomes(|| held(&server), 0).await;
    becomes(|| server.open(), 0).await;
}

#[tokio::test]
async fn get_works_after_everything_was_reset_at_once() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.send(OK).await;
            if peer.number < 10 {
                peer.signalled().await;
                peer.reset();
                break;
            }
        }
    });
    let client = client();
    let mut responses = Vec::new();
    for _ in 0..10 {
        responses.push(head(&client, Method::GET, &server).await.unwrap());
    }
    join_all(responses.into_iter().map(read)).await;
    becomes(|| server.waiting(), 10).await;
    server.signal();
    for _ in 0..10 {
        get(&client, &server).await.unwrap();
    }
}
