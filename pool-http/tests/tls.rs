//! `https://`: whom it trusts, what comes in unasked, and how it ends.

mod support_h2;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use pool_core::OnConnectError;
use pool_http::{Client, ClientBuilder, ErrorKind, Fate, Http2};
use support_h2::certificate::Certificate;
use support_h2::server::Recipe;
use support_h2::{LIMIT, becomes, client, fetch, get, in_time, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A peer of HTTP/1 over TLS that does what a test tells it to.
struct Scripted {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    client: Client,
}

impl Scripted {
    async fn new(change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        let certificate = Certificate::of("localhost");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            listener,
            acceptor: TlsAcceptor::from(certificate.server(&["http/1.1"])),
            client: change(client().tls(certificate.client())).build().unwrap(),
        }
    }

    fn url(&self) -> String {
        let port = self.listener.local_addr().unwrap().port();
        format!("https://localhost:{port}/")
    }

    async fn accept(&self) -> TlsStream<TcpStream> {
        let (socket, _) = self.listener.accept().await.unwrap();
        // What is said is to arrive, whether or not the last word was acknowledged.
        socket.set_nodelay(true).unwrap();
        self.acceptor.accept(socket).await.unwrap()
    }

    /// A connection that has served a request and lies idle.
    async fn used(&self) -> TlsStream<TcpStream> {
        let serve = async {
            let mut peer = self.accept().await;
            respond(&mut peer, "first").await;
            peer
        };
        let (answer, peer) =
            in_time(async { tokio::join!(fetch(&self.client, get(&self.url())), serve) }).await;
        assert_eq!(answer.unwrap().body, "first");
        becomes(|| self.client.pool().status().idle, 1).await;
        peer
    }
}

async fn respond(peer: &mut TlsStream<TcpStream>, body: &str) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(peer.read_u8().await.unwrap());
    }
    say(peer, &response(body)).await;
}

fn response(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn say(peer: &mut TlsStream<TcpStream>, text: &str) {
    peer.write_all(text.as_bytes()).await.unwrap();
    peer.flush().await.unwrap();
}

/// As a busy program does: nothing else runs meanwhile, and what comes in is seen by nobody.
fn block(time: Duration) {
    std::thread::sleep(time);
}

/// All that the error says.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

#[tokio::test]
async fn the_version_is_the_servers_choice() {
    let certificate = Arc::new(Certificate::of("localhost"));
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let server = Recipe::echo().tls(&certificate, offered).start().await;
        let client = client().tls(certificate.client()).build().unwrap();
        let answer = in_time(fetch(&client, get(&server.at("/x"))))
            .await
            .unwrap();
        assert_eq!(
            (answer.served.version, answer.body),
            (chosen, Bytes::from("/x"))
        );
    }
}

