//! What the synchronous probe answers in every state a connection can be in, before and after the reactor ran.

mod common;

use common::{arrives, in_time, pair, reactor_has_seen};
use pool_tcp::{Liveness, PoolStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn an_idle_connection_is_alive() {
    let (stream, _peer) = pair().await;
    assert_eq!(stream.liveness(), Liveness::Alive);
}

#[tokio::test]
async fn a_fin_is_seen_before_the_reactor_has_run() {
    let (stream, peer) = pair().await;
    drop(peer);
    arrives(|| stream.liveness(), Liveness::Dropped);
    // This is why tokio's own readiness is no probe.
    let error = stream.socket().try_read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_fin_is_seen_after_the_reactor_has_run() {
    let (stream, peer) = pair().await;
    drop(peer);
    reactor_has_seen(&stream).await;
    assert_eq!(stream.liveness(), Liveness::Dropped);
}

#[tokio::test]
async fn unread_data_is_readable_however_often_one_looks() {
    let (mut stream, mut peer) = pair().await;
    peer.write_all(b"data").await.unwrap();
    arrives(|| stream.liveness(), Liveness::Readable);
    assert_eq!(stream.liveness(), Liveness::Readable);

    let mut data = [0; 4];
    in_time(stream.read_exact(&mut data)).await.unwrap();
    assert_eq!(&data, b"data", "the probe took nothing");
    assert_eq!(stream.liveness(), Liveness::Alive);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_fin_behind_unread_data_is_seen() {
    let (stream, mut peer) = pair().await;
    peer.write_all(b"data").await.unwrap();
    drop(peer);
    arrives(|| stream.liveness(), Liveness::Dropped);
}

#[tokio::test]
async fn a_reset_is_seen() {
    let (stream, peer) = pair().await;
    peer.set_zero_linger().unwrap();
    drop(peer);
    arrives(|| stream.liveness(), Liveness::Dropped);
    assert_eq!(
        stream.liveness(),
        Liveness::Dropped,
        "and not only the first time"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reset_behind_unread_data_is_seen() {
    let (stream, mut peer) = pair().await;
    peer.write_all(b"data").await.unwrap();
    arrives(|| stream.liveness(), Liveness::Readable);
    peer.set_zero_linger().unwrap();
    drop(peer);
    arrives(|| stream.liveness(), Liveness::Dropped);
}

#[tokio::test]
async fn a_peer_that_shut_down_its_writing_is_gone() {
    let (stream, mut peer) = pair().await;
    peer.shutdown().await.unwrap();
    arrives(|| stream.liveness(), Liveness::Dropped);
}

#[tokio::test]
async fn our_own_half_close_is_not_the_end() {
    let (mut stream, mut peer) = pair().await;
    stream.shutdown().await.unwrap();
    assert_eq!(in_time(peer.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(stream.liveness(), Liveness::Alive);
    peer.write_all(b"late answer").await.unwrap();
    arrives(|| stream.liveness(), Liveness::Readable);
}

#[tokio::test]
async fn shutdown_now_sends_a_fin_while_somebody_else_owns_the_stream() {
    let (mut stream, mut peer) = pair().await;
    let probe = stream.probe();
    let owner = tokio::spawn(async move { stream.read(&mut [0]).await.unwrap() });

    probe.shutdown_now();
    assert_eq!(in_time(peer.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(in_time(owner).await.unwrap(), 0, "the owner reads the end");
    assert_eq!(probe.liveness(), Liveness::Dropped);
    probe.shutdown_now();
}

#[tokio::test]
async fn a_shutdown_after_the_peer_reset_is_no_error() {
    let (mut stream, peer) = pair().await;
    peer.set_zero_linger().unwrap();
    drop(peer);
    arrives(|| stream.liveness(), Liveness::Dropped);
    stream.shutdown().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_probe_says_dropped_when_the_owner_drops_and_the_socket_is_closed() {
    let (mut stream, peer) = pair().await;
    let port = peer.local_addr().unwrap().port();
    let probe = stream.probe();
    let more = probe.clone();
    common::eventually(|| common::open_sockets_to(port).len(), 1).await;

    tokio::spawn(async move { drop(stream) }).await.unwrap();
    assert_eq!(probe.liveness(), Liveness::Dropped);
    assert_eq!(more.liveness(), Liveness::Dropped);
    // What is left until the peer closes too is the kernel's FIN_WAIT_2, and no descriptor of ours.
    drop(peer);
    common::eventually(|| common::open_sockets_to(port), vec![]).await;
}

#[tokio::test]
async fn bytes_can_be_read_before_the_reactor_has_run() {
    let (mut stream, mut peer) = pair().await;
    peer.write_all(b"now").await.unwrap();
    arrives(|| stream.liveness(), Liveness::Readable);
    let mut buffer = [0; 8];
    assert_eq!(stream.try_read_now(&mut buffer).unwrap(), 3);
    assert_eq!(stream.liveness(), Liveness::Alive);
}

#[tokio::test]
async fn vectored_writes_arrive_in_order() {
    let (mut stream, mut peer) = pair().await;
    assert!(tokio::io::AsyncWrite::is_write_vectored(&stream));
    let slices = [
        std::io::IoSlice::new(b"head"),
        std::io::IoSlice::new(b"body"),
    ];
    assert_eq!(stream.write_vectored(&slices).await.unwrap(), 8);
    let mut heard = [0; 8];
    in_time(peer.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"headbody");
}

#[tokio::test]
async fn more_than_the_buffers_hold_goes_through_both_ways() {
    const LENGTH: usize = 4 << 20;
    let (mut stream, peer) = pair().await;
    let echo = tokio::spawn(async move {
        let (mut read, mut write) = peer.into_split();
        tokio::io::copy(&mut read, &mut write).await.unwrap()
    });
    let sent: Vec<u8> = (0..LENGTH).map(|index| index as u8).collect();
    let mut heard = vec![0; LENGTH];
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let both = async { tokio::join!(write.write_all(&sent), read.read_exact(&mut heard)) };
    let (written, read) = in_time(both).await;
    written.unwrap();
    read.unwrap();
    assert!(sent == heard);
    assert_eq!(stream.liveness(), Liveness::Alive);
    drop(stream);
    assert_eq!(in_time(echo).await.unwrap(), LENGTH as u64);
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_probed_alike() {
    let (ours, mut peer) = tokio::net::UnixStream::pair().unwrap();
    let mut stream = PoolStream::new(ours);
    let probe = stream.probe();
    assert_eq!(probe.liveness(), Liveness::Alive);

    peer.write_all(b"data").await.unwrap();
    assert_eq!(probe.liveness(), Liveness::Readable);
    in_time(stream.read_exact(&mut [0; 4])).await.unwrap();
    assert_eq!(probe.liveness(), Liveness::Alive);

    drop(peer);
    assert_eq!(probe.liveness(), Liveness::Dropped);
}

#[cfg(unix)]
#[tokio::test]
async fn a_half_closed_unix_socket_is_dropped() {
    let (ours, mut peer) = tokio::net::UnixStream::pair().unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(PoolStream::new(ours).liveness(), Liveness::Dropped);
}
