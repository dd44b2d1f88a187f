//! One request, from a connection to the head of its response, as often as it may be sent.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::{CONNECTION, HOST, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use pool_core::{KeyedPool, Leased, OwnedPooled};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::connection::{HttpConnection, Sender};
use crate::dial;
use crate::error::{BoxError, ErrorKind, Fate, RequestError};
use crate::keep_alive::KeepAlive;
use crate::lease::{Lease, http1};
use crate::manager::HttpManager;
use crate::origin::{Origin, authority_of, target_of};
use crate::proxy::Via;
use crate::replay::{self, Loss};
use crate::request_body::RequestBody;
use crate::response_body::ResponseBody;
use crate::settings::{Http2, Settings};

/// How many new connections in a row may end before they take a request, until that is an error.
const FALSE_STARTS: u32 = 10;

/// How often a server may refuse a request on a connection that stays, until that is an error.
const REFUSALS: u32 = 3;

/// How long a dial in the place of a used connection may take; as the pools' own by default.
const DIAL: Duration = Duration::from_secs(10);

const NO_RESPONSE: &str = "there was no response";

/// How many origins are remembered to speak HTTP/1; it is no more than a hint.
const MEMORY: usize = 1024;

/// What all clones of a client share.
pub(crate) struct Shared {
    pub(crate) pool: KeyedPool<Origin, HttpManager>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) runtime: Handle,
    /// Those that might have chosen HTTP/2 and did not.
    http1: RwLock<HashSet<Origin>>,
}

/// A request that may have to be sent again.
struct Draft {
    uri: Uri,
    parts: Parts,
    body: RequestBody,
}

impl Shared {
    pub(crate) fn new(pool: KeyedPool<Origin, HttpManager>, settings: Arc<Settings>) -> Self {
        Self {
            pool,
            settings,
            runtime: Handle::current(),
            http1: RwLock::default(),
        }
    }

