//! What the pools of a client are built on: one manager for each origin.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::client::conn::http2;
use pool_core::{Capacity, Dropped, Manager, Recycle, Share};
use tokio::time::Instant;

use crate::connection::{HttpConnection, Sender};
use crate::dial;
use crate::error::HttpConnectError;
use crate::lessons::Lesson;
use crate::origin::Origin;
use crate::request_body::RequestBody;
use crate::settings::{Http2, Settings};
use crate::versions::Versions;

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
    /// When this origin closes idle connections, if that is to be learned.
    lesson: Option<Lesson>,
    versions: Arc<Versions>,
}

impl HttpManager {
    pub(crate) fn new(
        origin: Origin,
        settings: Arc<Settings>,
        lesson: Option<Lesson>,
        versions: Arc<Versions>,
    ) -> Self {
        Self {
            origin,
            settings,
            lesson,
            versions,
        }
    }
}

impl Manager for HttpManager {
    /// In a box, as it is moved often on its way out and home, and is large.
    type Connection = Box<HttpConnection>;
    type Error = HttpConnectError;

    async fn connect(&self) -> Result<Box<HttpConnection>, HttpConnectError> {
        let http2 = match self.settings.http2 {
            Http2::Negotiated if self.versions.must_be_http1(&self.origin) => Http2::Never,
            http2 => http2,
        };
        let connection = dial::connect(&self.origin, http2, &self.settings).await?;
        Ok(Box::new(connection))
    }

    fn is_dropped(&self, connection: &mut Box<HttpConnection>) -> bool {
        connection.is_dropped()
    }

    fn poll_dropped(
        &self,
        connection: &mut Box<HttpConnection>,
        cx: &mut Context<'_>,
    ) -> Poll<Dropped> {
        let dropped = ready!(connection.driver.poll_dropped(cx));
        if let (Some(lesson), Some(idle_since)) = (&self.lesson, connection.idle_since) {
            lesson.learn(idle_since.elapsed());
        }
        Poll::Ready(dropped)
    }

    fn idle_limit(&self, connection: &Box<HttpConnection>) -> Option<Duration> {
        let lesson = self.lesson.as_ref();
        let learned = lesson.and_then(|lesson| lesson.limit(self.settings.margin));
        [connection.idle_limit, learned].into_iter().flatten().min()
    }

    fn recycle(&self, connection: &mut Box<HttpConnection>) -> Recycle {
        let verdict = connection.verdict();
        if verdict == Recycle::Keep && self.lesson.is_some() {
            #[expect(clippy::disallowed_methods, reason = "tokio's, which tests can pause")]
            let now = Instant::now();
            connection.idle_since = Some(now);
        }
        verdict
    }

    async fn close(&self, mut connection: Box<HttpConnection>) {
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

    fn share(&self, connection: &Box<HttpConnection>) -> Http2Handle {
        Http2Handle(match &connection.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender, _) => Some(sender.clone()),
        })
    }

    fn capacity<'c>(&self, connection: &'c Box<HttpConnection>) -> &'c Capacity {
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
