//! TLS against a real peer: what it sends unasked that is legal, and what is not.

#![cfg(feature = "tls")]

mod common;

use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use common::{LIMIT, arrives, in_time, poll_once};
use pool_core::{Dropped, Manager, Recycle};
use pool_tcp::{Liveness, OnReadable, TcpError, TcpManager, TlsConnection, TlsManager};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::server::TlsStream;

type Peer = TlsStream<TcpStream>;

struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    manager: TlsManager,
}

impl Server {
    async fn new(version: &'static SupportedProtocolVersion, tickets: usize) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let certificate = certified.cert.der().clone();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_protocol_versions(&[version])
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        config.send_tls13_tickets = tickets;

        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let manager = TcpManager::new(&address)
            .unwrap()
            .tls(Arc::new(client))
            .unwrap()
            .server_name(ServerName::try_from("localhost").unwrap());
        Self {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            manager,
        }
    }

    async fn with_tickets() -> Self {
        Self::new(&TLS13, 4).await
    }

    /// Nothing arrives unasked, so that what does is the test's.
    async fn without_tickets() -> Self {
        Self::new(&TLS13, 0).await
    }

    async fn connected(&self) -> (TlsConnection, Peer) {
        let accept = async {
            let (socket, _) = self.listener.accept().await.unwrap();
            self.acceptor.accept(socket).await.unwrap()
        };
        let (connection, peer) =
            in_time(async { tokio::join!(self.manager.connect(), accept) }).await;
        (connection.unwrap(), peer)
    }
}

fn raw_liveness(connection: &TlsConnection) -> Liveness {
    connection.get_ref().get_ref().0.liveness()
}

/// Writes until there is no more room, as the peer does not read.
async fn fill(connection: &mut TlsConnection) {
    let chunk = [0; 16 * 1024];
    while let Ok(written) = timeout(Duration::from_millis(100), connection.write(&chunk)).await {
        written.unwrap();
    }
}

#[tokio::test]
async fn bytes_go_through_and_the_connection_is_kept() {
    for version in [&TLS13, &TLS12] {
        let server = Server::new(version, 4).await;
        let (mut connection, mut peer) = server.connected().await;
        connection.write_all(b"ping").await.unwrap();
        connection.flush().await.unwrap();
        let mut heard = [0; 4];
        in_time(peer.read_exact(&mut heard)).await.unwrap();
        peer.write_all(b"pong").await.unwrap();
        peer.flush().await.unwrap();
        in_time(connection.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"pong");
        assert_eq!(server.manager.recycle(&mut connection), Recycle::Keep);
    }
}

#[tokio::test]
async fn tickets_make_the_socket_readable_and_the_connection_stays_alive() {
    let server = Server::with_tickets().await;
    let (mut connection, mut peer) = server.connected().await;
    // Nothing here has run the reactor since, as `arrives` blocks the thread.
    arrives(|| raw_liveness(&connection), Liveness::Readable);
    assert!(!server.manager.is_dropped(&mut connection));
    assert_eq!(
        raw_liveness(&connection),
        Liveness::Alive,
        "tickets are read"
    );
    assert_eq!(server.manager.recycle(&mut connection), Recycle::Keep);

    connection.write_all(b"still good").await.unwrap();
    connection.flush().await.unwrap();
    in_time(peer.read_exact(&mut [0; 10])).await.unwrap();
}

#[tokio::test]
async fn a_watcher_reads_tickets_and_goes_on_watching() {
    let server = Server::with_tickets().await;
    let (mut connection, peer) = server.connected().await;
    let raw = connection.get_ref().get_ref().0.socket();
    in_time(raw.readable()).await.unwrap();
    let watched = poll_once(|cx| server.manager.poll_dropped(&mut connection, cx)).await;
    assert!(watched.is_pending());
    assert_eq!(
        raw_liveness(&connection),
        Liveness::Alive,
        "tickets are read"
    );

    drop(peer);
    let dropped = in_time(poll_fn(|cx| {
        server.manager.poll_dropped(&mut connection, cx)
    }))
    .await;
    assert_eq!(dropped, Dropped::Closed);
}

