//! Unix-domain sockets, connectors of the user's, and names with several addresses.

mod support_h2;

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use pool_http::{Http2, Replay};
use support_h2::server::Recipe;
use support_h2::{becomes, client, fetch, get, in_time, post};
use tokio::net::TcpStream;

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_takes_every_host_and_is_watched() {
    use hyper::service::service_fn;
    use tokio::net::UnixListener;

    let folder = std::env::temp_dir().join(format!("pool-http-unix-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let serving = tokio::spawn(async move {
        let mut served = tokio::task::JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            served.spawn(async move {
                let service =
                    service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                        let host = request.headers()["host"].to_str().unwrap().to_owned();
                        Ok::<_, std::convert::Infallible>(support_h2::server::answer(host))
                    });
                let builder = hyper::server::conn::http1::Builder::new();
                let _ = builder
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    });
    let client = client().unix_socket(&path).build().unwrap();
    for turn in 0..3 {
        let answer = in_time(fetch(&client, get("http://any.test/")))
            .await
            .unwrap();
        assert_eq!(
            (answer.body, answer.served.requests),
            ("any.test".into(), turn)
        );
        assert_eq!(answer.served.peer, None);
        becomes(|| client.pool().status().idle, 1).await;
    }
    serving.abort();
    becomes(|| client.pool().status().size(), 0).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Leads everybody to one server.
#[derive(Clone)]
struct Local(std::net::SocketAddr);

impl tower_service::Service<Uri> for Local {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        assert_eq!(uri.to_string(), "http://anywhere.test:80/");
        let address = self.0;
        Box::pin(async move { Ok(TokioIo::new(TcpStream::connect(address).await?)) })
    }
}

#[tokio::test]
async fn a_connector_of_the_users_dials_and_its_connections_are_kept_and_watched() {
    for is_http2 in [false, true] {
        let recipe = Recipe::echo();
        let server = match is_http2 {
            true => recipe.start().await,
            false => recipe.http1().start().await,
        };
        let version = match is_http2 {
            true => Http2::Always,
            false => Http2::Negotiated,
        };
        let client = client()
            .http2(version)
            .connector(Local(server.address))
            .replay(Replay::Never)
            .build()
            .unwrap();
        for turn in 0..3 {
            let sent = fetch(&client, post("http://anywhere.test/x"));
            let answer = in_time(sent).await.unwrap();
            assert_eq!((answer.body, answer.served.requests), ("/x".into(), turn));
            becomes(|| client.pool().status().idle, 1).await;
        }
        server.kill();
        becomes(|| client.pool().status().size(), 0).await;
    }
}

#[tokio::test]
async fn of_the_addresses_of_a_name_the_one_that_answers_is_taken() {
    // localhost is ::1 as well on most machines, where nobody listens.
    let server = Recipe::echo().http1().start().await;
    let client = client().build().unwrap();
    let url = format!("http://localhost:{}/", server.address.port());
    let answer = in_time(fetch(&client, get(&url))).await.unwrap();
    assert_eq!(answer.served.peer, Some(server.address));
}
