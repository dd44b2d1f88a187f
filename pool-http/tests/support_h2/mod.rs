//! Servers in the test's own process: hyper, for HTTP as it should be, and raw h2, where a peer must misbehave.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod certificate;
pub(crate) mod frames;
pub(crate) mod raw;
pub(crate) mod server;

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use pool_http::{Client, ClientBuilder, Proxies, RequestError, ResponseBody, Served};
use tokio::time::{sleep, timeout};

/// No test takes as long; one that does hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Of which the environment is no part.
pub(crate) fn client() -> ClientBuilder {
    Client::builder().proxies(Proxies::none())
}

pub(crate) fn request(method: Method, url: &str, body: &'static str) -> Request<String> {
    let request = Request::builder().method(method).uri(url);
    request.body(body.to_owned()).unwrap()
}

pub(crate) fn get(url: &str) -> Request<String> {
    request(Method::GET, url, "")
}

pub(crate) fn post(url: &str) -> Request<String> {
    request(Method::POST, url, "some data")
}

/// What came back, and by which connection.
pub(crate) async fn fetch(
    client: &Client,
    request: Request<String>,
) -> Result<Answer, RequestError> {
    Answer::of(client.request(request).await?).await
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) served: Served,
}

impl Answer {
    pub(crate) async fn of(response: Response<ResponseBody>) -> Result<Self, RequestError> {
        let served = *response.extensions().get::<Served>().unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Self {
            status,
            body,
            served,
        })
    }
}

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it took too long")
}

/// Waits until it is so; what happens in another task, or in the kernel, takes its time.
pub(crate) async fn eventually<T: PartialEq + Debug>(mut look: impl FnMut() -> T, expected: T) {
    let looked = timeout(LIMIT, async {
        while look() != expected {
            sleep(Duration::from_millis(1)).await;
        }
    });
    if looked.await.is_err() {
        assert_eq!(look(), expected, "not within {LIMIT:?}");
    }
}
