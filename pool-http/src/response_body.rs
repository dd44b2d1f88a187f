//! The body of a response, which has the connection until it is over.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use crate::alarm::{Alarm, after, now};
use crate::error::{ErrorKind, RequestError};
use crate::lease::Lease;
use crate::origin::target_of;

/// The body of a response. It has the connection until it is read to its end.
///
/// # Drop
///
/// Unread, the rest is read in a task if it is short and quick to come, so that the connection can be used again
/// ([`ClientBuilder::drain`](crate::ClientBuilder::drain)); otherwise the connection is closed. A stream of HTTP/2 is
/// cancelled, and its connection kept.
///
/// # Examples
///
/// ```no_run
/// use http_body_util::BodyExt;
/// use pool_http::Client;
///
/// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let request = http::Request::get("http://example.org/").body(String::new())?;
/// let body = client.request(request).await?.into_body();
/// let bytes = body.collect().await?.to_bytes();
/// assert!(!bytes.is_empty());
/// # Ok(()) }
/// ```
pub struct ResponseBody {
    /// Gone when it is handed over to be drained.
    incoming: Option<Incoming>,
    /// Gone when the body is over.
    lease: Option<Lease>,
    /// What was asked for.
    uri: Uri,
    /// The end of the whole request.
    deadline: Option<Instant>,
    /// The end of the wait for the next frame, from the first time that it is not there.
    until: Option<Instant>,
    alarm: Alarm,
}

impl ResponseBody {
    pub(crate) fn new(
        incoming: Incoming,
        lease: Lease,
        uri: Uri,
        deadline: Option<Instant>,
        alarm: Alarm,
    ) -> Self {
        let mut body = Self {
            incoming: Some(incoming),
            lease: Some(lease),
            uri,
            deadline,
            until: None,
            alarm,
        };
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    /// Of a connection that is not of the pool any more.
    pub(crate) fn without(incoming: Incoming, uri: Uri) -> Self {
        Self {
            incoming: Some(incoming),
            lease: None,
            uri,
            deadline: None,
            until: None,
            alarm: Alarm::default(),
        }
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.settle(std::mem::take(&mut self.alarm));
        }
    }

    fn fail(&mut self, error: RequestError) -> RequestError {
        if let Some(lease) = self.lease.take() {
            // A stream of HTTP/2 that fails says nothing about the others.
            if let Lease::Own(_) = lease {
                lease.give_up();
            }
        }
        error
    }

    /// Whether the time for the next frame, or for all of them, is over.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<RequestError> {
        let Some(lease) = &self.lease else {
            return Poll::Pending;
        };
        let settings = &lease.connection().settings;
        let limit = settings.body_timeout;
        if self.until.is_none() {
            let idle = limit.and_then(after);
            self.until = idle.into_iter().chain(self.deadline).min();
        }
        let Some(until) = self.until else {
            return Poll::Pending;
        };
        ready!(self.alarm.poll_at(until, lease.runtime(), cx));
        let is_all = self.deadline.is_some_and(|deadline| until >= deadline);
        let limit = match is_all {
            true => settings.request_timeout,
            false => limit,
        };
        Poll::Ready(self.timed_out(limit.expect("there is no deadline without it")))
    }

    fn timed_out(&self, limit: Duration) -> RequestError {
        let target = target_of(&self.uri);
        RequestError::timed_out("the response was not complete", limit, target)
    }

    /// The limit of the whole request, if it is over. A body that is always there never has to wait for its next frame.
    fn overrun(&self) -> Option<Duration> {
        let (deadline, lease) = (self.deadline?, self.lease.as_ref()?);
        let limit = lease.connection().settings.request_timeout;
        limit.filter(|_| now() >= deadline)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(limit) = this.overrun() {
                    this.incoming = None;
                    let error = this.timed_out(limit);
                    return Poll::Ready(Some(Err(this.fail(error))));
                }
                this.until = None;
                if this.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.incoming = None;
                let target = target_of(&this.uri);
                let error = RequestError::new(ErrorKind::ResponseBody, target, Some(error.into()));
                Poll::Ready(Some(Err(this.fail(error))))
            }
            Poll::Pending => match this.poll_timeout(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(error) => {
                    this.incoming = None;
                    Poll::Ready(Some(Err(this.fail(error))))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let (Some(lease), Some(mut incoming)) = (self.lease.take(), self.incoming.take()) else {
            return;
        };
        let settings = &lease.connection().settings;
        let (most, time) = (settings.drain_bytes, settings.drain_time);
        let is_short = incoming.size_hint().lower() <= most && !time.is_zero();
        if matches!(lease, Lease::Shared(_)) || lease.connection().is_last || !is_short {
            return;
        }
        let alarm = std::mem::take(&mut self.alarm);
        let runtime = lease.runtime().clone();
        runtime.spawn(async move {
            let drained = async {
                let mut read = 0;
                while let Some(frame) = incoming.frame().await {
                    let Ok(frame) = frame else {
                        return false;
                    };
                    read += frame.data_ref().map_or(0, |data| data.len() as u64);
                    if read > most {
                        return false;
                    }
                }
                true
            };
            match timeout(time, drained).await {
                Ok(true) => lease.settle(alarm),
                _ => lease.give_up(),
            }
        });
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("is_over", &self.lease.is_none())
            .field("size_hint", &self.size_hint())
            .finish_non_exhaustive()
    }
}
