//! A peer that vanishes without a FIN: its cable is cut. Keepalive finds out, and the watcher is told.
//!
//! Needs two network namespaces, hence root and `ip`; says so and passes where they are missing.

#![cfg(target_os = "linux")]

mod common;

use std::future::poll_fn;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use common::poll_once;
use pool_core::{Dropped, Manager};
use pool_tcp::{Keepalive, TcpManager};

/// Documentation addresses (RFC 5737), which exist only inside the namespaces.
const PEER: &str = "192.0.2.1";
const OURS: &str = "192.0.2.2";
const PORT: u16 = 7777;

/// Set for the parts that run inside a namespace; without it they have nothing to do.
const INSIDE: &str = "POOL_TCP_TEST_INSIDE";

#[test]
fn a_peer_that_vanished_is_found_by_keepalive() {
    let Some(namespaces) = Namespaces::new() else {
        println!("skipped: cannot make network namespaces, which takes root and the program `ip`");
        return;
    };
    let mut peer = namespaces.run(&namespaces.peer, "in_the_peers_namespace");
    peer.says("listening");
    let mut client = namespaces.run(&namespaces.ours, "in_our_namespace");
    client.says("connected");
    assert!(namespaces.cut_the_cable());
    client.says("dropped");
}

#[test]
#[ignore = "run by the test above, in its namespace"]
fn in_the_peers_namespace() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let listener = std::net::TcpListener::bind((PEER, PORT)).unwrap();
    println!("\nlistening");
    let (_connection, _) = listener.accept().unwrap();
    // Until it is killed.
    std::thread::sleep(Duration::from_secs(120));
}

#[tokio::test]
#[ignore = "run by the test above, in its namespace"]
async fn in_our_namespace() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let keepalive = Keepalive::default()
        .time(Duration::from_secs(1))
        .interval(Duration::from_secs(1))
        .retries(2);
    let manager = TcpManager::new(&format!("{PEER}:{PORT}"))
        .unwrap()
        .keepalive(keepalive)
        .user_timeout(None);
    let mut connection = manager.connect().await.unwrap();
    let watched = poll_once(|cx| manager.poll_dropped(&mut connection, cx)).await;
    assert!(watched.is_pending());
    println!("\nconnected");

    // Three seconds, if all goes well.
    let dropped = poll_fn(|cx| manager.poll_dropped(&mut connection, cx));
    let dropped = tokio::time::timeout(Duration::from_secs(60), dropped).await;
    assert_eq!(dropped.unwrap(), Dropped::Closed);
    println!("\ndropped");
}

/// Two namespaces with a cable between them.
struct Namespaces {
    peer: String,
    ours: String,
}

impl Namespaces {
    fn new() -> Option<Self> {
        let pid = std::process::id();
        let namespaces = Self {
            peer: format!("pool-tcp-{pid}-peer"),
            ours: format!("pool-tcp-{pid}-ours"),
        };
        let Self { peer, ours } = &namespaces;
        let made = ip(&format!("netns add {peer}"))
            && ip(&format!("netns add {ours}"))
            && ip(&format!(
                "-n {peer} link add cable type veth peer name cable netns {ours}"
            ))
            && ip(&format!("-n {peer} address add {PEER}/24 dev cable"))
            && ip(&format!("-n {ours} address add {OURS}/24 dev cable"))
            && ip(&format!("-n {peer} link set cable up"))
            && ip(&format!("-n {ours} link set cable up"));
        made.then_some(namespaces)
    }

    /// Runs a test of this file in a namespace.
    fn run(&self, namespace: &str, test: &str) -> Run {
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(INSIDE, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Run { child, output }
    }

    fn cut_the_cable(&self) -> bool {
        // At the peer's side: at ours the kernel would know at once that there is no way.
        ip(&format!("-n {} address flush dev cable", self.peer))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.peer));
        ip(&format!("netns delete {}", self.ours));
    }
}

struct Run {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Run {
    fn says(&mut self, word: &str) {
        let mut lines = self.output.by_ref().lines();
        assert!(
            lines.any(|line| line.unwrap() == word),
            "it ended without saying {word:?}"
        );
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `ip` did as it was told.
fn ip(arguments: &str) -> bool {
    Command::new("ip")
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
