//! What is checked: how to make the manager, the server it dials, and how a connection is used.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::report::Report;
use super::rule::Rule;
use super::run;
use super::server::Server;
use crate::manager::Manager;

/// A manager to be checked.
///
/// # Examples
///
/// ```
/// use pool_core::testkit::conformance::Subject;
/// use pool_core::testkit::{Peer, Scripted};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let peer = Peer::default();
/// let dialled = peer.clone();
/// let report = Subject::new(move || Scripted::dialling(&dialled), peer)
///     .exact()
///     .use_once(async |socket| match socket.is_hung_up() {
///         true => Err("hung up"),
///         false => Ok(()),
///     })
///     .check()
///     .await;
/// report.assert();
/// # }
/// ```
#[must_use = "a subject does nothing until it is checked"]
pub struct Subject<M: Manager> {
    pub(super) manager: Box<dyn Fn() -> M + Send + Sync>,
    pub(super) server: Box<dyn Server>,
    pub(super) use_once: Option<Box<dyn Action<M::Connection>>>,
    pub(super) abandon: Option<Box<dyn Action<M::Connection>>>,
    pub(super) limit: Duration,
    is_watched: bool,
    is_exact: bool,
}

impl<M: Manager> Subject<M> {
    /// What `manager` makes, which dials `server`.
    ///
    /// A manager is made for every rule, inside the runtime it will be used in.
    ///
    /// # Examples
    ///
    /// See [`Subject`].
    pub fn new(manager: impl Fn() -> M + Send + Sync + 'static, server: impl Server) -> Self {
        Self {
            manager: Box::new(manager),
            server: Box::new(server),
            use_once: None,
            abandon: None,
            limit: Duration::from_secs(10),
            is_watched: true,
            is_exact: false,
        }
    }

    /// How a connection is used: asks something and makes sure that the answer is the one to *this* question, so that
    /// somebody else's is told apart. An error or a panic says that the connection does not work.
    ///
    /// The check also drops this future at each of its await points, as a caller does who is cancelled. Without an
    /// action, what a connection is good for is not checked.
    ///
    /// # Examples
    ///
    /// See [`Subject`].
    pub fn use_once<E: fmt::Display + 'static>(
        mut self,
        action: impl AsyncFn(&mut M::Connection) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.use_once = Some(Box::new(Act(action, PhantomData)));
        self
    }

    /// How a connection is left in the middle of something in a way that cancelling `use_once` does not bring about,
    /// such as between two parts of one answer. What it answers does not matter.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::testkit::conformance::{Rule, Subject};
    /// # use pool_core::testkit::{Peer, Scripted};
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let peer = Peer::default();
    /// let dialled = peer.clone();
    /// // A manager that keeps everything.
    /// let report = Subject::new(move || Scripted::dialling(&dialled).carry(|_| false), peer)
    ///     .use_once(async |answer_due| match **answer_due {
    ///         true => Err("this was the answer to another question"),
    ///         false => Ok(()),
    ///     })
    ///     .abandon(async |answer_due| {
    ///         **answer_due = true;
    ///         Ok::<(), &str>(())
    ///     })
    ///     .check()
    ///     .await;
    /// assert!(report.broken().any(|(rule, _)| rule == Rule::AbandonedIsNotKept));
    /// # }
    /// ```
    pub fn abandon<E: fmt::Display + 'static>(
        mut self,
        action: impl AsyncFn(&mut M::Connection) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.abandon = Some(Box::new(Act(action, PhantomData)));
        self
    }

    /// The manager has no `poll_dropped` of its own, and nobody expects it to be woken.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::testkit::conformance::{Rule, Subject};
    /// # use pool_core::testkit::{Peer, Scripted};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let peer = Peer::default();
    /// # let dialled = peer.clone();
    /// let manager = move || {
    ///     let manager = Scripted::dialling(&dialled);
    ///     manager.is_watched(false);
    ///     manager
    /// };
    /// let report = Subject::new(manager, peer).unwatched().check().await;
    /// assert!(report.not_asked().any(|rule| rule == Rule::HangUpWakes));
    /// report.assert();
    /// # }
    /// ```
    pub fn unwatched(mut self) -> Self {
        self.is_watched = false;
        self
    }

    /// Asks for more: `is_dropped` is to know what the kernel knows, even if the reactor has not run since
    /// ([`Rule::KernelIsAsked`]). The pool can live without, but then may hand out what died a moment ago.
    ///
    /// # Examples
    ///
    /// See [`Subject`].
    pub fn exact(mut self) -> Self {
        self.is_exact = true;
        self
    }

    /// How long to wait for what must happen. Default 10 seconds: far longer than anything takes that works.
    ///
    /// # Panics
    ///
    /// If it is shorter than a millisecond, between two of which the check looks.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::testkit::conformance::Subject;
    /// # use pool_core::testkit::{Peer, Scripted};
    /// # use std::time::Duration;
    /// # let peer = Peer::default();
    /// # let dialled = peer.clone();
    /// let subject = Subject::new(move || Scripted::dialling(&dialled), peer)
    ///     .limit(Duration::from_secs(60));
    /// assert!(format!("{subject:?}").contains("limit: 60s"));
    /// ```
    #[track_caller]
    pub fn limit(mut self, limit: Duration) -> Self {
        assert!(
            limit >= Duration::from_millis(1),
            "limit: nothing happens in {limit:?}; give it a millisecond at least"
        );
        self.limit = limit;
        self
    }

    /// Tries every rule.
    ///
    /// May be awaited on any executor, and under a paused clock: the check has a thread and a clock of its own.
    ///
    /// # Cancellation
    ///
    /// The rule that is being tried is tried to its end, in the background.
    ///
    /// # Examples
    ///
    /// See [`Subject`].
    pub async fn check(self) -> Report {
        let (done, report) = oneshot::channel();
        std::thread::spawn(move || run::all(Arc::new(self), done));
        report
            .await
            .expect("whatever panics is a verdict, unless it is the server")
    }

    /// Why this rule cannot be asked of this subject, if so.
    pub(super) fn lacks(&self, rule: Rule) -> Option<&'static str> {
        match rule {
            Rule::HangUpWakes | Rule::NothingWakesNobody if !self.is_watched => {
                Some("the subject is `unwatched`")
            }
            Rule::KernelIsAsked if !self.is_exact => Some("the subject is not said to be `exact`"),
            Rule::OrderIsKept | Rule::AbandonedIsNotKept if self.use_once.is_none() => {
                Some("the subject has no `use_once`")
            }
            _ => None,
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.is_watched
    }
}

impl<M: Manager> fmt::Debug for Subject<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("manager", &std::any::type_name::<M>())
            .field("limit", &self.limit)
            .field("is_watched", &self.is_watched)
            .field("is_exact", &self.is_exact)
            .finish_non_exhaustive()
    }
}

/// Something that is done with a connection.
pub(super) trait Action<C>: Send + Sync {
    fn run<'a>(&'a self, connection: &'a mut C) -> Running<'a>;
}

/// What it answers is what went wrong.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// The user's closure. `E` is what it fails with.
struct Act<F, E>(F, PhantomData<fn() -> E>);

impl<C, F, E> Action<C> for Act<F, E>
where
    F: AsyncFn(&mut C) -> Result<(), E> + Send + Sync,
    E: fmt::Display,
{
    fn run<'a>(&'a self, connection: &'a mut C) -> Running<'a> {
        Box::pin(async move {
            let outcome = (self.0)(connection).await;
            outcome.map_err(|error| error.to_string())
        })
    }
}
