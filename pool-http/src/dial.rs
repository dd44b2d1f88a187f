//! From an origin to a connection: TCP, a Unix socket or the user's connector; a proxy; TLS; and which HTTP.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Method, Request, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pool_core::{Capacity, Manager};
#[cfg(feature = "tls")]
use pool_tcp::TcpError;
use pool_tcp::{AnyProbe, Driver, OnReadable, TcpManager};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{HttpConnection, Sender};
use crate::connector::Stream;
use crate::error::{BoxError, HttpConnectError};
use crate::http2;
use crate::origin::Origin;
use crate::proxy::{Proxy, Via};
use crate::request_body::RequestBody;
use crate::settings::{Http2, Settings};

/// A stream to the peer of an origin, TLS included.
struct Line {
    stream: Box<dyn Stream>,
    /// Of the socket under it, if it is known.
    probe: Option<AnyProbe>,
    peer: Option<SocketAddr>,
    /// TLS lies over the socket, so that bytes in it may be the TLS layer's.
    is_tls: bool,
    /// The peer has chosen HTTP/2.
    has_chosen_http2: bool,
}

/// By the versions of the settings, or by fewer.
pub(crate) async fn connect(
    origin: &Origin,
    http2: Http2,
    settings: &Arc<Settings>,
) -> Result<HttpConnection, HttpConnectError> {
    let line = dial(origin, http2, settings).await?;
    let is_http2 = match http2 {
        Http2::Always => true,
        Http2::Never => false,
        Http2::Negotiated => line.has_chosen_http2,
    };
    match is_http2 {
        true => speak_http2(origin, line, settings).await,
        false => speak_http1(origin, line, settings).await,
    }
}

async fn dial(
    origin: &Origin,
    http2: Http2,
    settings: &Settings,
) -> Result<Line, HttpConnectError> {
    if let Some(connector) = &settings.connector {
        let uri = Uri::try_from(format!(
            "{}://{}",
            if origin.is_tls { "https" } else { "http" },
            origin.authority()
        ));
        let uri = uri.map_err(|error| HttpConnectError::Connector(error.into()))?;
        let stream = connector(uri).await.map_err(HttpConnectError::Connector)?;
        return Ok(Line {
            stream,
            probe: None,
            peer: None,
            is_tls: false,
            has_chosen_http2: false,
        });
    }
    #[cfg(unix)]
    if let Some(path) = &settings.unix {
        let connection = pool_tcp::UnixManager::new(path).connect().await?;
        let (stream, probe) = connection.into_parts();
        return secure(origin, http2, settings, stream, probe.into(), None).await;
    }
    match &origin.via {
        Via::Direct => {}
        Via::Forward(proxy) | Via::Tunnel(proxy) => check_scheme(proxy)?,
    }
    match &origin.via {
        Via::Direct | Via::Forward(_) => {
            let tcp = (settings.tune)(TcpManager::new(&origin.authority())?);
            direct(origin, http2, settings, tcp).await
        }
        Via::Tunnel(proxy) => tunnel(origin, http2, settings, proxy).await,
    }
}

async fn direct(
    origin: &Origin,
    http2: Http2,
    settings: &Settings,
    tcp: TcpManager,
) -> Result<Line, HttpConnectError> {
    #[cfg(feature = "tls")]
    if origin.is_tls {
        let connection = tcp
            .tls(settings.trust.config(settings.http2, http2)?)?
            // The pool's own limit holds for all of it.
            .handshake_timeout(None)
            .connect()
            .await?;
        let (stream, probe) = connection.into_parts();
        let (socket, session) = stream.get_ref();
        let peer = socket.socket().peer_addr().ok();
        let has_chosen_http2 = session.alpn_protocol() == Some(b"h2");
        return Ok(Line {
            stream: Box::new(TokioIo::new(stream)),
            probe: Some(probe.into()),
            peer,
            is_tls: true,
            has_chosen_http2,
        });
    }
    let connection = tcp.connect().await?;
    let peer = connection.get_ref().socket().peer_addr().ok();
    let (stream, probe) = connection.into_parts();
    secure(origin, http2, settings, stream, probe.into(), peer).await
}

/// Puts TLS over a stream, if the origin wants it.
async fn secure<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    origin: &Origin,
    http2: Http2,
    settings: &Settings,
    stream: S,
    probe: AnyProbe,
    peer: Option<SocketAddr>,
) -> Result<Line, HttpConnectError> {
    if !origin.is_tls {
        return Ok(Line {
            stream: Box::new(TokioIo::new(stream)),
            probe: Some(probe),
            peer,
            is_tls: false,
            has_chosen_http2: false,
        });
    }
    #[cfg(feature = "tls")]
    {
        let config = settings.trust.config(settings.http2, http2)?;
        let target = origin.to_string();
        let stream = crate::tls::handshake(&origin.host, target, config, stream).await?;
        let has_chosen_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Line {
            stream: Box::new(TokioIo::new(stream)),
            probe: Some(probe),
            peer,
            is_tls: true,
            has_chosen_http2,
        })
    }
    #[cfg(not(feature = "tls"))]
    {
        let _ = (http2, settings);
        Err(HttpConnectError::NoTls)
    }
}

