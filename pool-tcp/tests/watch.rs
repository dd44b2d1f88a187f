//! The event-driven probe: it is woken when it must be, sleeps otherwise, and takes nothing from the stream's owner.

mod common;

use std::future::poll_fn;
use std::task::{Poll, Waker};

use common::{
    LIMIT, Wakes, arrives, eventually, in_time, pair, poll_once, poll_with, reactor_has_seen,
};
use pool_core::Dropped;
use pool_tcp::{Liveness, OnReadable, PoolStream, SocketProbe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_fin_wakes_the_watcher() {
    let (mut stream, peer) = pair().await;
    let mut probe = stream.probe();
    let (wakes, waker) = Wakes::new();
    assert!(poll_with(&waker, |cx| probe.poll_liveness(cx)).is_pending());

    drop(peer);
    eventually(|| wakes.count() > 0, true).await;
    let found = poll_with(&waker, |cx| probe.poll_liveness(cx));
    assert_eq!(found, Poll::Ready(Liveness::Dropped));
}

#[tokio::test]
async fn a_fin_wakes_an_owner_that_watches_its_own_stream() {
    let (mut stream, peer) = pair().await;
    let (wakes, waker) = Wakes::new();
    let pending = poll_with(&waker, |cx| stream.poll_dropped(cx, OnReadable::Discard));
    assert!(pending.is_pending());

    drop(peer);
    eventually(|| wakes.count() > 0, true).await;
    let found = poll_with(&waker, |cx| stream.poll_dropped(cx, OnReadable::Discard));
    assert_eq!(found, Poll::Ready(Dropped::Closed));
}

#[tokio::test]
async fn a_watcher_of_a_silent_connection_sleeps() {
    let (mut stream, _peer) = pair().await;
    let mut probe = stream.probe();
    let (wakes, waker) = Wakes::new();
    assert!(poll_with(&waker, |cx| probe.poll_liveness(cx)).is_pending());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(wakes.count(), 0);
}

#[tokio::test]
async fn readiness_left_over_from_an_exact_read_is_not_mistaken_for_bytes() {
    let (mut stream, mut peer) = pair().await;
    peer.write_all(b"pong").await.unwrap();
    in_time(stream.read_exact(&mut [0; 4])).await.unwrap();
    // tokio still calls the socket readable, for no read has met WouldBlock.
    assert!(
        poll_once(|cx| stream.socket().poll_read_ready(cx))
            .await
            .is_ready()
    );

    assert!(poll_once(|cx| stream.poll_liveness(cx)).await.is_pending());
    assert!(
        poll_once(|cx| stream.socket().poll_read_ready(cx))
            .await
            .is_pending()
    );
    drop(peer);
    assert_eq!(
        in_time(poll_fn(|cx| stream.poll_liveness(cx))).await,
        Liveness::Dropped
    );
}

#[tokio::test]
async fn the_watcher_takes_neither_bytes_nor_readiness() {
    let (mut stream, mut peer) = pair().await;
    let mut probe = stream.probe();
    peer.write_all(b"data").await.unwrap();
    let found = in_time(poll_fn(|cx| probe.poll_liveness(cx))).await;
    assert_eq!(found, Liveness::Readable);

    let mut data = [0; 4];
    in_time(stream.read_exact(&mut data)).await.unwrap();
    assert_eq!(&data, b"data");
}

#[tokio::test]
async fn a_watcher_that_ignores_bytes_leaves_them_to_the_owner() {
    let (mut stream, mut peer) = pair().await;
    let mut probe = stream.probe();
    peer.write_all(b"data and more").await.unwrap();
    reactor_has_seen(&stream).await;
    let pending = poll_once(|cx| probe.poll_dropped(cx, OnReadable::Ignore)).await;
    assert!(pending.is_pending());

    // In two parts, as the first read must not forget that there is more.
    let mut data = [0; 4];
    in_time(stream.read_exact(&mut data)).await.unwrap();
    assert_eq!(&data, b"data");
    let mut more = [0; 9];
    in_time(stream.read_exact(&mut more)).await.unwrap();
    assert_eq!(&more, b" and more");
    peer.write_all(b"!").await.unwrap();
    in_time(stream.read_exact(&mut [0])).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_watcher_that_ignores_bytes_is_woken_by_a_fin_behind_them() {
    let (mut stream, mut peer) = pair().await;
    let mut probe = stream.probe();
    let (wakes, waker) = Wakes::new();
    let mut watch = || poll_with(&waker, |cx| probe.poll_dropped(cx, OnReadable::Ignore));

    peer.write_all(b"unread").await.unwrap();
    reactor_has_seen(&stream).await;
    assert!(watch().is_pending());
    let before = wakes.count();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(wakes.count(), before, "unread bytes do not make it spin");

    drop(peer);
    eventually(|| wakes.count() > before, true).await;
    assert_eq!(watch(), Poll::Ready(Dropped::Closed));
}

#[tokio::test]
async fn each_rule_gives_unread_bytes_its_meaning() {
    for (rule, expected) in [
        (OnReadable::Discard, Poll::Ready(Dropped::Dirty)),
        (OnReadable::Ignore, Poll::Pending),
    ] {
        let (mut stream, mut peer) = pair().await;
        let mut probe = stream.probe();
        peer.write_all(b"?").await.unwrap();
        reactor_has_seen(&stream).await;
        let found = poll_once(|cx| probe.poll_dropped(cx, rule)).await;
        assert_eq!(found, expected, "{rule:?}");
    }
}

#[tokio::test]
async fn a_recheck_gives_the_owner_a_turn_to_read_first() {
    let (mut stream, mut peer) = pair().await;
    let mut probe = stream.probe();
    let mut watch =
        |waker: &Waker| poll_with(waker, |cx| probe.poll_dropped(cx, OnReadable::Recheck));
    let (wakes, waker) = Wakes::new();

    peer.write_all(b"push").await.unwrap();
    reactor_has_seen(&stream).await;
    assert!(watch(&waker).is_pending());
    assert!(wakes.count() > 0, "it asks to be polled again");
    in_time(stream.read_exact(&mut [0; 4])).await.unwrap();
    assert!(watch(&waker).is_pending(), "the owner has read them");

    peer.write_all(b"junk").await.unwrap();
    reactor_has_seen(&stream).await;
    assert!(watch(&waker).is_pending());
    assert_eq!(
        watch(&waker),
        Poll::Ready(Dropped::Dirty),
        "nobody has read them"
    );
}

#[tokio::test]
async fn an_owner_that_drops_the_stream_wakes_the_watcher() {
    let (mut stream, _peer) = pair().await;
    let mut probe = stream.probe();
    let (wakes, waker) = Wakes::new();
    assert!(poll_with(&waker, |cx| probe.poll_liveness(cx)).is_pending());

    drop(stream);
    assert!(wakes.count() > 0);
    let found = poll_with(&waker, |cx| probe.poll_liveness(cx));
    assert_eq!(found, Poll::Ready(Liveness::Dropped));
}

#[tokio::test]
async fn a_watcher_does_not_take_the_owners_wake_up() {
    let (mut stream, mut peer) = pair().await;
    let mut probe = stream.probe();
    let (owner_wakes, owner) = Wakes::new();
    let (watcher_wakes, watcher) = Wakes::new();
    let mut buffer = [0; 4];
    {
        let mut read = Box::pin(stream.read_exact(&mut buffer));
        assert!(poll_with(&owner, |cx| read.as_mut().poll(cx)).is_pending());
        // tokio has room for one waker, and this one comes last.
        assert!(poll_with(&watcher, |cx| probe.poll_liveness(cx)).is_pending());

        peer.write_all(b"data").await.unwrap();
        eventually(|| owner_wakes.count() > 0, true).await;
        assert!(watcher_wakes.count() > 0);
        assert!(poll_with(&owner, |cx| read.as_mut().poll(cx)).is_ready());
    }
    assert_eq!(&buffer, b"data");
}

#[tokio::test]
async fn a_spent_budget_delays_the_watcher_but_wakes_it() {
    let (mut stream, mut peer) = pair().await;
    peer.write_all(b"?").await.unwrap();
    reactor_has_seen(&stream).await;
    let found = in_time(poll_fn(|cx| {
        // Spends what is left of this task's turn.
        while tokio::task::coop::has_budget_remaining() {
            let _ = stream.socket().poll_read_ready(cx);
        }
        assert_eq!(
            stream.liveness(),
            Liveness::Readable,
            "the synchronous probe is exact"
        );
        assert!(stream.poll_liveness(cx).is_pending());
        Poll::Ready(())
    }));
    found.await;
    let (wakes, waker) = Wakes::new();
    in_time(poll_fn(|cx| {
        while tokio::task::coop::has_budget_remaining() {
            let _ = stream.socket().poll_read_ready(cx);
        }
        assert!(poll_with(&waker, |cx| stream.poll_liveness(cx)).is_pending());
        Poll::Ready(())
    }))
    .await;
    eventually(|| wakes.count() > 0, true).await;
    let found = in_time(poll_fn(|cx| stream.poll_liveness(cx))).await;
    assert_eq!(found, Liveness::Readable);
}

/// An owner that answers pings in one task and a watcher in another share a socket, thousands of times over.
async fn ping_pong_under_watch(on_readable: OnReadable) {
    async fn watch(mut probe: SocketProbe<TcpStream>, on_readable: OnReadable) {
        loop {
            let dropped = poll_fn(|cx| probe.poll_dropped(cx, on_readable)).await;
            if dropped == Dropped::Closed {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn answer(mut stream: PoolStream) {
        let mut byte = [0];
        while stream.read(&mut byte).await.unwrap() == 1 {
            stream.write_all(&byte).await.unwrap();
        }
    }

    let (mut stream, mut peer) = pair().await;
    let watcher = tokio::spawn(watch(stream.probe(), on_readable));
    let owner = tokio::spawn(answer(stream));
    for round in 0..2_000 {
        let byte = [round as u8];
        // Now and then several at once, so that an owner's read leaves bytes behind.
        let count = 1 + round % 3;
        peer.write_all(&byte.repeat(count)).await.unwrap();
        let mut answer = vec![0; count];
        tokio::time::timeout(LIMIT, peer.read_exact(&mut answer))
            .await
            .unwrap_or_else(|_| panic!("round {round} under {on_readable:?} hangs"))
            .unwrap();
        assert_eq!(answer, byte.repeat(count));
    }
    drop(peer);
    in_time(watcher).await.unwrap();
    in_time(owner).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_an_owner_and_a_watcher_that_ignores_bytes() {
    ping_pong_under_watch(OnReadable::Ignore).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_an_owner_and_a_watcher_that_counts_bytes() {
    ping_pong_under_watch(OnReadable::Discard).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_watched_alike() {
    let (ours, peer) = tokio::net::UnixStream::pair().unwrap();
    let mut stream = PoolStream::new(ours);
    let mut probe = stream.probe();
    let (wakes, waker) = Wakes::new();
    assert!(poll_with(&waker, |cx| probe.poll_liveness(cx)).is_pending());
    drop(peer);
    eventually(|| wakes.count() > 0, true).await;
    let found = poll_with(&waker, |cx| probe.poll_liveness(cx));
    assert_eq!(found, Poll::Ready(Liveness::Dropped));
}

#[test]
fn a_runtime_that_is_gone_drops_the_connection() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut stream, _peer) = runtime.block_on(pair());
    drop(runtime);
    let found = poll_with(Waker::noop(), |cx| stream.poll_liveness(cx));
    assert_eq!(found, Poll::Ready(Liveness::Dropped));
    arrives(|| stream.liveness(), Liveness::Alive);
}
