//! The managers of this crate keep every rule that the pool relies on, asked by its own conformance check.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use pool_core::testkit::TcpServer;
use pool_core::testkit::conformance::{Rule, Subject};
use pool_tcp::{OnReadable, TcpManager};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Sends every byte back.
fn echo(mut stream: impl Read + Write) -> io::Result<()> {
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
        stream.flush()?;
    }
}

/// What was not asked before, as far as a byte goes.
fn question() -> u8 {
    static QUESTIONS: AtomicU8 = AtomicU8::new(0);
    QUESTIONS.fetch_add(1, Ordering::Relaxed)
}

/// Asks, and knows the answer.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let question = question();
    stream.write_all(&[question]).await?;
    stream.flush().await?;
    match stream.read_u8().await? == question {
        true => Ok(()),
        false => Err(io::Error::other("this was the answer to another question")),
    }
}

/// Asks, and does not wait for the answer.
async fn ask_and_go(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(&[question()]).await?;
    stream.flush().await
}

/// The manager of TCP connections, with what a test changes in it.
fn tcp(change: impl Fn(TcpManager) -> TcpManager + Send + Sync + 'static) -> Subject<TcpManager> {
    let server = TcpServer::start(|socket| echo(socket)).unwrap();
    let address = server.address().to_string();
    Subject::new(move || change(TcpManager::new(&address).unwrap()), server)
        .exact()
        .use_once(async |connection| ask(connection).await)
        .abandon(async |connection| ask_and_go(connection).await)
}

#[tokio::test]
async fn connections_over_tcp_keep_every_rule() {
    let report = tcp(|manager| manager).check().await;
    report.assert();
    assert_eq!(report.not_asked().count(), 0, "{report}");
}

#[tokio::test]
async fn whoever_turns_a_safeguard_off_is_told_what_he_gave_up() {
    for (without, rule, method) in [
        (
            tcp(|manager| manager.on_readable(OnReadable::Ignore)),
            Rule::UnaskedBytesAreNoticed,
            "poll_dropped",
        ),
        (
            tcp(|manager| manager.one_way(true)),
            Rule::AbandonedIsNotKept,
            "recycle",
        ),
    ] {
        let report = without.limit(Duration::from_secs(3)).check().await;
        let broken: Vec<_> = report
            .broken()
            .map(|(rule, fault)| (rule, fault.method()))
            .collect();
        assert_eq!(broken, [(rule, method)], "{report}");
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use std::net::TcpStream;
    use std::sync::Arc;

    use pool_tcp::TlsManager;
    use pool_tcp::rustls::pki_types::{PrivateKeyDer, ServerName};
    use pool_tcp::rustls::version::{TLS12, TLS13};
    use pool_tcp::rustls::{
        ClientConfig, RootCertStore, ServerConfig, ServerConnection, Stream,
        SupportedProtocolVersion,
    };

    fn server(version: &'static SupportedProtocolVersion) -> (TcpServer, TlsManager) {
        let certified = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let certificate = certified.cert.der().clone();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        // With its tickets, which make a new connection readable.
        let config = ServerConfig::builder_with_protocol_versions(&[version])
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let server = TcpServer::start(move |mut socket: &TcpStream| {
            let mut session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            echo(Stream::new(&mut session, &mut socket))
        })
        .unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let manager = TcpManager::new(&server.address().to_string())
            .unwrap()
            .tls(Arc::new(client))
            .unwrap()
            .server_name(ServerName::try_from("localhost").unwrap());
        (server, manager)
    }

    #[tokio::test]
    async fn connections_over_tls_of_either_version_keep_every_rule() {
        for version in [&TLS13, &TLS12] {
            let (server, manager) = server(version);
            let report = Subject::new(move || manager.clone(), server)
                .exact()
                .use_once(async |connection| ask(connection).await)
                .abandon(async |connection| ask_and_go(connection).await)
                .check()
                .await;
            report.assert();
            assert_eq!(report.not_asked().count(), 0, "{version:?}: {report}");
        }
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::collections::HashMap;
    use std::net::Shutdown;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};

    use pool_core::testkit::conformance::Server;
    use pool_tcp::UnixManager;

    /// An echo server that knows who is connected.
    struct UnixServer {
        path: PathBuf,
        clients: Arc<Mutex<HashMap<usize, UnixStream>>>,
    }

    impl UnixServer {
        fn start(path: &Path) -> Self {
            let listener = UnixListener::bind(path).unwrap();
            let clients = Arc::<Mutex<HashMap<_, _>>>::default();
            let known = clients.clone();
            std::thread::spawn(move || {
                for (number, client) in listener.incoming().enumerate() {
                    let Ok(client) = client else { return };
                    let control = client.try_clone().unwrap();
                    known.lock().unwrap().insert(number, control);
                    let known = known.clone();
                    std::thread::spawn(move || {
                        let _ = echo(&client);
                        known.lock().unwrap().remove(&number);
                    });
                }
            });
            Self {
                path: path.to_owned(),
                clients,
            }
        }
    }

    impl Server for UnixServer {
        fn open(&self) -> usize {
            self.clients.lock().unwrap().len()
        }

        fn hang_up(&self) {
            for client in self.clients.lock().unwrap().values() {
                let _ = client.shutdown(Shutdown::Write);
            }
        }

        fn speak(&self) -> bool {
            for mut client in self.clients.lock().unwrap().values() {
                let _ = client.write_all(b"nobody asked for this");
            }
            true
        }
    }

    impl Drop for UnixServer {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[tokio::test]
    async fn unix_sockets_keep_every_rule_that_can_be_asked() {
        let path = format!("pool-tcp-conformance-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(path);
        let server = UnixServer::start(&path);
        let report = Subject::new(move || UnixManager::new(&path), server)
            .exact()
            .use_once(async |connection| ask(connection).await)
            .abandon(async |connection| ask_and_go(connection).await)
            .check()
            .await;
        report.assert();
        // A socket of this kind connects at once, whatever the server does.
        let not_asked: Vec<_> = report.not_asked().collect();
        assert_eq!(not_asked, [Rule::SilenceIsBorne]);
    }
}
