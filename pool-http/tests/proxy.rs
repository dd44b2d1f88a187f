//! Proxies: told the whole URL, or asked for a tunnel; by the builder or by the environment.

mod support_h2;

use std::sync::{Arc, Mutex};

use http::Version;
use pool_core::OnConnectError;
use pool_http::{Client, ErrorKind, Fate, Proxies};
use support_h2::certificate::Certificate;
use support_h2::server::Recipe;
use support_h2::{becomes, fetch, get, in_time};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A proxy that writes down the heads of what it is asked.
struct Proxy {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
    accepted: Arc<Mutex<usize>>,
}

impl Proxy {
    /// Connects where it is asked to, or refuses with this status.
    async fn new(refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            url: listener.local_addr().unwrap().to_string(),
            heads: Arc::default(),
            accepted: Arc::default(),
        };
        let (heads, accepted) = (Arc::clone(&proxy.heads), Arc::clone(&proxy.accepted));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                *accepted.lock().unwrap() += 1;
                tokio::spawn(serve(socket, Arc::clone(&heads), refusal));
            }
        });
        proxy
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

async fn serve(mut socket: TcpStream, heads: Arc<Mutex<Vec<String>>>, refusal: Option<&str>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        heads.lock().unwrap().push(head.clone());
        if let Some(refusal) = refusal {
            let refused = format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n");
            socket.write_all(refused.as_bytes()).await.unwrap();
        } else if let Some(target) = head.strip_prefix("CONNECT ") {
            let target = target.split(' ').next().unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            server.set_nodelay(true).unwrap();
            socket
                .write_all(b"HTTP/1.1 200 Connected\r\n\r\n")
                .await
                .unwrap();
            let _ = copy_bidirectional(&mut socket, &mut server).await;
            return;
        } else {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nby proxy!";
            socket.write_all(answer).await.unwrap();
        }
    }
}

fn by(proxies: Proxies) -> Client {
    Client::builder().proxies(proxies).build().unwrap()
}

#[tokio::test]
async fn a_forward_proxy_is_told_the_whole_url_and_serves_all_origins_on_one_connection() {
    let proxy = Proxy::new(None).await;
    let client = by(Proxies::all(&format!(
        "http://aladdin:sesame@{}",
        proxy.url
    )));
    for url in ["http://one.test/a?b=c", "http://two.test:8080/"] {
        let answer = in_time(fetch(&client, get(url))).await.unwrap();
        assert_eq!(answer.body, "by proxy!");
        becomes(|| client.pool().status().idle, 1).await;
    }
    let heads = proxy.heads();
    let authorization = "proxy-authorization: Basic YWxhZGRpbjpzZXNhbWU=\r\n";
    assert!(
        heads[0].starts_with("GET http://one.test/a?b=c HTTP/1.1\r\n"),
        "{}",
        heads[0]
    );
    assert!(heads[0].contains("host: one.test\r\n") && heads[0].contains(authorization));
    assert!(
        heads[1].starts_with("GET http://two.test:8080/ HTTP/1.1\r\n"),
        "{}",
        heads[1]
    );
    assert!(heads[1].contains("host: two.test:8080\r\n") && heads[1].contains(authorization));
    assert_eq!((proxy.accepted(), client.pool().keys().len()), (1, 1));
}

