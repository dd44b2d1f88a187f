//! One request, from a connection to the head of its response, as often as it may be sent.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use pool_core::{KeyedPool, Leased, OwnedPooled};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::alarm::{Alarm, after, now};
use crate::connection::{HttpConnection, Sender};
use crate::error::{ErrorKind, Fate, RequestError};
use crate::keep_alive::KeepAlive;
use crate::lease::{Lease, http1};
use crate::letter::Letter;
use crate::manager::HttpManager;
use crate::origin::{Origin, target_of, without_user};
use crate::replay::{self, Loss};
use crate::request_body::RequestBody;
use crate::response_body::ResponseBody;
use crate::route::{Route, Routes};
use crate::settings::{Http2, Settings};
use crate::versions::Versions;

/// How many new connections in a row may end before they take a request, until that is an error.
const FALSE_STARTS: u32 = 10;

/// How often a server may refuse a request on a connection that stays, until that is an error.
const REFUSALS: u32 = 3;

const NO_RESPONSE: &str = "there was no response";

/// What all clones of a client share.
pub(crate) struct Shared {
    pub(crate) pool: KeyedPool<Origin, HttpManager>,
    pub(crate) settings: Arc<Settings>,
    runtime: Handle,
    routes: Routes,
    versions: Arc<Versions>,
}

