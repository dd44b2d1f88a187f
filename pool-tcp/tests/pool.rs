//! A whole pool over real sockets: what the peer does to idle connections, and what is left when all is over.

#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{CLOSE_WAIT, eventually, in_time, open_sockets_to, poll_once, sockets_to};
use pool_core::{CheckoutError, OnConnectError, Order, Pool, Pooled};
use pool_tcp::{Liveness, TcpConnection, TcpManager};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Accepts connections and does with them what the test says.
struct Server {
    listener: TcpListener,
    port: u16,
}

impl Server {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    fn manager(&self) -> TcpManager {
        TcpManager::new(&format!("127.0.0.1:{}", self.port)).unwrap()
    }

    async fn accept(&self) -> TcpStream {
        in_time(self.listener.accept()).await.unwrap().0
    }

    async fn accept_all(&self, count: usize) -> Vec<TcpStream> {
        let mut peers = Vec::new();
        for _ in 0..count {
            peers.push(self.accept().await);
        }
        peers
    }

    /// Has `count` connections idle in the pool, and their peers in the order in which they were made.
    async fn fill(&self, pool: &Pool<TcpManager>, count: usize) -> Vec<TcpStream> {
        let mut lent = Vec::new();
        for _ in 0..count {
            lent.push(checkout(pool).await);
        }
        let peers = self.accept_all(count).await;
        drop(lent);
        assert_eq!(pool.status().idle, count);
        peers
    }

