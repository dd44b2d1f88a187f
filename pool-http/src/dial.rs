//! From an origin to a connection: TCP, a Unix socket or the user's connector; a proxy; TLS; and which HTTP.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
#[cfg(feature = "tls")]
use std::sync::Arc;

use http::{Request, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pool_core::{Capacity, Manager};
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

pub(crate) async fn connect(
    origin: &Origin,
    settings: &Settings,
) -> Result<HttpConnection, HttpConnectError> {
    let line = dial(origin, settings).await?;
    let is_http2 = match settings.http2 {
        Http2::Always => true,
        Http2::Never => false,
        Http2::Negotiated => line.has_chosen_http2,
    };
    match is_http2 {
        true => speak_http2(origin, line, settings).await,
        false => speak_http1(origin, line).await,
    }
}

async fn dial(origin: &Origin, settings: &Settings) -> Result<Line, HttpConnectError> {
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
        return secure(origin, settings, stream, probe.into(), None).await;
    }
    match &origin.via {
        Via::Direct | Via::Forward(_) => {
            let tcp = (settings.tune)(TcpManager::new(&origin.authority())?);
            direct(origin, settings, tcp).await
        }
        Via::Tunnel(proxy) => tunnel(origin, settings, proxy).await,
    }
}

async fn direct(
    origin: &Origin,
    settings: &Settings,
    tcp: TcpManager,
) -> Result<Line, HttpConnectError> {
    #[cfg(feature = "tls")]
    if origin.is_tls {
        let connection = tcp.tls(tls_config(settings))?.connect().await?;
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
    secure(origin, settings, stream, probe.into(), peer).await
}

/// Puts TLS over a stream, if the origin wants it.
async fn secure<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    origin: &Origin,
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
        let stream = crate::tls::handshake(&origin.host, tls_config(settings), stream).await;
        let stream = stream.map_err(|source| HttpConnectError::Tls {
            target: origin.to_string(),
            source,
        })?;
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
        let _ = settings;
        Err(HttpConnectError::NoTls)
    }
}

#[cfg(feature = "tls")]
fn tls_config(settings: &Settings) -> Arc<pool_tcp::rustls::ClientConfig> {
    let config = settings.tls.as_ref();
    Arc::clone(config.expect("the builder puts one in"))
}

/// Asks a proxy to connect to the origin, and puts TLS over what comes of it.
async fn tunnel(
    origin: &Origin,
    settings: &Settings,
    proxy: &Proxy,
) -> Result<Line, HttpConnectError> {
    let failed = |reason: String| HttpConnectError::Proxy {
        proxy: format!("{}:{}", proxy.host, proxy.port),
        reason,
    };
    check_scheme(proxy)?;
    let address = format!("{}:{}", proxy.host, proxy.port);
    let tcp = (settings.tune)(TcpManager::new(&address)?);
    let connection = tcp.connect().await?;
    let peer = connection.get_ref().socket().peer_addr().ok();
    let (stream, probe) = connection.into_parts();

    let io = TokioIo::new(stream);
    let (mut sender, driver) = http1::handshake::<_, RequestBody>(io)
        .await
        .map_err(|error| failed(error.to_string()))?;
    // Ends with the upgrade, or with this future.
    let mut driver = pin!(driver.with_upgrades());
    let authority = origin.authority();
    let mut request = Request::connect(&authority).header("host", &authority);
    if let Some(authorization) = &proxy.authorization {
        request = request.header("proxy-authorization", authorization);
    }
    let request = request
        .body(RequestBody::default())
        .map_err(|error| failed(error.to_string()))?;
    let mut asked = pin!(async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| failed(format!("CONNECT failed: {error}")))?;
        if !response.status().is_success() {
            return Err(failed(format!(
                "CONNECT was refused: {}",
                response.status()
            )));
        }
        hyper::upgrade::on(response)
            .await
            .map_err(|error| failed(format!("CONNECT failed: {error}")))
    });
    let mut is_driven = true;
    let stream = poll_fn(|cx| {
        if is_driven && driver.as_mut().poll(cx).is_ready() {
            is_driven = false;
        }
        asked.as_mut().poll(cx)
    })
    .await?;
    secure(origin, settings, TokioIo::new(stream), probe.into(), peer).await
}

/// Only proxies of HTTP that are not spoken to by TLS can make a tunnel here.
fn check_scheme(proxy: &Proxy) -> Result<(), HttpConnectError> {
    match proxy.scheme.as_str() {
        "http" => Ok(()),
        scheme => Err(HttpConnectError::Proxy {
            proxy: format!("{}:{}", proxy.host, proxy.port),
            reason: format!(
                "{scheme} is not spoken to proxies here; give an http:// URL, or a connector"
            ),
        }),
    }
}

async fn speak_http1(origin: &Origin, line: Line) -> Result<HttpConnection, HttpConnectError> {
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
    ))
}

/// Ends when the peer has told how many requests it takes (RFC 9113 §3.4): until then nobody could know whether a request
/// may be sent, and a peer that speaks something else is found out before one is.
async fn speak_http2(
    origin: &Origin,
    line: Line,
    settings: &Settings,
) -> Result<HttpConnection, HttpConnectError> {
    let terms = http2::Terms {
        max_streams: settings.max_streams,
        ping: settings.http2_ping,
    };
    let shaken = http2::handshake(line.stream, terms).await;
    let (sender, drive, capacity, told) = shaken.map_err(|source| refused(origin, source))?;
    let driver = driver_of(drive, line.probe, OnReadable::Ignore);
    told.await
        .unwrap_or_else(|_| Err("its task was aborted".into()))
        .map_err(|source| refused(origin, source))?;
    Ok(HttpConnection::new(
        Sender::Http2(sender),
        driver,
        capacity,
        line.peer,
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
pub(crate) fn is_permanent(origin: &Origin, settings: &Settings, error: &HttpConnectError) -> bool {
    match error {
        HttpConnectError::Address(_) | HttpConnectError::NoTls => true,
        HttpConnectError::Proxy { .. } => match &origin.via {
            Via::Tunnel(proxy) | Via::Forward(proxy) => check_scheme(proxy).is_err(),
            Via::Direct => false,
        },
        HttpConnectError::Tcp(error) => {
            let Ok(tcp) = TcpManager::new(&origin.authority()) else {
                return true;
            };
            #[cfg(feature = "tls")]
            if origin.is_tls {
                let tls = tcp.tls(tls_config(settings));
                return tls.is_ok_and(|tls| tls.is_permanent(error));
            }
            let _ = settings;
            tcp.is_permanent(error)
        }
        _ => false,
    }
}
