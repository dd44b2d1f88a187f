//! Limits: for one origin, for all, and for their number. The server's own count of connections is the judge.

use std::time::Duration;

use futures::future::join_all;
use http::Method;
use pool_core::OnFull;
use pool_http::Client;

use crate::support::ask::{builder, get, head, idle, origin, read, size};
use crate::support::{OK, Server, becomes, eventually, in_time};

const TASKS: usize = 1000;
const MOST: usize = 10;

/// All of them at once; some are cancelled on their way.
async fn crowd(client: &Client, server: &Server, every: usize) -> usize {
    let tasks = (0..TASKS).map(|number| {
        let client = client.clone();
        let request = crate::support::ask::request(Method::GET, server);
        tokio::spawn(async move {
            if every > 0 && number % every == 0 {
                // Wherever that is on its way.
                let limit = Duration::from_micros((number as u64 * 37) % 5000);
                let _ = tokio::time::timeout(limit, client.request(request)).await;
                return 0;
            }
            let response = client.request(request).await.unwrap();
            assert_eq!(read(response).await.unwrap().1, "hello");
            1
        })
    });
    let answered = in_time(join_all(tasks)).await;
    answered.into_iter().map(Result::unwrap).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_have_no_more_connections_than_there_may_be() {
    let server = Server::answering(OK);
    let client = builder().pool(|pool| pool.max_size(MOST));
    let client = client.build().unwrap();
    assert_eq!(crowd(&client, &server, 0).await, TASKS);
    assert!(server.most_open() <= MOST, "{}", server.most_open());
    assert!(server.accepted() <= MOST, "nobody closed any");
    eventually(|| idle(&client) == server.accepted()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_when_the_server_closes_and_some_leave() {
    let server = Server::start(|mut peer| async move {
        for _ in 0..7 {
            if peer.request().await.is_none() {
                break;
            }
            peer.send(OK).await;
        }
    });
    let client = builder().pool(|pool| pool.max_size(MOST));
    let client = client.build().unwrap();
    crowd(&client, &server, 5).await;
    becomes(|| client.pool().status().in_use, 0).await;
    client.pool().clear_idle();
    becomes(|| size(&client), 0).await;
    becomes(|| server.open(), 0).await;
}

#[tokio::test]
async fn a_full_pool_overflows_if_it_may() {
    let server = Server::answering(OK);
    let client = builder().pool(|pool| pool.max_size(2).on_full(OnFull::Overflow));
    let client = client.build().unwrap();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(head(&client, Method::GET, &server).await.unwrap());
    }
    assert_eq!(server.open(), 5);
    join_all(held.into_iter().map(read)).await;
    becomes(|| (idle(&client), size(&client)), (2, 2)).await;
    becomes(|| server.open(), 2).await;
}

/// `HTTPAdapter(pool_connections=2, pool_maxsize=1, pool_block=..)`.
#[tokio::test]
async fn a_client_like_requests_keeps_so_many_hosts_and_so_many_of_each() {
    let servers = [(); 3].map(|()| Server::answering(OK));
    let client = builder().pool(|pool| pool.like_requests(2, 1, false));
    let client = client.build().unwrap();
    for server in &servers {
        let held = [
            head(&client, Method::GET, server).await.unwrap(),
            head(&client, Method::GET, server).await.unwrap(),
        ];
        assert_eq!(server.open(), 2);
        join_all(held.map(read)).await;
        becomes(|| server.open(), 1).await;
    }
    // The first has given way to the third.
    becomes(|| servers[0].open(), 0).await;
    assert_eq!((servers[1].open(), servers[2].open()), (1, 1));
    let mut kept = client.pool().keys();
    kept.sort_by_key(ToString::to_string);
    let mut expected = vec![origin(&servers[1]), origin(&servers[2])];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(kept, expected);

    let client = builder().pool(|pool| pool.like_requests(2, 1, true));
    let client = client.build().unwrap();
    let held = head(&client, Method::GET, &servers[0]).await.unwrap();
    let mut waits = Box::pin(get(&client, &servers[0]));
    assert!(futures::poll!(&mut waits).is_pending());
    read(held).await.unwrap();
    assert_eq!(in_time(waits).await.unwrap().0.requests, 1);
}

#[tokio::test]
async fn an_origin_that_gives_way_loses_nothing_that_is_in_use() {
    let slow = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n";
    let one = Server::start(move |mut peer| async move {
        peer.request().await;
        peer.send(slow).await;
        peer.signalled().await;
        peer.send("3\r\nllo\r\n0\r\n\r\n").await;
        peer.until_closed().await;
    });
    let other = Server::answering(OK);
    let client = builder().pool(|pool| pool.max_keys(1)).build().unwrap();
    let held = head(&client, Method::GET, &one).await.unwrap();
    get(&client, &other).await.unwrap();
    becomes(|| one.waiting(), 1).await;
    one.signal();
    assert_eq!(read(held).await.unwrap().1, "hello");
    // It comes home to nobody.
    becomes(|| one.open(), 0).await;
    becomes(|| size(&client), 1).await;
}

#[tokio::test]
async fn a_limit_over_all_origins_is_kept() {
    let servers = [(); 4].map(|()| Server::answering(OK));
    let client = builder().pool(|pool| pool.max_total(3)).build().unwrap();
    for round in 0..20 {
        get(&client, &servers[round % 4]).await.unwrap();
        assert!(size(&client) <= 3);
    }
    eventually(|| servers.iter().map(Server::open).sum::<usize>() == size(&client)).await;
}
