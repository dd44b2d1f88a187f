//! Every way in: over TCP, a Unix socket and TLS, as whom, to which database, in which protocol; and what is said at a
//! door that does not open.

#![cfg(target_os = "linux")]

mod support;

use std::error::Error;
use std::io::{Read, Write};
use std::time::Duration;

use pool_core::testkit::TcpServer;
use pool_core::{CheckoutError, Manager};
use pool_redis::{RedisConnectError, RedisManager, RedisPool};
use redis::{AsyncCommands, Value};
use support::pool::{ask, assert_whole, builder, checkout, id, take};
use support::ports::free_port;
use support::{RedisServer, Setup, becomes, in_time};

const SIZE: usize = 3;

fn pool(manager: RedisManager) -> RedisPool {
    RedisPool::new(builder(manager).max_size(SIZE).build().unwrap())
}

/// The error with all its causes, as a person would log it, of a manager that cannot connect.
async fn told(manager: &RedisManager) -> String {
    let error = in_time(manager.connect()).await.unwrap_err();
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

/// It carries commands, and is closed on both sides when the pool is.
async fn serves(server: &RedisServer, pool: RedisPool) {
    let mut connections = take(&pool, SIZE).await;
    for connection in &mut connections {
        let () = connection.set("greeting", "good morning").await.unwrap();
        let greeting: String = connection.get("greeting").await.unwrap();
        assert_eq!(greeting, "good morning");
    }
    becomes(|| server.clients().len(), SIZE).await;
    drop(connections);
    becomes(|| pool.status().idle, SIZE).await;
    assert_eq!(server.ask("CLIENT KILL TYPE normal").integer(), SIZE as i64);
    becomes(|| pool.status().size(), 0).await;
    drop(checkout(&pool).await);
    drop(pool);
    becomes(|| server.clients().len(), 0).await;
    assert_eq!(server.sockets(), []);
}

#[tokio::test]
async fn a_unix_socket_serves() {
    let Some(server) = Setup::default().unix().start() else {
        return;
    };
    serves(&server, pool(RedisManager::new(server.unix_url()).unwrap())).await;
}

#[tokio::test]
async fn everything_a_url_says_is_so_on_every_connection() {
    let Some(server) = Setup::default()
        .line("user app on >pass ~* &* +@all")
        .start()
    else {
        return;
    };
    let port = server.port();
    let url = format!("redis://app:pass@127.0.0.1:{port}/7?protocol=resp3");
    let pool = pool(RedisManager::new(url).unwrap().client_name("orders"));
    let mut connections = take(&pool, SIZE).await;
    for connection in &mut connections {
        let client = server.client(id(connection).await).unwrap();
        let said = ["user", "db", "name"].map(|field| client.field(field).unwrap());
        assert_eq!(said, ["app", "7", "orders"]);
        let map: Value = ask(connection, "CONFIG GET maxclients").await.unwrap();
        assert!(matches!(map, Value::Map(_)), "{map:?}");
        // Since Redis 7.2.
        if server.version() >= (7, 2) {
            assert_eq!(client.field("lib-name"), Some("pool-redis"));
            assert_eq!(client.field("lib-ver"), Some(env!("CARGO_PKG_VERSION")));
        }
    }
    drop(connections);
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_wrong_password_user_database_or_none_is_told_with_the_remedy() {
    let Some(server) = Setup::default()
        .line("requirepass right")
        .line("user reader on >pass ~* &* +get +ping")
        .line("user nobody off >pass ~* &* +@all")
        .start()
    else {
        return;
    };
    let port = server.port();
    for (url, told_of) in [
        (
            format!("redis://127.0.0.1:{port}"),
            "wants a password; write redis://:password@host",
        ),
        (
            format!("redis://127.0.0.1:{port}/?protocol=resp3"),
            "wants a password",
        ),
        (format!("redis://127.0.0.1:{port}/3"), "wants a password"),
        (
            format!("redis://:wrong@127.0.0.1:{port}"),
            "refused AUTH: \"WRONGPASS\"",
        ),
        (
            format!("redis://:wrong@127.0.0.1:{port}/?protocol=resp3"),
            "refused HELLO 3: \"WRONGPASS\"",
        ),
        (
            format!("redis://somebody:right@127.0.0.1:{port}"),
            "refused AUTH",
        ),
        (
            format!("redis://nobody:pass@127.0.0.1:{port}"),
            "refused AUTH",
        ),
        (
            format!("redis://:right@127.0.0.1:{port}/99"),
            "refused SELECT",
        ),
        (
            format!("redis://reader:pass@127.0.0.1:{port}/1"),
            "refused SELECT",
        ),
    ] {
        let manager = RedisManager::new(url.as_str()).unwrap();
        let message = told(&manager).await;
        assert!(message.contains(told_of), "{url}: {message}");
        assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
        assert!(
            !message.contains("wrong") && !message.contains("pass@"),
            "{message}"
        );

        // None of these goes away by itself, so nobody waits.
        let error = in_time(pool(manager).checkout()).await.unwrap_err();
        assert!(
            matches!(error, CheckoutError::Connect(_)),
            "{url}: {error:?}"
        );
    }
    // Who may do hardly anything is let in all the same.
    let reader = format!("redis://reader:pass@127.0.0.1:{port}");
    let pool = pool(RedisManager::new(reader).unwrap());
    let mut connection = checkout(&pool).await;
    let nothing: Option<String> = ask(&mut connection, "GET k").await.unwrap();
    assert_eq!(nothing, None);
    assert_eq!(server.sockets().len(), 1);
}

#[tokio::test]
async fn a_password_that_nobody_asked_for_is_told() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let url = format!("redis://:needless@127.0.0.1:{}", server.port());
    let manager = RedisManager::new(url).unwrap();
    let message = told(&manager).await;
    assert!(message.contains("refused AUTH"), "{message}");
    assert!(message.contains("without any password"), "{message}");
    assert!(!message.contains("needless"), "{message}");
    let error = in_time(pool(manager).checkout()).await.unwrap_err();
    assert!(matches!(error, CheckoutError::Connect(_)), "{error:?}");
}

#[tokio::test]
async fn whoever_dials_something_else_is_asked_whether_it_is_a_redis() {
    let speaks: [fn(&std::net::TcpStream) -> std::io::Result<()>; 3] = [
        // Another protocol, unasked.
        |mut socket| {
            socket.write_all(b"220 mail.example ESMTP\r\n")?;
            socket.read(&mut [0; 1_000]).map(drop)
        },
        // Another protocol, when asked.
        |mut socket| {
            let _request = socket.read(&mut [0; 1_000])?;
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        },
        // Nothing, and closes.
        |_| Ok(()),
    ];
    for speak in speaks {
        let server = TcpServer::start(speak).unwrap();
        let manager = RedisManager::new(format!("redis://{}", server.address())).unwrap();
        let message = told(&manager).await;
        assert!(message.contains("is it a Redis"), "{message}");
        assert!(message.contains(&server.address().to_string()), "{message}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_after_the_limit_of_the_handshake() {
    let server = TcpServer::start(|socket| {
        // Reads on until the client has gone.
        std::io::copy(&mut &*socket, &mut std::io::sink()).map(drop)
    })
    .unwrap();
    let limit = Duration::from_millis(100);
    for url in [
        format!("redis://{}", server.address()),
        format!("redis://{}/?protocol=resp3", server.address()),
    ] {
        let manager = RedisManager::new(url).unwrap().handshake_timeout(limit);
        let error = in_time(manager.connect()).await.unwrap_err();
        assert!(
            matches!(error, RedisConnectError::TimedOut { .. }),
            "{error:?}"
        );
        let message = error.to_string();
        assert!(message.contains("did not answer within 100ms"), "{message}");
        // And nothing is left of the attempt.
        becomes(|| pool_core::testkit::conformance::Server::open(&server), 0).await;
    }
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address() {
    let port = free_port();
    let message = told(&RedisManager::new(format!("redis://127.0.0.1:{port}")).unwrap()).await;
    assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
    assert!(message.to_lowercase().contains("refused"), "{message}");

    let message = told(&RedisManager::new("redis+unix:///no/such/redis.sock").unwrap()).await;
    assert!(message.contains("/no/such/redis.sock"), "{message}");
}

#[tokio::test]
async fn subscriptions_have_a_connection_of_their_own() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for protocol in ["", "?protocol=resp3"] {
        let url = format!("{}{protocol}", server.url());
        let pool = pool(RedisManager::new(url).unwrap());
        let mut pubsub = in_time(pool.pubsub()).await.unwrap();
        in_time(pubsub.subscribe("news")).await.unwrap();
        assert_eq!(pool.status().size(), 0);
        assert_eq!(server.ask("PUBLISH news today").integer(), 1);
        drop(pubsub);
        becomes(|| server.clients().len(), 0).await;
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use std::sync::Arc;

    use pool_tcp::rustls::pki_types::CertificateDer;
    use pool_tcp::rustls::{ClientConfig, RootCertStore};

    fn trusting(certificates: impl IntoIterator<Item = Vec<u8>>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(CertificateDer::from(certificate)).unwrap();
        }
        let config = ClientConfig::builder().with_root_certificates(roots);
        Arc::new(config.with_no_client_auth())
    }

    #[tokio::test]
    async fn tls_serves() {
        let Some(server) = Setup::default().tls().start() else {
            return;
        };
        let config = trusting([server.certificate().to_vec()]);
        for protocol in ["", "?protocol=resp3"] {
            let url = format!("{}{protocol}", server.tls_url());
            let manager = RedisManager::with_tls(url, config.clone()).unwrap();
            let pool = pool(manager);
            fill_and_kill(&server, &pool).await;
            serves(&server, pool).await;
        }
    }

    /// None that was killed a moment ago is handed out.
    async fn fill_and_kill(server: &RedisServer, pool: &RedisPool) {
        support::pool::fill(pool, SIZE).await;
        server.ask("CLIENT KILL TYPE normal");
        support::arrives(|| server.close_wait() == SIZE);
        for mut connection in take(pool, SIZE).await {
            assert_eq!(
                ask::<String>(&mut connection, "PING").await.unwrap(),
                "PONG"
            );
        }
    }

    #[tokio::test]
    async fn a_certificate_that_is_not_trusted_is_told() {
        let Some(server) = Setup::default().tls().start() else {
            return;
        };
        let manager = RedisManager::with_tls(server.tls_url(), trusting([])).unwrap();
        let message = told(&manager).await;
        assert!(message.contains("localhost"), "{message}");
        assert!(message.to_lowercase().contains("certificate"), "{message}");
        let error = in_time(pool(manager).checkout()).await.unwrap_err();
        assert!(matches!(error, CheckoutError::Connect(_)), "{error:?}");
    }

    #[tokio::test]
    async fn tls_to_a_port_without_it_and_the_other_way_round_is_told() {
        let Some(server) = Setup::default().tls().start() else {
            return;
        };
        let limit = Duration::from_secs(2);
        let config = trusting([server.certificate().to_vec()]);
        let url = format!("rediss://localhost:{}", server.port());
        let manager = RedisManager::with_tls(url, config)
            .unwrap()
            .handshake_timeout(limit);
        let message = told(&manager).await;
        assert!(message.contains(&server.port().to_string()), "{message}");

        let url = format!("redis://localhost:{}", server.tls_port());
        let message = told(&RedisManager::new(url).unwrap().handshake_timeout(limit)).await;
        assert!(
            message.contains(&server.tls_port().to_string()),
            "{message}"
        );
    }
}
