//! The body of a request, and whether it can be sent again.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

use crate::error::BoxError;

/// What is sent: nothing, bytes, or a stream of them. Made from any body, and what is known to be in memory can be sent
/// again.
///
/// # Examples
///
/// ```
/// use pool_http::RequestBody;
///
/// assert!(RequestBody::from("in memory").is_replayable());
/// ```
pub struct RequestBody(Kind);

enum Kind {
    Empty,
    Full(Bytes),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl RequestBody {
    /// From any body. [`Full`] and [`Empty`] of [`Bytes`], and a `String`, are recognized as what is in memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use http_body_util::Empty;
    /// use pool_http::RequestBody;
    ///
    /// let body = RequestBody::new(Empty::<bytes::Bytes>::new());
    /// assert!(body.is_replayable());
    /// ```
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static,
    {
        let mut body = Some(body);
        let any: &mut dyn Any = &mut body;
        if let Some(same) = any.downcast_mut::<Option<Self>>() {
            return same.take().expect("put in above");
        }
        if let Some(bytes) = in_memory(any) {
            return Self::from(bytes);
        }
        let body = body.expect("put in above, and not recognized");
        if body.is_end_stream() {
            return Self(Kind::Empty);
        }
        let stream = body
            .map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
            .map_err(|error| BodyError(error.into()).into());
        Self(Kind::Stream(stream.boxed_unsync()))
    }

    /// Whether it can be sent a second time.
    ///
    /// # Examples
    ///
    /// See [`RequestBody`].
    pub fn is_replayable(&self) -> bool {
        !matches!(self.0, Kind::Stream(_))
    }

    /// The same once more, if it can be had.
    pub(crate) fn again(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty => Some(Self(Kind::Empty)),
            Kind::Full(bytes) => Some(Self(Kind::Full(bytes.clone()))),
            Kind::Stream(_) => None,
        }
    }
}

/// What the user's stream has failed with, by a type to tell it by.
#[derive(Debug)]
pub(crate) struct BodyError(BoxError);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream failed")
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// What is in memory, of the types that people use for it.
fn in_memory(body: &dyn Any) -> Option<Bytes> {
    if let Some(Some(full)) = body.downcast_ref::<Option<Full<Bytes>>>() {
        // Its clone is another handle on the same bytes, and it is in one piece.
        let mut full = full.clone();
        return whole(&mut full).or(Some(Bytes::new()));
    }
    if body.is::<Option<Empty<Bytes>>>() {
        return Some(Bytes::new());
    }
    if let Some(Some(text)) = body.downcast_ref::<Option<String>>() {
        return Some(Bytes::from(text.clone()));
    }
    None
}

fn whole(full: &mut Full<Bytes>) -> Option<Bytes> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    match Pin::new(full).poll_frame(&mut cx) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        _ => None,
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        match bytes.is_empty() {
            true => Self(Kind::Empty),
            false => Self(Kind::Full(bytes)),
        }
    }
}

impl From<&'static str> for RequestBody {
    fn from(text: &'static str) -> Self {
        Self::from(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for RequestBody {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<Vec<u8>> for RequestBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl Default for RequestBody {
    fn default() -> Self {
        Self(Kind::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let frame = Frame::data(std::mem::take(bytes));
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(frame)))
            }
            Kind::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Empty => f.write_str("Empty"),
            Kind::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Kind::Stream(stream) => write!(f, "Stream({:?})", stream.size_hint()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    async fn read(body: RequestBody) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn what_is_in_memory_can_be_sent_again() {
        for body in [
            RequestBody::new(Full::new(Bytes::from_static(b"bytes"))),
            RequestBody::new(String::from("bytes")),
            RequestBody::from("bytes"),
            RequestBody::new(RequestBody::from(b"bytes".to_vec())),
        ] {
            let again = body.again().expect("it is in memory");
            assert_eq!(body.size_hint().exact(), Some(5));
            assert_eq!(read(body).await, "bytes");
            assert_eq!(read(again).await, "bytes");
        }
        assert!(RequestBody::new(Full::<Bytes>::default()).is_end_stream());
    }

    #[tokio::test]
    async fn a_stream_cannot() {
        let frames = [Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"bytes")))];
        let body = RequestBody::new(StreamBody::new(futures::stream::iter(frames)));
        assert!(!body.is_replayable());
        assert_eq!(read(body).await, "bytes");
    }
}
