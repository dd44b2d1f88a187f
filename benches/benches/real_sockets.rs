//! What a checkout and a check-in cost on real TCP connections, with the exact probe and the watch: LIFO, FIFO, and with
//! the watch left out, beside the one system call that an exact look at a socket costs in any pool.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, criterion_group, criterion_main};
use pool_core::{Dropped, Manager, Order, Pool};
use pool_tcp::{TcpConnection, TcpError, TcpManager};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The same connections, looked at only when they are handed out.
struct Unwatched(TcpManager);

impl Manager for Unwatched {
    type Connection = TcpConnection;
    type Error = TcpError;

    async fn connect(&self) -> Result<TcpConnection, TcpError> {
        self.0.connect().await
    }

    fn is_dropped(&self, connection: &mut TcpConnection) -> bool {
        self.0.is_dropped(connection)
    }

    fn poll_dropped(&self, _: &mut TcpConnection, _: &mut Context<'_>) -> Poll<Dropped> {
        Poll::Pending
    }
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("there is an idle connection"),
    }
}

/// A pool with four idle connections.
fn pool<M: Manager>(runtime: &Runtime, manager: M, order: Order) -> Pool<M> {
    let pool = Pool::builder(manager)
        .order(order)
        .runtime(runtime.handle().clone())
        .build()
        .expect("the defaults are valid");
    runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(pool.checkout().await.expect("the server listens"));
        }
    });
    pool
}

fn real_sockets(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let address = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        tokio::spawn(async move {
            let mut peers = Vec::new();
            while let Ok((peer, _)) = listener.accept().await {
                peers.push(peer);
            }
        });
        address
    });
    let manager = || TcpManager::new(&address).expect("it is an address");
    let mut group = criterion.benchmark_group("real_sockets");

    let mut connection = runtime
        .block_on(manager().connect())
        .expect("the server listens");
    let probe = manager();
    group.bench_function("floor: one look at a socket", |bencher| {
        bencher.iter(|| black_box(probe.is_dropped(&mut connection)));
    });
    for (name, order) in [("LIFO", Order::Lifo), ("FIFO", Order::Fifo)] {
        let pool = pool(&runtime, manager(), order);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                drop(black_box(
                    ready(pool.checkout()).expect("there is an idle connection"),
                ))
            });
        });
    }
    let pool = pool(&runtime, Unwatched(manager()), Order::Lifo);
    group.bench_function("LIFO, unwatched", |bencher| {
        bencher.iter(|| {
            drop(black_box(
                ready(pool.checkout()).expect("there is an idle connection"),
            ))
        });
    });
    group.finish();
}

criterion_group!(benches, real_sockets);
criterion_main!(benches);
