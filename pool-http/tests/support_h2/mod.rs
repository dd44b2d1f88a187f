//! Servers in the test's own process: hyper, for HTTP as it should be, and raw h2, where a peer must misbehave.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(unused_imports, reason = "each test file uses a part of it")]

pub(crate) mod certificate;
pub(crate) mod closing;
pub(crate) mod frames;
pub(crate) mod raw;
pub(crate) mod server;
#[cfg(target_os = "linux")]
#[path = "../../../pool-tcp/tests/shared/sockets.rs"]
pub(crate) mod sockets;
#[path = "../../../pool-tcp/tests/shared/wait.rs"]
mod wait;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use pool_http::{Client, ClientBuilder, Proxies, RequestError, ResponseBody, Served};

pub(crate) use self::wait::{LIMIT, arrives, becomes, in_time};

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
