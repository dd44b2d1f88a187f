//! The clients for a wire, else at their defaults.

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pool_http::{Http2, Proxies};
use yardstick::http_clients::{HyperUtil, Ours, Reqwest};

use crate::certificate::Certificate;
use crate::wire::Wire;

pub(crate) fn ours(wire: Wire, certificate: &Certificate) -> Ours {
    let client = pool_http::Client::builder()
        .proxies(Proxies::none())
        .tls(certificate.client())
        .http2(match wire {
            Wire::Http2 => Http2::Always,
            Wire::Http1 | Wire::Http1Tls | Wire::Http2Tls => Http2::Negotiated,
        });
    Ours(client.build().expect("in a runtime"))
}

pub(crate) fn reqwest(wire: Wire, certificate: &Certificate) -> Reqwest {
    let mut tls = certificate.client();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls);
    if wire == Wire::Http2 {
        client = client.http2_prior_knowledge();
    }
    Reqwest(client.build().expect("nothing to fail at"))
}

pub(crate) fn hyper_util(
    wire: Wire,
    certificate: &Certificate,
) -> HyperUtil<HttpsConnector<HttpConnector>> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(certificate.client())
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .build();
    let client = Legacy::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .http2_only(wire == Wire::Http2)
        .build(connector);
    HyperUtil(client)
}