/// RFC 9110 §4.2.4
#[tokio::test]
async fn a_forward_proxy_is_not_told_the_password_in_a_url() {
    let proxy = Proxy::new(None).await;
    let client = by(Proxies::all(&format!("http://{}", proxy.url)));
    in_time(fetch(&client, get("http://user:secret@one.test/a")))
        .await
        .unwrap();
    let head = &proxy.heads()[0];
    assert!(
        head.starts_with("GET http://one.test/a HTTP/1.1\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_tunnel_carries_tls_and_leads_to_one_origin() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let proxy = Proxy::new(None).await;
    let client = Client::builder()
        .tls(certificate.client())
        .proxies(Proxies::all(&format!(
            "http://aladdin:sesame@{}",
            proxy.url
        )))
        .build()
        .unwrap();
    for (turn, protocol) in ["h2", "http/1.1"].into_iter().enumerate() {
        let server = Recipe::echo().tls(&certificate, &[protocol]).start().await;
        for requests in 0..2 {
            let answer = in_time(fetch(&client, get(&server.at("/x"))))
                .await
                .unwrap();
            assert_eq!(answer.served.version == Version::HTTP_2, protocol == "h2");
            assert_eq!(
                (answer.body, answer.served.requests),
                ("/x".into(), requests)
            );
            becomes(|| client.pool().status().idle, turn + 1).await;
        }
        let head = &proxy.heads()[turn];
        let port = server.address.port();
        assert!(
            head.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")),
            "{head}"
        );
        assert!(
            head.contains(&format!("host: localhost:{port}\r\n")),
            "{head}"
        );
        assert!(head.contains("proxy-authorization: Basic YWxhZGRpbjpzZXNhbWU=\r\n"));
        // What is the proxy's is not told to the server, nor the other way round.
        assert_eq!((proxy.accepted(), server.accepted()), (turn + 1, 1));
    }
    assert_eq!(client.pool().keys().len(), 2);
}

#[tokio::test]
async fn a_tunnel_that_the_server_closes_while_idle_is_closed_here_too() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let proxy = Proxy::new(None).await;
    let client = Client::builder()
        .tls(certificate.client())
        .proxies(Proxies::all(&format!("http://{}", proxy.url)))
        .build()
        .unwrap();
    let server = Recipe::echo()
        .tls(&certificate, &["http/1.1"])
        .start()
        .await;
    in_time(fetch(&client, get(&server.at("/")))).await.unwrap();
    server.kill();
    becomes(|| client.pool().status().size(), 0).await;
}

#[tokio::test]
async fn a_tunnel_that_is_refused_is_told_at_once_with_the_status() {
    let proxy = Proxy::new(Some("407 Proxy Authentication Required")).await;
    let client = by(Proxies::all(&format!("http://{}", proxy.url)));
    let error = in_time(fetch(&client, get("https://one.test/")))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (ErrorKind::Connect, Fate::NotSent)
    );
    let told = error.to_string();
    assert!(told.contains("407 Proxy Authentication Required"), "{told}");
    assert!(told.contains(&proxy.url), "{told}");
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_tunnel_that_cannot_be_had_just_now_is_tried_again() {
    let proxy = Proxy::new(Some("503 Service Unavailable")).await;
    let client = Client::builder()
        .proxies(Proxies::all(&format!("http://{}", proxy.url)))
        .pool(|pool| pool.each(|_, pool| pool.on_connect_error(OnConnectError::Wait)))
        .build()
        .unwrap();
    let mut waits = Box::pin(fetch(&client, get("https://one.test/")));
    let tried = becomes(|| proxy.accepted() >= 2, true);
    in_time(async {
        tokio::select! {
            answer = &mut waits => panic!("{answer:?}"),
            () = tried => {}
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_certificate_behind_a_tunnel_is_told_at_once() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let server = Recipe::echo().tls(&certificate, &["h2"]).start().await;
    let proxy = Proxy::new(None).await;
    let client = Client::builder()
        .tls(Certificate::of("localhost").client())
        .proxies(Proxies::all(&format!("http://{}", proxy.url)))
        .build()
        .unwrap();
    let error = in_time(fetch(&client, get(&server.at("/"))))
        .await
        .unwrap_err();
    assert_eq!(error.fate(), Fate::NotSent);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn proxies_that_cannot_be_spoken_to_are_told_at_once() {
    for proxy in ["https://127.0.0.1:1", "socks5://127.0.0.1:1"] {
        for url in ["http://one.test/", "https://one.test/"] {
            let client = by(Proxies::all(proxy));
            let error = in_time(fetch(&client, get(url))).await.unwrap_err();
            let (scheme, _) = proxy.split_once(':').unwrap();
            let advice = format!("{scheme} is not spoken to proxies here; give an http:// URL");
            assert!(error.to_string().contains(&advice), "{error}");
        }
    }
}

#[tokio::test]
async fn what_is_no_url_of_a_proxy_is_told_before_anything_goes_by_none() {
    for url in ["nonsense at all", "ftp://proxy.test", "http://"] {
        let built = Client::builder().proxies(Proxies::all(url)).build();
        let error = built.unwrap_err();
        assert!(error.to_string().contains("no URL of a proxy"), "{error}");
        assert!(
            Client::builder()
                .proxies(Proxies::all(url).except("x"))
                .build()
                .is_err()
        );
    }
}

#[tokio::test]
async fn who_is_excepted_goes_by_no_proxy() {
    let proxy = Proxy::new(None).await;
    let server = Recipe::echo().http1().start().await;
    let all = Proxies::all(&format!("http://{}", proxy.url));
    let client = by(all.except("example.org,127.0.0.0/8"));
    let answer = in_time(fetch(&client, get(&server.at("/direct"))))
        .await
        .unwrap();
    assert_eq!((answer.body, proxy.accepted()), ("/direct".into(), 0));
}

/// Only in a process of its own, as the environment is everybody's.
#[test]
#[ignore = "run by the test after it, with an environment"]
fn fetches_as_the_environment_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::builder().build().unwrap();
        let url = std::env::var("POOL_HTTP_TEST_URL").unwrap();
        match in_time(fetch(&client, get(&url))).await {
            Ok(answer) => println!("answered {:?}", answer.body),
            Err(error) => println!("{error}"),
        }
    });
}

async fn in_environment(url: &str, variables: &[(&str, &str)]) -> String {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "request_method",
    ] {
        child.env_remove(name).env_remove(name.to_uppercase());
    }
    child
        .args(["--exact", "fetches_as_the_environment_says"])
        .args(["--ignored", "--nocapture"])
        .env("POOL_HTTP_TEST_URL", url)
        .envs(variables.iter().copied())
        .kill_on_drop(true);
    let output = in_time(child.output()).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_environment_is_heeded() {
    let proxy = Proxy::new(Some("403 Forbidden")).await;
    let forward = Proxy::new(None).await;
    let (refusing, forwarding) = (
        format!("http://{}", proxy.url),
        format!("http://{}", forward.url),
    );
    let server = Recipe::echo().http1().start().await;
    let url = server.at("/direct");

    let told = in_environment(&url, &[]).await;
    assert!(told.contains("/direct"), "{told}");
    let told = in_environment(&url, &[("http_proxy", &forwarding)]).await;
    assert!(told.contains("by proxy!"), "{told}");
    let both = [
        ("HTTP_PROXY", &*forwarding),
        ("NO_PROXY", "example.org,127.0.0.1"),
    ];
    let told = in_environment(&url, &both).await;
    assert!(told.contains("/direct"), "{told}");
    let each = [("HTTPS_PROXY", &*refusing), ("HTTP_PROXY", &forwarding)];
    let told = in_environment("https://one.test/", &each).await;
    assert!(told.contains("403 Forbidden"), "{told}");
    let told = in_environment("https://one.test/", &[("ALL_PROXY", &refusing)]).await;
    assert!(told.contains("403 Forbidden"), "{told}");
}
