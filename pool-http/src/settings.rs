//! What all connections and requests of a client have in common.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pool_tcp::TcpManager;

use crate::connector::DynConnector;
use crate::proxy::Proxies;
use crate::replay::Replay;

/// Which versions of HTTP are spoken.
///
/// # Examples
///
/// ```
/// use pool_http::Http2;
///
/// assert_eq!(Http2::default(), Http2::Negotiated);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Http2 {
    /// HTTP/2 where the server chooses it during the TLS handshake (ALPN, RFC 7301), else HTTP/1.1. The default.
    #[default]
    Negotiated,
    /// HTTP/1.1 alone.
    Never,
    /// HTTP/2 alone, without asking, with TLS and without ("prior knowledge", RFC 9113 §3.3).
    Always,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) http2: Http2,
    pub(crate) max_streams: usize,
    pub(crate) http2_ping: Option<(Duration, Duration)>,
    #[cfg(feature = "tls")]
    pub(crate) trust: crate::tls::Trust,
    pub(crate) tune: Arc<dyn Fn(TcpManager) -> TcpManager + Send + Sync>,
    pub(crate) unix: Option<PathBuf>,
    pub(crate) connector: Option<DynConnector>,
    pub(crate) proxies: Proxies,
    pub(crate) replay: Replay,
    pub(crate) margin: Duration,
    pub(crate) learns: bool,
    pub(crate) drain_bytes: u64,
    pub(crate) drain_time: Duration,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) head_timeout: Option<Duration>,
    pub(crate) body_timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http2: Http2::default(),
            max_streams: 100,
            http2_ping: Some((Duration::from_secs(20), Duration::from_secs(10))),
            #[cfg(feature = "tls")]
            trust: crate::tls::Trust::default(),
            tune: Arc::new(|tcp| tcp),
            unix: None,
            connector: None,
            proxies: Proxies::from_env(),
            replay: Replay::default(),
            margin: Duration::from_secs(1),
            learns: false,
            drain_bytes: 64 * 1024,
            drain_time: Duration::from_millis(100),
            request_timeout: None,
            head_timeout: Some(Duration::from_secs(60)),
            body_timeout: Some(Duration::from_secs(60)),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("http2", &self.http2)
            .field("max_streams", &self.max_streams)
            .field("http2_ping", &self.http2_ping)
            .field("unix", &self.unix)
            .field("has_connector", &self.connector.is_some())
            .field("proxies", &self.proxies)
            .field("replay", &self.replay)
            .field("margin", &self.margin)
            .field("learns", &self.learns)
            .field("drain_bytes", &self.drain_bytes)
            .field("drain_time", &self.drain_time)
            .field("request_timeout", &self.request_timeout)
            .field("head_timeout", &self.head_timeout)
            .field("body_timeout", &self.body_timeout)
            .finish_non_exhaustive()
    }
}