#[tokio::test]
async fn who_wants_http1_alone_gets_it() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let server = Recipe::echo()
        .tls(&certificate, &["h2", "http/1.1"])
        .start()
        .await;
    let client = client()
        .tls(certificate.client())
        .http2(Http2::Never)
        .build()
        .unwrap();
    let answer = in_time(fetch(&client, get(&server.at("/")))).await.unwrap();
    assert_eq!(answer.served.version, Version::HTTP_11);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_at_once() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let server = Recipe::echo().tls(&certificate, &["h2"]).start().await;
    let stranger = Certificate::of("localhost");
    // The pool's default is to wait for a better day, for 30 s.
    let client = client().tls(stranger.client()).build().unwrap();
    let told = timeout(LIMIT / 3, fetch(&client, post(&server.at("/")))).await;
    let error = told.expect("at once").unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Connect, Fate::NotSent)
    );
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_certificate_of_another_host_is_told_at_once() {
    let certificate = Arc::new(Certificate::of("elsewhere.test"));
    let server = Recipe::echo().tls(&certificate, &["h2"]).start().await;
    let client = client().tls(certificate.client()).build().unwrap();
    let error = in_time(fetch(&client, get(&server.at("/"))))
        .await
        .unwrap_err();
    let told = chain(&error);
    assert!(told.contains("not valid for name"), "{told}");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_server_without_tls_is_an_error_of_the_connection() {
    let server = Recipe::echo().http1().start().await;
    let fail = |pool: pool_core::KeyedBuilder<_, _>| {
        pool.each(|_, pool| pool.on_connect_error(OnConnectError::Fail))
    };
    let client = client().pool(fail).build().unwrap();
    let url = format!("https://localhost:{}/", server.address.port());
    let error = in_time(fetch(&client, get(&url))).await.unwrap_err();
    assert_eq!(error.fate(), Fate::NotSent, "{error}");
}

#[tokio::test]
async fn tickets_do_not_make_a_connection_look_dirty() {
    let peer = Scripted::new(|client| client).await;
    // One that nobody has used: its tickets are all that ever came.
    let origin = pool_http::Origin::of(&peer.url().parse().unwrap()).unwrap();
    let checkout = async { drop(peer.client.pool().checkout_owned(&origin).await.unwrap()) };
    let (mut served, ()) = in_time(async { tokio::join!(peer.accept(), checkout) }).await;
    block(Duration::from_millis(20));
    let serve = respond(&mut served, "on the same");
    let (answer, ()) =
        in_time(async { tokio::join!(fetch(&peer.client, get(&peer.url())), serve) }).await;
    assert_eq!(answer.unwrap().body, "on the same");
}

#[tokio::test]
async fn a_response_to_nothing_never_answers_the_next_request() {
    for is_busy in [false, true] {
        let peer = Scripted::new(|client| client).await;
        let mut idle = peer.used().await;
        say(&mut idle, &response("unasked")).await;
        match is_busy {
            false => becomes(|| peer.client.pool().status().idle, 0).await,
            // The bytes are in the socket, and hyper has not seen them.
            true => block(Duration::from_millis(20)),
        }
        let serve = async {
            let mut fresh = peer.accept().await;
            respond(&mut fresh, "asked").await;
            fresh
        };
        let (answer, _fresh) =
            in_time(async { tokio::join!(fetch(&peer.client, post(&peer.url())), serve) }).await;
        assert_eq!(answer.unwrap().body, "asked");
    }
}

#[tokio::test]
async fn a_goodbye_without_a_fin_is_seen_before_a_post_is_sent() {
    let peer = Scripted::new(|client| client).await;
    let mut idle = peer.used().await;
    // The socket stays open under it.
    idle.get_mut().1.send_close_notify();
    idle.flush().await.unwrap();
    block(Duration::from_millis(20));
    let serve = async {
        let mut fresh = peer.accept().await;
        respond(&mut fresh, "asked").await;
        fresh
    };
    let (answer, _fresh) =
        in_time(async { tokio::join!(fetch(&peer.client, post(&peer.url())), serve) }).await;
    assert_eq!(answer.unwrap().served.replays, 0);
    drop(idle);
}

#[tokio::test]
async fn a_fin_while_idle_closes_the_connection() {
    let peer = Scripted::new(|client| client).await;
    let idle = peer.used().await;
    drop(idle);
    becomes(|| peer.client.pool().status().size(), 0).await;
}

/// Only in a process of its own, as the environment is everybody's.
#[test]
#[ignore = "run by the test after it, with SSL_CERT_FILE"]
fn fetches_what_the_environment_names() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = client().build().unwrap();
        let url = std::env::var("POOL_HTTP_TEST_URL").unwrap();
        match in_time(fetch(&client, get(&url))).await {
            Ok(answer) => println!("answered {}", answer.status),
            Err(error) => println!("{:?} {}", error.fate(), chain(&error)),
        }
    });
}

