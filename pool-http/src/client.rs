//! The client.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use pool_core::KeyedPool;
use tower_service::Service;

use crate::builder::ClientBuilder;
use crate::error::{BoxError, RequestError};
use crate::exchange::Shared;
use crate::manager::HttpManager;
use crate::origin::Origin;
use crate::request_body::RequestBody;
use crate::response_body::ResponseBody;

/// An HTTP client with a pool for every origin; cheap to clone, and all clones are the same.
///
/// # Drop
///
/// The last clone to go closes what is idle; responses that are being read stay usable.
///
/// # Examples
///
/// ```
/// use http_body_util::BodyExt;
/// use pool_http::{Client, Served};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?;
/// # tokio::spawn(async move {
/// #     let (mut peer, _) = listener.accept().await.unwrap();
/// #     while peer.read(&mut [0; 1024]).await.unwrap() > 0 {
/// #         peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
/// #     }
/// # });
/// // One connection for each origin is enough here.
/// let client = Client::builder().pool(|pool| pool.max_size(1)).build()?;
/// for turn in 0..2 {
///     let request = http::Request::get(format!("http://{address}/")).body(String::new())?;
///     let response = client.request(request).await?;
///     assert_eq!(response.extensions().get::<Served>().unwrap().requests, turn);
///     assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Starts to set up a client.
    ///
    /// # Examples
    ///
    /// See [`Client`].
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Sends a request, whose URI is absolute, and waits for the head of the response. A user and a password in the URI are
    /// not sent to anybody; whoever wants them to be sets the header.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says what went wrong and [whether the request may have run](RequestError::fate).
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time. A request that was on its way may still run; a connection of HTTP/1 is closed then, one
    /// of HTTP/2 kept.
    ///
    /// # Examples
    ///
    /// See [`Client`].
    pub fn request<B>(&self, request: Request<B>) -> ResponseFuture
    where
        B: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let request = request.map(RequestBody::new);
        ResponseFuture {
            exchange: Box::pin(shared.exchange(request)),
        }
    }

    /// The pools, by origin: to look at them, to close them, to drain them.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_http::Client;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let client = Client::builder().build()?;
    /// let status = client.pool().status().to_string();
    /// assert_eq!(status, "0 of 100 in use, 0 idle, 0 connecting, 0 waiting, over 0 keys");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn pool(&self) -> &KeyedPool<Origin, HttpManager> {
        &self.shared.pool
    }
}

/// A connection is waited for in the call, so that the service is always ready.
impl<B> Service<Request<B>> for Client
where
    B: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = RequestError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        self.request(request)
    }
}

impl<B> Service<Request<B>> for &Client
where
    B: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = RequestError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        self.request(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("pool", &self.shared.pool)
            .finish_non_exhaustive()
    }
}

/// The future of [`Client::request`].
///
/// # Cancellation
///
/// See [`Client::request`].
///
/// # Examples
///
/// ```
/// # use pool_http::Client;
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let client = Client::builder().build()?;
/// let response = client.request(http::Request::get("http://example.org/").body(String::new())?);
/// drop(response);
/// assert_eq!(client.pool().status().in_use, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a request is not sent until its future is awaited"]
pub struct ResponseFuture {
    exchange: Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, RequestError>> + Send>>,
}

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.exchange.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
