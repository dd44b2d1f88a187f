//! What a URL says about the way of its request, worked out once for all that begin alike.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use http::uri::Scheme;
use http::{HeaderValue, Uri};

use crate::error::RequestError;
use crate::origin::{Origin, authority_of};
use crate::proxy::Via;
use crate::settings::Settings;

/// How many routes of each scheme are found without a lock: of the authorities that came first.
const FIRST: usize = 4;

/// How many others are remembered.
const MEMORY: usize = 1024;

/// The way of the requests to one scheme and authority.
pub(crate) struct Route {
    pub(crate) origin: Origin,
    /// What `Host` is to say, if a header can say it.
    pub(crate) host: Option<HeaderValue>,
}

/// The routes of one client, whose settings they follow from.
#[derive(Default)]
pub(crate) struct Routes {
    http: ByAuthority,
    https: ByAuthority,
}

/// By the authority, as it was written. Few are used at a time, and to compare one costs less than to hash it.
#[derive(Default)]
struct ByAuthority {
    first: [OnceLock<(String, Route)>; FIRST],
    others: RwLock<BTreeMap<String, Arc<Route>>>,
}

/// A route that is remembered, or that nobody else has.
pub(crate) enum Found<'a> {
    First(&'a Route),
    Other(Arc<Route>),
}

impl Routes {
    pub(crate) fn of(&self, uri: &Uri, settings: &Settings) -> Result<Found<'_>, RequestError> {
        let new = || Route::new(uri, settings);
        match self.place_of(uri) {
            Some((routes, authority)) => routes.of(authority, new),
            None => Ok(Found::Other(Arc::new(new()?))),
        }
    }

    /// Where the route of the URL is remembered, and by what; nowhere, if that would keep a password.
    fn place_of<'a>(&self, uri: &'a Uri) -> Option<(&ByAuthority, &'a str)> {
        let (scheme, authority) = (uri.scheme()?, uri.authority()?.as_str());
        if authority.contains('@') {
            return None;
        }
        match () {
            () if *scheme == Scheme::HTTP => Some((&self.http, authority)),
            () if *scheme == Scheme::HTTPS => Some((&self.https, authority)),
            () => None,
        }
    }
}

impl ByAuthority {
    fn of(
        &self,
        authority: &str,
        new: impl Fn() -> Result<Route, RequestError>,
    ) -> Result<Found<'_>, RequestError> {
        for place in &self.first {
            if place.get().is_none() {
                // Somebody else may be faster, and with another one.
                let _ = place.set((authority.to_owned(), new()?));
            }
            if let Some((known, route)) = place.get()
                && known == authority
            {
                return Ok(Found::First(route));
            }
        }
        let known = self.others.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = known.get(authority) {
            return Ok(Found::Other(Arc::clone(route)));
        }
        drop(known);
        let route = Arc::new(new()?);
        let mut known = self.others.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MEMORY {
            known.clear();
        }
        known.insert(authority.to_owned(), Arc::clone(&route));
        Ok(Found::Other(route))
    }
}

impl Deref for Found<'_> {
    type Target = Route;

    fn deref(&self) -> &Route {
        match self {
            Self::First(route) => route,
            Self::Other(route) => route,
        }
    }
}

impl Route {
    fn new(uri: &Uri, settings: &Settings) -> Result<Self, RequestError> {
        let via = match settings.connector.is_some() || settings.unix.is_some() {
            true => Via::Direct,
            false => settings.proxies.via(uri),
        };
        Ok(Self {
            origin: Origin::by(uri, via)?,
            host: HeaderValue::try_from(authority_of(uri)).ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route<'a>(routes: &'a Routes, url: &str) -> Found<'a> {
        let uri = url.parse().unwrap();
        routes.of(&uri, &Settings::default()).ok().unwrap()
    }

    fn is_empty(routes: &ByAuthority) -> bool {
        routes.first[0].get().is_none() && routes.others.read().unwrap().is_empty()
    }

    #[test]
    fn a_route_is_worked_out_once_for_all_paths() {
        let routes = Routes::default();
        for host in ["first", "2", "3", "4", "other"] {
            let route = |path| route(&routes, &format!("http://{host}/{path}"));
            let found = route("a");
            assert!(std::ptr::eq(&*found, &*route("b?c")));
            assert_eq!(found.host.as_ref().unwrap(), host);
        }
    }

    #[test]
    fn each_scheme_and_authority_has_its_own() {
        let routes = Routes::default();
        let origins = ["http://a/", "https://a/", "http://a:81/", "http://b/"];
        let origins = origins.map(|url| route(&routes, url).origin.to_string());
        let expected = ["http://a:80", "https://a:443", "http://a:81", "http://b:80"];
        assert_eq!(origins, expected);
    }

    #[test]
    fn what_a_host_is_called_in_a_header_is_what_was_written() {
        let routes = Routes::default();
        let (lower, upper) = (route(&routes, "http://a/"), route(&routes, "http://A/"));
        assert_eq!(lower.origin, upper.origin);
        assert_eq!(lower.host.as_ref().unwrap(), "a");
        assert_eq!(upper.host.as_ref().unwrap(), "A");
    }

    #[test]
    fn no_password_is_remembered() {
        let routes = Routes::default();
        let route = route(&routes, "http://user:secret@example.org/");
        assert_eq!(route.host.as_ref().unwrap(), "example.org");
        assert!(is_empty(&routes.http));
    }

    #[test]
    fn no_more_are_remembered_than_may_be() {
        let routes = Routes::default();
        for host in 0..=FIRST + MEMORY {
            route(&routes, &format!("http://host-{host}/"));
        }
        assert_eq!(routes.http.others.read().unwrap().len(), 1);
    }
}
