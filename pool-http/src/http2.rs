//! A connection of HTTP/2: one task drives all of it, and publishes at once what the peer allows.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use pool_core::Capacity;
use tokio::sync::oneshot;

use crate::connector::Stream;
use crate::error::BoxError;
use crate::request_body::RequestBody;

/// What hyper says is allowed as long as the peer has not told; no peer can say this, as its numbers have 32 bits.
const UNTOLD: usize = usize::MAX - 1;

type Sender = http2::SendRequest<RequestBody>;
type Connection = http2::Connection<Box<dyn Stream>, RequestBody, Hands>;
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is to be known of a connection before it speaks.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// Most requests at once, whatever the peer allows.
    pub(crate) max_streams: usize,
    /// How long the peer may be silent, and how long it may take to answer a `PING`.
    pub(crate) ping: Option<(Duration, Duration)>,
}

/// Comes after the peer's first word.
pub(crate) type Told = oneshot::Receiver<Result<(), BoxError>>;

/// A connection that has yet to hear from its peer.
pub(crate) struct Shaken {
    pub(crate) sender: Sender,
    pub(crate) capacity: Capacity,
    /// See [`HttpConnection::loss_of`](crate::HttpConnection).
    pub(crate) has_ended: Arc<AtomicBool>,
    pub(crate) told: Told,
}

/// Answers with what drives the connection, too.
pub(crate) async fn handshake(
    stream: Box<dyn Stream>,
    terms: Terms,
) -> Result<(Shaken, impl Future<Output = ()> + Send), hyper::Error> {
    let hands = Hands::default();
    let mut builder = http2::Builder::new(hands.clone());
    builder
        .timer(TokioTimer::new())
        .initial_max_send_streams(UNTOLD);
    if let Some((interval, timeout)) = terms.ping {
        builder
            .keep_alive_interval(interval)
            .keep_alive_timeout(timeout)
            .keep_alive_while_idle(true);
    }
    let (sender, requests) = builder.handshake(stream).await?;
    let (tell, told) = oneshot::channel();
    let capacity = Capacity::new(0);
    let has_ended = Arc::<AtomicBool>::default();
    let drive = Drive {
        frames: hands.first(),
        requests: Some(requests),
        publishes: Publishes {
            capacity: capacity.clone(),
            most: terms.max_streams,
            has_ended: Arc::clone(&has_ended),
            tell: Some(tell),
        },
    };
    let shaken = Shaken {
        sender,
        capacity,
        has_ended,
        told,
    };
    Ok((shaken, drive.run()))
}

/// The two halves of a connection in hyper: one has the socket, the other takes requests and knows the limits. In one task,
/// so that whatever comes in is told at once, and that the socket is closed when the task is gone.
struct Drive {
    frames: Option<Task>,
    requests: Option<Connection>,
    publishes: Publishes,
}

impl Drive {
    async fn run(self) {
        let Self {
            mut frames,
            requests,
            mut publishes,
        } = self;
        let mut requests = pin!(requests);
        poll_fn(|cx| {
            if frames.as_mut().is_some_and(|frames| poll(frames, cx)) {
                // With it goes the socket, and the streams that wait for something from there are told.
                frames = None;
            }
            if let Some(open) = requests.as_mut().as_pin_mut() {
                match open.poll(cx) {
                    Poll::Pending => {
                        let open = requests.as_ref().as_pin_ref().expect("it is open");
                        publishes.limit(open.current_max_send_streams());
                    }
                    Poll::Ready(ended) => {
                        // The peer may have said goodbye and still answer what it has taken.
                        publishes.end(ended.err());
                        requests.set(None);
                    }
                }
            }
            match frames.is_none() && requests.is_none() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// Whether it is done.
fn poll(task: &mut Task, cx: &mut Context<'_>) -> bool {
    task.as_mut().poll(cx).is_ready()
}

/// Says how many requests there may be. Dropped with the task, which may be aborted, it says that there is room for none.
struct Publishes {
    capacity: Capacity,
    most: usize,
    has_ended: Arc<AtomicBool>,
    /// Who waits for the peer's first word.
    tell: Option<oneshot::Sender<Result<(), BoxError>>>,
}

impl Publishes {
    fn limit(&mut self, limit: usize) {
        if limit == UNTOLD {
            return;
        }
        self.capacity.publish(limit.min(self.most));
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(Ok(()));
        }
    }

    /// Before the half that takes requests is dropped: whoever has one there asks.
    fn end(&mut self, error: Option<hyper::Error>) {
        self.has_ended.store(true, Ordering::Release);
        self.capacity.drain();
        if let Some(tell) = self.tell.take() {
            let error = error.map_or_else(|| "it hung up".into(), BoxError::from);
            let _ = tell.send(Err(error));
        }
    }
}

impl Drop for Publishes {
    fn drop(&mut self) {
        self.capacity.drain();
    }
}

/// Keeps the first thing it is given to do, which is the half that has the socket, for [`Drive`]; the rest, a task for each
/// request, is spawned.
#[derive(Clone, Default)]
struct Hands(Arc<Mutex<First>>);

#[derive(Default)]
enum First {
    #[default]
    Expected,
    Here(Task),
    Taken,
}

impl Hands {
    fn first(&self) -> Option<Task> {
        match std::mem::replace(&mut *self.lock(), First::Taken) {
            First::Here(task) => Some(task),
            First::Expected | First::Taken => None,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, First> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Hands {
    fn execute(&self, task: F) {
        let mut first = self.lock();
        match *first {
            First::Expected => *first = First::Here(Box::pin(task)),
            First::Here(_) | First::Taken => {
                drop(first);
                tokio::spawn(task);
            }
        }
    }
}
