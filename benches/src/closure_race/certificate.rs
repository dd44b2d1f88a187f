//! A certificate for the loopback interface: the server that has it, and clients that trust it.

use std::sync::Arc;

use pool_tcp::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use pool_tcp::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::wire::Wire;

const VALID: &str = "it was made for this";

pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .expect("a key can be made");
        Self {
            der: certified.cert.der().clone(),
            key: certified.signing_key.serialize_der(),
        }
    }

    pub(crate) fn server(&self, wire: Wire) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .expect(VALID);
        config.alpn_protocols = vec![wire.alpn()];
        Arc::new(config)
    }

    /// Offers no protocols yet.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect(VALID);
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}
