//! One connection: hyper's sender, the task that drives it, and whether the next request can have it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, Version};
use hyper::client::conn::{http1, http2};
use pool_core::{Capacity, Recycle};
use pool_tcp::{Driver, OnReadable};
use tokio::time::{Instant, sleep};

use crate::alarm::Alarm;
use crate::replay::Loss;
use crate::request_body::RequestBody;
use crate::settings::Settings;

/// How long, and how often, hyper is left alone with what came in unasked.
const WAIT: Duration = Duration::from_millis(1);
const MOST_WAITS: u32 = 20;

/// A connection to an origin.
///
/// What a pool of them hands out; requests are sent through [`Client`](crate::Client).
///
/// # Examples
///
/// ```no_run
/// use pool_http::{Client, Origin};
///
/// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let origin = Origin::of(&"http://example.org".parse()?)?;
/// let connection = client.pool().checkout(&origin).await?;
/// assert_eq!(connection.version(), http::Version::HTTP_11);
/// # Ok(()) }
/// ```
pub struct HttpConnection {
    pub(crate) sender: Sender,
    pub(crate) driver: Driver,
    pub(crate) capacity: Capacity,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) settings: Arc<Settings>,
    /// What the pool knows of it, once that was asked.
    pub(crate) known: OnceLock<Known>,
    /// The last exchange is over, and hyper is ready for the next.
    pub(crate) is_clean: bool,
    /// The server has said that it takes no further request on it.
    pub(crate) is_last: bool,
    /// Requests sent on it so far.
    pub(crate) requests: AtomicU64,
    /// For so long it may lie idle, as the server said.
    pub(crate) idle_limit: Option<Duration>,
    /// When it came home.
    pub(crate) idle_since: Option<Instant>,
    /// Of the last request that was alone on it.
    pub(crate) alarm: Alarm,
}

/// What does not change as long as there is the connection.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) id: u64,
    pub(crate) born: Instant,
}

pub(crate) enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    /// With whether its connection has stopped to take requests.
    Http2(http2::SendRequest<RequestBody>, Arc<AtomicBool>),
}

impl HttpConnection {
    pub(crate) fn new(
        sender: Sender,
        driver: Driver,
        capacity: Capacity,
        peer: Option<SocketAddr>,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            sender,
            driver,
            capacity,
            peer,
            settings,
            known: OnceLock::new(),
            is_clean: true,
            is_last: false,
            requests: AtomicU64::new(0),
            idle_limit: None,
            idle_since: None,
            alarm: Alarm::default(),
        }
    }

    /// The version of HTTP that is spoken on it.
    ///
    /// # Examples
    ///
    /// See [`HttpConnection`].
    pub fn version(&self) -> Version {
        match self.sender {
            Sender::Http1(_) => Version::HTTP_11,
            Sender::Http2(..) => Version::HTTP_2,
        }
    }

    /// The address of the peer, if it is one of IP; a proxy's, if there is one.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(connection: pool_http::HttpConnection) {
    /// assert_eq!(connection.peer().map(|peer| peer.port()), Some(80));
    /// # }
    /// ```
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub(crate) fn is_dropped(&self) -> bool {
        let is_closed = match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender, _) => sender.is_closed(),
        };
        is_closed || self.driver.is_dropped()
    }

    /// Waits until hyper has read what came in unasked, and answers whether the connection is as good as before.
    ///
    /// Without TLS nothing may come in, and the pool has looked. With it a session ticket may, but a goodbye and a
    /// response to nothing look just the same until they are read, and such a response would answer the next request.
    pub(crate) async fn is_quiet(&self) -> bool {
        if self.driver.on_readable() == OnReadable::Discard || !self.driver.has_unread() {
            return true;
        }
        for _ in 0..MOST_WAITS {
            // The caller's executor may not be tokio's.
            let nap = {
                let _context = self.driver.runtime().enter();
                sleep(WAIT)
            };
            // Not by yielding alone: hyper's task may wait for another thread, which does something else.
            nap.await;
            if !self.driver.has_unread() {
                return !self.is_dropped();
            }
        }
        false
    }

    /// What the error says about a request that hyper has not handed back.
    ///
    /// One of HTTP/2 that it has taken lies there until its turn to be written comes. If the peer goes away in between,
    /// hyper drops it, and says no more than that; but then nothing of it was sent.
    pub(crate) fn loss_of(&self, error: &hyper::Error, method: &Method) -> Loss {
        match &self.sender {
            // Only a CONNECT can be what hyper calls a user's mistake there.
            Sender::Http2(_, has_ended) if error.is_user() && *method != Method::CONNECT => {
                match has_ended.load(Ordering::Acquire) {
                    true => Loss::Refused,
                    // Its runtime has ended, which is another matter.
                    false => Loss::Lost,
                }
            }
            _ => Loss::of(error),
        }
    }

    pub(crate) fn verdict(&self) -> Recycle {
        let is_ready = match &self.sender {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender, _) => sender.is_ready() && !self.capacity.is_draining(),
        };
        match self.is_clean && is_ready {
            true => Recycle::Keep,
            false => Recycle::Discard,
        }
    }
}

impl fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnection")
            .field("version", &self.version())
            .field("peer", &self.peer)
            .field("is_clean", &self.is_clean)
            .finish_non_exhaustive()
    }
}
