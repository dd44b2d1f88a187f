//! Proxies: which requests go by one, and how.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::origin::default_port;

/// Which requests go by a proxy.
///
/// # Examples
///
/// ```
/// use pool_http::Proxies;
///
/// let proxies = Proxies::all("http://proxy.internal:3128").except("localhost,.internal");
/// assert!(format!("{proxies:?}").contains("proxy.internal"));
/// ```
#[derive(Clone)]
pub struct Proxies {
    matcher: Arc<Matcher>,
    all: String,
    /// What was given is no URL of a proxy: nothing may go out, as it would go by none.
    is_wrong: bool,
}

impl Proxies {
    /// As the environment says, read now: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, also in lower case. The
    /// default.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Proxies;
    ///
    /// assert!(format!("{:?}", Proxies::from_env()).starts_with("Proxies"));
    /// ```
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            matcher: Arc::new(Matcher::from_env()),
            all: String::new(),
            is_wrong: false,
        }
    }

    /// None, whatever the environment says.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Proxies;
    ///
    /// assert!(format!("{:?}", Proxies::none()).starts_with("Proxies"));
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self {
            is_wrong: false,
            ..Self::all("")
        }
    }

    /// Everything goes by the proxy at this URL, which may have a user and a password. If it is none,
    /// [`ClientBuilder::build`](crate::ClientBuilder::build) says so.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Proxies;
    ///
    /// let proxies = Proxies::all("http://user:password@proxy.internal:3128");
    /// assert!(!format!("{proxies:?}").contains("password"));
    /// ```
    #[must_use]
    pub fn all(url: &str) -> Self {
        let matcher = Matcher::builder().all(url).build();
        let somewhere = Uri::from_static("http://host/");
        Self {
            is_wrong: matcher.intercept(&somewhere).is_none(),
            matcher: Arc::new(matcher),
            all: url.to_owned(),
        }
    }

    /// But not these, in the syntax of `NO_PROXY`: hosts, domains with a dot before them, addresses and networks, by commas.
    /// Only for [`all`](Self::all).
    ///
    /// # Examples
    ///
    /// See [`Proxies`].
    #[must_use]
    pub fn except(mut self, hosts: &str) -> Self {
        let matcher = Matcher::builder().all(self.all.as_str()).no(hosts).build();
        self.matcher = Arc::new(matcher);
        self
    }

    /// What was given, if nothing can go by it; without a password, if it has one.
    pub(crate) fn wrong(&self) -> Option<&str> {
        let given = self.all.rsplit('@').next();
        given.filter(|_| self.is_wrong)
    }

    /// The way to `uri`.
    pub(crate) fn via(&self, uri: &Uri) -> Via {
        match self.matcher.intercept(uri) {
            None => Via::Direct,
            Some(intercept) => {
                let proxy = Arc::new(Proxy::new(&intercept));
                match uri.scheme_str() {
                    Some("https") => Via::Tunnel(proxy),
                    _ => Via::Forward(proxy),
                }
            }
        }
    }
}

/// Without users and passwords.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |scheme| {
            let uri = Uri::builder()
                .scheme(scheme)
                .authority("host")
                .path_and_query("/");
            let intercept = self.matcher.intercept(&uri.build().ok()?)?;
            intercept.uri().host().map(str::to_owned)
        };
        f.debug_struct("Proxies")
            .field("http", &by("http"))
            .field("https", &by("https"))
            .finish_non_exhaustive()
    }
}

/// How a connection gets to where it leads.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Via {
    Direct,
    /// The proxy is told the whole URL of each request.
    Forward(Arc<Proxy>),
    /// The proxy connects once (`CONNECT`, RFC 9110 §9.3.6) and then only passes bytes on.
    Tunnel(Arc<Proxy>),
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => Ok(()),
            Self::Forward(_) => f.write_str(" (a proxy)"),
            Self::Tunnel(proxy) => write!(f, " by {}:{}", proxy.host, proxy.port),
        }
    }
}

/// A proxy, and who we are to it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) scheme: String,
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authorization: Option<HeaderValue>,
}

impl Proxy {
    fn new(intercept: &Intercept) -> Self {
        let uri = intercept.uri();
        let scheme = uri.scheme_str().unwrap_or("http").to_owned();
        let is_tls = scheme == "https";
        Self {
            is_tls,
            scheme,
            host: uri.host().unwrap_or_default().to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(default_port(is_tls)),
            authorization: intercept.basic_auth().cloned(),
        }
    }
}

impl Hash for Proxy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.host.hash(state);
        self.port.hash(state);
    }
}
