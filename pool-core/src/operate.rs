//! What an operator does to a running pool: another size, a pause, a clean sweep, the end.

use std::pin::pin;
use std::time::Duration;

use crate::error::Undrained;
use crate::event::Event;
use crate::manager::Manager;
use crate::pool::Pool;
use crate::pooled::ConnectionInfo;
use crate::reason::CloseReason;
use crate::tasks::connect::Permit;

/// Idle connections given up in one hold of the lock.
const BATCH: usize = 128;

impl<M: Manager> Pool<M> {
    /// Changes the size, from the next instant on.
    ///
    /// A larger pool dials for those who wait. A smaller one closes at once what is idle and too many, and the rest as it
    /// comes home; until then nobody new is served beyond the new size. With 0 nobody is served until it is raised again.
    /// [`Status::max_size`](crate::Status::max_size) tells the present size, [`config`](Self::config) the original one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).max_size(2).build()?;
    /// let (first, second) = (pool.checkout().await?, pool.checkout().await?);
    /// pool.resize(1);
    /// drop(first);
    /// assert_eq!(pool.status().to_string(), "1 of 1 in use, 0 idle, 0 connecting, 0 waiting");
    /// # drop(second);
    /// # Ok(()) }
    /// ```
    pub fn resize(&self, max_size: usize) {
        let shared = self.shared();
        shared.update(|state, now, effects| state.resize(max_size, now, effects));
        shared.tell(|| Event::Resized { max_size });
    }

    /// Changes [`Config::min_idle`](crate::Config::min_idle), as far as [`Config::max_idle`](crate::Config::max_idle) allows;
    /// what is missing is dialled at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// pool.set_min_idle(2);
    /// assert_eq!(pool.status().connecting, 2);
    /// # Ok(()) }
    /// ```
    pub fn set_min_idle(&self, min_idle: usize) {
        self.shared()
            .update(|state, now, effects| state.set_min_idle(min_idle, now, effects));
    }

    /// Changes [`Config::max_idle`](crate::Config::max_idle): of what is idle and too many, the oldest are closed at once.
    ///
    /// A larger [`Config::min_idle`](crate::Config::min_idle) comes down with it, and does not rise again by itself.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop((pool.checkout().await?, pool.checkout().await?));
    /// pool.set_max_idle(1);
    /// assert_eq!(pool.status().idle, 1);
    /// # Ok(()) }
    /// ```
    pub fn set_max_idle(&self, max_idle: impl Into<Option<usize>>) {
        let max_idle = max_idle.into().unwrap_or(usize::MAX);
        self.shared()
            .update(|state, now, effects| state.set_max_idle(max_idle, now, effects));
    }

