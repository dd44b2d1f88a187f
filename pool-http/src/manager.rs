//! What the pools of a client are built on: one manager for each origin.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::client::conn::http2;
use pool_core::{Capacity, Dropped, Manager, Recycle, Share};
use tokio::time::Instant;

use crate::connection::{HttpConnection, Sender};
use crate::dial;
use crate::error::HttpConnectError;
use crate::origin::Origin;
use crate::request_body::RequestBody;
use crate::settings::Settings;

/// Shorter than this is not worth keeping a connection for, and more likely a mistake than a lesson.
const SHORTEST_LESSON: Duration = Duration::from_millis(100);

/// Dials one origin. Made by the client; what an observer or a check of its pools is about.
///
/// # Examples
///
/// ```
/// use pool_http::{Client, HttpManager, Origin};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let client = Client::builder().build()?;
/// let pools: &pool_core::KeyedPool<Origin, HttpManager> = client.pool();
/// assert_eq!(pools.status().keys, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct HttpManager {
    origin: Origin,
    settings: Arc<Settings>,
    /// The shortest time, in milliseconds, after which this origin has closed an idle connection; all ones: never.
    closes_after: AtomicU64,
}

impl HttpManager {
    pub(crate) fn new(origin: Origin, settings: Arc<Settings>) -> Self {
        Self {
            origin,
            settings,
            closes_after: AtomicU64::new(u64::MAX),
        }
    }

    /// The origin has closed a connection that was idle.
    fn learn(&self, connection: &HttpConnection) {
        let Some(idle_since) = connection.idle_since.filter(|_| self.settings.learns) else {
            return;
        };
        let idle_for = idle_since.elapsed();
        if idle_for >= SHORTEST_LESSON {
            let millis = u64::try_from(idle_for.as_millis()).unwrap_or(u64::MAX);
            self.closes_after.fetch_min(millis, Ordering::Relaxed);
        }
    }

    /// For so long, and not longer, a connection of this origin lies idle without being closed.
    fn learned(&self) -> Option<Duration> {
        let closes_after = self.closes_after.load(Ordering::Relaxed);
        let known = (closes_after != u64::MAX).then(|| Duration::from_millis(closes_after));
        // The margin is meant for seconds; of less, a quarter is left.
        known.map(|known| known.saturating_sub(self.settings.margin).max(known / 4))
    }
}

impl Manager for HttpManager {
    type Connection = HttpConnection;
    type Error = HttpConnectError;

    async fn connect(&self) -> Result<HttpConnection, HttpConnectError> {
        dial::connect(&self.origin, &self.settings).await
    }

    fn is_dropped(&self, connection: &mut HttpConnection) -> bool {
        connection.is_dropped()
    }

    fn poll_dropped(&self, connection: &mut HttpConnection, cx: &mut Context<'_>) -> Poll<Dropped> {
        let dropped = ready!(connection.driver.poll_dropped(cx));
        self.learn(connection);
        Poll::Ready(dropped)
    }

    fn idle_limit(&self, connection: &HttpConnection) -> Option<Duration> {
        let limits = [connection.idle_limit, self.learned()];
        limits.into_iter().flatten().min()
    }

    fn recycle(&self, connection: &mut HttpConnection) -> Recycle {
        let verdict = connection.verdict();
        if verdict == Recycle::Keep && self.settings.learns {
            #[expect(clippy::disallowed_methods, reason = "tokio's, which tests can pause")]
            let now = Instant::now();
            connection.idle_since = Some(now);
        }
        verdict
    }

    async fn close(&self, mut connection: HttpConnection) {
        connection.driver.close().await;
    }

    /// A host that no certificate can name, a proxy that cannot be used, a certificate that is not accepted.
    fn is_permanent(&self, error: &HttpConnectError) -> bool {
        dial::is_permanent(&self.origin, error)
    }
}

/// HTTP/2 carries many requests at once; a connection of HTTP/1 carries none in this way.
impl Share for HttpManager {
    type Handle = Http2Handle;

    fn share(&self, connection: &HttpConnection) -> Http2Handle {
        Http2Handle(match &connection.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(sender.clone()),
        })
    }

    fn capacity<'c>(&self, connection: &'c HttpConnection) -> &'c Capacity {
        &connection.capacity
    }
}

/// A place on a connection of HTTP/2.
///
/// # Examples
///
/// ```no_run
/// use pool_http::{Client, Origin};
///
/// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let origin = Origin::of(&"https://example.org".parse()?)?;
/// let place = client.pool().lease(&origin).await?;
/// assert_eq!(client.pool().status_of(&origin).unwrap().in_use, 1);
/// # Ok(()) }
/// ```
pub struct Http2Handle(pub(crate) Option<http2::SendRequest<RequestBody>>);

impl fmt::Debug for Http2Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http2Handle")
            .field(&self.0.is_some())
            .finish()
    }
}

impl fmt::Debug for HttpManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpManager")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
