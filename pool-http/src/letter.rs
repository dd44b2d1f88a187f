//! A request as it is sent: in the form that the way to the server wants (RFC 9112 §3.2).

use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Method, Request, Uri, Version};

use crate::proxy::Via;
use crate::request_body::RequestBody;
use crate::route::Route;

/// What is to be sent of a request, and where to.
pub(crate) struct Letter<'a> {
    /// Empty afterwards, unless it is kept.
    pub(crate) draft: &'a mut Request<RequestBody>,
    /// It is copied, as it may have to be sent again; its body is in memory.
    pub(crate) is_kept: bool,
    /// Of the draft.
    pub(crate) uri: &'a Uri,
    pub(crate) route: &'a Route,
}

impl Letter<'_> {
    pub(crate) fn for_http2(self) -> Request<RequestBody> {
        let uri = self.uri.clone();
        let mut request = self.request();
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        request
    }

    pub(crate) fn for_http1(self) -> Request<RequestBody> {
        let (uri, route) = (self.uri, self.route);
        let mut request = self.request();
        if request.version() != Version::HTTP_10 {
            *request.version_mut() = Version::HTTP_11;
        }
        if let Some(host) = &route.host
            && !request.headers().contains_key(HOST)
        {
            request.headers_mut().insert(HOST, host.clone());
        }
        *request.uri_mut() = match &route.origin.via {
            _ if request.method() == Method::CONNECT => authority_form(uri),
            Via::Forward(proxy) => {
                if let Some(authorization) = &proxy.authorization {
                    let headers = request.headers_mut();
                    headers.insert(PROXY_AUTHORIZATION, authorization.clone());
                }
                uri.clone()
            }
            Via::Direct | Via::Tunnel(_) => origin_form(uri),
        };
        request
    }

    fn request(self) -> Request<RequestBody> {
        let draft = self.draft;
        if !self.is_kept {
            return std::mem::take(draft);
        }
        let body = draft.body().again().expect("it is in memory");
        let mut copy = Request::new(body);
        *copy.method_mut() = draft.method().clone();
        *copy.version_mut() = draft.version();
        *copy.headers_mut() = draft.headers().clone();
        *copy.extensions_mut() = draft.extensions().clone();
        copy
    }
}

fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    path.map_or_else(|| Uri::from_static("/"), Uri::from)
}

fn authority_form(uri: &Uri) -> Uri {
    let authority = uri.authority().cloned();
    authority.map_or_else(|| uri.clone(), Uri::from)
}