    /// Answers every byte with the same byte, for ever, and counts the connections.
    fn echo(self) -> (TcpManager, Arc<AtomicUsize>) {
        let manager = self.manager();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        tokio::spawn(async move {
            while let Ok((mut peer, _)) = self.listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let (mut read, mut write) = peer.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        (manager, accepted)
    }
}

fn pool(manager: TcpManager, max_size: usize) -> Pool<TcpManager> {
    Pool::builder(manager).max_size(max_size).build().unwrap()
}

async fn checkout(pool: &Pool<TcpManager>) -> Pooled<'_, TcpManager> {
    in_time(pool.checkout()).await.unwrap()
}

async fn ping(connection: &mut TcpConnection, byte: u8) {
    connection.write_all(&[byte]).await.unwrap();
    let mut answer = [0];
    in_time(connection.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, [byte]);
}

#[tokio::test]
async fn idle_connections_are_evicted_when_the_peer_closes_without_any_traffic() {
    let server = Server::new().await;
    for order in [Order::Lifo, Order::Fifo] {
        let pool = Pool::builder(server.manager())
            .max_size(8)
            .order(order)
            .build()
            .unwrap();
        let peers = server.fill(&pool, 8).await;
        drop(peers);
        eventually(|| pool.status().idle, 0).await;
        eventually(|| pool.status().size(), 0).await;
        assert!(!sockets_to(server.port).contains(&CLOSE_WAIT));
    }
}

#[tokio::test]
async fn a_dropped_connection_is_found_anywhere_in_the_stack() {
    let server = Server::new().await;
    let pool = pool(server.manager(), 8);
    let mut peers = server.fill(&pool, 8).await;
    for (dropped, index) in [3, 0, 5].into_iter().enumerate() {
        drop(peers.remove(index));
        eventually(|| pool.status().idle, 7 - dropped).await;
    }
    // The others are as good as before.
    let mut lent = Vec::new();
    for _ in 0..5 {
        let connection = checkout(&pool).await;
        assert!(Pooled::info(&connection).is_reused());
        lent.push(connection);
    }
}

#[tokio::test]
async fn junk_on_an_idle_connection_evicts_it() {
    let server = Server::new().await;
    let pool = pool(server.manager(), 2);
    let mut peers = server.fill(&pool, 2).await;
    peers[0]
        .write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        .await
        .unwrap();
    eventually(|| pool.status().idle, 1).await;
    eventually(|| pool.status().size(), 1).await;
}

#[tokio::test]
async fn a_connection_that_died_a_moment_ago_is_not_handed_out() {
    let server = Server::new().await;
    // With nobody to watch, only the look at checkout is left.
    let pool = Pool::builder(server.manager())
        .max_size(4)
        .maintenance(false)
        .build()
        .unwrap();
    let peers = server.fill(&pool, 4).await;
    drop(peers);
    // Blocked until the kernel has all four: the reactor has heard of none.
    common::arrives(|| sockets_to(server.port), vec![CLOSE_WAIT; 4]);
    let connection = checkout(&pool).await;
    assert!(!Pooled::info(&connection).is_reused());
}

#[tokio::test]
async fn an_answer_that_was_not_read_is_not_given_to_the_next_user() {
    let (manager, accepted) = Server::new().await.echo();
    let pool = pool(manager, 1);
    for byte in 0..20 {
        let mut connection = checkout(&pool).await;
        ping(&mut connection, byte).await;
        if byte % 2 == 0 {
            // Asks again and does not read the answer.
            connection.write_all(b"!").await.unwrap();
            eventually(|| connection.get_ref().liveness(), Liveness::Readable).await;
        }
    }
    eventually(|| pool.status().size(), 1).await;
    assert_eq!(accepted.load(Ordering::Relaxed), 11);
}

#[tokio::test]
async fn the_answer_to_a_cancelled_request_is_not_given_to_the_next_user() {
    let server = Server::new().await;
    let pool = pool(server.manager(), 1);
    let mut connection = checkout(&pool).await;
    let mut peer = server.accept().await;
    connection.write_all(b"?").await.unwrap();
    in_time(peer.read_exact(&mut [0])).await.unwrap();
    {
        let mut answer = [0];
        let mut waiting = std::pin::pin!(connection.read_exact(&mut answer));
        assert!(poll_once(|cx| waiting.as_mut().poll(cx)).await.is_pending());
    }
    // The answer is still on its way: no probe could see it.
    drop(connection);
    assert_eq!(pool.status().size(), 0);
}

#[tokio::test]
async fn a_connection_in_order_is_used_again_and_again() {
    let (manager, accepted) = Server::new().await.echo();
    let pool = pool(manager, 4);
    for byte in 0..200 {
        ping(&mut *checkout(&pool).await, byte).await;
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_left_out_of_order_is_not_used_again() {
    let server = Server::new().await;
    let pool = pool(server.manager(), 1);

    // Its end was read.
    let mut connection = checkout(&pool).await;
    drop(server.accept().await);
    assert_eq!(in_time(connection.read(&mut [0])).await.unwrap(), 0);
    drop(connection);
    assert_eq!(pool.status().size(), 0);

    // A write was given up half way.
    let mut connection = checkout(&pool).await;
    let _peer = server.accept().await;
    {
        let much = vec![0; 64 << 20];
        let mut write = std::pin::pin!(connection.write_all(&much));
        assert!(poll_once(|cx| write.as_mut().poll(cx)).await.is_pending());
    }
    drop(connection);
    assert_eq!(pool.status().size(), 0);
}

#[tokio::test]
async fn a_server_that_restarts_is_dialled_again() {
    let server = Server::new().await;
    let pool = Pool::builder(server.manager())
        .max_size(3)
        .backoff(Duration::from_millis(1), Duration::from_millis(10))
        .build()
        .unwrap();
    let peers = server.fill(&pool, 3).await;
    let address = server.listener.local_addr().unwrap();
    drop((peers, server));
    eventually(|| pool.status().size(), 0).await;

    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.checkout().await.map(drop).map_err(drop) }
    });
    let server = TcpListener::bind(address).await.unwrap();
    let _peer = in_time(server.accept()).await.unwrap();
    in_time(waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_dial_tells_the_caller_the_address() {
    let server = Server::new().await;
    let pool = Pool::builder(server.manager())
        .on_connect_error(OnConnectError::Fail)
        .build()
        .unwrap();
    let port = server.port;
    drop(server);
    let error = in_time(pool.checkout()).await.unwrap_err();
    assert!(matches!(error, CheckoutError::Connect(_)), "{error:?}");
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    let expected = format!("127.0.0.1:{port}: Connection refused");
    assert!(message.contains(&expected), "{message}");
}

#[tokio::test]
async fn nothing_is_left_when_the_pool_is_dropped() {
    let server = Server::new().await;
    let pool = pool(server.manager(), 8);
    let peers = server.fill(&pool, 8).await;
    let lent = checkout(&pool).await;
    eventually(|| open_sockets_to(server.port).len(), 8).await;
    drop(lent);
    drop(pool);
    drop(peers);
    eventually(|| open_sockets_to(server.port), vec![]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_hangs_up_at_random_leaves_no_trace_and_no_stale_answer() {
    let server = Server::new().await;
    let port = server.port;
    let manager = server.manager();
    let hanging_up = tokio::spawn(async move {
        let mut count = 0_u64;
        while let Ok((mut peer, _)) = server.listener.accept().await {
            count += 1;
            // From one answer to seven, then gone.
            let answers = 1 + count % 7;
            tokio::spawn(async move {
                let mut byte = [0];
                for _ in 0..answers {
                    if !matches!(peer.read(&mut byte).await, Ok(1)) {
                        return;
                    }
                    peer.write_all(&byte).await.unwrap();
                }
            });
        }
    });

    let pool = Pool::builder(manager)
        .max_size(8)
        .backoff(Duration::from_millis(1), Duration::from_millis(10))
        .build()
        .unwrap();
    let users = (0..16_u8).map(|user| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                let mut connection = checkout(&pool).await;
                // The server may hang up at the same moment: this window no pool can close.
                if connection.write_all(&[user]).await.is_err() {
                    continue;
                }
                let mut answer = [0];
                if let Ok(1) = in_time(connection.read(&mut answer)).await {
                    assert_eq!(answer, [user], "somebody else's answer");
                }
            }
        })
    });
    for user in users.collect::<Vec<_>>() {
        user.await.unwrap();
    }
    eventually(|| pool.status().in_use, 0).await;
    eventually(|| sockets_to(port).contains(&CLOSE_WAIT), false).await;
    drop(pool);
    eventually(|| open_sockets_to(port), vec![]).await;
    hanging_up.abort();
}

