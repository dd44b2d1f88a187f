//! How a client is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, Write};
use pool_core::{Config, KeyedBuilder, KeyedPool};
use pool_tcp::TcpManager;
use tower_service::Service;

use crate::client::Client;
use crate::connector;
use crate::error::{BoxError, ClientError};
use crate::exchange::Shared;
use crate::lessons::Lessons;
use crate::manager::HttpManager;
use crate::origin::Origin;
use crate::proxy::Proxies;
use crate::replay::Replay;
use crate::settings::{Http2, Settings};
#[cfg(feature = "tls")]
use crate::tls::Trust;
use crate::versions::Versions;

type Pools = KeyedBuilder<Origin, HttpManager>;

/// Sets up a [`Client`].
///
/// # Examples
///
/// ```
/// use pool_http::Client;
/// use std::time::Duration;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let client = Client::builder()
///     .pool(|pool| pool.max_size(20).max_total(200))
///     .request_timeout(Duration::from_secs(30))
///     .build()?;
/// assert_eq!(client.pool().status().keys, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    settings: Settings,
    pools: Box<dyn FnOnce(Pools) -> Pools + Send>,
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::default(),
            pools: Box::new(|pools| pools),
        }
    }

    /// Changes how the pools are built: limits for each origin and for all, what happens when they are full, observers.
    ///
    /// Default: 10 connections an origin; one that is idle for 20 s is closed, which is shorter than the patience of most
    /// servers. For the behaviour of `requests`, see [`KeyedBuilder::like_requests`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::OnFull;
    /// use pool_http::Client;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let client = Client::builder()
    ///     .pool(|pool| pool.max_size(4).max_keys(100).on_full(OnFull::Fail))
    ///     .build()?;
    /// assert_eq!(client.pool().status().size(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn pool(mut self, change: impl FnOnce(Pools) -> Pools + Send + 'static) -> Self {
        let before = self.pools;
        self.pools = Box::new(|pools| change(before(pools)));
        self
    }

    /// Which versions of HTTP are spoken.
    ///
    /// Default: [`Http2::Negotiated`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::{Client, Http2};
    ///
    /// assert!(format!("{:?}", Client::builder().http2(Http2::Never)).contains("Never"));
    /// ```
    pub fn http2(mut self, http2: Http2) -> Self {
        self.settings.http2 = http2;
        self
    }

    /// Most requests at once on one connection of HTTP/2, however many its peer allows.
    ///
    /// Default: 100. When all are taken a further connection is opened, up to the limits of the pools.
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    ///
    /// assert!(format!("{:?}", Client::builder().max_streams(7)).contains("max_streams: 7"));
    /// ```
    #[track_caller]
    pub fn max_streams(mut self, max_streams: usize) -> Self {
        assert!(max_streams > 0, "max_streams: zero lets no request through");
        self.settings.max_streams = max_streams;
        self
    }

    /// How a silent peer of HTTP/2 is found out: after `interval` without a word it is sent a `PING`, and given up if
    /// it does not answer within `timeout`; idle connections too. `None` sends none.
    ///
    /// Default: 20 s and 10 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    ///
    /// assert!(format!("{:?}", Client::builder().http2_ping(None)).contains("http2_ping: None"));
    /// ```
    pub fn http2_ping(
        mut self,
        interval_and_timeout: impl Into<Option<(Duration, Duration)>>,
    ) -> Self {
        self.settings.http2_ping = interval_and_timeout.into();
        self
    }

    /// The TLS configuration, whose protocols (ALPN) are replaced by those of [`http2`](Self::http2).
    ///
    /// Default: trusts whom the operating system trusts, as read when the first `https://` URL is dialled.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    /// use pool_tcp::rustls::{ClientConfig, RootCertStore};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let config = ClientConfig::builder()
    ///     .with_root_certificates(RootCertStore::empty())
    ///     .with_no_client_auth();
    /// assert!(Client::builder().tls(config).build().is_ok());
    /// # });
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: pool_tcp::rustls::ClientConfig) -> Self {
        self.settings.trust = Trust::given(config);
        self
    }

    /// Changes how TCP is dialled.
    ///
    /// Default: as [`TcpManager`]: happy eyeballs, `TCP_NODELAY`, keepalive.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let client = Client::builder().tcp(|tcp| tcp.attempt_timeout(Duration::from_secs(1)));
    /// assert!(client.build().is_ok());
    /// # });
    /// ```
    pub fn tcp(mut self, tune: impl Fn(TcpManager) -> TcpManager + Send + Sync + 'static) -> Self {
        self.settings.tune = Arc::new(tune);
        self
    }

    /// Sends everything over this Unix-domain socket, whatever host the URL has.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    ///
    /// let client = Client::builder().unix_socket("/run/docker.sock");
    /// assert!(format!("{client:?}").contains("docker"));
    /// ```
    #[cfg(unix)]
    pub fn unix_socket(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.settings.unix = Some(path.into());
        self
    }

    /// Dials by a connector of yours, which is given scheme, host and port, and does TLS itself.
    ///
    /// Its streams cannot be probed: that one was closed is known when hyper has noticed.
    ///
    /// # Examples
    ///
    /// ```
    /// use hyper_util::rt::TokioIo;
    /// use pool_http::Client;
    /// use tokio::net::TcpStream;
    ///
    /// #[derive(Clone)]
    /// struct Local;
    ///
    /// impl tower_service::Service<http::Uri> for Local {
    ///     type Response = TokioIo<TcpStream>;
    ///     type Error = std::io::Error;
    ///     type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;
    ///
    ///     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
    ///         std::task::Poll::Ready(Ok(()))
    ///     }
    ///
    ///     fn call(&mut self, uri: http::Uri) -> Self::Future {
    ///         let port = uri.port_u16().unwrap_or(80);
    ///         Box::pin(async move { Ok(TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await?)) })
    ///     }
    /// }
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// assert!(Client::builder().connector(Local).build().is_ok());
    /// # });
    /// ```
    pub fn connector<C>(mut self, connector: C) -> Self
    where
        C: Service<Uri, Response: Read + Write + Unpin + Send + 'static, Error: Into<BoxError>>
            + Clone
            + Send
            + Sync
            + 'static,
        C::Future: Send,
    {
        self.settings.connector = Some(connector::erase(connector));
        self
    }

    /// Which requests go by a proxy.
    ///
    /// Default: [`Proxies::from_env`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::{Client, Proxies};
    ///
    /// let client = Client::builder().proxies(Proxies::all("http://proxy.internal:3128"));
    /// assert!(format!("{client:?}").contains("proxy.internal"));
    /// ```
    pub fn proxies(mut self, proxies: Proxies) -> Self {
        self.settings.proxies = proxies;
        self
    }

    /// Which requests are sent once more when their connection ended before the response began.
    ///
    /// Default: [`Replay::Idempotent`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::{Client, Replay};
    ///
    /// let client = Client::builder().replay(Replay::Never);
    /// assert!(format!("{client:?}").contains("Never"));
    /// ```
    pub fn replay(mut self, replay: Replay) -> Self {
        self.settings.replay = replay;
        self
    }

    /// How much sooner than the server says (`Keep-Alive: timeout=5`) a connection is no longer used.
    ///
    /// Default: 1 s. One that is kept for no longer than that is not kept at all.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    /// use std::time::Duration;
    ///
    /// let client = Client::builder().keep_alive_margin(Duration::from_millis(500));
    /// assert!(format!("{client:?}").contains("margin: 500ms"));
    /// ```
    pub fn keep_alive_margin(mut self, margin: Duration) -> Self {
        self.settings.margin = margin;
        self
    }

    /// Whether an origin that has closed an idle connection after some time is believed to do so again.
    ///
    /// Default: false. With true its connections are closed a little sooner than that from then on (by the margin, but
    /// not before a quarter of the time), so that fewer requests meet the closing.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    ///
    /// let client = Client::builder().learn_idle_limits(true);
    /// assert!(format!("{client:?}").contains("learns: true"));
    /// ```
    pub fn learn_idle_limits(mut self, learns: bool) -> Self {
        self.settings.learns = learns;
        self
    }

    /// How much of a body that nobody reads is read to save the connection, and for how long at most; in bytes. A time of
    /// zero reads nothing.
    ///
    /// Default: 64 KiB, 100 ms: more costs more than a new connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    /// use std::time::Duration;
    ///
    /// let client = Client::builder().drain(1024, Duration::from_millis(10));
    /// assert!(format!("{client:?}").contains("drain_bytes: 1024"));
    /// ```
    pub fn drain(mut self, bytes: u64, time: Duration) -> Self {
        self.settings.drain_bytes = bytes;
        self.settings.drain_time = time;
        self
    }

    /// How long a request may take, from the call to the last byte of the response; `None` for ever.
    ///
    /// Default: none; the other limits hold, and those of the pools for waiting and dialling.
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// See [`ClientBuilder`].
    #[track_caller]
    pub fn request_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.request_timeout = positive("request_timeout", limit.into());
        self
    }

    /// How long the head of the response may take once the request is on its way; `None` for ever.
    ///
    /// Default: 60 s.
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    ///
    /// assert!(format!("{:?}", Client::builder().head_timeout(None)).contains("head_timeout: None"));
    /// ```
    #[track_caller]
    pub fn head_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.head_timeout = positive("head_timeout", limit.into());
        self
    }

    /// How long the next piece of a body may take to come; `None` for ever.
    ///
    /// Default: 60 s.
    ///
    /// # Panics
    ///
    /// If it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    ///
    /// assert!(format!("{:?}", Client::builder().body_timeout(None)).contains("body_timeout: None"));
    /// ```
    #[track_caller]
    pub fn body_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.body_timeout = positive("body_timeout", limit.into());
        self
    }

    /// Builds the client. Nothing is dialled yet.
    ///
    /// # Errors
    ///
    /// Outside a runtime, if the limits of the pools contradict each other, or if the URL of a proxy is none.
    ///
    /// # Examples
    ///
    /// See [`ClientBuilder`].
    pub fn build(self) -> Result<Client, ClientError> {
        #[cfg(feature = "tls")]
        let mut settings = self.settings;
        #[cfg(not(feature = "tls"))]
        let settings = self.settings;
        #[cfg(feature = "tls")]
        settings.trust.offer(settings.http2);
        if let Some(url) = settings.proxies.wrong() {
            return Err(ClientError::Proxy(url.to_owned()));
        }
        let settings = Arc::new(settings);
        let for_managers = Arc::clone(&settings);
        let lessons = Lessons::default();
        let versions = Arc::<Versions>::default();
        let known = Arc::clone(&versions);
        let make = move |origin: &Origin| {
            let lesson = for_managers.learns.then(|| lessons.of(origin));
            let known = Arc::clone(&known);
            HttpManager::new(origin.clone(), Arc::clone(&for_managers), lesson, known)
        };
        let mut config = Config::default();
        config.idle_timeout = Some(Duration::from_secs(20));
        let pools = KeyedPool::builder(make).config(config);
        let pool = (self.pools)(pools).build()?;
        Ok(Client::new(Shared::new(pool, settings, versions)))
    }
}

#[track_caller]
fn positive(name: &str, limit: Option<Duration>) -> Option<Duration> {
    assert_ne!(
        limit,
        Some(Duration::ZERO),
        "{name}: zero lets nothing through; give None for no limit"
    );
    limit
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