async fn with_certificates_of(path: &std::path::Path, url: &str) -> String {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "fetches_what_the_environment_names"])
        .args(["--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", path)
        .env("SSL_CERT_DIR", path.parent().unwrap().join("none"))
        .env("POOL_HTTP_TEST_URL", url)
        .kill_on_drop(true);
    let output = in_time(child.output()).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn whom_the_system_trusts_is_trusted_and_nobody_else() {
    let folder = Folder::new();
    let certificate = Arc::new(Certificate::of("localhost"));
    let server = Recipe::echo().tls(&certificate, &["h2"]).start().await;
    let roots = folder.0.join("roots.pem");

    std::fs::write(&roots, &certificate.pem).unwrap();
    let told = with_certificates_of(&roots, &server.at("/")).await;
    assert!(told.contains("answered 200"), "{told}");

    std::fs::write(&roots, Certificate::of("localhost").pem).unwrap();
    let told = with_certificates_of(&roots, &server.at("/")).await;
    assert!(
        told.contains("NotSent") && told.contains("invalid peer certificate"),
        "{told}"
    );

    // Nobody to trust: told when it matters, and not before.
    std::fs::write(&roots, "").unwrap();
    let told = with_certificates_of(&roots, &server.at("/")).await;
    assert!(told.contains("no certificates to trust"), "{told}");
    let plain = Recipe::echo().http1().start().await;
    let told = with_certificates_of(&roots, &plain.at("/")).await;
    assert!(told.contains("answered 200"), "{told}");
}

struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("pool-http-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What negotiates HTTP/2 where it may, and refuses every request that comes by it (RFC 9113 §7).
struct Reluctant {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    client: Client,
}

impl Reluctant {
    async fn new() -> Self {
        let certificate = Certificate::of("localhost");
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: TlsAcceptor::from(certificate.server(&["h2", "http/1.1"])),
            client: client().tls(certificate.client()).build().unwrap(),
        }
    }

    fn url(&self) -> String {
        let port = self.listener.local_addr().unwrap().port();
        format!("https://localhost:{port}/")
    }

    async fn accept(&self) -> TlsStream<TcpStream> {
        let (socket, _) = self.listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        self.acceptor.accept(socket).await.unwrap()
    }

    /// Ends when the client has left.
    async fn refuse(&self, stream: TlsStream<TcpStream>) {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(h2::Reason::HTTP_1_1_REQUIRED);
        }
    }
}

#[tokio::test]
async fn what_is_wanted_by_http1_goes_out_by_http1_and_so_does_what_comes_after() {
    let peer = Reluctant::new().await;
    let serve = async {
        let first = peer.accept().await;
        assert_eq!(first.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        peer.refuse(first).await;
        for answer in ["second", "third"] {
            let mut stream = peer.accept().await;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            respond(&mut stream, answer).await;
        }
    };
    let ask = async {
        // Refused, it has not run.
        let second = fetch(&peer.client, post(&peer.url())).await.unwrap();
        let told = (second.served.version, second.served.replays, second.body);
        assert_eq!(told, (Version::HTTP_11, 1, Bytes::from("second")));
        becomes(|| peer.client.pool().status().size(), 0).await;
        let third = fetch(&peer.client, post(&peer.url())).await.unwrap();
        let told = (third.served.version, third.served.replays, third.body);
        assert_eq!(told, (Version::HTTP_11, 0, Bytes::from("third")));
    };
    in_time(async { tokio::join!(serve, ask) }).await;
}

#[tokio::test]
async fn who_may_speak_no_http1_is_told_that_the_request_was_refused() {
    let certificate = Certificate::of("localhost");
    let mut peer = Reluctant::new().await;
    peer.acceptor = TlsAcceptor::from(certificate.server(&["h2"]));
    let client = client().tls(certificate.client()).http2(Http2::Always);
    peer.client = client.build().unwrap();
    let url = peer.url();
    let serve = async { peer.refuse(peer.accept().await).await };
    let ask = async {
        let error = fetch(&peer.client, post(&url)).await.unwrap_err();
        let told = (error.kind(), error.fate());
        assert_eq!(told, (ErrorKind::Refused, Fate::NotSent));
    };
    in_time(async { tokio::join!(serve, ask) }).await;
}

/// Nobody accepts: the kernel has the connection, and there will be no handshake.
#[tokio::test(start_paused = true)]
async fn a_handshake_may_take_as_long_as_the_pool_lets_a_dial_take() {
    const LIMIT: Duration = Duration::from_secs(20);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client().pool(|pool| {
        pool.each(|_, pool| {
            pool.on_connect_error(OnConnectError::Fail)
                .connect_timeout(LIMIT)
        })
    });
    let certificate = Certificate::of("localhost");
    let client = client.tls(certificate.client()).build().unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "this test pauses the clock")]
    let begun = Instant::now();
    let error = fetch(&client, get(&url)).await.unwrap_err();
    assert!(chain(&error).contains("connect_timeout"), "{error}");
    let took = begun.elapsed();
    assert!(took >= LIMIT && took < 2 * LIMIT, "{took:?}");
}
