//! Redirects, decompression and retries, as layers of tower over the client:
//! `cargo run --example layers -- http://example.org`.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use pool_http::{Client, Fate, RequestError, ResponseBody};
use tower::retry::Policy;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::decompression::DecompressionLayer;
use tower_http::follow_redirect::FollowRedirectLayer;

/// Asks again, a few times, if the server is busy or the request did not get there. The client has already done what is
/// safe at once; this waits in between.
#[derive(Clone)]
struct Patient {
    left: u32,
}

impl Policy<Request<String>, Response<ResponseBody>, RequestError> for Patient {
    type Future = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn retry(
        &mut self,
        _request: &mut Request<String>,
        result: &mut Result<Response<ResponseBody>, RequestError>,
    ) -> Option<Self::Future> {
        let asks_again = match result {
            Ok(response) => response.status() == StatusCode::SERVICE_UNAVAILABLE,
            Err(error) => error.fate() == Fate::NotSent,
        };
        self.left = self.left.checked_sub(1).filter(|_| asks_again)?;
        Some(Box::pin(tokio::time::sleep(Duration::from_millis(100))))
    }

    fn clone_request(&mut self, request: &Request<String>) -> Option<Request<String>> {
        Some(request.clone())
    }
}

/// Answers with the status and the body, as they are at the end of all redirects.
pub(crate) async fn run(client: Client, url: &str) -> Result<(StatusCode, Bytes), Box<dyn Error>> {
    let mut service = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(DecompressionLayer::new())
        .retry(Patient { left: 3 })
        .service(client);
    let request = Request::get(url).body(String::new())?;
    let response = service.ready().await?.call(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await;
    Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1);
    let client = Client::builder().build()?;
    let (status, body) = run(client, url.as_deref().unwrap_or("http://example.org/")).await?;
    println!("{status}, {} bytes", body.len());
    Ok(())
}
