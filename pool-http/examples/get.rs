//! Fetches a URL several times and tells what the pool did: `cargo run --example get -- https://example.org 3`.

use std::error::Error;
use std::iter::successors;

use http::Request;
use http_body_util::BodyExt;
use pool_core::{Event, Observer};
use pool_http::{Client, ClientBuilder, Served};

/// Says what happens to connections.
struct Trace;

impl Observer for Trace {
    fn observe(&self, pool: &str, event: &Event) {
        let told = match event {
            Event::Connecting { id } => format!("connection {id} is dialled"),
            Event::Connected { id, took } => format!("connection {id} is there, after {took:.1?}"),
            Event::ConnectFailed {
                id, took, error, ..
            } => {
                format!("connection {id} failed after {took:.1?}: {}", chain(error))
            }
            Event::CheckedOut { id, uses: 1, .. } => format!("connection {id} is taken, fresh"),
            Event::CheckedOut { id, idle_for, .. } => {
                format!("connection {id} is taken, idle for {idle_for:.1?}")
            }
            Event::CheckedIn { id, .. } => format!("connection {id} is idle"),
            Event::Evicted { id, .. } => format!("connection {id} was closed by its peer"),
            Event::Closed {
                id,
                reason,
                age,
                uses,
            } => {
                format!("connection {id} is closed: {reason}; {uses} uses in {age:.1?}")
            }
            _ => return,
        };
        eprintln!("* {pool}: {told}");
    }
}

/// All that an error says.
fn chain(error: &dyn Error) -> String {
    let causes = successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

/// Answers with which connection each response came by.
pub(crate) async fn run(
    builder: ClientBuilder,
    url: &str,
    times: usize,
) -> Result<Vec<Served>, Box<dyn Error>> {
    let client = builder.pool(|pool| pool.observer(Trace)).build()?;
    let mut all = Vec::new();
    for _ in 0..times {
        let response = client.request(Request::get(url).body(String::new())?);
        let response = response.await.inspect_err(|error| {
            eprintln!("* {:?}: {}", error.fate(), chain(error));
        })?;
        let served = *response.extensions().get::<Served>().expect("all have it");
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        println!(
            "{status}, {} bytes by {:?} on connection {}, its request number {}, sent again {} times",
            body.len(),
            served.version,
            served.id,
            served.requests + 1,
            served.replays,
        );
        all.push(served);
    }
    eprintln!("* {}", client.pool().status());
    Ok(all)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("https://example.org/".into());
    let times = arguments.next().map_or(Ok(2), |times| times.parse())?;
    run(Client::builder(), &url, times).await?;
    Ok(())
}
