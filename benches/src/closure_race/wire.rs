//! What is between client and server.

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1.1 over TCP.
    Http1,
    /// HTTP/1.1 over TLS.
    Http1Tls,
    /// HTTP/2 over TCP, by prior knowledge.
    Http2,
    /// HTTP/2 over TLS, as the server chooses (ALPN).
    Http2Tls,
}

impl Wire {
    pub(crate) const ALL: [Self; 4] = [Self::Http1, Self::Http1Tls, Self::Http2, Self::Http2Tls];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1",
            Self::Http1Tls => "HTTP/1 over TLS",
            Self::Http2 => "HTTP/2",
            Self::Http2Tls => "HTTP/2 over TLS",
        }
    }

    pub(crate) fn scheme(self) -> &'static str {
        match self.is_tls() {
            true => "https",
            false => "http",
        }
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }

    /// The protocol the server chooses (RFC 7301).
    pub(crate) fn alpn(self) -> Vec<u8> {
        match self.is_http2() {
            true => b"h2".to_vec(),
            false => b"http/1.1".to_vec(),
        }
    }
}
