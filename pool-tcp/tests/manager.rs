//! The managers against real peers: what they dial, how, and what they make of a connection that comes home.

mod common;

use std::error::Error;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use common::{arrives, eventually, in_time, poll_once};
use pool_core::{Dropped, Manager, Recycle};
use pool_tcp::{Keepalive, Liveness, OnReadable, TcpConnection, TcpError, TcpManager};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn listener() -> (TcpListener, TcpManager) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, TcpManager::new(&address).unwrap())
}

async fn connected(manager: &TcpManager, listener: &TcpListener) -> (TcpConnection, TcpStream) {
    let (connection, peer) = tokio::join!(manager.connect(), listener.accept());
    (connection.unwrap(), peer.unwrap().0)
}

#[tokio::test]
async fn a_name_is_dialled() {
    let (listener, _) = listener().await;
    let port = listener.local_addr().unwrap().port();
    let manager = TcpManager::new(&format!("localhost:{port}")).unwrap();
    let (connection, _peer) = connected(&manager, &listener).await;
    let peer_addr = connection.get_ref().socket().peer_addr().unwrap();
    assert_eq!(peer_addr, listener.local_addr().unwrap());
}

#[tokio::test]
async fn a_name_without_an_address_is_named() {
    let manager = TcpManager::new("no-such-host.invalid:80").unwrap();
    let error = in_time(manager.connect()).await.unwrap_err();
    assert!(matches!(&error, TcpError::Resolve { host, .. } if host == "no-such-host.invalid"));
    assert!(error.source().is_some());
    assert!(
        !manager.is_permanent(&error),
        "it may get an address any time"
    );
}

#[tokio::test]
async fn a_refusal_names_the_address() {
    let (listener, manager) = listener().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = in_time(manager.connect()).await.unwrap_err();
    let TcpError::Connect { attempts, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].0, address);
    assert_eq!(attempts[0].1.kind(), std::io::ErrorKind::ConnectionRefused);
    let message = error.to_string();
    assert!(
        message.starts_with(&format!("{address}: Connection refused")),
        "{message}"
    );
    assert!(!manager.is_permanent(&error));
}

