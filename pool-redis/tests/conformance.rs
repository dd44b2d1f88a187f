//! The manager keeps every rule that the pool relies on, asked by its conformance check, on a real server.

#![cfg(target_os = "linux")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pool_core::testkit::conformance::{Rule, Server, Subject};
use pool_redis::{RedisConnection, RedisManager};
use redis::aio::ConnectionLike;
use redis::{RedisError, RedisResult};
use support::sentinel::MASTER;
use support::{RedisServer, Setup};

/// What the check has to know of a `redis-server`.
struct Real(Arc<RedisServer>);

impl Server for Real {
    /// Asked of the kernel, which tells of a stopped server as well, and of what we leave in CLOSE_WAIT.
    fn open(&self) -> usize {
        self.0.sockets().len()
    }

    fn hang_up(&self) {
        self.0.ask("CLIENT KILL TYPE normal");
    }

    fn pause(&self) -> bool {
        self.0.stop();
        true
    }

    fn resume(&self) {
        self.0.go_on();
    }
}

/// What was not asked before.
fn question() -> u64 {
    static QUESTIONS: AtomicU64 = AtomicU64::new(0);
    QUESTIONS.fetch_add(1, Ordering::Relaxed)
}

/// Asks, and knows the answer.
async fn ask(connection: &mut impl ConnectionLike) -> RedisResult<()> {
    let question = question();
    let answer: u64 = redis::cmd("ECHO")
        .arg(question)
        .query_async(connection)
        .await?;
    match answer == question {
        true => Ok(()),
        false => Err(RedisError::from(std::io::Error::other(
            "this was the answer to another question",
        ))),
    }
}

/// Asks, and does not wait for the answer.
async fn ask_and_go(connection: &mut RedisConnection) -> RedisResult<()> {
    let mut echo = redis::cmd("ECHO");
    echo.arg(question()).set_no_response(true);
    echo.query_async(connection).await
}

async fn keeps_every_rule(server: RedisServer, manager: RedisManager) {
    let report = Subject::new(move || manager.clone(), Real(Arc::new(server)))
        .exact()
        .use_once(async |connection| ask(connection).await)
        .abandon(async |connection| ask_and_go(connection).await)
        .check()
        .await;
    report.assert();
    // A real server says nothing unasked, but for what RESP3 allows it to.
    let not_asked: Vec<_> = report.not_asked().collect();
    assert_eq!(not_asked, [Rule::UnaskedBytesAreNoticed], "{report}");
}

#[tokio::test]
async fn connections_keep_every_rule_that_can_be_asked() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let manager = RedisManager::new(server.url()).unwrap();
    keeps_every_rule(server, manager).await;
}

/// In the other protocol, which a reset ends too.
#[tokio::test]
async fn connections_of_resp3_that_are_reset_each_time_keep_every_rule_that_can_be_asked() {
    let Some(server) = Setup::default()
        .line("user app on >pass ~* &* +@all")
        .start()
    else {
        return;
    };
    let url = format!(
        "redis://app:pass@127.0.0.1:{}/3?protocol=resp3",
        server.port()
    );
    let manager = RedisManager::new(url).unwrap().strict(true);
    keeps_every_rule(server, manager).await;
}

#[tokio::test]
async fn connections_that_a_sentinel_was_asked_for_keep_every_rule_that_can_be_asked() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let watch = format!("sentinel monitor {MASTER} 127.0.0.1 {} 1", server.port());
    let Some(sentinel) = Setup::default().sentinel().line(watch).start() else {
        return;
    };
    let manager = RedisManager::sentinel(MASTER, [sentinel.url()]).unwrap();
    keeps_every_rule(server, manager).await;
}

/// The sockets are redis-rs's, so that what the kernel knows is known only once its tasks have run.
#[cfg(feature = "cluster")]
#[tokio::test]
async fn connections_to_a_cluster_keep_every_rule_that_can_be_asked_but_that_they_are_not_exact() {
    use pool_redis::{RedisClusterConnection, RedisClusterManager};

    let setup = Setup::default().line("cluster-enabled yes");
    let Some(server) = setup.start() else {
        return;
    };
    server.command("CLUSTER ADDSLOTSRANGE 0 16383");
    support::arrives(|| {
        let info = server.ask("CLUSTER INFO");
        info.text().contains("cluster_state:ok")
    });
    let manager = RedisClusterManager::new([server.url()]).unwrap();
    let report = Subject::new(move || manager.clone(), Real(Arc::new(server)))
        .use_once(async |connection: &mut RedisClusterConnection| ask(connection).await)
        .abandon(async |connection: &mut RedisClusterConnection| {
            let asked = tokio::time::timeout(std::time::Duration::ZERO, ask(connection));
            asked.await.unwrap_or(Ok(()))
        })
        .check()
        .await;
    report.assert();
    let not_asked: Vec<_> = report.not_asked().collect();
    let inexact = [Rule::KernelIsAsked, Rule::UnaskedBytesAreNoticed];
    assert_eq!(not_asked, inexact, "{report}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn connections_over_tls_keep_every_rule_that_can_be_asked() {
    use pool_tcp::rustls::pki_types::CertificateDer;
    use pool_tcp::rustls::{ClientConfig, RootCertStore};

    let Some(server) = Setup::default().tls().start() else {
        return;
    };
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from(server.certificate().to_vec());
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = Arc::new(config.with_no_client_auth());
    let manager = RedisManager::with_tls(server.tls_url(), config).unwrap();
    keeps_every_rule(server, manager).await;
}
