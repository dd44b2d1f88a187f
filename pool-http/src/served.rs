//! Which connection a response came by.

use std::net::SocketAddr;
use std::time::Duration;

use http::Version;

/// Which connection a response came by; among the response's extensions.
///
/// # Examples
///
/// ```no_run
/// use pool_http::{Client, Served};
///
/// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let request = http::Request::get("http://example.org/").body(String::new())?;
/// let response = client.request(request).await?;
/// let served = response.extensions().get::<Served>().expect("every response has it");
/// assert!(!served.is_reused());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// The connection's number in the pool of its origin, as events tell it.
    pub id: u64,
    /// Requests that were sent on it before this one.
    pub requests: u64,
    /// How long it had been there when this request was sent.
    pub age: Duration,
    /// The version of HTTP.
    pub version: Version,
    /// The peer's address, if it is known; a proxy's, if there is one.
    pub peer: Option<SocketAddr>,
    /// How often this request was sent in vain before.
    pub replays: u32,
}

impl Served {
    /// Whether it had been used before.
    ///
    /// # Examples
    ///
    /// See [`Served`].
    pub fn is_reused(&self) -> bool {
        self.requests > 0
    }
}
