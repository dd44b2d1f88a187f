//! TLS over streams that are no sockets of ours, and whom to trust by default.

use std::io;
use std::sync::Arc;

use pool_tcp::rustls::pki_types::ServerName;
use pool_tcp::rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::ClientError;
use crate::settings::Http2;

/// Whom the operating system trusts.
pub(crate) fn trusting_the_system() -> Result<ClientConfig, ClientError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One certificate that cannot be read is no reason not to trust the others.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let cause = found.errors.into_iter().next();
        return Err(ClientError::NoRoots {
            cause: cause.map(|error| error.to_string()),
        });
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Offers the protocols that the client speaks (ALPN).
pub(crate) fn offering(mut config: ClientConfig, http2: Http2) -> Arc<ClientConfig> {
    let (h2, http1) = (b"h2".to_vec(), b"http/1.1".to_vec());
    config.alpn_protocols = match http2 {
        Http2::Negotiated => vec![h2, http1],
        Http2::Never => vec![http1],
        Http2::Always => vec![h2],
    };
    Arc::new(config)
}

pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    host: &str,
    config: Arc<ClientConfig>,
    stream: S,
) -> io::Result<TlsStream<S>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, stream).await
}
