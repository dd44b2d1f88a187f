//! The clients of HTTP that are compared: this one, reqwest, hyper-util's, and bare connections of hyper.

#![allow(
    missing_debug_implementations,
    reason = "what is inside has none, and nobody prints it"
)]

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

/// Whatever went wrong.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests without a body.
pub trait HttpClient: Clone + Send + Sync + 'static {
    /// Sends one, reads the response to its end, and answers how many bytes it has.
    ///
    /// # Errors
    ///
    /// When there is no response, or none of success.
    ///
    /// # Cancellation
    ///
    /// Whatever the client makes of it.
    fn send(
        &self,
        method: Method,
        url: &str,
    ) -> impl Future<Output = Result<usize, BoxError>> + Send;
}

fn request(method: Method, url: &str) -> Result<Request<Empty<Bytes>>, BoxError> {
    let request = Request::builder().method(method).uri(url);
    Ok(request.body(Empty::new())?)
}

/// Anything but a success is an error.
async fn length<B>(response: Response<B>) -> Result<usize, BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    if !response.status().is_success() {
        return Err(response.status().to_string().into());
    }
    let (mut length, mut body) = (0, response.into_body());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Into::into)?;
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(length)
}

/// This client.
#[derive(Clone)]
pub struct Ours(pub pool_http::Client);

impl Ours {
    /// At its defaults, with so many connections to a server.
    pub fn new(most: usize) -> Self {
        let client = pool_http::Client::builder()
            .proxies(pool_http::Proxies::none())
            .pool(move |pool| pool.max_size(most));
        Self(client.build().expect("in a runtime"))
    }
}

impl HttpClient for Ours {
    async fn send(&self, method: Method, url: &str) -> Result<usize, BoxError> {
        length(self.0.request(request(method, url)?).await?).await
    }
}

/// reqwest.
#[derive(Clone)]
pub struct Reqwest(pub reqwest::Client);

impl Default for Reqwest {
    fn default() -> Self {
        // It asks for one even where nothing is encrypted. Whoever was first has set the same.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy();
        Self(client.build().expect("nothing to fail at"))
    }
}

impl HttpClient for Reqwest {
    async fn send(&self, method: Method, url: &str) -> Result<usize, BoxError> {
        let response = self.0.request(method, url).send().await?;
        let (mut length, mut response) = (0, response.error_for_status()?);
        while let Some(chunk) = response.chunk().await? {
            length += chunk.len();
        }
        Ok(length)
    }
}

/// hyper-util's legacy client.
#[derive(Clone)]
pub struct HyperUtil<C = HttpConnector>(pub Legacy<C, Empty<Bytes>>);

impl Default for HyperUtil {
    fn default() -> Self {
        let client = Legacy::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build_http();
        Self(client)
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> HttpClient for HyperUtil<C> {
    async fn send(&self, method: Method, url: &str) -> Result<usize, BoxError> {
        length(self.0.request(request(method, url)?).await?).await
    }
}

/// Connections that nobody looks after.
#[derive(Clone, Default)]
pub struct Bare(Arc<Mutex<Vec<SendRequest<Empty<Bytes>>>>>);

impl Bare {
    /// So many of them.
    ///
    /// # Cancellation
    ///
    /// Closes them.
    pub async fn dial(address: std::net::SocketAddr, connections: usize) -> Self {
        let bare = Self::default();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.expect("the server runs");
            stream.set_nodelay(true).expect("it is open");
            let (sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .expect("nothing is said");
            tokio::spawn(connection);
            bare.put(sender);
        }
        bare
    }

    fn put(&self, sender: SendRequest<Empty<Bytes>>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sender);
    }

    fn take(&self) -> Option<SendRequest<Empty<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl HttpClient for Bare {
    async fn send(&self, method: Method, url: &str) -> Result<usize, BoxError> {
        let mut request = request(method, url)?;
        let uri = std::mem::take(request.uri_mut()).into_parts();
        let host = uri.authority.ok_or("a whole URL")?;
        let host = http::HeaderValue::try_from(host.as_str())?;
        request.headers_mut().insert(http::header::HOST, host);
        *request.uri_mut() = uri.path_and_query.map_or_else(Default::default, Into::into);
        let mut sender = self.take().ok_or("one for each user")?;
        sender.ready().await?;
        let length = length(sender.send_request(request).await?).await?;
        self.put(sender);
        Ok(length)
    }
}