    pub(crate) async fn exchange(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, RequestError> {
        let (mut parts, body) = request.into_parts();
        let uri = std::mem::take(&mut parts.uri);
        let settings = &self.settings;
        let via = match settings.connector.is_some() || settings.unix.is_some() {
            true => Via::Direct,
            false => settings.proxies.via(&uri),
        };
        let origin = Origin::by(&uri, via)?;
        #[expect(clippy::disallowed_methods, reason = "tokio's, which tests can pause")]
        let deadline = settings.request_timeout.map(|limit| Instant::now() + limit);
        let asked = uri.clone();
        let mut fate = Fate::NotSent;
        let response = {
            // Pinned here, so that it is not moved about: it is large.
            let draft = Draft { uri, parts, body };
            let exchange = pin!(self.attempts(&origin, draft, deadline, &mut fate));
            match settings.request_timeout.zip(deadline) {
                None => exchange.await,
                Some((limit, deadline)) => match timeout_at(deadline, exchange).await {
                    Ok(response) => response,
                    Err(_) => Err(RequestError::timed_out(
                        NO_RESPONSE,
                        limit,
                        target_of(&asked),
                    )),
                },
            }
        };
        response.map_err(|error| error.with_fate(fate))
    }

    /// Keeps in `fate` what has become of the request so far.
    async fn attempts(
        &self,
        origin: &Origin,
        mut draft: Draft,
        deadline: Option<Instant>,
        fate: &mut Fate,
    ) -> Result<Response<ResponseBody>, RequestError> {
        let (mut false_starts, mut refusals, mut replays) = (0, 0, 0);
        let mut must_be_fresh = false;
        loop {
            let mut lease = self.lease(origin).await?;
            if must_be_fresh {
                // Rare, and dialling is a large future: every request would carry the room for it.
                Box::pin(self.renew(&mut lease, origin)).await?;
                if lease.is_misplaced() {
                    // The server has chosen HTTP/2 this time: it goes home, and a place on it is taken.
                    self.http1_lock().remove(origin);
                    continue;
                }
                must_be_fresh = false;
            }
            let requests = lease.connection().requests.fetch_add(1, Ordering::Relaxed);
            let is_http2 = matches!(lease, Lease::Shared(_));
            let may_run_twice = replays == 0 && draft.may_run_twice(&self.settings);
            // Taken only where it can be of use: a copy of the headers costs as much as a short request.
            let is_worth_a_copy = is_http2 || (requests > 0 && may_run_twice);
            let mut again = is_worth_a_copy.then(|| draft.again()).flatten();
            let method = draft.parts.method.clone();
            let uri = draft.uri.clone();

            let before = std::mem::replace(fate, Fate::Unknown);
            let sent = draft.into_request(origin, is_http2);
            let error = match self.send(&mut lease, sent).await {
                Ok(Ok(response)) => {
                    let is_stale = requests > 0 && may_run_twice && is_goodbye(&response);
                    if let Some(same) = again.take_if(|_| is_stale && !is_http2) {
                        lease.give_up();
                        draft = same;
                        replays += 1;
                        must_be_fresh = true;
                        continue;
                    }
                    let served = lease.served(requests, replays + refusals);
                    let deadline = deadline.filter(|_| !is_upgrade(&method, response.status()));
                    let mut response = self.receive(response, lease, &method, uri, deadline);
                    response.extensions_mut().insert(served);
                    return Ok(response);
                }
                Ok(Err(error)) => error,
                Err(limit) => {
                    lease.give_up();
                    return Err(RequestError::timed_out(NO_RESPONSE, limit, target_of(&uri)));
                }
            };
            // Before it or, on HTTP/2, beside it, others have had answers.
            let is_reused = lease.connection().requests.load(Ordering::Relaxed) > 1;
            let TrySendErrorParts { message, error } = error.into();
            let loss = lease.connection().loss_of(&error, &method);
            let is_of_one_stream = message.is_none() && replay::is_of_one_stream(&error);
            match is_of_one_stream {
                true => drop(lease),
                false => lease.give_up(),
            }
            if let Some(unsent) = message {
                *fate = before;
                false_starts += u32::from(is_http2 || !is_reused);
                if false_starts > FALSE_STARTS {
                    return Err(RequestError::new(
                        ErrorKind::Connect,
                        target_of(&uri),
                        Some(error.into()),
                    ));
                }
                draft = Draft::unsent(unsent, uri, again);
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
            let kind = match (loss, again) {
                (Loss::Refused, Some(again)) if refusals < most_refusals => {
                    draft = again;
                    refusals += 1;
                    continue;
                }
                (Loss::Lost, Some(again)) if is_reused && may_run_twice => {
                    // What happened to one that lay idle happens to its neighbours.
                    self.pool.sweep(origin);
                    draft = again;
                    replays += 1;
                    must_be_fresh = true;
                    continue;
                }
                (Loss::Refused, _) => ErrorKind::Refused,
                (Loss::Body, _) => ErrorKind::RequestBody,
                (Loss::Lost | Loss::Other, _) => ErrorKind::Lost,
            };
            return Err(RequestError::new(kind, target_of(&uri), Some(error.into())));
        }
    }

    /// A connection, or a place on one, that the kernel knows to be open.
    async fn lease(&self, origin: &Origin) -> Result<Lease, RequestError> {
        let failed = |error| RequestError::checkout(error, origin.to_string());
        loop {
            if self.may_speak_http2(origin) {
                let leased = self.pool.lease(origin).await.map_err(failed)?;
                if leased.0.is_none() {
                    self.remember_http1(origin);
                } else if Leased::connection(&leased).is_dropped() {
                    // Nobody looks at a connection while it is shared.
                    Leased::retire(&leased);
                } else {
                    return Ok(Lease::Shared(leased));
                }
                continue;
            }
            let guard = self.pool.checkout_owned(origin).await.map_err(failed)?;
            match guard.sender {
                Sender::Http1(_) if guard.is_quiet().await => return Ok(Lease::Own(guard)),
                Sender::Http1(_) => OwnedPooled::discard(guard),
                // The server has changed its mind.
                Sender::Http2(..) => drop(self.http1_lock().remove(origin)),
            }
        }
    }

    /// Whether a place on a connection is asked for, rather than one for this request alone. As long as nothing is known of
    /// an origin it is: so one connection is dialled, however many want one, and not one for each.
    fn may_speak_http2(&self, origin: &Origin) -> bool {
        match self.settings.http2 {
            Http2::Always => true,
            Http2::Never => false,
            Http2::Negotiated => {
                origin.is_tls
                    && self.settings.connector.is_none()
                    && !self
                        .http1
                        .read()
                        .unwrap_or_else(PoisonError::into_inner)
                        .contains(origin)
            }
        }
    }

    fn remember_http1(&self, origin: &Origin) {
        let mut known = self.http1_lock();
        if known.len() >= MEMORY {
            known.clear();
        }
        known.insert(origin.clone());
    }

    fn http1_lock(&self) -> std::sync::RwLockWriteGuard<'_, HashSet<Origin>> {
        self.http1.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that nobody has used the connection before: in the place of one that was, another is dialled.
    async fn renew(&self, lease: &mut Lease, origin: &Origin) -> Result<(), RequestError> {
        let Lease::Own(guard) = lease else {
            return Ok(());
        };
        if guard.requests.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        guard.is_clean = false;
        let failed = |error: BoxError| {
            RequestError::new(ErrorKind::Connect, origin.to_string(), Some(error))
        };
        let dialled = timeout(DIAL, async {
            // First, so that the origin never sees one more than it may.
            guard.driver.close().await;
            dial::connect(origin, &self.settings).await
        })
        .await;
        let dialled =
            dialled.map_err(|_| failed(format!("not connected within {DIAL:?}").into()))?;
        **guard = dialled.map_err(|error| failed(error.into()))?;
        Ok(())
    }

    /// Answers with the head of the response, or with the limit it did not keep.
    async fn send(
        &self,
        lease: &mut Lease,
        request: Request<RequestBody>,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>, Duration> {
        let limit = self.settings.head_timeout;
        match lease {
            Lease::Own(guard) => {
                guard.is_clean = false;
                within(limit, http1(guard).try_send_request(request)).await
            }
            Lease::Shared(leased) => {
                let sender = leased.0.as_mut().expect("it was looked at");
                within(limit, sender.try_send_request(request)).await
            }
        }
    }

    fn receive(
        &self,
        response: Response<Incoming>,
        mut lease: Lease,
        method: &Method,
        uri: Uri,
        deadline: Option<Instant>,
    ) -> Response<ResponseBody> {
        if let Lease::Own(guard) = &mut lease {
            heed(guard, response.headers(), self.settings.margin);
        }
        let settings = Arc::clone(&self.settings);
        if is_upgrade(method, response.status())
            && let Lease::Own(_) = lease
        {
            lease.release();
            return response.map(|incoming| ResponseBody::without(incoming, settings, uri));
        }
        response.map(|incoming| ResponseBody::new(incoming, lease, settings, uri, deadline))
    }
}

async fn within<T>(limit: Option<Duration>, sent: impl Future<Output = T>) -> Result<T, Duration> {
    match limit {
        None => Ok(sent.await),
        Some(limit) => timeout(limit, sent).await.map_err(|_| limit),
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
    connection.is_last |= closes || said.max == Some(0);
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

/// Whether what follows the head is no longer HTTP.
fn is_upgrade(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && status.is_success())
}

impl Draft {
    /// What hyper has handed back.
    fn unsent(request: Request<RequestBody>, uri: Uri, again: Option<Self>) -> Self {
        if let Some(again) = again {
            return again;
        }
        let (parts, body) = request.into_parts();
        Self { uri, parts, body }
    }

    fn may_run_twice(&self, settings: &Settings) -> bool {
        self.body.is_replayable()
            && settings
                .replay
                .allows(&self.parts.method, &self.parts.headers)
    }

    fn again(&self) -> Option<Self> {
        Some(Self {
            uri: self.uri.clone(),
            parts: self.parts.clone(),
            body: self.body.again()?,
        })
    }

    /// In the form that the way to the server wants (RFC 9112 §3.2).
    fn into_request(self, origin: &Origin, is_http2: bool) -> Request<RequestBody> {
        let Self {
            uri,
            mut parts,
            body,
        } = self;
        if is_http2 {
            parts.version = Version::HTTP_2;
            parts.uri = uri;
            return Request::from_parts(parts, body);
        }
        if parts.version != Version::HTTP_10 {
            parts.version = Version::HTTP_11;
        }
        if !parts.headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::try_from(authority_of(&uri))
        {
            parts.headers.insert(HOST, host);
        }
        parts.uri = match &origin.via {
            _ if parts.method == Method::CONNECT => authority_form(uri),
            Via::Forward(proxy) => {
                if let Some(authorization) = &proxy.authorization {
                    let headers = &mut parts.headers;
                    headers.insert(PROXY_AUTHORIZATION, authorization.clone());
                }
                uri
            }
            Via::Direct | Via::Tunnel(_) => origin_form(uri),
        };
        Request::from_parts(parts, body)
    }
}

fn origin_form(uri: Uri) -> Uri {
    let path = uri.into_parts().path_and_query;
    path.map_or_else(|| Uri::from_static("/"), Uri::from)
}

fn authority_form(uri: Uri) -> Uri {
    let authority = uri.authority().cloned();
    authority.map_or(uri, Uri::from)
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
