//! Whom to trust, TLS over streams that are no sockets of ours, and what cannot be mended by dialling again.

use std::io;
use std::sync::{Arc, OnceLock};

use pool_tcp::rustls::pki_types::ServerName;
use pool_tcp::rustls::{self, ClientConfig};
use pool_tcp::{AddressError, NoRoots};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::HttpConnectError;
use crate::settings::Http2;

/// The caller's configuration, or that of the system, which is read when the first `https://` URL is dialled: whoever has
/// none may need none.
#[derive(Clone, Default)]
pub(crate) struct Trust(OnceLock<Result<Arc<ClientConfig>, NoRoots>>);

impl Trust {
    pub(crate) fn given(config: ClientConfig) -> Self {
        Self(OnceLock::from(Ok(Arc::new(config))))
    }

    /// Offers, from now on, the protocols that the client speaks.
    pub(crate) fn offer(&mut self, http2: Http2) {
        if let Some(Ok(config)) = self.0.get_mut() {
            *config = offering(ClientConfig::clone(config), http2);
        }
    }

    /// For a client that speaks these versions, to offer those now.
    pub(crate) fn config(&self, spoken: Http2, now: Http2) -> Result<Arc<ClientConfig>, NoRoots> {
        let read = || pool_tcp::trusting_the_system().map(|config| offering(config, spoken));
        let config = self.0.get_or_init(read).clone()?;
        Ok(match spoken == now {
            true => config,
            false => offering(ClientConfig::clone(&config), now),
        })
    }
}

/// By ALPN (RFC 7301).
fn offering(mut config: ClientConfig, http2: Http2) -> Arc<ClientConfig> {
    let (h2, http1) = (b"h2".to_vec(), b"http/1.1".to_vec());
    config.alpn_protocols = match http2 {
        Http2::Negotiated => vec![h2, http1],
        Http2::Never => vec![http1],
        Http2::Always => vec![h2],
    };
    Arc::new(config)
}

/// Of a host that a certificate can name.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    host: &str,
    target: String,
    config: Arc<ClientConfig>,
    stream: S,
) -> Result<TlsStream<S>, HttpConnectError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|_| AddressError::NoCertificate {
        host: host.to_owned(),
    })?;
    let shaken = TlsConnector::from(config).connect(name, stream).await;
    shaken.map_err(|source| HttpConnectError::Tls { target, source })
}

/// A certificate that is not accepted, or a peer without a common TLS version, cipher or protocol.
pub(crate) fn is_permanent(error: &io::Error) -> bool {
    let cause = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(
        cause,
        Some(
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::PeerIncompatible(_)
                | rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
        )
    )
}
