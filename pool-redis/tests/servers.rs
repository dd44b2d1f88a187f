//! The servers of these tests do what the tests rely on: each starts on a port of its own, can be stopped, killed and
//! restarted, and goes with its test.

#![cfg(unix)]

mod support;

use std::net::TcpStream;

use support::cluster::Cluster;
use support::sentinel::{MASTER, Passwords, SentinelSet};
use support::{RedisServer, Reply, Setup, arrives, becomes, eventually, in_time};

#[tokio::test]
async fn a_server_answers_and_is_gone_when_it_is_dropped() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    assert_eq!(server.ask("PING"), Reply::Text("PONG".to_owned()));
    assert_eq!(server.clients().len(), 0);
    let port = server.port();
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn a_server_restarts_on_its_port_with_what_it_saved() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.command("SET greeting \"good morning\"");
    server.command("SAVE");
    let pid = server.pid();
    server.shutdown();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.restart_with(&["timeout 7"]);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.ask("GET greeting").text(), "good morning");
    assert_eq!(
        server.ask("CONFIG GET timeout"),
        Reply::Array(
            ["timeout", "7"]
                .map(|text| Reply::Text(text.to_owned()))
                .to_vec()
        )
    );
    server.kill();
    server.restart();
    assert_eq!(server.info("tcp_port"), u64::from(server.port()));
}

#[tokio::test]
async fn a_stopped_server_is_silent_until_it_goes_on() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.stop();
    let stat = format!("/proc/{}/stat", server.pid());
    if cfg!(target_os = "linux") {
        eventually(|| std::fs::read_to_string(&stat).unwrap().contains(") T ")).await;
    }
    // The kernel answers for it.
    in_time(tokio::net::TcpStream::connect(("127.0.0.1", server.port())))
        .await
        .unwrap();
    server.go_on();
    assert_eq!(server.ask("PING"), Reply::Text("PONG".to_owned()));
}

#[tokio::test]
async fn the_oracle_counts_the_sockets_and_not_itself() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let client = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    eventually(|| server.clients().len() == 1).await;
    assert_eq!(server.clients()[0].field("name"), Some(""));
    #[cfg(target_os = "linux")]
    becomes(|| server.sockets(), vec![support::sockets::ESTABLISHED]).await;
    assert_eq!(server.ask("CLIENT KILL TYPE normal").integer(), 1);
    #[cfg(target_os = "linux")]
    eventually(|| server.close_wait() == 1).await;
    drop(client);
    #[cfg(target_os = "linux")]
    becomes(|| server.sockets(), vec![]).await;
}

#[tokio::test]
async fn a_server_has_the_sockets_and_the_certificate_it_was_set_up_with() {
    let Some(server) = Setup::default().unix().tls().line("maxclients 17").start() else {
        return;
    };
    std::os::unix::net::UnixStream::connect(server.unix_path()).unwrap();
    TcpStream::connect(("127.0.0.1", server.tls_port())).unwrap();
    assert!(!server.certificate().is_empty());
    assert_eq!(server.info("maxclients"), 17);
    assert!(server.version() >= (6, 0));
}

#[tokio::test]
async fn a_cluster_serves_on_three_nodes_and_its_slots_move() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let key = cluster.key_of(1);
    cluster.nodes()[1].command(&format!("SET {key} value"));
    let slot = cluster.slot(&key);
    cluster.move_slot(slot, 1, 2);
    assert_eq!(
        cluster.nodes()[2].ask(&format!("GET {key}")).text(),
        "value"
    );
    let moved = format!("MOVED {slot} 127.0.0.1:{}", cluster.nodes()[2].port());
    assert_eq!(
        cluster.nodes()[1].ask(&format!("GET {key}")),
        Reply::Error(moved)
    );

    cluster.nodes()[1].kill();
    cluster.nodes()[1].restart();
    cluster.settles();
}

#[tokio::test]
async fn the_sentinels_replace_a_master_that_is_killed() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let old = set.master_by(0);
    assert_eq!(old, set.servers()[0].port());
    set.servers()[0].kill();
    arrives(|| set.has_left(old));
    let new = set.server(set.master_by(0));
    new.command("SET key value");
}

#[tokio::test]
async fn the_sentinels_and_the_servers_have_passwords_of_their_own() {
    let passwords = Passwords {
        servers: Some("of-the-servers"),
        sentinels: Some("of-the-sentinels"),
    };
    let Some(set) = SentinelSet::start_with(passwords) else {
        return;
    };
    set.fail_over(1);
    let old = set.servers()[0].port();
    arrives(|| set.has_left(old));
    let answer = set.sentinels()[0].ask(&format!("SENTINEL CKQUORUM {MASTER}"));
    assert!(answer.text().starts_with("OK"), "{answer:?}");
}