mod unix {
    use super::*;
    use pool_tcp::UnixManager;
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn an_idle_unix_connection_is_evicted_when_the_peer_closes() {
        let path = std::env::temp_dir().join(format!("pool-tcp-pool-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let pool = Pool::builder(UnixManager::new(&path)).build().unwrap();
        drop(in_time(pool.checkout()).await.unwrap());
        let (peer, _) = in_time(listener.accept()).await.unwrap();
        assert_eq!(pool.status().idle, 1);

        drop(peer);
        eventually(|| pool.status().size(), 0).await;
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn whoever_goes_before_his_answer_leaves_it_to_nobody() {
    let server = Server::new().await;
    let manager = server.manager();
    tokio::spawn(async move {
        loop {
            let mut peer = server.accept().await;
            tokio::spawn(async move {
                let mut question = [0; 4];
                while peer.read_exact(&mut question).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if peer.write_all(&question).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let pool = Pool::builder(manager).build().unwrap();
    let mut hasty = checkout(&pool).await;
    hasty.write_all(b"AAAA").await.unwrap();
    drop(hasty);
    let mut next = checkout(&pool).await;
    next.write_all(b"BBBB").await.unwrap();
    let mut answer = [0; 4];
    in_time(next.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"BBBB");
    assert!(!Pooled::info(&next).is_reused());
}

#[tokio::test]
async fn a_server_that_speaks_first_is_pooled_if_it_is_said_so() {
    for speaks_first in [true, false] {
        let server = Server::new().await;
        let manager = server.manager().server_speaks_first(speaks_first);
        let peers = tokio::spawn(async move {
            let mut peers = Vec::new();
            loop {
                let mut peer = server.accept().await;
                peer.write_all(b"220 ready\r\n").await.unwrap();
                peers.push(peer);
            }
        });
        let pool = Pool::builder(manager)
            .min_idle(1)
            .on_connect_error(OnConnectError::Fail)
            .build()
            .unwrap();
        if !speaks_first {
            let mut error = None;
            // The greeting may be late, and then the first user gets it all the same.
            for _ in 0..1_000 {
                error = pool.checkout().await.map(Pooled::discard).err();
                if error.is_some() {
                    break;
                }
            }
            let error = error.expect("a greeting is taken for dirt").to_string();
            assert!(error.contains("sent bytes on it"), "{error}");
            continue;
        }
        for _ in 0..20 {
            // Long enough for the greeting to come while it is idle.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let mut connection = checkout(&pool).await;
            let mut greeting = [0; 11];
            in_time(connection.read_exact(&mut greeting)).await.unwrap();
            assert_eq!(&greeting, b"220 ready\r\n");
            Pooled::discard(connection);
        }
        // A greeting hides no end, and nothing is a greeting later.
        eventually(|| pool.status().idle, 1).await;
        peers.abort();
        eventually(|| pool.status().idle, 0).await;
    }
}
