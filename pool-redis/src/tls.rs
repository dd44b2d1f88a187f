//! The default for `rediss://`: whom the operating system trusts.

use std::sync::Arc;

use pool_tcp::rustls::{ClientConfig, RootCertStore};

use crate::error::RedisConfigError;

pub(crate) fn trusting_the_system() -> Result<Arc<ClientConfig>, RedisConfigError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One certificate that cannot be read is no reason not to trust the others.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let cause = found.errors.into_iter().next();
        return Err(RedisConfigError::NoRoots {
            cause: cause.map(|error| error.to_string()),
        });
    }
    Ok(Arc::new(
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    ))
}