    /// Changes [`Config::max_lifetime`](crate::Config::max_lifetime), also for the connections there are, with the jitter each
    /// of them has; those that are too old now are closed, or replaced as they come home.
    ///
    /// # Panics
    ///
    /// If the lifetime is zero: to use each connection once is what [`Config::max_uses`](crate::Config::max_uses) is for.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// let first = pool.checkout().await?;
    /// pool.set_max_lifetime(Duration::from_secs(1));
    /// tokio::time::sleep(Duration::from_secs(2)).await;
    /// drop(first);
    /// assert_eq!(*pool.checkout().await?, 2);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn set_max_lifetime(&self, lifetime: impl Into<Option<Duration>>) {
        let lifetime = lifetime.into();
        assert!(
            lifetime != Some(Duration::ZERO),
            "max_lifetime is zero: set it to None to let connections grow old"
        );
        self.shared()
            .update(|state, _, effects| state.set_max_lifetime(lifetime, effects));
    }

    /// Changes [`Config::idle_timeout`](crate::Config::idle_timeout), also for what is idle already.
    ///
    /// # Panics
    ///
    /// If the timeout is zero: to keep nothing idle is what [`Config::max_idle`](crate::Config::max_idle) is for.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop(pool.checkout().await?);
    /// pool.set_idle_timeout(Duration::from_secs(1));
    /// tokio::time::sleep(Duration::from_secs(2)).await;
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn set_idle_timeout(&self, timeout: impl Into<Option<Duration>>) {
        let timeout = timeout.into();
        assert!(
            timeout != Some(Duration::ZERO),
            "idle_timeout is zero: set it to None to keep idle connections"
        );
        self.shared()
            .update(|state, _, effects| state.set_idle_timeout(timeout, effects));
    }

    /// Serves nobody and dials nothing until [`resume`](Self::resume): for the time of a failover.
    ///
    /// Callers wait, each until his own deadline. Connections that are out stay usable, and lie idle when they come home.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop(pool.checkout().await?);
    /// pool.pause();
    /// assert!(pool.try_checkout().is_err());
    /// pool.resume();
    /// assert!(pool.try_checkout().is_ok());
    /// # Ok(()) }
    /// ```
    pub fn pause(&self) {
        if self.shared().update(|state, _, _| state.pause()) {
            self.shared().tell(|| Event::Paused);
        }
    }

    /// Serves callers again after a [`pause`](Self::pause), those who waited first.
    ///
    /// # Examples
    ///
    /// See [`pause`](Self::pause).
    pub fn resume(&self) {
        let news = self
            .shared()
            .update(|state, now, effects| state.resume(now, effects));
        if news {
            self.shared().tell(|| Event::Resumed);
        }
    }

    /// Replaces every connection there is: the idle ones are closed now, those in use when they come home, those being
    /// dialled when they are made; and [`Config::min_idle`](crate::Config::min_idle) is filled up again.
    ///
    /// For a failover or changed credentials, after which the manager dials what is right now.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// let first = pool.checkout().await?;
    /// pool.retire_all();
    /// drop(first);
    /// assert_eq!(*pool.checkout().await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn retire_all(&self) {
        let everything = self.shared().lock().next_number();
        self.shared().retire(everything);
    }

    /// Closes what is idle now, and answers how many that were. What `min_idle` wants is dialled again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop(pool.checkout().await?);
    /// assert_eq!(pool.clear_idle(), 1);
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn clear_idle(&self) -> usize {
        let shared = self.shared();
        // What comes home or is dialled meanwhile is not meant.
        let mut left = self.status().idle;
        let mut cleared = 0;
        while left > 0 {
            let batch = shared
                .update(|state, now, effects| state.clear_idle(left.min(BATCH), now, effects));
            if batch == 0 {
                break;
            }
            left -= batch;
            cleared += batch;
        }
        cleared
    }

    /// Shows every idle connection to `keep` and closes those it does not want; answers how many that were.
    ///
    /// One at a time is taken out for that, with no lock held, so the pool goes on meanwhile. Being shown is not a use.
    ///
    /// # Panics
    ///
    /// If `keep` does; that costs the connection it was shown, and nothing else.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop((pool.checkout().await?, pool.checkout().await?));
    /// assert_eq!(pool.retain(|number, _| *number != 1), 1);
    /// assert_eq!(*pool.checkout().await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn retain(
        &self,
        mut keep: impl FnMut(&mut M::Connection, &ConnectionInfo) -> bool,
    ) -> usize {
        let shared = self.shared();
        let idle = shared.lock().idle_connections();
        let mut closed = 0;
        for (slot, id) in idle {
            let Some(mut lease) = shared.take_out(slot, id, CloseReason::Cleared) else {
                continue;
            };
            lease.live().unwatch();
            let info = lease.info();
            match keep(&mut lease.live_mut().connection, &info) {
                true => drop(lease.put_back()),
                false => closed += 1,
            }
        }
        closed
    }

    /// Looks at every idle connection now and closes those that were dropped; answers how many that were.
    ///
    /// The watch does this by itself; this is for whoever just met one dead connection, and for pools that are not watched
    /// ([`Config::maintenance`](crate::Config::maintenance)).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop(pool.checkout().await?);
    /// assert_eq!(pool.sweep(), 0);
    /// # Ok(()) }
    /// ```
    pub fn sweep(&self) -> usize {
        let shared = self.shared();
        let idle = shared.lock().idle_connections();
        idle.into_iter()
            .filter_map(|(slot, id)| shared.take_out(slot, id, CloseReason::Dropped))
            .filter_map(|mut lease| lease.put_back_if_alive().is_none().then_some(()))
            .count()
    }

    /// Adds a connection that was made elsewhere, as if the pool had dialled it.
    ///
    /// # Errors
    ///
    /// Gives the connection back if no slot is free, if it would not be kept, or if the pool is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).max_size(1).build()?;
    /// assert_eq!(pool.add(77), Ok(()));
    /// assert_eq!(pool.add(78), Err(78));
    /// assert_eq!(*pool.checkout().await?, 77);
    /// # Ok(()) }
    /// ```
    pub fn add(&self, connection: M::Connection) -> Result<(), M::Connection> {
        let dial = self.shared().lock().adopt();
        match dial {
            Some(dial) => {
                Permit::new(self.shared(), dial).connected(connection);
                Ok(())
            }
            None => Err(connection),
        }
    }

    /// Closes the pool, as [`close`](Self::close) does, and waits until every socket of it is really closed, or for so long
    /// at most.
    ///
    /// Connections that are out are waited for, not taken away.
    ///
    /// # Errors
    ///
    /// [`Undrained`] says how many were not closed, and where they are.
    ///
    /// # Cancellation
    ///
    /// The pool is closed from the first poll on; to drop the future afterwards only ends the waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::Pool::builder(Numbers::default()).build()?;
    /// drop(pool.checkout().await?);
    /// pool.drain(Duration::from_secs(5)).await?;
    /// assert_eq!(pool.status().size(), 0);
    /// # Ok(()) }
    /// ```
    pub async fn drain(&self, limit: Duration) -> Result<(), Undrained> {
        self.close();
        let shared = self.shared();
        let drained = async {
            loop {
                let mut changed = pin!(shared.changed.notified());
                // Before the look: a change between the two must not go unnoticed.
                changed.as_mut().enable();
                if self.status().size() == 0 {
                    return;
                }
                changed.await;
            }
        };
        match shared.within(Some(limit), drained).await {
            Some(()) => Ok(()),
            None => Err(Undrained {
                limit,
                status: self.status(),
            }),
        }
    }
}
