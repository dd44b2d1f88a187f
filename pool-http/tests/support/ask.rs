//! Clients that go by no proxy, and short requests.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use pool_http::{Client, ClientBuilder, Origin, Proxies, RequestError, ResponseBody, Served};

use super::in_time;
use super::server::Server;

pub(crate) fn builder() -> ClientBuilder {
    Client::builder().proxies(Proxies::none())
}

pub(crate) fn client() -> Client {
    builder().build().unwrap()
}

pub(crate) fn origin(server: &Server) -> Origin {
    Origin::of(&server.url("/").parse().unwrap()).unwrap()
}

pub(crate) fn request(method: Method, server: &Server) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(server.url("/"));
    request.body(Full::default()).unwrap()
}

/// Sends it, and waits for the head of the response.
pub(crate) async fn head(
    client: &Client,
    method: Method,
    server: &Server,
) -> Result<Response<ResponseBody>, RequestError> {
    in_time(client.request(request(method, server))).await
}

/// Sends it, and reads the response to its end.
pub(crate) async fn ask(
    client: &Client,
    method: Method,
    server: &Server,
) -> Result<(Served, Bytes), RequestError> {
    read(head(client, method, server).await?).await
}

pub(crate) async fn get(client: &Client, server: &Server) -> Result<(Served, Bytes), RequestError> {
    ask(client, Method::GET, server).await
}

pub(crate) async fn read(
    response: Response<ResponseBody>,
) -> Result<(Served, Bytes), RequestError> {
    let served = *response.extensions().get().expect("every response has it");
    let bytes = in_time(response.into_body().collect()).await?.to_bytes();
    Ok((served, bytes))
}

/// Connections of this client that are idle, wherever they lead.
pub(crate) fn idle(client: &Client) -> usize {
    client.pool().status().idle
}

/// All connections that this client has, in whatever state.
pub(crate) fn size(client: &Client) -> usize {
    client.pool().status().size()
}