#[tokio::test]
async fn the_tickets_are_used_for_the_next_handshake() {
    use tokio_rustls::rustls::HandshakeKind;
    let server = Server::with_tickets().await;
    let (mut first, _peer) = server.connected().await;
    arrives(|| raw_liveness(&first), Liveness::Readable);
    assert!(!server.manager.is_dropped(&mut first));
    let (second, _peer) = server.connected().await;
    let kind = second.get_ref().get_ref().1.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_close_notify_without_a_fin_is_the_end() {
    let server = Server::without_tickets().await;
    let (mut connection, mut peer) = server.connected().await;
    assert!(!server.manager.is_dropped(&mut connection));

    // The socket stays open under it.
    let (_socket, session) = peer.get_mut();
    session.send_close_notify();
    peer.flush().await.unwrap();
    arrives(|| raw_liveness(&connection), Liveness::Readable);
    assert!(server.manager.is_dropped(&mut connection));
    assert_eq!(raw_liveness(&connection), Liveness::Alive);
    assert!(
        server.manager.is_dropped(&mut connection),
        "it is remembered once read"
    );
    let dropped = poll_once(|cx| server.manager.poll_dropped(&mut connection, cx)).await;
    assert_eq!(dropped, Poll::Ready(Dropped::Closed));
}

#[tokio::test]
async fn a_close_notify_without_a_fin_wakes_the_watcher() {
    let server = Server::without_tickets().await;
    let (mut connection, mut peer) = server.connected().await;
    let watched = poll_once(|cx| server.manager.poll_dropped(&mut connection, cx)).await;
    assert!(watched.is_pending());
    let (_socket, session) = peer.get_mut();
    session.send_close_notify();
    peer.flush().await.unwrap();
    let dropped = in_time(poll_fn(|cx| {
        server.manager.poll_dropped(&mut connection, cx)
    }))
    .await;
    assert_eq!(dropped, Dropped::Closed);
}

#[tokio::test]
async fn a_fin_without_a_close_notify_is_the_end() {
    let server = Server::with_tickets().await;
    let (mut connection, peer) = server.connected().await;
    // Behind unread tickets.
    let (socket, _session) = peer.into_inner();
    drop(socket);
    arrives(|| server.manager.is_dropped(&mut connection), true);
}

#[tokio::test]
async fn data_nobody_asked_for_makes_it_dirty() {
    let server = Server::with_tickets().await;
    let (mut connection, mut peer) = server.connected().await;
    peer.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        .await
        .unwrap();
    peer.flush().await.unwrap();
    arrives(|| server.manager.is_dropped(&mut connection), true);
    let dropped = poll_once(|cx| server.manager.poll_dropped(&mut connection, cx)).await;
    assert_eq!(dropped, Poll::Ready(Dropped::Dirty));
}

#[tokio::test]
async fn data_left_in_a_record_that_was_read_makes_it_dirty() {
    let server = Server::without_tickets().await;
    let (mut connection, mut peer) = server.connected().await;
    peer.write_all(b"pong!").await.unwrap();
    peer.flush().await.unwrap();
    in_time(connection.read_exact(&mut [0; 4])).await.unwrap();
    assert_eq!(
        raw_liveness(&connection),
        Liveness::Alive,
        "not in the socket"
    );
    let watched = poll_once(|cx| server.manager.poll_dropped(&mut connection, cx)).await;
    assert_eq!(watched, Poll::Ready(Dropped::Dirty));
    assert!(server.manager.is_dropped(&mut connection));
}

#[tokio::test]
async fn bytes_that_wait_in_the_tls_layer_make_it_unfit() {
    let server = Server::without_tickets().await;
    let (mut connection, _peer) = server.connected().await;
    // Nobody reads; once the socket is full the TLS layer takes what is written all the same.
    while !connection.get_ref().get_ref().1.wants_write() {
        in_time(connection.write_all(&[0; 1024])).await.unwrap();
    }
    assert!(connection.is_in_order(), "every write was taken");
    assert_eq!(server.manager.recycle(&mut connection), Recycle::Discard);
}

#[tokio::test]
async fn something_that_is_not_tls_makes_it_dirty() {
    let server = Server::without_tickets().await;
    let (mut connection, mut peer) = server.connected().await;
    peer.get_mut()
        .0
        .write_all(b"no TLS record at all")
        .await
        .unwrap();
    arrives(|| server.manager.is_dropped(&mut connection), true);
    assert!(server.manager.is_dropped(&mut connection));
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_permanent() {
    let server = Server::without_tickets().await;
    let manager = server
        .manager
        .clone()
        .server_name(ServerName::try_from("elsewhere.test").unwrap());
    let accept = async {
        let (socket, _) = server.listener.accept().await.unwrap();
        server.acceptor.accept(socket).await.err()
    };
    let (connected, _) = in_time(async { tokio::join!(manager.connect(), accept) }).await;
    let error = connected.unwrap_err();
    assert!(matches!(error, TcpError::Tls { .. }), "{error:?}");
    assert!(error.source().is_some());
    assert!(manager.is_permanent(&error));
}

#[tokio::test]
async fn a_peer_that_hangs_up_in_the_handshake_may_be_dialled_again() {
    let server = Server::without_tickets().await;
    let accept = async { drop(server.listener.accept().await.unwrap()) };
    let (connected, ()) = in_time(async { tokio::join!(server.manager.connect(), accept) }).await;
    let error = connected.unwrap_err();
    assert!(matches!(error, TcpError::Tls { .. }), "{error:?}");
    assert!(!server.manager.is_permanent(&error));
}

#[tokio::test]
async fn a_handshake_that_hangs_is_given_up() {
    let server = Server::without_tickets().await;
    let manager = server
        .manager
        .clone()
        .handshake_timeout(Duration::from_millis(100));
    // The kernel accepts, and nobody answers.
    let error = in_time(manager.connect()).await.unwrap_err();
    assert!(matches!(error, TcpError::TimedOut { .. }), "{error:?}");
    assert!(error.to_string().contains("no TLS handshake within 100ms"));
}

#[test]
#[should_panic(expected = "handshake_timeout: zero")]
fn a_handshake_timeout_of_zero_is_refused() {
    let roots = RootCertStore::empty();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let manager = TcpManager::new("localhost:443").unwrap();
    let _ = manager
        .tls(Arc::new(config))
        .unwrap()
        .handshake_timeout(Duration::ZERO);
}

#[tokio::test]
async fn closing_says_goodbye() {
    let server = Server::with_tickets().await;
    let (connection, mut peer) = server.connected().await;
    in_time(server.manager.close(connection)).await;
    // Without a close_notify this would be an error.
    assert_eq!(in_time(peer.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn closing_does_not_wait_for_a_silent_peer() {
    let server = Server::with_tickets().await;
    let (connection, peer) = server.connected().await;
    let mut close = Box::pin(server.manager.close(connection));
    assert!(poll_once(|cx| close.as_mut().poll(cx)).await.is_ready());
    drop(peer);
}

#[tokio::test]
async fn closing_can_be_given_up_when_the_peer_does_not_read() {
    let server = Server::with_tickets().await;
    let (mut connection, peer) = server.connected().await;
    fill(&mut connection).await;
    assert_eq!(server.manager.recycle(&mut connection), Recycle::Discard);

    let mut close = Box::pin(server.manager.close(connection));
    assert!(poll_once(|cx| close.as_mut().poll(cx)).await.is_pending());
    drop(close);
    // Its socket is closed: after what was sent comes the end.
    let (mut socket, _) = peer.into_inner();
    let mut sink = vec![0; 1 << 20];
    let end = async { while matches!(socket.read(&mut sink).await, Ok(length) if length > 0) {} };
    timeout(LIMIT, end).await.unwrap();
}

#[tokio::test]
async fn a_driver_can_take_the_stream_and_leave_a_probe() {
    let server = Server::with_tickets().await;
    let (connection, peer) = server.connected().await;
    let (mut stream, mut probe) = connection.into_parts();
    let driver = tokio::spawn(async move { stream.read(&mut [0]).await });
    drop(peer);
    let dropped = in_time(poll_fn(|cx| probe.poll_dropped(cx, OnReadable::Recheck))).await;
    assert_eq!(dropped, Dropped::Closed);
    let _ = in_time(driver).await.unwrap();
    assert_eq!(probe.liveness(), Liveness::Dropped);
}

mod pool {
    use super::*;
    use common::eventually;
    use pool_core::{Pool, Pooled};

    #[tokio::test]
    async fn fresh_connections_outlive_their_tickets() {
        let server = Server::with_tickets().await;
        let pool = Pool::builder(server.manager.clone())
            .max_size(2)
            .min_idle(2)
            .build()
            .unwrap();
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (socket, _) = in_time(server.listener.accept()).await.unwrap();
            peers.push(in_time(server.acceptor.accept(socket)).await.unwrap());
        }
        eventually(|| pool.status().idle, 2).await;
        // The watcher comes to see the tickets; had it counted them, there would be a third dial.
        let third = timeout(Duration::from_millis(100), server.listener.accept()).await;
        assert!(third.is_err());
        assert_eq!(pool.status().idle, 2);

        for peer in &mut peers {
            peer.get_mut().1.send_close_notify();
            peer.flush().await.unwrap();
        }
        // Both are replaced, so that two new ones are dialled.
        for _ in 0..2 {
            in_time(server.listener.accept()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_connection_goes_out_and_comes_home_through_tls() {
        let server = Server::with_tickets().await;
        let pool = Pool::builder(server.manager.clone()).build().unwrap();
        let serve = async {
            let (socket, _) = server.listener.accept().await.unwrap();
            let mut peer = server.acceptor.accept(socket).await.unwrap();
            let mut byte = [0];
            while let Ok(1) = peer.read(&mut byte).await {
                peer.write_all(&byte).await.unwrap();
                peer.flush().await.unwrap();
            }
        };
        let r#use = async {
            for round in 0..50 {
                let mut connection = pool.checkout().await.unwrap();
                assert_eq!(Pooled::info(&connection).is_reused(), round > 0);
                connection.write_all(&[round]).await.unwrap();
                connection.flush().await.unwrap();
                let mut answer = [0];
                connection.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, [round]);
            }
            // The server's loop ends with our close_notify.
            pool.close();
        };
        in_time(async { tokio::join!(serve, r#use) }).await;
        assert_eq!(pool.status().size(), 0);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_keeps_its_slot_no_longer_than_the_close_timeout() {
        let server = Server::with_tickets().await;
        let pool = Pool::builder(server.manager.clone())
            .close_timeout(Duration::from_millis(100))
            .build()
            .unwrap();
        let accept = async {
            let (socket, _) = server.listener.accept().await.unwrap();
            server.acceptor.accept(socket).await.unwrap()
        };
        let (connection, _peer) = in_time(async { tokio::join!(pool.checkout(), accept) }).await;
        let mut connection = connection.unwrap();
        fill(&mut connection).await;
        drop(connection);
        assert_eq!(pool.status().closing, 1);
        eventually(|| pool.status().size(), 0).await;
    }
}