/// Asks a proxy to connect to the origin, and puts TLS over what comes of it.
async fn tunnel(
    origin: &Origin,
    http2: Http2,
    settings: &Settings,
    proxy: &Proxy,
) -> Result<Line, HttpConnectError> {
    let address = format!("{}:{}", proxy.host, proxy.port);
    let failed = |source| HttpConnectError::Proxy {
        proxy: address.clone(),
        source,
    };
    let tcp = (settings.tune)(TcpManager::new(&address)?);
    let connection = tcp.connect().await?;
    let peer = connection.get_ref().socket().peer_addr().ok();
    let (stream, probe) = connection.into_parts();

    let io = TokioIo::new(stream);
    let (mut sender, driver) = http1::handshake(io).await.map_err(failed)?;
    // Ends with the upgrade, or with this future.
    let mut driver = pin!(driver.with_upgrades());
    let authority = origin.authority();
    let request = ask(&authority, proxy);
    let mut asked = pin!(async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(HttpConnectError::ProxyRefused {
                proxy: address.clone(),
                status,
            });
        }
        hyper::upgrade::on(response).await.map_err(failed)
    });
    let mut is_driven = true;
    let stream = poll_fn(|cx| {
        if is_driven && driver.as_mut().poll(cx).is_ready() {
            is_driven = false;
        }
        asked.as_mut().poll(cx)
    })
    .await?;
    secure(
        origin,
        http2,
        settings,
        TokioIo::new(stream),
        probe.into(),
        peer,
    )
    .await
}

/// RFC 9110 §9.3.6
fn ask(authority: &str, proxy: &Proxy) -> Request<RequestBody> {
    const TAKEN: &str = "it was taken from a URL";
    let mut request = Request::new(RequestBody::default());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = authority.parse().expect(TAKEN);
    let headers = request.headers_mut();
    headers.insert(HOST, authority.parse().expect(TAKEN));
    if let Some(authorization) = &proxy.authorization {
        headers.insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    request
}

/// Only proxies of HTTP that are not spoken to by TLS can be used here.
fn check_scheme(proxy: &Proxy) -> Result<(), HttpConnectError> {
    match proxy.scheme.as_str() {
        "http" => Ok(()),
        scheme => Err(HttpConnectError::ProxyScheme {
            proxy: format!("{}:{}", proxy.host, proxy.port),
            scheme: scheme.to_owned(),
        }),
    }
}

async fn speak_http1(
    origin: &Origin,
    line: Line,
    settings: &Arc<Settings>,
) -> Result<HttpConnection, HttpConnectError> {
    let (sender, driver) = http1::handshake(line.stream)
        .await
        .map_err(|source| refused(origin, source))?;
    let drive = async move {
        // Whoever waits for a response is told of the error there.
        let _ = driver.with_upgrades().await;
    };
    // Bytes that nobody asked for would answer the next request.
    let on_readable = match line.is_tls {
        true => OnReadable::Ignore,
        false => OnReadable::Discard,
    };
    let driver = driver_of(drive, line.probe, on_readable);
    let capacity = Capacity::new(1);
    Ok(HttpConnection::new(
        Sender::Http1(sender),
        driver,
        capacity,
        line.peer,
        Arc::clone(settings),
    ))
}

/// Ends when the peer has told how many requests it takes (RFC 9113 §3.4): until then nobody could know whether a request
/// may be sent, and a peer that speaks something else is found out before one is.
async fn speak_http2(
    origin: &Origin,
    line: Line,
    settings: &Arc<Settings>,
) -> Result<HttpConnection, HttpConnectError> {
    let terms = http2::Terms {
        max_streams: settings.max_streams,
        ping: settings.http2_ping,
    };
    let shaken = http2::handshake(line.stream, terms).await;
    let (shaken, drive) = shaken.map_err(|source| refused(origin, source))?;
    let driver = driver_of(drive, line.probe, OnReadable::Ignore);
    let told = shaken.told.await;
    told.unwrap_or_else(|_| Err("its task was aborted".into()))
        .map_err(|source| refused(origin, source))?;
    Ok(HttpConnection::new(
        Sender::Http2(shaken.sender, shaken.has_ended),
        driver,
        shaken.capacity,
        line.peer,
        Arc::clone(settings),
    ))
}

fn driver_of(
    drive: impl Future<Output = ()> + Send + 'static,
    probe: Option<AnyProbe>,
    on_readable: OnReadable,
) -> Driver {
    match probe {
        Some(probe) => Driver::spawn(drive, probe, on_readable),
        None => Driver::spawn_unprobed(drive),
    }
}

fn refused(origin: &Origin, source: impl Into<BoxError>) -> HttpConnectError {
    HttpConnectError::Handshake {
        target: origin.to_string(),
        source: source.into(),
    }
}

/// Whether dialling again cannot help.
pub(crate) fn is_permanent(origin: &Origin, error: &HttpConnectError) -> bool {
    match error {
        HttpConnectError::Address(_)
        | HttpConnectError::NoTls
        | HttpConnectError::ProxyScheme { .. } => true,
        #[cfg(feature = "tls")]
        HttpConnectError::NoRoots(_) => true,
        // It has understood, and will not; but it may be busy.
        HttpConnectError::ProxyRefused { status, .. } => {
            let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
            status.is_client_error() && !may_pass.contains(status)
        }
        #[cfg(feature = "tls")]
        HttpConnectError::Tls { source, .. }
        | HttpConnectError::Tcp(TcpError::Tls { source, .. }) => crate::tls::is_permanent(source),
        HttpConnectError::Tcp(error) => {
            TcpManager::new(&origin.authority()).is_ok_and(|tcp| tcp.is_permanent(error))
        }
        _ => false,
    }
}
