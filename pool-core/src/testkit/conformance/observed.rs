//! The manager under check, with a note of which of its methods runs, and of each that panicked.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::manager::{Dropped, Manager, Recycle};

/// What the methods under check do, seen from outside.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    last: Last,
    panics: Vec<Panic>,
}

/// What was called last. Two that are equal are the same call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Last {
    calls: u64,
    /// What has not come back.
    pub(super) running: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(super) struct Panic {
    pub(super) method: &'static str,
    pub(super) message: String,
}

impl Log {
    /// Calls a method, or whatever else of the user's has this name.
    pub(super) fn during<R>(&self, method: &'static str, call: impl FnOnce() -> R) -> R {
        let outer = {
            let mut entries = self.entries();
            entries.last.calls += 1;
            entries.last.running.replace(method)
        };
        let outcome = catch_unwind(AssertUnwindSafe(call));
        let mut entries = self.entries();
        entries.last.running = outer;
        match outcome {
            Ok(answer) => answer,
            Err(panic) => {
                let message = message(&*panic);
                entries.panics.push(Panic { method, message });
                drop(entries);
                resume_unwind(panic)
            }
        }
    }

    /// As [`during`](Self::during) for each poll of a future, and for its destructor.
    pub(super) async fn throughout<F: Future>(&self, method: &'static str, future: F) -> F::Output {
        let mut polled = Polled {
            log: self,
            method,
            future: Some(Box::pin(future)),
        };
        poll_fn(|cx| polled.poll(cx)).await
    }

    pub(super) fn last(&self) -> Last {
        self.entries().last
    }

    pub(super) fn panics(&self) -> Vec<Panic> {
        self.entries().panics.clone()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Polled<'a, F: Future> {
    log: &'a Log,
    method: &'static str,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Polled<'_, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self
            .future
            .as_mut()
            .expect("it is there until it is dropped");
        self.log.during(self.method, || future.as_mut().poll(cx))
    }
}

impl<F: Future> Drop for Polled<'_, F> {
    fn drop(&mut self) {
        let future = self.future.take();
        if std::thread::panicking() {
            // A second panic would be the end of the process, and the first is told anyway.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        } else {
            self.log.during(self.method, || drop(future));
        }
    }
}

/// What somebody said when he panicked.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// The manager under check. Hands on every method of the trait.
pub(super) struct Observed<M> {
    manager: M,
    log: Arc<Log>,
    before_dial: Option<Box<dyn Fn() + Send + Sync>>,
}

impl<M: Manager> Observed<M> {
    pub(super) fn new(manager: M, log: Arc<Log>) -> Self {
        Self {
            manager,
            log,
            before_dial: None,
        }
    }

    /// Has `look` called whenever a dial begins.
    pub(super) fn before_dial(mut self, look: impl Fn() + Send + Sync + 'static) -> Self {
        self.before_dial = Some(Box::new(look));
        self
    }
}

impl<M: Manager> Manager for Observed<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    async fn connect(&self) -> Result<M::Connection, M::Error> {
        if let Some(look) = &self.before_dial {
            look();
        }
        self.log
            .throughout("connect", async { self.manager.connect().await })
            .await
    }

    fn is_dropped(&self, connection: &mut M::Connection) -> bool {
        self.log
            .during("is_dropped", || self.manager.is_dropped(connection))
    }

    fn poll_dropped(&self, connection: &mut M::Connection, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.log
            .during("poll_dropped", || self.manager.poll_dropped(connection, cx))
    }

    fn is_unsure(&self, connection: &mut M::Connection) -> bool {
        self.log
            .during("is_unsure", || self.manager.is_unsure(connection))
    }

    fn idle_limit(&self, connection: &M::Connection) -> Option<Duration> {
        self.log
            .during("idle_limit", || self.manager.idle_limit(connection))
    }

    fn recycle(&self, connection: &mut M::Connection) -> Recycle {
        self.log
            .during("recycle", || self.manager.recycle(connection))
    }

    async fn reset(&self, connection: &mut M::Connection) -> Result<(), M::Error> {
        self.log
            .throughout("reset", async { self.manager.reset(connection).await })
            .await
    }

    async fn close(&self, connection: M::Connection) {
        self.log
            .throughout("close", async { self.manager.close(connection).await })
            .await;
    }

    fn is_permanent(&self, error: &M::Error) -> bool {
        self.log
            .during("is_permanent", || self.manager.is_permanent(error))
    }
}
