//! Four thousand idle connections: they cost nothing while nothing happens, and all of them are closed at once when their
//! peer closes them, with no traffic.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "these are measurements of real time"
)]

mod common;

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{CLOSE_WAIT, LIMIT, open_sockets_to};
use pool_core::{OwnedPooled, Pool};
use pool_tcp::TcpManager;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// As many as this process may open both ends of.
fn crowd() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let crowd = 4_000.min((files as usize).saturating_sub(400) / 2);
    if crowd < 4_000 {
        println!("only {files} files may be open: {crowd} connections instead of 4000");
    }
    crowd
}

fn cpu_of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Accepts on a thread of its own, and hands out what it accepted.
fn server() -> (u16, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (accepted, sockets) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            if accepted.send(socket).is_err() {
                return;
            }
        }
    });
    (port, sockets)
}

#[tokio::test]
async fn a_crowd_of_idle_connections_costs_nothing_and_goes_at_once() {
    let crowd = crowd();
    let (port, accepted) = server();
    let manager = TcpManager::new(&format!("127.0.0.1:{port}")).unwrap();
    let pool = Pool::builder(manager)
        .max_size(crowd)
        .max_connecting(64)
        .checkout_timeout(None)
        .build()
        .unwrap();

    let mut guards = Vec::new();
    for _ in 0..crowd {
        guards.push(pool.checkout_owned().await.unwrap());
    }
    let peers: Vec<TcpStream> = (0..crowd)
        .map(|_| accepted.recv_timeout(LIMIT).unwrap())
        .collect();
    guards.into_iter().for_each(drop::<OwnedPooled<TcpManager>>);
    assert_eq!(pool.status().idle, crowd);

    // The pool's tasks run on this thread and on no other.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = cpu_of_this_thread();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = cpu_of_this_thread() - before;
    println!("{crowd} healthy idle connections: {spent:?} of CPU in 2 s");
    assert!(
        spent < Duration::from_millis(20),
        "{spent:?} of CPU for doing nothing"
    );

    drop(peers);
    let last_fin = Instant::now();
    while pool.status().size() > 0 {
        assert!(last_fin.elapsed() < LIMIT, "{} left", pool.status());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("{crowd} closed {:?} after the last FIN", last_fin.elapsed());
    assert!(!open_sockets_to(port).contains(&CLOSE_WAIT));
}
