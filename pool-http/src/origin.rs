//! Where a connection leads, and whatever else makes it another connection: the key of the pools.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::error::RequestError;
use crate::proxy::Via;

/// With keys nobody knows, so that nobody can choose hosts that all hash alike.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Where a connection leads: requests to the same origin by the same way share a pool.
///
/// # Examples
///
/// ```
/// use pool_http::Origin;
///
/// let origin = Origin::of(&"https://Example.org/a?b".parse()?)?;
/// assert_eq!(origin.to_string(), "https://example.org:443");
/// assert_eq!(origin, Origin::of(&"https://example.org:443/c".parse()?)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    /// Of all the rest.
    hash: u64,
    pub(crate) is_tls: bool,
    /// In lower case; an IPv6 address with its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) via: Via,
}

impl Origin {
    /// The origin of a request that no proxy stands before.
    ///
    /// # Errors
    ///
    /// If there is no scheme or no host, or the scheme is neither `http` nor `https`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Origin;
    ///
    /// let error = Origin::of(&"/index.html".parse()?).unwrap_err();
    /// assert!(error.to_string().contains("http://host/index.html"), "{error}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(uri: &Uri) -> Result<Self, RequestError> {
        Self::by(uri, Via::Direct)
    }

    /// The origin of a request that goes by this way.
    pub(crate) fn by(uri: &Uri, via: Via) -> Result<Self, RequestError> {
        let (Some(scheme), Some(host)) = (uri.scheme(), uri.host()) else {
            return Err(RequestError::relative(uri));
        };
        let is_tls = *scheme == Scheme::HTTPS;
        if !is_tls && *scheme != Scheme::HTTP {
            return Err(RequestError::scheme(uri));
        }
        if let Via::Forward(proxy) = &via {
            // Whatever lies behind it, the connection leads to the proxy.
            let (is_tls, host, port) = (proxy.is_tls, proxy.host.clone(), proxy.port);
            return Ok(Self::new(is_tls, host, port, via));
        }
        let host = host.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(default_port(is_tls));
        Ok(Self::new(is_tls, host, port, via))
    }

    fn new(is_tls: bool, host: String, port: u16, via: Via) -> Self {
        Self {
            hash: HASHER.hash_one((is_tls, &host, port, &via)),
            is_tls,
            host,
            port,
            via,
        }
    }

    /// `host:port`, as it is dialled.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

pub(crate) fn default_port(is_tls: bool) -> u16 {
    match is_tls {
        true => 443,
        false => 80,
    }
}

/// The same for a server or a proxy to see: a user and a password are no part of what is asked for (RFC 9110 §4.2.4).
pub(crate) fn without_user(uri: Uri) -> Result<Uri, RequestError> {
    let authority = uri.authority().map_or("", Authority::as_str);
    let Some((_, authority)) = authority.rsplit_once('@') else {
        return Ok(uri);
    };
    // `[a@]` passes as a host, and what comes after the `@` does not.
    let Ok(authority) = authority.parse() else {
        return Err(RequestError::host(&uri));
    };
    let mut parts = uri.into_parts();
    parts.authority = Some(authority);
    Ok(Uri::from_parts(parts).expect("all its other parts are what they were"))
}

/// The URL without what may be secret in it.
pub(crate) fn target_of(uri: &Uri) -> String {
    format!(
        "{}://{}{}",
        uri.scheme_str().unwrap_or_default(),
        authority_of(uri),
        uri.path()
    )
}

/// `host`, and the port if it is not the usual one (RFC 9110 §7.2).
pub(crate) fn authority_of(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let is_tls = uri.scheme_str() == Some("https");
    match uri.port_u16() {
        Some(port) if port != default_port(is_tls) => format!("{host}:{port}"),
        _ => host.to_owned(),
    }
}

/// All of it was hashed when it was made, once for all the requests that go there.
impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.via)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(url: &str) -> Result<String, String> {
        let uri = without_user(url.parse().unwrap());
        uri.map(|uri| uri.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_user_is_no_part_of_what_is_asked_for() {
        assert_eq!(stripped("http://a:b@c:81/d?e").unwrap(), "http://c:81/d?e");
        assert_eq!(stripped("http://a@[::1]/").unwrap(), "http://[::1]/");
        assert_eq!(stripped("http://c/d@e").unwrap(), "http://c/d@e");
    }

    #[test]
    fn what_is_no_host_without_its_user_is_refused_and_no_user_told() {
        for url in ["http://[secret@]/", "http://a@[secret@]:/"] {
            let error = stripped(url).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
