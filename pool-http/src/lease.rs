//! A connection in use by one request, and its way home.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::client::conn::http1;
use pool_core::{ConnectionInfo, Leased, OwnedPooled};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::alarm::{Alarm, now};
use crate::connection::{HttpConnection, Known, Sender};
use crate::manager::HttpManager;
use crate::request_body::RequestBody;
use crate::served::Served;

/// How long hyper may take to be ready for the next request once the response is over. It waits for the request's body,
/// which some servers do not read to its end.
const SETTLING: Duration = Duration::from_secs(1);

/// A connection, or a place on one.
pub(crate) enum Lease {
    Own(OwnedPooled<HttpManager>),
    Shared(Leased<HttpManager>),
}

impl Lease {
    pub(crate) fn connection(&self) -> &HttpConnection {
        match self {
            Self::Own(guard) => guard,
            Self::Shared(leased) => Leased::connection(leased),
        }
    }

    /// One of HTTP/2 that somebody has for himself, where a place on it is enough.
    pub(crate) fn is_misplaced(&self) -> bool {
        matches!(self, Self::Own(guard) if matches!(guard.sender, Sender::Http2(..)))
    }

    pub(crate) fn runtime(&self) -> &Handle {
        self.connection().driver.runtime()
    }

    /// One more request is sent on it; answers how many were before.
    pub(crate) fn count(&mut self) -> u64 {
        match self {
            Self::Own(guard) => {
                let requests = guard.requests.get_mut();
                *requests += 1;
                *requests - 1
            }
            Self::Shared(leased) => {
                let requests = &Leased::connection(leased).requests;
                requests.fetch_add(1, Ordering::Relaxed)
            }
        }
    }

    /// What is told of it with the response to a request that was sent then. Takes the pool's lock for a moment, the first
    /// time.
    pub(crate) fn served(&self, sent: Instant, requests: u64, replays: u32) -> Served {
        let connection = self.connection();
        let Known { id, born } = *connection.known.get_or_init(|| self.known());
        Served {
            id,
            requests,
            age: sent.saturating_duration_since(born),
            version: connection.version(),
            peer: connection.peer(),
            replays,
        }
    }

    fn known(&self) -> Known {
        let ConnectionInfo { id, age, .. } = match self {
            Self::Own(guard) => OwnedPooled::info(guard),
            Self::Shared(leased) => Leased::info(leased),
        };
        let now = now();
        let born = now.checked_sub(age).unwrap_or(now);
        Known { id, born }
    }

    /// No other request gets this connection.
    pub(crate) fn give_up(self) {
        match self {
            Self::Own(guard) => OwnedPooled::discard(guard),
            Self::Shared(leased) => Leased::retire(&leased),
        }
    }

    /// The connection is no longer one of HTTP, and lives on by itself.
    pub(crate) fn release(self) {
        match self {
            Self::Own(guard) => OwnedPooled::detach(guard).driver.release(),
            // A stream of HTTP/2 may be upgraded; the connection stays what it is.
            Self::Shared(_) => {}
        }
    }

    /// The timer of the connection, for whoever has it alone.
    pub(crate) fn take_alarm(&mut self) -> Alarm {
        match self {
            Self::Own(guard) => std::mem::take(&mut guard.alarm),
            Self::Shared(_) => Alarm::default(),
        }
    }

    /// The response is over: the connection goes home with its timer, at once or as soon as hyper is ready for another
    /// request.
    pub(crate) fn settle(self, alarm: Alarm) {
        let Self::Own(mut guard) = self else {
            return;
        };
        let connection = &mut *guard;
        connection.alarm = alarm;
        let Sender::Http1(sender) = &connection.sender else {
            return;
        };
        if connection.is_last || sender.is_closed() {
            return;
        }
        if sender.is_ready() {
            connection.is_clean = true;
            return;
        }
        let runtime = connection.driver.runtime().clone();
        runtime.spawn(async move {
            let connection = &mut *guard;
            let Sender::Http1(sender) = &mut connection.sender else {
                return;
            };
            connection.is_clean = matches!(timeout(SETTLING, sender.ready()).await, Ok(Ok(())));
        });
    }
}

/// The sender of a connection that is one request's alone.
pub(crate) fn http1(guard: &mut OwnedPooled<HttpManager>) -> &mut http1::SendRequest<RequestBody> {
    match &mut guard.sender {
        Sender::Http1(sender) => sender,
        Sender::Http2(..) => unreachable!("one of HTTP/2 is shared"),
    }
}
