//! A pooled HTTP client on hyper: bounded, honest, and it does not lose requests to servers that close.
//!
//! ```no_run
//! use http_body_util::BodyExt;
//! use pool_http::{Client, Served};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let client = Client::builder().build()?;
//!
//! let request = http::Request::get("https://example.org/").body(String::new())?;
//! let response = client.request(request).await?;
//! assert!(!response.extensions().get::<Served>().unwrap().is_reused());
//! let body = response.into_body().collect().await?.to_bytes();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! Requests and responses are those of the crate `http`, bodies those of `http_body`, and the client is a service of tower:
//! redirects, cookies, decompression and retries of what a server answers are layers over it. Each origin (scheme, host,
//! port, and the proxy before it) has a pool of its own, under one total. What reqwest, urllib3 and requests call the same
//! things is in [`manual::coming_from`].
//!
//! # What is kept, and what is not
//!
//! | after | a connection of HTTP/1 | one of HTTP/2 |
//! |---|---|---|
//! | a response that was read to its end | is kept, as soon as hyper is ready for the next request | is kept, as in all that follows but the end |
//! | a body that was dropped | is kept if the rest is short and quick to come ([`ClientBuilder::drain`]) | the stream is cancelled |
//! | a request that was cancelled, or failed | is closed | the stream is cancelled |
//! | `Connection: close`, HTTP/1.0, bytes that nobody asked for | is closed | |
//! | an upgrade, `CONNECT` | is no longer the pool's | the stream is yours |
//! | `Keep-Alive: timeout=5` | is kept for 4 s, by the [margin](ClientBuilder::keep_alive_margin) | |
//! | the server's FIN, or its GOAWAY | is closed when it comes | takes no further request at once; what it has taken is finished |
//!
//! # What is sent again
//!
//! Before a request is written, the kernel is asked whether the peer has gone. What is handed back unsent goes out on another
//! connection. So does what a server of HTTP/2 refuses or, going away, has not taken, if the body is in memory. An
//! idempotent request that is lost with a connection others had used is sent once more, on a fresh one ([`Replay`]).
//! Anything else is an error, and [`RequestError::fate`] says whether the request may have run.
//!
//! # The parts
//!
//! | | |
//! |---|---|
//! | [`Client`], [`ClientBuilder`] | the client, and how it is set up |
//! | [`RequestBody`], [`ResponseBody`] | what is sent, and can it be sent again; what comes, and has the connection |
//! | [`Served`] | by which connection a response came, in its extensions |
//! | [`RequestError`], [`Fate`] | why there is none, and whether the request may have run |
//! | [`Replay`] | what is sent once more |
//! | [`Http2`] | which versions are spoken |
//! | [`Proxies`] | which requests go by a proxy |
//! | [`Origin`], [`HttpManager`], [`HttpConnection`] | what the pools are about: for observers and checks |
//!
//! # Features
//!
//! - `tls` (on by default): `https://` by rustls, and HTTP/2 where the server offers it.

mod alarm;
mod builder;
mod client;
mod connection;
mod connector;
mod dial;
mod error;
mod exchange;
mod http2;
mod keep_alive;
mod lease;
mod lessons;
mod letter;
mod manager;
pub mod manual;
mod origin;
mod proxy;
mod replay;
mod request_body;
mod response_body;
mod route;
mod served;
mod settings;
#[cfg(feature = "tls")]
mod tls;
mod versions;

pub use builder::ClientBuilder;
pub use client::{Client, ResponseFuture};
pub use connection::HttpConnection;
pub use error::{BoxError, ClientError, ErrorKind, Fate, HttpConnectError, RequestError};
pub use manager::{Http2Handle, HttpManager};
pub use origin::Origin;
pub use proxy::Proxies;
pub use replay::{Replay, Rule};
pub use request_body::RequestBody;
pub use response_body::ResponseBody;
pub use served::Served;
pub use settings::Http2;