#[tokio::test]
async fn an_address_that_is_not_ours_cannot_be_bound_and_never_will() {
    let (_listener, manager) = listener().await;
    // Reserved for documentation (RFC 5737).
    let manager = manager.bind("192.0.2.1".parse().unwrap());
    let error = in_time(manager.connect()).await.unwrap_err();
    assert!(matches!(error, TcpError::Bind { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "could not bind to 192.0.2.1, which is no address of this machine"
    );
    assert!(manager.is_permanent(&error));
}

#[tokio::test]
async fn an_address_of_the_other_family_cannot_be_reached_from_ours() {
    let (_listener, manager) = listener().await;
    let manager = manager.bind("::1".parse().unwrap());
    let error = in_time(manager.connect()).await.unwrap_err();
    let source = error.source().unwrap().to_string();
    assert!(source.contains("has no address of the same family"));
}

#[tokio::test]
async fn the_options_are_set() {
    let (listener, manager) = listener().await;
    let (connection, _peer) = connected(&manager, &listener).await;
    let socket = SockRef::from(connection.get_ref().socket());
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(
        socket.tcp_keepalive_time().unwrap(),
        Duration::from_secs(30)
    );
    assert_eq!(
        socket.tcp_keepalive_interval().unwrap(),
        Duration::from_secs(10)
    );
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    #[cfg(target_os = "linux")]
    assert_eq!(
        socket.tcp_user_timeout().unwrap(),
        Some(Duration::from_secs(30))
    );
}

#[tokio::test]
async fn the_options_can_be_changed_or_turned_off() {
    let (listener, manager) = listener().await;
    let keepalive = Keepalive::default()
        .time(Duration::from_secs(5))
        .interval(Duration::from_secs(2))
        .retries(7);
    let manager = manager.keepalive(keepalive);
    let (connection, _peer) = connected(&manager, &listener).await;
    let socket = SockRef::from(connection.get_ref().socket());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(5));
    assert_eq!(
        socket.tcp_keepalive_interval().unwrap(),
        Duration::from_secs(2)
    );
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 7);

    let manager = manager.keepalive(None).user_timeout(None).nodelay(false);
    let (connection, _peer) = connected(&manager, &listener).await;
    let socket = SockRef::from(connection.get_ref().socket());
    assert!(!socket.keepalive().unwrap());
    assert!(!socket.tcp_nodelay().unwrap());
    #[cfg(target_os = "linux")]
    assert_eq!(socket.tcp_user_timeout().unwrap(), None);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_dial_that_is_given_up_leaves_no_socket_behind() {
    let (listener, manager) = listener().await;
    let port = listener.local_addr().unwrap().port();
    for polls in 1..4 {
        let mut dial = Box::pin(manager.connect());
        for _ in 0..polls {
            if poll_once(|cx| dial.as_mut().poll(cx)).await.is_ready() {
                break;
            }
        }
    }
    drop(listener);
    eventually(|| common::open_sockets_to(port), vec![]).await;
}

#[tokio::test]
async fn a_connection_used_to_its_end_is_kept() {
    let (listener, manager) = listener().await;
    let (mut connection, mut peer) = connected(&manager, &listener).await;
    connection.write_all(b"ping").await.unwrap();
    peer.write_all(b"pong").await.unwrap();
    in_time(connection.read_exact(&mut [0; 4])).await.unwrap();
    assert_eq!(manager.recycle(&mut connection), Recycle::Keep);
}

#[tokio::test]
async fn a_connection_that_comes_home_with_unread_bytes_is_dirty() {
    let (listener, manager) = listener().await;
    let (mut connection, mut peer) = connected(&manager, &listener).await;
    peer.write_all(b"pong!").await.unwrap();
    arrives(|| connection.get_ref().liveness(), Liveness::Readable);
    in_time(connection.read_exact(&mut [0; 4])).await.unwrap();
    assert_eq!(manager.recycle(&mut connection), Recycle::Keep);
    let watched = poll_once(|cx| manager.poll_dropped(&mut connection, cx)).await;
    assert_eq!(watched, Poll::Ready(Dropped::Dirty));
}

#[tokio::test]
async fn a_connection_whose_end_was_read_is_not_kept() {
    let (listener, manager) = listener().await;
    let (mut connection, mut peer) = connected(&manager, &listener).await;
    peer.shutdown().await.unwrap();
    assert_eq!(in_time(connection.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(manager.recycle(&mut connection), Recycle::Discard);
    assert!(manager.is_dropped(&mut connection));
}

#[tokio::test]
async fn a_connection_left_in_the_middle_of_a_write_is_not_kept() {
    let (listener, manager) = listener().await;
    let manager = manager.send_buffer_size(16 * 1024);
    let (mut connection, _peer) = connected(&manager, &listener).await;
    {
        // More than both buffers hold, and nobody reads.
        let much = vec![0; 64 << 20];
        let mut write = std::pin::pin!(connection.write_all(&much));
        assert!(poll_once(|cx| write.as_mut().poll(cx)).await.is_pending());
    }
    assert_eq!(manager.recycle(&mut connection), Recycle::Discard);
}

#[tokio::test]
async fn a_connection_whose_read_failed_is_not_kept() {
    let (listener, manager) = listener().await;
    let (mut connection, peer) = connected(&manager, &listener).await;
    peer.set_zero_linger().unwrap();
    drop(peer);
    arrives(|| manager.is_dropped(&mut connection), true);
    in_time(connection.read(&mut [0])).await.unwrap_err();
    assert_eq!(manager.recycle(&mut connection), Recycle::Discard);
}

#[tokio::test]
async fn an_idle_connection_is_watched() {
    let (listener, manager) = listener().await;
    let (mut connection, peer) = connected(&manager, &listener).await;
    assert!(
        poll_once(|cx| manager.poll_dropped(&mut connection, cx))
            .await
            .is_pending()
    );
    drop(peer);
    let dropped = in_time(poll_fn(|cx| manager.poll_dropped(&mut connection, cx))).await;
    assert_eq!(dropped, Dropped::Closed);
}

#[tokio::test]
async fn junk_on_an_idle_connection_makes_it_dirty() {
    let (listener, manager) = listener().await;
    let (mut connection, mut peer) = connected(&manager, &listener).await;
    peer.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        .await
        .unwrap();
    arrives(|| manager.is_dropped(&mut connection), true);
    let dropped = in_time(poll_fn(|cx| manager.poll_dropped(&mut connection, cx))).await;
    assert_eq!(dropped, Dropped::Dirty);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn bytes_that_are_ignored_hide_no_fin() {
    let (listener, manager) = listener().await;
    let manager = manager.on_readable(OnReadable::Ignore);
    let (mut connection, mut peer) = connected(&manager, &listener).await;
    peer.write_all(b"push").await.unwrap();
    in_time(connection.get_ref().socket().readable())
        .await
        .unwrap();
    assert!(!manager.is_dropped(&mut connection));
    assert_eq!(manager.recycle(&mut connection), Recycle::Keep);
    let watched = poll_once(|cx| manager.poll_dropped(&mut connection, cx)).await;
    assert!(watched.is_pending());

    // The next user still gets them.
    in_time(connection.read_exact(&mut [0; 2])).await.unwrap();
    let watched = poll_once(|cx| manager.poll_dropped(&mut connection, cx)).await;
    assert!(watched.is_pending());
    drop(peer);
    let dropped = in_time(poll_fn(|cx| manager.poll_dropped(&mut connection, cx))).await;
    assert_eq!(dropped, Dropped::Closed);
}

#[tokio::test]
async fn a_reader_decides_about_bytes_that_came_unasked() {
    let (listener, manager) = listener().await;
    let manager = manager.recheck(|connection| {
        let mut buffer = [0; 64];
        let read = connection.get_mut().try_read_now(&mut buffer);
        read.is_ok_and(|length| buffer[..length].iter().all(|byte| *byte == b'+'))
    });
    let (mut connection, mut peer) = connected(&manager, &listener).await;
    peer.write_all(b"++").await.unwrap();
    in_time(connection.get_ref().socket().readable())
        .await
        .unwrap();
    let watched = poll_once(|cx| manager.poll_dropped(&mut connection, cx)).await;
    assert!(watched.is_pending());
    assert_eq!(manager.recycle(&mut connection), Recycle::Keep);

    peer.write_all(b"-").await.unwrap();
    let dropped = in_time(poll_fn(|cx| manager.poll_dropped(&mut connection, cx))).await;
    assert_eq!(dropped, Dropped::Dirty);
}

#[tokio::test]
async fn a_recheck_without_a_reader_is_a_discard() {
    let (listener, manager) = listener().await;
    let manager = manager.on_readable(OnReadable::Recheck);
    let (mut connection, mut peer) = connected(&manager, &listener).await;
    peer.write_all(b"?").await.unwrap();
    arrives(|| manager.is_dropped(&mut connection), true);
    assert_eq!(
        in_time(poll_fn(|cx| manager.poll_dropped(&mut connection, cx))).await,
        Dropped::Dirty
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_closed_connection_leaves_no_socket_in_close_wait() {
    let (listener, manager) = listener().await;
    let port = listener.local_addr().unwrap().port();
    let (connection, peer) = connected(&manager, &listener).await;
    drop(peer);
    eventually(|| common::sockets_to(port), vec![common::CLOSE_WAIT]).await;
    manager.close(connection).await;
    eventually(|| common::open_sockets_to(port), vec![]).await;
}

#[cfg(unix)]
mod unix {
    use super::*;
    use pool_tcp::UnixManager;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::net::UnixListener;

    /// A path of its own for each test, removed at its end.
    struct Path(PathBuf);

    impl Path {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!(
                "pool-tcp-{}-{}.sock",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            );
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Path {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[tokio::test]
    async fn a_unix_socket_is_pooled_alike() {
        let path = Path::new();
        let listener = UnixListener::bind(&path.0).unwrap();
        let manager = UnixManager::new(&path.0);
        let mut connection = manager.connect().await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();

        connection.write_all(b"ping").await.unwrap();
        in_time(peer.read_exact(&mut [0; 4])).await.unwrap();
        assert_eq!(
            manager.recycle(&mut connection),
            Recycle::Discard,
            "an answer is due"
        );
        peer.write_all(b"pong").await.unwrap();
        in_time(connection.read_exact(&mut [0; 4])).await.unwrap();
        assert_eq!(manager.recycle(&mut connection), Recycle::Keep);
        let watched = poll_once(|cx| manager.poll_dropped(&mut connection, cx)).await;
        assert_eq!(watched, Poll::Pending);

        drop(peer);
        assert!(manager.is_dropped(&mut connection));
        let dropped = in_time(poll_fn(|cx| manager.poll_dropped(&mut connection, cx))).await;
        assert_eq!(dropped, Dropped::Closed);
    }

    #[tokio::test]
    async fn a_path_without_a_server_may_get_one() {
        let path = Path::new();
        let manager = UnixManager::new(&path.0);
        let error = manager.connect().await.unwrap_err();
        assert_eq!(error.path(), path.0);
        assert!(!manager.is_permanent(&error));
        let _listener = UnixListener::bind(&path.0).unwrap();
        manager.connect().await.unwrap();
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_permanent() {
        let manager = UnixManager::new("x".repeat(200));
        let error = manager.connect().await.unwrap_err();
        assert!(manager.is_permanent(&error), "{error:?}");
    }

    #[tokio::test]
    async fn a_full_queue_is_named() {
        let path = Path::new();
        let socket =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket
            .bind(&socket2::SockAddr::unix(&path.0).unwrap())
            .unwrap();
        socket.listen(0).unwrap();
        let manager = UnixManager::new(&path.0);
        let mut queued = Vec::new();
        let error = loop {
            match in_time(manager.connect()).await {
                Ok(connection) => queued.push(connection),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("queue"), "{error:?}");
        assert!(!manager.is_permanent(&error));
    }
}
