//! Whoever leaves, wherever he is, leaves nothing behind.

use std::time::Duration;

use futures::poll;
use http::Method;
use tokio::time::timeout;

use crate::support::ask::{builder, client, get, head, idle, read, request, size};
use crate::support::{OK, Server, becomes, eventually, in_time};

#[tokio::test]
async fn a_request_that_is_cancelled_before_its_response_costs_its_connection() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        assert!(peer.is_left().await);
    });
    let client = client();
    for turn in 1..=5 {
        let mut asked = Box::pin(client.request(request(Method::GET, &server)));
        in_time(async {
            while server.heard().len() < turn {
                assert!(poll!(&mut asked).is_pending());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        drop(asked);
        becomes(|| size(&client), 0).await;
        becomes(|| server.open(), 0).await;
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_half_way_costs_its_connection() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhello")
            .await;
        assert!(peer.is_left().await);
    });
    let client = client();
    drop(head(&client, Method::GET, &server).await.unwrap());
    becomes(|| size(&client), 0).await;
    becomes(|| server.open(), 0).await;
}

#[tokio::test]
async fn who_leaves_the_queue_passes_his_turn_on() {
    let server = Server::answering(OK);
    let client = builder().pool(|pool| pool.max_size(1)).build().unwrap();
    let held = head(&client, Method::GET, &server).await.unwrap();
    let mut leaves = Box::pin(client.request(request(Method::GET, &server)));
    let mut stays = Box::pin(client.request(request(Method::GET, &server)));
    assert!(poll!(&mut leaves).is_pending() && poll!(&mut stays).is_pending());
    drop(leaves);
    read(held).await.unwrap();
    let (served, _) = read(in_time(stays).await.unwrap()).await.unwrap();
    assert_eq!(served.requests, 1);
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn a_request_that_is_never_polled_sends_nothing() {
    let server = Server::answering(OK);
    let client = client();
    drop(client.request(request(Method::GET, &server)));
    assert_eq!(get(&client, &server).await.unwrap().0.requests, 0);
    assert_eq!(server.heard().len(), 1);
}

/// Wherever they are then: waiting, dialling, sending, reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_leave_at_any_time_leave_nothing() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n")
                .await;
            peer.pause(Duration::from_micros(300)).await;
            peer.send("3\r\nllo\r\n0\r\n\r\n").await;
        }
    });
    let client = builder().pool(|pool| pool.max_size(5)).build().unwrap();
    let tasks = (0..1000_u64).map(|number| {
        let (client, request) = (client.clone(), request(Method::GET, &server));
        tokio::spawn(async move {
            let limit = Duration::from_micros(number * 7919 % 20_000);
            let _ = timeout(limit, async {
                read(client.request(request).await.unwrap()).await
            })
            .await;
        })
    });
    in_time(futures::future::join_all(tasks)).await;
    becomes(|| client.pool().status().in_use, 0).await;
    assert_eq!(get(&client, &server).await.unwrap().1, "hello");
    eventually(|| server.open() == idle(&client) && size(&client) == idle(&client)).await;
}
