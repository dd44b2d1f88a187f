//! What a pool does, told to those who may only watch.

use std::backtrace::Backtrace;
use std::error::Error;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::reason::CloseReason;
use crate::status::Status;

/// Told of everything a pool does, and unable to change any of it.
///
/// Called where the event happened, by a caller or by a task of the pool, with no lock held: an observer may call back
/// into the pool. It should be quick and not block. A panic is caught and forgotten. Events of one connection come in
/// the order in which they happened; those of several may overtake each other.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use std::sync::{Arc, Mutex};
/// use pool_core::{Event, Observer, Pool};
///
/// #[derive(Default)]
/// struct Log(Mutex<Vec<String>>);
///
/// impl Observer for Log {
///     fn observe(&self, pool: &str, event: &Event) {
///         if let Event::CheckedOut { id, .. } = event {
///             self.0.lock().unwrap().push(format!("{pool}: {id} out"));
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log = Arc::new(Log::default());
/// let pool = Pool::builder(Numbers::default()).name("numbers").observer(log.clone()).build()?;
/// drop(pool.checkout().await?);
/// assert_eq!(*log.0.lock().unwrap(), ["numbers: 1 out"]);
/// # Ok(()) }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Hears of one event in the pool of that name.
    fn observe(&self, pool: &str, event: &Event);
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, pool: &str, event: &Event) {
        (**self).observe(pool, event);
    }
}

/// One thing that happened in a pool.
///
/// A connection is named by its `id`, which is unique in its pool. Durations are exact, not rounded to a tick.
///
/// # Examples
///
/// ```
/// use pool_core::{CloseReason, Event};
/// use std::time::Duration;
///
/// fn describe(event: &Event) -> String {
///     match event {
///         Event::Closed { id, reason, .. } => format!("{id} closed: {reason}"),
///         _ => String::new(),
///     }
/// }
///
/// let closed = Event::Closed { id: 7, reason: CloseReason::Dropped, age: Duration::from_secs(9), uses: 3 };
/// assert_eq!(describe(&closed), "7 closed: dropped");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A dial began; [`Connected`](Self::Connected), [`ConnectFailed`](Self::ConnectFailed) or
    /// [`ConnectAbandoned`](Self::ConnectAbandoned) follows.
    Connecting {
        /// The connection to be.
        id: u64,
    },
    /// A dial succeeded, or a connection was added from outside.
    Connected {
        /// The new connection.
        id: u64,
        /// How long the dial took, hooks and checks included.
        took: Duration,
    },
    /// A dial failed.
    ConnectFailed {
        /// The connection that was to be.
        id: u64,
        /// How long the dial took.
        took: Duration,
        /// Why; a [`ConnectError`](crate::ConnectError).
        error: Arc<dyn Error + Send + Sync>,
        /// Whether dialling again cannot help.
        permanent: bool,
    },
    /// A dial was given up because the pool was closed or its runtime ended.
    ConnectAbandoned {
        /// The connection that was to be.
        id: u64,
    },
    /// A caller has to wait; [`Waited`](Self::Waited) follows when he does not any more.
    Waiting {
        /// How many wait now, this one included.
        waiting: usize,
    },
    /// A caller's wait ended.
    Waited {
        /// How long he waited, from the first poll of his checkout.
        wait: Duration,
        /// How it ended.
        outcome: Outcome,
    },
    /// A connection was handed to a caller.
    CheckedOut {
        /// The connection.
        id: u64,
        /// From the first poll of the checkout.
        wait: Duration,
        /// How often it was handed out so far, this time included.
        uses: u32,
        /// How long it had been idle.
        idle_for: Duration,
    },
    /// A caller's connection came home, whatever becomes of it then.
    CheckedIn {
        /// The connection.
        id: u64,
        /// How long it was out.
        hold: Duration,
    },
    /// A caller took his connection out of the pool for good.
    Detached {
        /// The connection.
        id: u64,
        /// How long it was out.
        hold: Duration,
    },
    /// A checkout ran into its deadline.
    TimedOut {
        /// The limit it had.
        limit: Duration,
        /// The pool at that moment.
        status: Status,
    },
    /// A checkout was refused because [`Config::max_waiters`](crate::Config::max_waiters) wait.
    Refused {
        /// The pool at that moment.
        status: Status,
    },
    /// The peer moved while a connection was idle, so it will be closed.
    Evicted {
        /// The connection.
        id: u64,
        /// From the moment in which the reactor told the pool until the pool acted on it.
        lag: Duration,
    },
    /// A health check or a hook refused a connection, panicked or took too long.
    CheckFailed {
        /// The connection.
        id: u64,
        /// Why; an [`Unhealthy`](crate::Unhealthy)'s cause.
        error: Arc<dyn Error + Send + Sync>,
    },
    /// A connection's socket was closed and its slot is free.
    Closed {
        /// The connection.
        id: u64,
        /// Why the pool gave it up.
        reason: CloseReason,
        /// From its dial until it was given up.
        age: Duration,
        /// How often it had been handed out.
        uses: u32,
    },
    /// A connection has been out for longer than [`Config::leak_warning`](crate::Config::leak_warning).
    HeldTooLong {
        /// The connection.
        id: u64,
        /// For how long by now.
        held: Duration,
        /// Where it was checked out.
        place: &'static Location<'static>,
        /// The stack of that place, if [`Config::leak_backtrace`](crate::Config::leak_backtrace) asks for it.
        backtrace: Option<Arc<Backtrace>>,
    },
    /// A connection came home after a warning that it was held too long.
    ReturnedAfterAll {
        /// The connection.
        id: u64,
        /// How long it was out.
        held: Duration,
        /// Where it had been checked out.
        place: &'static Location<'static>,
    },
    /// All connections older than one were retired.
    Retired {
        /// Those with a lower id.
        older_than: u64,
    },
    /// The pool was given another size.
    Resized {
        /// The new [`Status::max_size`].
        max_size: usize,
    },
    /// Nobody is served until the pool is resumed.
    Paused,
    /// Callers are served again.
    Resumed,
    /// The pool was closed: nobody is served any more.
    PoolClosed,
}

/// How a caller's wait ended.
///
/// # Examples
///
/// ```
/// use pool_core::Outcome;
///
/// assert_eq!(Outcome::TimedOut.as_str(), "timed_out");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// He got a connection.
    Served,
    /// His deadline passed.
    TimedOut,
    /// He was told that connecting failed.
    Failed,
    /// The pool was closed.
    Closed,
    /// He left.
    Cancelled,
}

impl Outcome {
    /// Every outcome there is.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 5] = [
        Self::Served,
        Self::TimedOut,
        Self::Failed,
        Self::Closed,
        Self::Cancelled,
    ];

    /// The outcome as a label of a metric: lower case, words joined by underscores.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_core::Outcome::Served.as_str(), "served");
    /// ```
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }
}
