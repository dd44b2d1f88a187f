//! A pooled HTTP client on hyper: bounded, honest, and it does not lose requests to servers that close.

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
mod manager;
mod origin;
mod proxy;
mod replay;
mod request_body;
mod response_body;
mod served;
mod settings;
#[cfg(feature = "tls")]
mod tls;

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