impl Shared {
    pub(crate) fn new(
        pool: KeyedPool<Origin, HttpManager>,
        settings: Arc<Settings>,
        versions: Arc<Versions>,
    ) -> Self {
        Self {
            pool,
            settings,
            runtime: Handle::current(),
            routes: Routes::default(),
            versions,
        }
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "it would have room for the request twice"
    )]
    pub(crate) fn exchange(
        self: Arc<Self>,
        mut draft: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, RequestError>> + Send {
        async move {
            let mut uri = without_user(std::mem::take(draft.uri_mut()))?;
            let route = self.routes.of(&uri, &self.settings)?;
            let limit = self.settings.request_timeout;
            let deadline = limit.and_then(after);
            let mut fate = Fate::NotSent;
            let response = {
                let attempts = self.attempts(&mut uri, &route, &mut draft, deadline, &mut fate);
                let attempts = pin!(attempts);
                match deadline {
                    None => Some(attempts.await),
                    Some(deadline) => {
                        let mut alarm = Alarm::default();
                        alarm.before(Some(deadline), &self.runtime, attempts).await
                    }
                }
            };
            let response = response.unwrap_or_else(|| {
                let limit = limit.expect("there is no deadline without it");
                Err(RequestError::timed_out(NO_RESPONSE, limit, target_of(&uri)))
            });
            response.map_err(|error| error.with_fate(fate))
        }
    }

    /// Sends the draft, whose URI is apart from it, until it is answered; the URI goes with the response then. Keeps in
    /// `fate` what has become of it so far.
    async fn attempts(
        &self,
        uri: &mut Uri,
        route: &Route,
        draft: &mut Request<RequestBody>,
        deadline: Option<Instant>,
        fate: &mut Fate,
    ) -> Result<Response<ResponseBody>, RequestError> {
        let origin = &route.origin;
        let (mut false_starts, mut refusals, mut replays) = (0, 0, 0);
        let mut must_be_fresh = false;
        loop {
            let mut lease = self.lease(origin).await?;
            if must_be_fresh {
                lease = self.renew(lease, origin).await?;
                if lease.is_misplaced() {
                    // The server has chosen HTTP/2 this time: it goes home, and a place on it is taken.
                    self.versions.chose_http2(origin);
                    continue;
                }
                must_be_fresh = false;
            }
            let requests = lease.count();
            let is_http2 = matches!(lease, Lease::Shared(_));
            let may_run_twice = replays == 0 && may_run_twice(draft, &self.settings);
            // Kept only where it can be of use: a copy of the headers costs as much as a short request.
            let is_worth_a_copy = is_http2 || (requests > 0 && may_run_twice);
            let method = draft.method().clone();
            let is_kept = is_worth_a_copy && draft.body().is_replayable();
            let letter = Letter {
                draft,
                is_kept,
                uri,
                route,
            };

            let before = std::mem::replace(fate, Fate::Unknown);
            let mut alarm = lease.take_alarm();
            let sent = now();
            let error = match self.send(&mut lease, letter, sent, &mut alarm).await {
                Ok(Ok(response)) => {
                    let is_stale = requests > 0 && may_run_twice && is_goodbye(&response);
                    if is_stale && is_kept && !is_http2 {
                        lease.give_up();
                        replays += 1;
                        must_be_fresh = true;
                        continue;
                    }
                    let served = lease.served(sent, requests, replays + refusals);
                    let deadline = deadline.filter(|_| !is_upgrade(&method, response.status()));
                    let uri = std::mem::take(uri);
                    let mut response = self.receive(response, lease, alarm, &method, uri, deadline);
                    response.extensions_mut().insert(served);
                    return Ok(response);
                }
                Ok(Err(error)) => error,
                Err(limit) => {
                    lease.give_up();
                    return Err(RequestError::timed_out(NO_RESPONSE, limit, target_of(uri)));
                }
            };
            // Before it or, on HTTP/2, beside it, others have had answers.
            let is_reused = lease.connection().requests.load(Ordering::Relaxed) > 1;
            let TrySendErrorParts { message, error } = error.into();
            let loss = lease.connection().loss_of(&error, &method);
            let is_of_one_stream = message.is_none() && replay::is_of_one_stream(&error);
            let requires_http1 = is_http2 && replay::requires_http1(&error);
            match is_of_one_stream && !requires_http1 {
                true => drop(lease),
                false => lease.give_up(),
            }
            if requires_http1 {
                self.versions.requires_http1(origin);
            }
            // Without a choice it would only be refused again.
            let is_final = requires_http1 && !self.may_choose(origin);
            if let Some(unsent) = message {
                *fate = before;
                false_starts += u32::from(is_http2 || !is_reused);
                if false_starts > FALSE_STARTS {
                    return Err(RequestError::new(
                        ErrorKind::Connect,
                        target_of(uri),
                        Some(error.into()),
                    ));
                }
                if !is_kept {
                    *draft = unsent;
                }
                continue;
            }
            if loss == Loss::Refused {
                *fate = before;
            }
            // One that goes away need not be the same as the next.
            let most_refusals = match is_of_one_stream {
                true => REFUSALS,
                false => FALSE_STARTS,
            };
            let kind = match loss {
                Loss::Refused if is_kept && !is_final && refusals < most_refusals => {
                    refusals += 1;
                    continue;
                }
                Loss::Lost if is_kept && is_reused && may_run_twice => {
                    // What happened to one that lay idle happens to its neighbours.
                    self.pool.sweep(origin);
                    replays += 1;
                    must_be_fresh = true;
                    continue;
                }
                Loss::Refused => ErrorKind::Refused,
                Loss::Body => ErrorKind::RequestBody,
                Loss::Lost | Loss::Other => ErrorKind::Lost,
            };
            return Err(RequestError::new(kind, target_of(uri), Some(error.into())));
        }
    }

    /// A connection, or a place on one, that the kernel knows to be open.
    async fn lease(&self, origin: &Origin) -> Result<Lease, RequestError> {
        let failed = |error| RequestError::checkout(error, origin.to_string());
        loop {
            if self.may_speak_http2(origin) {
                let leased = self.pool.lease(origin).await.map_err(failed)?;
                if leased.0.is_none() {
                    self.versions.chose_http1(origin);
                } else if Leased::connection(&leased).is_dropped() {
                    // Nobody looks at a connection while it is shared.
                    Leased::retire(&leased);
                } else {
                    return Ok(Lease::Shared(leased));
                }
                continue;
            }
            let guard = self.pool.checkout(origin).await.map_err(failed)?;
            match guard.sender {
                Sender::Http1(_) if guard.is_quiet().await => return Ok(Lease::Own(guard)),
                Sender::Http1(_) => OwnedPooled::discard(guard),
                Sender::Http2(..) if self.versions.must_be_http1(origin) => {
                    OwnedPooled::discard(guard);
                }
                // The server has changed its mind.
                Sender::Http2(..) => self.versions.chose_http2(origin),
            }
        }
    }

    /// Whether a place on a connection is asked for, rather than one for this request alone. As long as nothing is known of
    /// an origin it is: so one connection is dialled, however many want one, and not one for each.
    fn may_speak_http2(&self, origin: &Origin) -> bool {
        match self.settings.http2 {
            Http2::Always => true,
            Http2::Never => false,
            Http2::Negotiated => self.may_choose(origin) && self.versions.may_be_http2(origin),
        }
    }

    /// Whether the server is asked which version it wants.
    fn may_choose(&self, origin: &Origin) -> bool {
        let settings = &self.settings;
        settings.http2 == Http2::Negotiated && origin.is_tls && settings.connector.is_none()
    }

    /// One that nobody has used before: in the place of one that was, another is dialled.
    async fn renew(&self, lease: Lease, origin: &Origin) -> Result<Lease, RequestError> {
        let guard = match lease {
            Lease::Own(guard) if guard.requests.load(Ordering::Relaxed) > 0 => guard,
            fresh => return Ok(fresh),
        };
        let renewed = OwnedPooled::renew(guard).await;
        renewed
            .map(Lease::Own)
            .map_err(|error| RequestError::checkout(error, origin.to_string()))
    }

    /// Answers with the head of the response, or with the limit it did not keep.
    async fn send(
        &self,
        lease: &mut Lease,
        letter: Letter<'_>,
        sent: Instant,
        alarm: &mut Alarm,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>, Duration> {
        let limit = self.settings.head_timeout;
        let end = limit.and_then(|limit| sent.checked_add(limit));
        let answer = match lease {
            Lease::Own(guard) => {
                guard.is_clean = false;
                let answer = pin!(http1(guard).try_send_request(letter.for_http1()));
                alarm.before(end, &self.runtime, answer).await
            }
            Lease::Shared(leased) => {
                let sender = leased.0.as_mut().expect("it was looked at");
                let answer = pin!(sender.try_send_request(letter.for_http2()));
                alarm.before(end, &self.runtime, answer).await
            }
        };
        answer.ok_or_else(|| limit.expect("there is no end without it"))
    }

    fn receive(
        &self,
        response: Response<Incoming>,
        mut lease: Lease,
        alarm: Alarm,
        method: &Method,
        uri: Uri,
        deadline: Option<Instant>,
    ) -> Response<ResponseBody> {
        if let Lease::Own(guard) = &mut lease {
            heed(guard, response.headers(), self.settings.margin);
        }
        if is_upgrade(method, response.status())
            && let Lease::Own(_) = lease
        {
            lease.release();
            return response.map(|incoming| ResponseBody::without(incoming, uri));
        }
        response.map(|incoming| ResponseBody::new(incoming, lease, uri, deadline, alarm))
    }
}

/// Takes to heart what the server says about its connection.
fn heed(connection: &mut HttpConnection, headers: &HeaderMap, margin: Duration) {
    let said = KeepAlive::of(headers);
    if let Some(timeout) = said.timeout {
        let kept = timeout.saturating_sub(margin);
        connection.is_last |= kept.is_zero();
        connection.idle_limit = Some(kept);
    }
    let closes = headers.get_all(CONNECTION).iter().any(says_close);
    // Its end is where the server says in one way, and elsewhere in the other (RFC 9112 §6.3).
    let is_doubtful =
        headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
    connection.is_last |= closes || is_doubtful || said.max == Some(0);
}

fn says_close(value: &HeaderValue) -> bool {
    let mut tokens = value.as_bytes().split(|&byte| byte == b',');
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Whether the server has given up waiting, rather than read the request (RFC 9110 §15.5.9): on a connection that was
/// idle the two may have crossed.
fn is_goodbye(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::REQUEST_TIMEOUT
}

fn may_run_twice(request: &Request<RequestBody>, settings: &Settings) -> bool {
    let (method, headers) = (request.method(), request.headers());
    request.body().is_replayable() && settings.replay.allows(method, headers)
}

/// Whether what follows the head is no longer HTTP.
fn is_upgrade(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && status.is_success())
}

/// What hyper says of a request that was not answered.
struct TrySendErrorParts {
    message: Option<Request<RequestBody>>,
    error: hyper::Error,
}

impl From<TrySendError<Request<RequestBody>>> for TrySendErrorParts {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Self {
        Self {
            message: error.take_message(),
            error: error.into_error(),
        }
    }
}
