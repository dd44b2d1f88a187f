//! Whom to trust by default.

use std::error::Error;
use std::fmt;

use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A TLS configuration that trusts whom the operating system trusts, and shows no certificate of its own.
///
/// Reads the certificates from the disk each time, which takes milliseconds: make one and keep it. `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` in the environment say where else they are.
///
/// # Errors
///
/// If none can be read. One that cannot be is no reason not to trust the others.
///
/// # Examples
///
/// ```
/// use pool_tcp::{TcpManager, trusting_the_system};
/// use std::sync::Arc;
///
/// match trusting_the_system() {
///     Ok(config) => assert!(TcpManager::new("example.org:443")?.tls(Arc::new(config)).is_ok()),
///     Err(error) => assert!(error.to_string().contains("no certificates to trust")),
/// }
/// # Ok::<(), pool_tcp::AddressError>(())
/// ```
pub fn trusting_the_system() -> Result<ClientConfig, NoRoots> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let cause = found.errors.into_iter().next();
        return Err(NoRoots {
            cause: cause.map(|error| error.to_string()),
        });
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The operating system has no certificates to trust.
///
/// # Examples
///
/// See [`trusting_the_system`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoots {
    /// What was wrong with the first of them, if there is one.
    cause: Option<String>,
}

impl fmt::Display for NoRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system has no certificates to trust")?;
        if let Some(cause) = &self.cause {
            write!(f, " ({cause})")?;
        }
        f.write_str(
            "; install them (ca-certificates), or give a rustls configuration that trusts others",
        )
    }
}

impl Error for NoRoots {}
