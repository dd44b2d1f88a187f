//! A certificate for localhost, the server that has it, and a client that trusts it.

use std::sync::Arc;

use pool_tcp::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use pool_tcp::rustls::{ClientConfig, RootCertStore, ServerConfig};

pub(crate) struct Certificate {
    pub(crate) pem: String,
    pub(crate) key_pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Certificate {
    pub(crate) fn of(host: &str) -> Self {
        let certified = rcgen::generate_simple_self_signed([host.into()]).unwrap();
        Self {
            pem: certified.cert.pem(),
            key_pem: certified.signing_key.serialize_pem(),
            certificate: certified.cert.der().clone(),
            key: certified.signing_key.serialize_der(),
        }
    }

    pub(crate) fn server(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().into())
            .collect();
        Arc::new(config)
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}
