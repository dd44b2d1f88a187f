//! Connectors of the user's: any service that turns a URL into a stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, Write};
use tower_service::Service;

use crate::error::BoxError;

/// What hyper reads from and writes to.
pub(crate) trait Stream: Read + Write + Unpin + Send {}

impl<S: Read + Write + Unpin + Send> Stream for S {}

type Dialled = Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, BoxError>> + Send>>;

/// A connector whose type is forgotten.
pub(crate) type DynConnector = Arc<dyn Fn(Uri) -> Dialled + Send + Sync>;

/// Each dial has a clone of its own, which it waits for to be ready.
pub(crate) fn erase<C>(connector: C) -> DynConnector
where
    C: Service<Uri, Response: Read + Write + Unpin + Send + 'static, Error: Into<BoxError>>
        + Clone
        + Send
        + Sync
        + 'static,
    C::Future: Send,
{
    Arc::new(move |uri| {
        let mut connector = connector.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx: &mut Context<'_>| -> Poll<_> { connector.poll_ready(cx) })
                .await
                .map_err(Into::into)?;
            let stream = connector.call(uri).await.map_err(Into::into)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    })
}
